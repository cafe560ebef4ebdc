"""Where all that was measured on a task stands against each other: one common measure, and who is beaten by whom."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from elastic_lib.evidence.evidence import FEWEST_SEEDS, Evidence, Missing
from elastic_lib.evidence.measures import (
    Line,
    PerSeed,
    Setting,
    area,
    areas_of,
    drifts_at,
    levels,
    mean,
    minus,
    on,
    points,
    shares,
)
from elastic_lib.pareto import interval
from elastic_lib.recipe import Recipe
from elastic_lib.records.tables import Finished

SHARES = (0.25, 0.5, 0.75)  # of the way from the start to the highest task score that all of a league reach


class Standing(NamedTuple):
    """A line in its league, a number a seed: the area over the levels that all reach, and over all that it reaches."""

    line: Line
    label: str
    area: PerSeed
    whole: PerSeed
    drifts: dict[float, PerSeed]
    highest: PerSeed
    cost: PerSeed
    copies: int
    beaten_by: int

    @property
    def place(self) -> int:
        """One more than the number of those who are better beyond the interval, so that several may share a place."""
        return 1 + self.beaten_by


def league(evidence: Evidence, lines: Iterable[Line], plain: Line | None) -> list[Standing]:
    """The lines of which there are records, best first: by the area of the frontier over the levels that all reach.

    The levels are those of a seed: up to the highest task score that every line reaches there. Costs are over those of
    `plain`, if it is given. A line of too few seeds to decide anything waits outside, where others have more.
    """
    there = _there(evidence, lines)
    counts = [len(evidence.common(label)) for label, _ in there]
    there = [one for one, count in zip(there, counts, strict=True) if count >= min(FEWEST_SEEDS, max(counts))]
    if not there:
        return []
    labels, lines = zip(*there, strict=True)
    curves = [evidence.common(label) for label in labels]
    seeds = sorted(set(curves[0]).intersection(*curves))
    every = [points(evidence, line) for line in lines]
    at = {share: levels(share, *every) for share in (*SHARES, 1.0)}
    yardstick = evidence.facts.YARDSTICK

    def areas(curve: dict[int, pd.DataFrame], line: Line, up_to: PerSeed) -> PerSeed:
        return {s: area(curve[s], yardstick, line.task, line.drift, up_to.get(s, math.inf)) for s in seeds}

    shared = [areas(curve, line, at[1.0]) for curve, line in zip(curves, lines, strict=True)]
    standings = [
        Standing(
            line, label, shared[i], areas(curves[i], line, {}),
            {share: drifts_at(evidence, at[share], every[i]) for share in SHARES},
            {seed: every[i][seed][0].max() for seed in seeds}, _of_plain(evidence, line, plain) if plain else {},
            copies(evidence.recipes[label]),
            sum(better(other, shared[i]) for other in shared),
        )
        for i, (label, line) in enumerate(zip(labels, lines, strict=True))
    ]  # fmt: skip
    return sorted(standings, key=lambda one: (one.place, -mean(one.area)))


def better(one: PerSeed, other: PerSeed) -> bool:
    """Whether one is above another on the same seeds beyond the paired 95% interval."""
    low, _ = interval(minus(one, other).values())
    return low > 0


def _of_plain(evidence: Evidence, line: Line, plain: Line) -> PerSeed:
    """What a line costs, of what `plain` does; where its steps are not like those of all, in samples."""
    recipe = evidence.recipes[evidence.label_of(line)]
    steps_alike = recipe.grad_penalty is None and recipe.replay is None  # so many and such ones an update
    clock = "update" if steps_alike else "sample"
    return shares(costs(evidence, line, clock), costs(evidence, plain, clock))


def costs(evidence: Evidence, line: Line, clock: str = "update") -> PerSeed:
    """Seconds of training a second of gradient steps, or of what else the `clock` says.

    Runs were made on machines that had other work too. The steps of all methods are alike, so that they tell how fast
    the machine was: what else a method does, to sample, score, average and mask, is counted in steps. What learns
    nothing costs what the run that it reads does.
    """
    if source := evidence.recipes[evidence.label_of(line)].source():
        line = Line(*source.setting())

    def cost(curve: pd.DataFrame, _: Finished) -> float:
        last = curve.iloc[-1]
        spent = sum(last[f"t_{part}"] for part in ("sample", "score", "update", "ema"))
        return float(spent / last[f"t_{clock}"]) if last[f"t_{clock}"] else math.nan

    return on(evidence, cost, line)


def copies(recipe: Recipe) -> int:
    """Copies of what learns that are kept beside the policy: θ̄ and θ0, what a KL is taken against, NLPO's mask.

    θ0 is kept once: where the KL is taken against it, or against θ̄, it is the reset's own.
    """
    kept_by_resets = 2 if recipe.reset is not None else 0
    taken_against = recipe.kl_anchor != "none" and (recipe.reset is None or recipe.reference_every is not None)
    return kept_by_resets + taken_against + (recipe.nlpo is not None)


def tried(evidence: Evidence, settings: Iterable[Setting]) -> list[tuple[Line, PerSeed]]:
    """What was tried of a method, each with its area a seed, best first: the first is what was chosen.

    What has more seeds goes first: of what did badly on one there may be no other.
    """
    found = [(line, areas_of(evidence, label, line.task, line.drift)) for label, line in _there(evidence, settings)]
    return sorted(found, key=lambda one: (-len(one[1]), -mean(one[1])))


def _there(evidence: Evidence, lines: Iterable[Setting]) -> list[tuple[str, Line]]:
    """The lines of which there are records, each with its label."""
    found = []
    for line in (Line(*setting) for setting in lines):
        try:
            found.append((evidence.label_of(line), line))
        except Missing:
            continue
    return found
