"""From a number a seed to a word: how a claim is judged, and how a ledger of verdicts is written out.

Every claim is a number a seed, measured on the same seed for both sides where two methods are compared. The interval is
a paired bootstrap over seeds at 95%, expanded for few seeds (Hesterberg 2015: the plain percentile interval is too
narrow by √(n/(n−1)) and by normal against t); with 3 seeds it spans the seeds, with 5 nearly so. A claim that states a
direction is `supported` when the whole interval lies on its side of the threshold, `refuted` when it lies on the other
side, `inconclusive` otherwise and with fewer than 3 seeds, and `not run` where records are missing. A claim that states
a likeness is supported when the interval lies within the margin.

What a threshold is. A comparison (better, less, faster) is above 0. Where the paper's words state a size
(significantly, nearly, the same) and it gives the numbers that they are said of, those decide, with a factor of two of
room, so that a repetition of the paper would pass: an effect is as large as the word when it is more than half of the
paper's own, a likeness holds within twice the paper's own difference, and a thing is the same within half of the
smallest change that the paper's table shows of it. BLEU and a reward between 0 and 1 carry over as they are; of all
else it is the ratio to the plain method's own change that does. Where the paper gives no number the threshold is ours,
and says so.

What counts. A statement of the paper counts once, by its strictest row: the rows that put it in another figure, regime
or level, or against one rival of several, are `again` of that one. What holds by construction and what is a question of
our own are judged and shown, and not counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from elastic_lib.evidence.evidence import FEWEST_SEEDS, Evidence, Missing
from elastic_lib.evidence.measures import IDEAL, PerSeed
from elastic_lib.pareto import interval

MARKS = {"supported": "✓", "refuted": "✗", "inconclusive": "?", "not run": "·"}


ELSEWHERE = "pretrained models of two machines, which differ in their last digits"
BY_CONSTRUCTION, OURS, AGAIN = "by construction", "ours", "seen again"
OUR_OWN = "the paper gives no number: ours"


@dataclass(frozen=True)
class Claim:
    """A statement, where it stands, how it is measured and in what, and the threshold (or margin) that decides it."""

    id: str
    statement: str
    where: str
    measure: str
    unit: str
    effect: Callable[[Evidence], PerSeed]
    threshold: float = 0.0
    margin: float | None = None
    asks: str = "more than none"  # the threshold in words, and where it comes from
    again: str = ""  # the claim that counts for the same statement
    apart: str = ""  # BY_CONSTRUCTION or OURS
    only_at: str = ""  # the one scale that it can be asked at


def no_worse(name: str, statement: str, where: str, measure: str, effect: Callable, only_at: str = "") -> Claim:
    """A question of our own: whether one way does as well as another, by the areas of their frontiers."""
    asks = f"at most 0.03 below, as for the number of resets ({OUR_OWN})"
    return Claim(name, statement, where, measure, IDEAL, effect, -0.03, asks=asks, apart=OURS, only_at=only_at)


STATED = ("id", "statement", "where", "measure", "unit", "threshold", "margin", "asks", "again", "apart")


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
    unit: str
    threshold: float
    margin: float | None
    asks: str
    again: str
    apart: str
    records: str
    note: str

    def to_dict(self) -> dict:
        """Plain JSON types."""
        return asdict(self)

    def numbers(self) -> str:
        """The effect, its interval and their unit, as far as they are known."""
        if self.effect is None:
            return "–"
        between = "" if self.low is None else f" [{_signed(self.low)}, {_signed(self.high)}]"
        return f"{_signed(self.effect)}{between} {self.unit}"

    def section(self) -> str:
        """The part of the paper where it stands."""
        found = re.match(r"Section \d|Appendix [A-Z]|Beyond the paper", self.where)
        return found.group() if found else "not in the paper"

    def claimed(self) -> str:
        """What the effect has to be for the claim to hold."""
        if self.margin is None and not self.threshold:
            return "above 0"
        limit = f"within ±{self.margin:g}" if self.margin is not None else f"above {self.threshold:g}"
        return f"{limit} {self.unit}"

    def how(self) -> str:
        """How it is measured, what was asked, and what else is to be known about it."""
        parts = [self.measure, self.asks, self.note]
        if self.records:
            parts.append(f"records: {self.records}")
        if self.again:
            parts.append(f"seen again: counted as {self.again}")
        elif self.apart:
            parts.append(f"not counted: {self.apart}")
        return "; ".join(filter(None, parts))

    def counts(self) -> bool:
        """Whether it is the row by which a statement of the paper is counted."""
        return not (self.again or self.apart)


def _signed(value: float) -> str:
    """Three digits with a sign; what is a matter of rounding is 0."""
    return f"{value if abs(value) > 1e-6 else 0:+.3g}"


def judge(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict on one claim from the records there are."""
    told = {name: getattr(claim, name) for name in STATED} | {"scale": evidence.scale}
    evidence.asked.clear()
    evidence.swept.clear()
    nothing = dict(effect=None, low=None, high=None, seeds=0)
    try:
        per_seed = claim.effect(evidence)
    except Missing as missing:
        return Verdict(**told, **nothing, verdict="not run", records="", note=f"no record of {missing}")
    told["records"] = evidence.whose()
    elsewhere = ELSEWHERE if evidence.differ_from_the_start() else ""
    if elsewhere and claim.apart == BY_CONSTRUCTION:  # of runs that begin alike
        return Verdict(**told, **nothing, verdict="not run", note=elsewhere)
    values = [value for value in per_seed.values() if not math.isnan(value)]
    dropped = len(per_seed) - len(values)
    short = f"{dropped} of {len(per_seed)} seeds never reach the level" if dropped else ""
    note = "; ".join(filter(None, (short, elsewhere)))
    if not values:
        verdict = "inconclusive" if per_seed else "not run"
        return Verdict(**told, **nothing, verdict=verdict, note=note or "no seed has all the records")
    low, high = interval(values)
    known = not math.isnan(low)
    verdict = _decide(claim, low, high) if len(values) >= FEWEST_SEEDS and not dropped else "inconclusive"
    return Verdict(**told, verdict=verdict, effect=float(np.mean(values)), low=low if known else None,
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


def counted(verdicts: list[Verdict]) -> list[Verdict]:
    """The rows by which the paper's statements are counted, each once."""
    return [verdict for verdict in verdicts if verdict.counts()]


def tally(verdicts: list[Verdict]) -> str:
    """How many of the paper's statements came out each way."""
    return ", ".join(f"{sum(v.verdict == name for v in counted(verdicts))} {name}" for name in MARKS)


def summed_up(verdicts: list[Verdict]) -> str:
    """The tally, and how many rows are not counted and why."""
    again = sum(bool(v.again) for v in verdicts)
    apart = {why: sum(v.apart == why for v in verdicts) for why in (BY_CONSTRUCTION, OURS)}
    count = len(counted(verdicts))
    return (
        f"{count} statement{'s' * (count != 1)} of the paper: {tally(verdicts)}. Not counted: {again} rows that show "
        f"one of them again, {apart[BY_CONSTRUCTION]} that hold by construction, {apart[OURS]} of ours."
    )
