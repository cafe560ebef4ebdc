"""The paper's testable statements; their verdicts are computed from records (`verdicts`), never written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from elastic_lib import records
from elastic_lib.cells import (
    Cells,
    Measure,
    PerSeed,
    area_of,
    area_of_average,
    best_ppo,
    drift_at,
    early_task,
    gained,
    later_iterations,
    minus,
    multiplied,
    over_resets,
    per_seed,
    steps_to,
    tested,
)
from elastic_lib.verdicts import Claim, Verdict, judge


def sources(scale: str, results: Path | None = None) -> list[Path]:
    """The folder that was named, or one's own results before the reference."""
    if results is not None:
        if not (Path(results) / "records").is_dir():
            raise FileNotFoundError(f"{results} holds no records; `elastic run … --results {results}` makes them")
        return [Path(results)]
    return [records.own_results(scale), records.reference_results(scale)]


def ledger(scale: str, results: Path | None = None) -> list[Verdict]:
    """Every claim's verdict at a scale."""
    cells = Cells(scale, sources(scale, results))
    return [judge(claim, cells) for claim in CLAIMS]


def against_reference(scale: str) -> str:
    """One's own records beside the committed ones: how many are equal bit for bit, and where the verdicts differ."""
    own, reference = records.own_results(scale), records.reference_results(scale)
    ours, theirs = records.load(own), records.load(reference)
    shared = sorted(set(ours) & set(theirs))
    if not shared:
        return ""
    equal = sum(ours[name].status()["fingerprint"] == theirs[name].status()["fingerprint"] for name in shared)
    mine = {v.id: v.verdict for v in ledger(scale, own)}
    lines = [
        f"Against the reference: {equal} of {len(shared)} records are equal bit for bit (other CPUs round otherwise)"
    ]
    for verdict in ledger(scale, reference):
        if mine[verdict.id] not in (verdict.verdict, "not run"):
            lines.append(f"  {verdict.id}: {mine[verdict.id]} here, {verdict.verdict} there ({verdict.seeds} seeds)")
    return "\n".join(lines if len(lines) > 1 else [*lines, "  Every verdict reached here is the reference's."])


def _areas(method: str, **settings) -> Callable[[Cells], PerSeed]:
    return lambda cells: minus(per_seed(cells, area_of, "elastic"), per_seed(cells, area_of, method, **settings))


