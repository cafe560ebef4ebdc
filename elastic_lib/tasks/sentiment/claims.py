"""The statements of Section 6 and Appendix E.2, on the sentiment task."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from elastic_lib.evidence import Evidence
from elastic_lib.evidence.measures import (
    ELASTIC,
    Effect,
    Measure,
    PerSeed,
    areas,
    best_of,
    cheaper,
    drift_at,
    early_task,
    gained,
    larger_area,
    minus,
    over_resets,
    per_seed,
    steps_to,
    tested,
)
from elastic_lib.evidence.verdicts import Claim
from elastic_lib.records.tables import Finished
from elastic_lib.tasks.sentiment import claims_ablations

BETAS = [{"beta": beta} for beta in (0.0, 0.01, 0.03, 0.1)]  # PPO's coefficients in the full grid
Rival = Callable[[Evidence, Measure], PerSeed]


def _cheaper_than(rival: Rival, level: float) -> Effect:
    """How much less perplexity Elastic Reset pays at a reward than a rival."""
    return lambda evidence: minus(
        rival(evidence, drift_at(evidence, level)), per_seed(evidence, drift_at(evidence, level), "elastic")
    )


def _cheapest_ppo(evidence: Evidence, measure: Measure) -> PerSeed:
    return best_of(evidence, lambda setting: per_seed(evidence, measure, "ppo", **setting), BETAS, min)


def _largest_ppo(evidence: Evidence) -> PerSeed:
    return best_of(evidence, lambda setting: areas(evidence, "ppo", **setting), BETAS, max)


def _average(level: float) -> Rival:
    """The EMA read out of plain PPO."""
    return lambda evidence, _: per_seed(evidence, drift_at(evidence, level, "ema_task", "ema_drift"), "track")


def _multiplied(_: pd.DataFrame, record: Finished) -> float:
    return record.status()["test"]["drift"] / record.status()["test_before"]["drift"]


def _later_iterations(evidence: Evidence, level: float) -> PerSeed:
    """Perplexity at a reward in the first iteration minus that in the last."""

    def gain(curve: pd.DataFrame, record: Finished) -> float:
        parts = [curve[curve["iteration"] == i] for i in (curve["iteration"].min(), curve["iteration"].max())]
        first, last = (drift_at(evidence, level)(part, record) for part in parts)
        return first - last

    return per_seed(evidence, gain, "elastic")


CLAIMS = [
    Claim(
        "sentiment-ppo-gains-reward",
        "PPO improves the sentiment reward over the zero-shot model.",
        "Section 6, Table 2",
        "test reward after PPO minus before",
        lambda evidence: per_seed(evidence, gained("task"), "ppo"),
    ),
    Claim(
        "sentiment-ppo-drifts",
        "Optimising the reward makes the model drift: perplexity on true reviews rises.",
        "Section 6, Table 2",
        "test perplexity after PPO minus before",
        lambda evidence: per_seed(evidence, gained("drift"), "ppo"),
    ),
    Claim(
        "sentiment-no-kl-explodes",
        "PPO without a KL penalty diverges.",
        "Section 6, Figure 16",
        "final test perplexity of PPO β=0 as a multiple of the pretrained one; explodes: more than double",
        lambda evidence: per_seed(evidence, _multiplied, "ppo", beta=0.0),
        threshold=2.0,
    ),
    Claim(
        "sentiment-larger-beta-better-frontier",
        "Larger KL coefficients correspond to better Pareto curves for PPO …",
        "Section 6, Figure 5c",
        "perplexity at reward ≥ 0.7: PPO β=0.01 minus β=0.1",
        lambda evidence: minus(
            per_seed(evidence, drift_at(evidence, 0.7), "ppo", beta=0.01),
            per_seed(evidence, drift_at(evidence, 0.7), "ppo", beta=0.1),
        ),
    ),
    Claim(
        "sentiment-larger-beta-slower",
        "… but slower training.",
        "Section 6, Figure 5c",
        "validation reward after a third of the run: PPO β=0.01 minus β=0.1",
        lambda evidence: minus(
            per_seed(evidence, early_task, "ppo", beta=0.01), per_seed(evidence, early_task, "ppo", beta=0.1)
        ),
    ),
    Claim(
        "sentiment-nlpo-like-ppo",
        "NLPO performs similarly to PPO.",
        "Section 6, Figure 8",
        "hypervolume of NLPO minus that of PPO, both β=0.1, as a share of the ideal",
        lambda evidence: minus(areas(evidence, "nlpo"), areas(evidence, "ppo", beta=0.1)),
        margin=0.05,
    ),
    Claim(
        "sentiment-elastic-faster",
        "Elastic Reset achieves better semantic scores much faster.",
        "Section 6, Figure 4b",
        "validation reward after a third of the run: Elastic Reset minus PPO β=0.1",
        lambda evidence: minus(
            per_seed(evidence, early_task, "elastic"), per_seed(evidence, early_task, "ppo", beta=0.1)
        ),
    ),
    Claim(
        "sentiment-reset-undoes-drift",
        "The drift is mitigated by the reset …",
        "Section 6, Figure 4a",
        "share of the drift since the start that a reset undoes, mean over resets",
        lambda evidence: over_resets(evidence, lambda reset: reset.undone),
    ),
    Claim(
        "sentiment-reset-favours-drift",
        "… by more than the reward falls …",
        "Section 6, Figure 4",
        "share of the drift that a reset undoes minus share of the reward's gain that it gives up",
        lambda evidence: over_resets(evidence, lambda reset: reset.undone - reset.given_up),
    ),
    Claim(
        "sentiment-reset-costs-little-reward",
        "… and for little reward.",
        "Section 6, Figure 4",
        "share of the reward's gain that survives a reset; little is lost: more than half survives",
        lambda evidence: over_resets(evidence, lambda reset: 1 - reset.given_up),
        threshold=0.5,
    ),
    Claim(
        "sentiment-iterations-improve",
        "Over the iterations the task score improves in relation to drift.",
        "Section 6, Figure 4",
        "perplexity at reward ≥ 0.8: first iteration minus last",
        lambda evidence: _later_iterations(evidence, 0.8),
    ),
    Claim(
        "sentiment-elastic-area-over-ppo",
        "Elastic Reset far outpaces PPO on the Pareto graph.",
        "Section 6, Figure 8c",
        "hypervolume of Elastic Reset minus that of PPO at the paper's β=0.1, equal evaluation steps",
        larger_area(ELASTIC, ("ppo", {"beta": 0.1})),
    ),
    Claim(
        "sentiment-elastic-area-over-best-ppo",
        "… and PPO at its best coefficient.",
        "Section 6, Figures 5c and 8c",
        "hypervolume of Elastic Reset minus that of PPO with whichever β has the largest",
        lambda evidence: minus(areas(evidence, "elastic"), _largest_ppo(evidence)),
    ),
    Claim(
        "sentiment-elastic-area-over-nlpo",
        "Elastic Reset far outpaces NLPO on the Pareto graph.",
        "Section 6, Figure 8c",
        "hypervolume of Elastic Reset minus that of NLPO, equal evaluation steps",
        larger_area(ELASTIC, ("nlpo", {})),
    ),
    *(
        Claim(
            f"sentiment-elastic-cheaper-at-{round(100 * level)}",
            f"Elastic Reset is the better tradeoff for every reward; at {level:g}, against PPO as published.",
            "Section 6, Figure 8c",
            f"perplexity at reward ≥ {level:g}: PPO β=0.1 minus Elastic Reset",
            cheaper(level, ELASTIC, ("ppo", {"beta": 0.1})),
        )
        for level in (0.6, 0.7, 0.8)
    ),
    *(
        Claim(
            f"sentiment-elastic-cheaper-than-best-at-{round(100 * level)}",
            f"Elastic Reset is the better tradeoff for every reward; at {level:g}, against PPO at its best.",
            "Section 6, Figures 5c and 8c",
            f"perplexity at reward ≥ {level:g}: PPO with the β that is cheapest there minus Elastic Reset",
            _cheaper_than(_cheapest_ppo, level),
        )
        for level in (0.6, 0.7, 0.8, 0.9, 0.95)
    ),
    Claim(
        "sentiment-elastic-no-kl-matches-ppo",
        "Elastic Reset works without a KL at all, matching PPO's best performance with one.",
        "Section 6, Figure 16",
        "hypervolume of Elastic Reset β=0 minus that of PPO with whichever β has the largest; matches: above −0.05",
        lambda evidence: minus(areas(evidence, "elastic", beta=0.0), _largest_ppo(evidence)),
        threshold=-0.05,
    ),
    Claim(
        "sentiment-elastic-over-to-ema",
        "Elastic Reset outperforms Reset to EMA.",
        "Section 6, Figure 5a",
        "hypervolume of Elastic Reset minus that of Reset to EMA (they differ only after the second reset)",
        larger_area(ELASTIC, ("to_ema", {})),
    ),
    Claim(
        "sentiment-elastic-over-to-init",
        "Elastic Reset outperforms Reset to Init.",
        "Section 6, Figure 5a",
        "hypervolume of Elastic Reset minus that of Reset to Init",
        larger_area(ELASTIC, ("to_init", {})),
    ),
    Claim(
        "sentiment-average-beats-online",
        "Just keeping the EMA model improves the tradeoff of PPO.",
        "Appendix E.2, Figure 21",
        "hypervolume of the EMA read out of PPO β=0.01 minus that of its online policy",
        lambda evidence: minus(areas(evidence, "track", "ema_task", "ema_drift"), areas(evidence, "track")),
    ),
    Claim(
        "sentiment-average-slower",
        "… but it is noticeably slower than Elastic Reset.",
        "Appendix E.2, Figure 21",
        "updates to a validation reward of 0.8: the EMA read out of PPO β=0.01 minus Elastic Reset",
        lambda evidence: minus(
            per_seed(evidence, steps_to(0.8, "ema_task"), "track"), per_seed(evidence, steps_to(0.8, "task"), "elastic")
        ),
    ),
    Claim(
        "sentiment-elastic-over-average",
        "Elastic Reset does more than average: it beats the EMA read out of plain PPO.",
        "Appendix E.2, Figure 21",
        "hypervolume of Elastic Reset minus that of the EMA read out of PPO β=0.01",
        lambda evidence: minus(areas(evidence, "elastic"), areas(evidence, "track", "ema_task", "ema_drift")),
    ),
    *(
        Claim(
            f"sentiment-elastic-cheaper-than-average-at-{round(100 * level)}",
            f"… for every reward; at {level:g}.",
            "Appendix E.2, Figure 21",
            f"perplexity at reward ≥ {level:g}: the EMA read out of PPO β=0.01 minus Elastic Reset",
            _cheaper_than(_average(level), level),
        )
        for level in (0.7, 0.8)
    ),
    Claim(
        "sentiment-final-reward",
        "In the final test scores Elastic Reset has the higher reward …",
        "Section 6, Table 2",
        "final test reward: Elastic Reset minus PPO β=0.1",
        lambda evidence: minus(
            per_seed(evidence, tested("task"), "elastic"), per_seed(evidence, tested("task"), "ppo", beta=0.1)
        ),
    ),
    Claim(
        "sentiment-final-drift",
        "… at no higher perplexity.",
        "Section 6, Table 2",
        "final test perplexity: PPO β=0.1 minus Elastic Reset",
        lambda evidence: minus(
            per_seed(evidence, tested("drift"), "ppo", beta=0.1), per_seed(evidence, tested("drift"), "elastic")
        ),
    ),
    *claims_ablations.CLAIMS,
]
