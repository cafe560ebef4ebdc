"""The statements of Section 6 and Appendix E.2, on the sentiment task."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from elastic_lib import pareto
from elastic_lib.cells import (
    Cells,
    Measure,
    PerSeed,
    areas,
    best_of,
    drift_at,
    early_task,
    gained,
    minus,
    over_resets,
    per_seed,
    steps_to,
    tested,
)
from elastic_lib.records import Record
from elastic_lib.verdicts import Claim

BETAS = [{"beta": beta} for beta in (0.0, 0.01, 0.03, 0.1)]  # PPO's coefficients in the full grid
Rival = Callable[[Cells, Measure], PerSeed]


def _over(method: str, **settings) -> Callable[[Cells], PerSeed]:
    return lambda cells: minus(areas(cells, "elastic"), areas(cells, method, **settings))


def _cheaper(level: float, rival: Rival) -> Callable[[Cells], PerSeed]:
    """How much less perplexity Elastic Reset pays at a reward than a rival."""
    return lambda cells: minus(rival(cells, drift_at(cells, level)), per_seed(cells, drift_at(cells, level), "elastic"))


def _ppo(beta: float) -> Rival:
    return lambda cells, measure: per_seed(cells, measure, "ppo", beta=beta)


def _cheapest_ppo(cells: Cells, measure: Measure) -> PerSeed:
    return best_of(cells, lambda setting: per_seed(cells, measure, "ppo", **setting), BETAS, min)


def _largest_ppo(cells: Cells) -> PerSeed:
    return best_of(cells, lambda setting: areas(cells, "ppo", **setting), BETAS, max)


def _average(level: float) -> Rival:
    """The EMA read out of plain PPO."""
    return lambda cells, _: per_seed(cells, drift_at(cells, level, "ema_task", "ema_drift"), "track")


def _multiplied(_: pd.DataFrame, record: Record) -> float:
    return record.status()["test"]["drift"] / record.status()["test_before"]["drift"]


def _later_iterations(cells: Cells, level: float) -> PerSeed:
    """Perplexity at a reward in the first iteration minus that in the last."""

    def gain(curve: pd.DataFrame, _: Record) -> float:
        parts = [curve[curve["iteration"] == i] for i in (curve["iteration"].min(), curve["iteration"].max())]
        first, last = (pareto.drift_at(part["task"], part["drift"], level, better="lower") for part in parts)
        return first - last

    return per_seed(cells, gain, "elastic")


CLAIMS = [
    Claim(
        "imdb-ppo-gains-reward",
        "PPO improves the sentiment reward over the zero-shot model.",
        "Section 6, Table 2",
        "test reward after PPO minus before",
        lambda cells: per_seed(cells, gained("task"), "ppo"),
    ),
    Claim(
        "imdb-ppo-drifts",
        "Optimising the reward makes the model drift: perplexity on true reviews rises.",
        "Section 6, Table 2",
        "test perplexity after PPO minus before",
        lambda cells: per_seed(cells, gained("drift"), "ppo"),
    ),
    Claim(
        "imdb-no-kl-explodes",
        "PPO without a KL penalty diverges.",
        "Section 6, Figure 16",
        "final test perplexity of PPO β=0 as a multiple of the pretrained one; explodes: more than double",
        lambda cells: per_seed(cells, _multiplied, "ppo", beta=0.0),
        threshold=2.0,
    ),
    Claim(
        "imdb-larger-beta-better-frontier",
        "Larger KL coefficients correspond to better Pareto curves for PPO …",
        "Section 6, Figure 5c",
        "perplexity at reward ≥ 0.7: PPO β=0.01 minus β=0.1",
        lambda cells: minus(
            per_seed(cells, drift_at(cells, 0.7), "ppo", beta=0.01),
            per_seed(cells, drift_at(cells, 0.7), "ppo", beta=0.1),
        ),
    ),
    Claim(
        "imdb-larger-beta-slower",
        "… but slower training.",
        "Section 6, Figure 5c",
        "validation reward after a third of the run: PPO β=0.01 minus β=0.1",
        lambda cells: minus(
            per_seed(cells, early_task, "ppo", beta=0.01), per_seed(cells, early_task, "ppo", beta=0.1)
        ),
    ),
    Claim(
        "imdb-nlpo-like-ppo",
        "NLPO performs similarly to PPO.",
        "Section 6, Figure 8",
        "hypervolume of NLPO minus that of PPO, both β=0.1, as a share of the ideal",
        lambda cells: minus(areas(cells, "nlpo"), areas(cells, "ppo", beta=0.1)),
        margin=0.05,
    ),
    Claim(
        "imdb-elastic-faster",
        "Elastic Reset achieves better semantic scores much faster.",
        "Section 6, Figure 4b",
        "validation reward after a third of the run: Elastic Reset minus PPO β=0.1",
        lambda cells: minus(per_seed(cells, early_task, "elastic"), per_seed(cells, early_task, "ppo", beta=0.1)),
    ),
    Claim(
        "imdb-reset-undoes-drift",
        "The drift is mitigated by the reset …",
        "Section 6, Figure 4a",
        "share of the drift since the start that a reset undoes, mean over resets",
        lambda cells: over_resets(cells, lambda reset: reset.undone),
    ),
    Claim(
        "imdb-reset-favours-drift",
        "… by more than the reward falls …",
        "Section 6, Figure 4",
        "share of the drift that a reset undoes minus share of the reward's gain that it gives up",
        lambda cells: over_resets(cells, lambda reset: reset.undone - reset.given_up),
    ),
    Claim(
        "imdb-reset-costs-little-reward",
        "… and for little reward.",
        "Section 6, Figure 4",
        "share of the reward's gain that survives a reset; little is lost: more than half survives",
        lambda cells: over_resets(cells, lambda reset: 1 - reset.given_up),
        threshold=0.5,
    ),
    Claim(
        "imdb-iterations-improve",
        "Over the iterations the task score improves in relation to drift.",
        "Section 6, Figure 4",
        "perplexity at reward ≥ 0.8: first iteration minus last",
        lambda cells: _later_iterations(cells, 0.8),
    ),
    Claim(
        "imdb-elastic-area-over-ppo",
        "Elastic Reset far outpaces PPO on the Pareto graph.",
        "Section 6, Figure 8c",
        "hypervolume of Elastic Reset minus that of PPO at the paper's β=0.1, equal evaluation steps",
        _over("ppo", beta=0.1),
    ),
    Claim(
        "imdb-elastic-area-over-best-ppo",
        "… and PPO at its best coefficient.",
        "Section 6, Figures 5c and 8c",
        "hypervolume of Elastic Reset minus that of PPO with whichever β has the largest",
        lambda cells: minus(areas(cells, "elastic"), _largest_ppo(cells)),
    ),
    Claim(
        "imdb-elastic-area-over-nlpo",
        "Elastic Reset far outpaces NLPO on the Pareto graph.",
        "Section 6, Figure 8c",
        "hypervolume of Elastic Reset minus that of NLPO, equal evaluation steps",
        _over("nlpo"),
    ),
    *(
        Claim(
            f"imdb-elastic-cheaper-at-{round(100 * level)}",
            f"Elastic Reset is the better tradeoff for every reward; at {level:g}, against PPO as published.",
            "Section 6, Figure 8c",
            f"perplexity at reward ≥ {level:g}: PPO β=0.1 minus Elastic Reset",
            _cheaper(level, _ppo(0.1)),
        )
        for level in (0.6, 0.7, 0.8)
    ),
    *(
        Claim(
            f"imdb-elastic-cheaper-than-best-at-{round(100 * level)}",
            f"Elastic Reset is the better tradeoff for every reward; at {level:g}, against PPO at its best.",
            "Section 6, Figures 5c and 8c",
            f"perplexity at reward ≥ {level:g}: PPO with the β that is cheapest there minus Elastic Reset",
            _cheaper(level, _cheapest_ppo),
        )
        for level in (0.6, 0.7, 0.8, 0.9, 0.95)
    ),
    Claim(
        "imdb-elastic-no-kl-matches-ppo",
        "Elastic Reset works without a KL at all, matching PPO's best performance with one.",
        "Section 6, Figure 16",
        "hypervolume of Elastic Reset β=0 minus that of PPO with whichever β has the largest; matches: above −0.05",
        lambda cells: minus(areas(cells, "elastic", beta=0.0), _largest_ppo(cells)),
        threshold=-0.05,
    ),
    Claim(
        "imdb-elastic-over-to-ema",
        "Elastic Reset outperforms Reset to EMA.",
        "Section 6, Figure 5a",
        "hypervolume of Elastic Reset minus that of Reset to EMA (they differ only after the second reset)",
        _over("to_ema"),
    ),
    Claim(
        "imdb-elastic-over-to-init",
        "Elastic Reset outperforms Reset to Init.",
        "Section 6, Figure 5a",
        "hypervolume of Elastic Reset minus that of Reset to Init",
        _over("to_init"),
    ),
    Claim(
        "imdb-average-beats-online",
        "Just keeping the EMA model improves the tradeoff of PPO.",
        "Appendix E.2, Figure 21",
        "hypervolume of the EMA read out of PPO β=0.01 minus that of its online policy",
        lambda cells: minus(areas(cells, "track", "ema_task", "ema_drift"), areas(cells, "track")),
    ),
    Claim(
        "imdb-average-slower",
        "… but it is noticeably slower than Elastic Reset.",
        "Appendix E.2, Figure 21",
        "updates to a validation reward of 0.8: the EMA read out of PPO β=0.01 minus Elastic Reset",
        lambda cells: minus(
            per_seed(cells, steps_to(0.8, "ema_task"), "track"), per_seed(cells, steps_to(0.8, "task"), "elastic")
        ),
    ),
    Claim(
        "imdb-elastic-over-average",
        "Elastic Reset does more than average: it beats the EMA read out of plain PPO.",
        "Appendix E.2, Figure 21",
        "hypervolume of Elastic Reset minus that of the EMA read out of PPO β=0.01",
        lambda cells: minus(areas(cells, "elastic"), areas(cells, "track", "ema_task", "ema_drift")),
    ),
    *(
        Claim(
            f"imdb-elastic-cheaper-than-average-at-{round(100 * level)}",
            f"… for every reward; at {level:g}.",
            "Appendix E.2, Figure 21",
            f"perplexity at reward ≥ {level:g}: the EMA read out of PPO β=0.01 minus Elastic Reset",
            _cheaper(level, _average(level)),
        )
        for level in (0.7, 0.8)
    ),
    Claim(
        "imdb-final-reward",
        "In the final test scores Elastic Reset has the higher reward …",
        "Section 6, Table 2",
        "final test reward: Elastic Reset minus PPO β=0.1",
        lambda cells: minus(
            per_seed(cells, tested("task"), "elastic"), per_seed(cells, tested("task"), "ppo", beta=0.1)
        ),
    ),
    Claim(
        "imdb-final-drift",
        "… at no higher perplexity.",
        "Section 6, Table 2",
        "final test perplexity: PPO β=0.1 minus Elastic Reset",
        lambda cells: minus(
            per_seed(cells, tested("drift"), "ppo", beta=0.1), per_seed(cells, tested("drift"), "elastic")
        ),
    ),
]