def _cheaper(level: float, rival: Callable[[Cells, Measure], PerSeed]) -> Callable[[Cells], PerSeed]:
    """How much less perplexity Elastic Reset pays at a reward than a rival."""
    at = drift_at(level)
    return lambda cells: minus(rival(cells, at), per_seed(cells, at, "elastic"))


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
        lambda cells: per_seed(cells, multiplied, "ppo", beta=0.0),
        threshold=2.0,
    ),
    Claim(
        "imdb-larger-beta-better-frontier",
        "Larger KL coefficients correspond to better Pareto curves for PPO …",
        "Section 6, Figure 5c",
        "perplexity at reward ≥ 0.7: PPO β=0.01 minus β=0.1",
        lambda cells: minus(
            per_seed(cells, drift_at(0.7), "ppo", beta=0.01), per_seed(cells, drift_at(0.7), "ppo", beta=0.1)
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
        lambda cells: minus(per_seed(cells, area_of, "nlpo"), per_seed(cells, area_of, "ppo", beta=0.1)),
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
        lambda cells: over_resets(cells, lambda drift, task: drift),
    ),
    Claim(
        "imdb-reset-favours-drift",
        "… by more than the reward falls …",
        "Section 6, Figure 4",
        "share of the drift that a reset undoes minus share of the reward's gain that it gives up",
        lambda cells: over_resets(cells, lambda drift, task: drift - task),
    ),
    Claim(
        "imdb-reset-costs-little-reward",
        "… and for little reward.",
        "Section 6, Figure 4",
        "share of the reward's gain that survives a reset; little is lost: more than half survives",
        lambda cells: over_resets(cells, lambda drift, task: 1 - task),
        threshold=0.5,
    ),
    Claim(
        "imdb-iterations-improve",
        "Over the iterations the task score improves in relation to drift.",
        "Section 6, Figure 4",
        "perplexity at reward ≥ 0.8: first iteration minus last",
        lambda cells: later_iterations(cells, 0.8),
    ),
    Claim(
        "imdb-elastic-area-over-ppo",
        "Elastic Reset far outpaces PPO on the Pareto graph.",
        "Section 6, Figure 8c",
        "hypervolume of Elastic Reset minus that of PPO at the paper's β=0.1, equal evaluation steps",
        _areas("ppo", beta=0.1),
    ),
    Claim(
        "imdb-elastic-area-over-best-ppo",
        "… and PPO at its best coefficient.",
        "Section 6, Figures 5c and 8c",
        "hypervolume of Elastic Reset minus that of PPO with whichever β has the largest",
        lambda cells: minus(per_seed(cells, area_of, "elastic"), best_ppo(cells, area_of, max)),
    ),
    Claim(
        "imdb-elastic-area-over-nlpo",
        "Elastic Reset far outpaces NLPO on the Pareto graph.",
        "Section 6, Figure 8c",
        "hypervolume of Elastic Reset minus that of NLPO, equal evaluation steps",
        _areas("nlpo"),
    ),
    *(
        Claim(
            f"imdb-elastic-cheaper-at-{round(100 * level)}",
            f"Elastic Reset is the better tradeoff for every reward; at {level:g}, against PPO as published.",
            "Section 6, Figure 8c",
            f"perplexity at reward ≥ {level:g}: PPO β=0.1 minus Elastic Reset",
            _cheaper(level, lambda cells, at: per_seed(cells, at, "ppo", beta=0.1)),
        )
        for level in (0.6, 0.7, 0.8)
    ),
    *(
        Claim(
            f"imdb-elastic-cheaper-than-best-at-{round(100 * level)}",
            f"Elastic Reset is the better tradeoff for every reward; at {level:g}, against PPO at its best.",
            "Section 6, Figures 5c and 8c",
            f"perplexity at reward ≥ {level:g}: PPO with the β that is cheapest there minus Elastic Reset",
            _cheaper(level, lambda cells, at: best_ppo(cells, at, min)),
        )
        for level in (0.6, 0.7, 0.8, 0.9, 0.95)
    ),
    Claim(
        "imdb-elastic-no-kl-matches-ppo",
        "Elastic Reset works without a KL at all, matching PPO's best performance with one.",
        "Section 6, Figure 16",
        "hypervolume of Elastic Reset β=0 minus that of PPO with whichever β has the largest; matches: above −0.05",
        lambda cells: minus(per_seed(cells, area_of, "elastic", beta=0.0), best_ppo(cells, area_of, max)),
        threshold=-0.05,
    ),
    Claim(
        "imdb-elastic-over-to-ema",
        "Elastic Reset outperforms Reset to EMA.",
        "Section 6, Figure 5a",
        "hypervolume of Elastic Reset minus that of Reset to EMA (they differ only after the second reset)",
        _areas("to_ema"),
    ),
    Claim(
        "imdb-elastic-over-to-init",
        "Elastic Reset outperforms Reset to Init.",
        "Section 6, Figure 5a",
        "hypervolume of Elastic Reset minus that of Reset to Init",
        _areas("to_init"),
    ),
    Claim(
        "imdb-average-beats-online",
        "Just keeping the EMA model improves the tradeoff of PPO.",
        "Appendix E.2, Figure 21",
        "hypervolume of the EMA read out of PPO β=0.01 minus that of its online policy",
        lambda cells: minus(per_seed(cells, area_of_average, "track"), per_seed(cells, area_of, "track")),
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
        lambda cells: minus(per_seed(cells, area_of, "elastic"), per_seed(cells, area_of_average, "track")),
    ),
    *(
        Claim(
            f"imdb-elastic-cheaper-than-average-at-{round(100 * level)}",
            f"… for every reward; at {level:g}.",
            "Appendix E.2, Figure 21",
            f"perplexity at reward ≥ {level:g}: the EMA read out of PPO β=0.01 minus Elastic Reset",
            _cheaper(level, lambda cells, _, x=level: per_seed(cells, drift_at(x, "ema_task", "ema_drift"), "track")),
        )
        for level in (0.7, 0.8)
    ),
    Claim(
        "imdb-final-reward",
        "In the final test scores Elastic Reset has the higher reward …",
        "Table 2",
        "final test reward: Elastic Reset minus PPO β=0.1",
        lambda cells: minus(
            per_seed(cells, tested("task"), "elastic"), per_seed(cells, tested("task"), "ppo", beta=0.1)
        ),
    ),
    Claim(
        "imdb-final-drift",
        "… at no higher perplexity.",
        "Table 2",
        "final test perplexity: PPO β=0.1 minus Elastic Reset",
        lambda cells: minus(
            per_seed(cells, tested("drift"), "ppo", beta=0.1), per_seed(cells, tested("drift"), "elastic")
        ),
    ),
]
