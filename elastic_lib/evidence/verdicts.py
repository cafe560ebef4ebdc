"""From a number a seed to a word: how a claim is judged, and how a ledger of verdicts is written out.

Every claim is a number a seed, measured on the same seed for both sides where two methods are compared. The interval is
a paired bootstrap over seeds at 95%, expanded for few seeds (Hesterberg 2015: the plain percentile interval is too
narrow by √(n/(n−1)) and by normal against t); with 3 seeds it spans the seeds, with 5 nearly so. A claim that states a
direction is `supported` when the whole interval lies on its side of the threshold, `refuted` when it lies on the other
side, `inconclusive` otherwise and with fewer than 3 seeds, and `not run` where records are missing. A claim that states
a likeness is supported when the interval lies within the margin.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from elastic_lib.evidence.evidence import FEWEST_SEEDS, Evidence, Missing
from elastic_lib.evidence.measures import PerSeed
from elastic_lib.pareto import interval

MARKS = {"supported": "✓", "refuted": "✗", "inconclusive": "?", "not run": "·"}


@dataclass(frozen=True)
class Claim:
    """A statement, where it stands, how it is measured, and the threshold (or margin) that decides it."""

    id: str
    statement: str
    where: str
    measure: str
    effect: Callable[[Evidence], PerSeed]
    threshold: float = 0.0
    margin: float | None = None


@dataclass(frozen=True)
class Verdict:
    """A claim at a scale: the mean effect, its interval, and what follows from them."""

    id: str
    statement: str
    where: str
    scale: str
    verdict: str
    effect: float | None
    low: float | None
    high: float | None
    seeds: int
    measure: str
    threshold: float
    margin: float | None
    note: str

    def to_dict(self) -> dict:
        """Plain JSON types."""
        return asdict(self)

    def numbers(self) -> str:
        """The effect and its interval, as far as they are known."""
        effect = "–" if self.effect is None else f"{self.effect:+.3g}"
        return effect if self.low is None else f"{effect} [{self.low:+.3g}, {self.high:+.3g}]"

    def section(self) -> str:
        """The part of the paper where it stands."""
        found = re.match(r"Section \d|Appendix [A-Z]", self.where)
        return found.group() if found else "not in the paper"

    def claimed(self) -> str:
        """What the effect has to be for the claim to hold."""
        return f"within ±{self.margin:g}" if self.margin is not None else f"above {self.threshold:g}"


def judge(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict on one claim from the records there are."""
    fixed = dict(id=claim.id, statement=claim.statement, where=claim.where, scale=evidence.scale, measure=claim.measure,
                 threshold=claim.threshold, margin=claim.margin)  # fmt: skip
    try:
        per_seed = claim.effect(evidence)
    except Missing as missing:
        nothing = dict(verdict="not run", effect=None, low=None, high=None, seeds=0)
        return Verdict(**fixed, **nothing, note=f"no record of {missing}")
    values = [value for value in per_seed.values() if not math.isnan(value)]
    dropped = len(per_seed) - len(values)
    note = f"{dropped} of {len(per_seed)} seeds never reach the level" if dropped else ""
    if not values:
        return Verdict(**fixed, verdict="not run" if not per_seed else "inconclusive", effect=None, low=None, high=None,
                       seeds=0, note=note or "no seed has all the records")  # fmt: skip
    low, high = interval(values)
    known = not math.isnan(low)
    verdict = _decide(claim, low, high) if len(values) >= FEWEST_SEEDS and not dropped else "inconclusive"
    return Verdict(**fixed, verdict=verdict, effect=float(np.mean(values)), low=low if known else None,
                   high=high if known else None, seeds=len(values), note=note)  # fmt: skip


def _decide(claim: Claim, low: float, high: float) -> str:
    if claim.margin is not None:
        if -claim.margin < low and high < claim.margin:
            return "supported"
        return "refuted" if low > claim.margin or high < -claim.margin else "inconclusive"
    if low > claim.threshold:
        return "supported"
    return "refuted" if high < claim.threshold else "inconclusive"


def sections(verdicts: list[Verdict]) -> list[str]:
    """The parts of the paper that verdicts are about: sections, appendices, and what is not in it."""
    parts = {v.section() for v in verdicts}
    return sorted(parts, key=lambda part: (not part.startswith("Section"), not part.startswith("Appendix"), part))


def tally(verdicts: list[Verdict]) -> str:
    """How many there are of each."""
    return ", ".join(f"{sum(v.verdict == name for v in verdicts)} {name}" for name in MARKS)
