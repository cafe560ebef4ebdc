"""What the claims on the Translation Game measure: effects, each a number a seed."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from elastic_lib import pareto
from elastic_lib.cells import (
    Cells,
    PerSeed,
    Reset,
    areas,
    best_of,
    gained,
    minus,
    per_seed,
    resets,
    spread,
    tested,
)
from elastic_lib.grids import ELASTIC_KL, SWEEPS
from elastic_lib.records import Record

Effect = Callable[[Cells], PerSeed]
ENGLISH, TASK = "drift", "task"  # the two BLEUs, by their columns
LSTM = {"net": "lstm"}


def plain(method: str) -> dict:
    return {}


def lstm(method: str) -> dict:
    return LSTM


def final(score: str, method: str, rival: str, regime: Callable[[str], dict] = plain) -> Effect:
    """A final test BLEU of a method minus a rival's."""
    return lambda cells: minus(
        per_seed(cells, tested(score), method, **regime(method)), per_seed(cells, tested(score), rival, **regime(rival))
    )


def since_start(score: str, method: str, when: str = "test", **settings) -> Effect:
    return lambda cells: per_seed(cells, gained(score, when), method, **settings)


def lost(method: str, **settings) -> Effect:
    """How much test FR→EN a method lost."""
    return lambda cells: {s: -v for s, v in per_seed(cells, gained(ENGLISH), method, **settings).items()}


def over(rival: str, regime: Callable[[str], dict] = plain) -> Effect:
    """The area of Elastic Reset minus a rival's."""
    return lambda cells: minus(areas(cells, "elastic", **regime("elastic")), areas(cells, rival, **regime(rival)))


def over_best(rival: str) -> Effect:
    return lambda cells: minus(
        areas(cells, "elastic"), best_of(cells, lambda setting: areas(cells, rival, **setting), SWEEPS[rival], max)
    )


def matched(rival: str, above: float, regime: Callable[[str], dict] = plain) -> Effect:
    """FR→EN of Elastic Reset minus a rival's, at a task score above the best that FROZEN reaches on the same seed."""

    def effect(cells: Cells) -> PerSeed:
        frozen = per_seed(cells, lambda curve, _: curve[TASK].max(), "frozen", **regime("frozen"))
        both = [
            {
                seed: pareto.drift_at(curve[TASK], curve[ENGLISH], frozen[seed] + above, cells.yardstick.better)
                for seed, curve in cells.common(cells.label(method, **regime(method))).items()
                if seed in frozen
            }
            for method in ("elastic", rival)
        ]
        return minus(*both)

    return effect


def early_rise(curve: pd.DataFrame, _: Record) -> float:
    return float(curve[ENGLISH].max() - curve[ENGLISH].iloc[0])


def largest_move(curve: pd.DataFrame, _: Record) -> float:
    return float((curve[ENGLISH] - curve[ENGLISH].iloc[0]).abs().max())


def repaired(reset: Reset) -> float:
    return reset.after[ENGLISH] - reset.before[ENGLISH]


def given_up(reset: Reset) -> float:
    return reset.before[TASK] - reset.after[TASK]


def from_reset_to_reset(what: Callable[[Reset, Reset], float]) -> Effect:
    """what(first reset, second reset) of each seed."""
    return lambda cells: {
        seed: what(every[0], every[1]) if len(every) > 1 else float("nan")
        for seed, every in resets(cells, "elastic").items()
    }


def recovered(cells: Cells) -> PerSeed:
    """The share of resets after which the task is back at its former score at the next evaluation."""
    shares = {}
    for seed, every in resets(cells, "elastic").items():
        curve = cells.common(cells.label("elastic"))[seed]
        following = [curve[curve["step"] > reset.after["step"]].iloc[0] for reset in every]
        back = [after[TASK] >= reset.before[TASK] for after, reset in zip(following, every, strict=True)]
        shares[seed] = sum(back) / len(back) if back else float("nan")
    return shares


def swept(name: str, method: str) -> Callable[[Cells], PerSeed]:
    """The spread over a coefficient that was swept."""
    return lambda cells: spread(cells, [(method, setting) for setting in SWEEPS[name]])


def combined(method: str) -> Effect:
    """Table 6's score: the change of FR→EN plus the change of FR→EN→DE."""
    return lambda cells: {
        seed: english + per_seed(cells, gained(TASK), method, **LSTM)[seed]
        for seed, english in per_seed(cells, gained(ENGLISH), method, **LSTM).items()
    }


def combined_over(rival: str) -> Effect:
    return lambda cells: minus(combined("elastic")(cells), combined(rival)(cells))


def elastic_with_kl_over_either(cells: Cells) -> PerSeed:
    either = [areas(cells, "elastic"), areas(cells, "kl")]
    return minus(areas(cells, ELASTIC_KL[0], **ELASTIC_KL[1]), max(either, key=lambda v: sum(v.values()) / len(v)))
