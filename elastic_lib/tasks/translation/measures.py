"""What the claims on the Translation Game measure: effects, each a number a seed."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from elastic_lib.evidence import Evidence
from elastic_lib.evidence.measures import (
    ELASTIC,
    Effect,
    Line,
    PerSeed,
    Reset,
    dominance,
    dominance_over_best,
    drifts_at,
    gained,
    mean,
    minus,
    per_seed,
    points,
    resets,
    spread,
    tested,
)
from elastic_lib.records.tables import Finished
from elastic_lib.tasks.translation.facts import ELASTIC_KL, SWEEPS

ENGLISH, TASK = "drift", "task"  # the two BLEUs, by their columns
LSTM = {"net": "lstm"}


def plain(method: str) -> dict:
    return {}


def final(score: str, method: str, rival: str, regime: Callable[[str], dict] = plain) -> Effect:
    """A final test BLEU of a method minus a rival's."""
    return lambda evidence: minus(
        per_seed(evidence, tested(score), method, **regime(method)),
        per_seed(evidence, tested(score), rival, **regime(rival)),
    )


def since_start(score: str, method: str, when: str = "test", **settings) -> Effect:
    return lambda evidence: per_seed(evidence, gained(score, when), method, **settings)


def lost(method: str, **settings) -> Effect:
    """How much test FR→EN a method lost."""
    return lambda evidence: {s: -v for s, v in per_seed(evidence, gained(ENGLISH), method, **settings).items()}


def over(rival: str, regime: Callable[[str], dict] = plain) -> Effect:
    """How far Elastic Reset dominates a rival."""
    return lambda evidence: dominance(evidence, Line("elastic", regime("elastic")), Line(rival, regime(rival)))


def over_best(*rivals: str) -> Effect:
    """How far it dominates whichever of the rivals, each with any of its coefficients, leaves the least."""
    lines = [Line(rival, setting) for rival in rivals for setting in SWEEPS.get(rival, [{}])]
    return lambda evidence: dominance_over_best(evidence, ELASTIC, lines)


def matched(rival: str, above: float, regime: Callable[[str], dict] = plain) -> Effect:
    """FR→EN of Elastic Reset minus a rival's, at a task score above the best that FROZEN reaches on the same seed."""

    def effect(evidence: Evidence) -> PerSeed:
        frozen = per_seed(evidence, lambda curve, _: curve[TASK].max(), "frozen", **regime("frozen"))
        level = {seed: best + above for seed, best in frozen.items()}
        lines = (points(evidence, Line(method, regime(method))) for method in ("elastic", rival))
        return minus(*(drifts_at(evidence, level, line) for line in lines))

    return effect


def early_rise(curve: pd.DataFrame, _: Finished) -> float:
    return float(curve[ENGLISH].max() - curve[ENGLISH].iloc[0])


def largest_move(curve: pd.DataFrame, _: Finished) -> float:
    return float((curve[ENGLISH] - curve[ENGLISH].iloc[0]).abs().max())


def repaired(reset: Reset) -> float:
    return reset.after[ENGLISH] - reset.before[ENGLISH]


def given_up(reset: Reset) -> float:
    return reset.before[TASK] - reset.after[TASK]


def from_reset_to_reset(what: Callable[[Reset, Reset], float]) -> Effect:
    """what(first reset, second reset) of each seed."""
    return lambda evidence: {
        seed: what(every[0], every[1]) if len(every) > 1 else float("nan")
        for seed, every in resets(evidence, "elastic").items()
    }


def recovered(evidence: Evidence) -> PerSeed:
    """The share of resets after which the task is back at its former score at the next evaluation."""
    shares = {}
    for seed, every in resets(evidence, "elastic").items():
        curve = evidence.common(evidence.label("elastic"))[seed]
        following = [curve[curve["step"] > reset.after["step"]].iloc[0] for reset in every]
        back = [after[TASK] >= reset.before[TASK] for after, reset in zip(following, every, strict=True)]
        shares[seed] = sum(back) / len(back) if back else float("nan")
    return shares


def swept(name: str, method: str) -> Callable[[Evidence], PerSeed]:
    """The spread over a coefficient that was swept."""
    return lambda evidence: spread(evidence, [(method, setting) for setting in SWEEPS[name]])


def combined(method: str) -> Effect:
    """Table 6's score: the change of FR→EN plus the change of FR→EN→DE."""
    return lambda evidence: {
        seed: english + per_seed(evidence, gained(TASK), method, **LSTM)[seed]
        for seed, english in per_seed(evidence, gained(ENGLISH), method, **LSTM).items()
    }


def combined_over(rival: str) -> Effect:
    return lambda evidence: minus(combined("elastic")(evidence), combined(rival)(evidence))


def combined_over_best(*rivals: str) -> Effect:
    """The same over the rival that leaves the least, on the mean over seeds."""
    return lambda evidence: min((combined_over(rival)(evidence) for rival in rivals), key=mean)


def elastic_with_kl_over_either(evidence: Evidence) -> PerSeed:
    """How far Elastic Reset with the KL of KL alone dominates the better of the two apart."""
    return dominance_over_best(evidence, Line(*ELASTIC_KL), [ELASTIC, Line("kl")])
