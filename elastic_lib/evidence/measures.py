"""What claims and figures measure on finished runs: numbers a seed, so that methods are compared on the same seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import pandas as pd

from elastic_lib import pareto
from elastic_lib.evidence.evidence import Evidence, Missing
from elastic_lib.records.tables import Finished
from elastic_lib.tasks.axes import Yardstick

PerSeed = dict[int, float]
Setting = tuple[str, dict]  # a method, and what is changed of its recipe
Measure = Callable[[pd.DataFrame, Finished | None], float]
Effect = Callable[[Evidence], PerSeed]
ELASTIC: Setting = ("elastic", {})


def area(curve: pd.DataFrame, yardstick: Yardstick, task: str = "task", drift: str = "drift") -> float:
    """Hypervolume as a share of the ideal: the ideal score at the pretrained drift is 1, no gain is 0."""
    first = curve.iloc[0]
    task0, limit = first["task"], yardstick.limit * first["drift"]
    volume = pareto.hypervolume(curve[task], curve[drift], (task0, limit), yardstick.better)
    return volume / ((yardstick.ideal - task0) * abs(limit - first["drift"]))


def per_seed(evidence: Evidence, measure: Measure, method: str, **settings) -> PerSeed:
    label = evidence.label(method, **settings)
    return {seed: measure(curve, evidence.found[label][seed]) for seed, curve in evidence.common(label).items()}


def minus(a: PerSeed, b: PerSeed) -> PerSeed:
    return {seed: a[seed] - b[seed] for seed in sorted(set(a) & set(b))}


def areas(evidence: Evidence, method: str, task: str = "task", drift: str = "drift", **settings) -> PerSeed:
    """The area of a setting's frontier, of the policy or of other columns."""
    return per_seed(evidence, lambda curve, _: area(curve, evidence.facts.YARDSTICK, task, drift), method, **settings)


def larger_area(one: Setting, other: Setting) -> Effect:
    """The area of one setting's frontier minus another's."""
    return lambda evidence: minus(*(areas(evidence, method, **changed) for method, changed in (one, other)))


def cheaper(level: float, one: Setting, other: Setting, task: str = "task", drift: str = "drift") -> Effect:
    """How much less drift (perplexity, KL) one setting pays than another at a task score."""
    return lambda evidence: minus(
        *(per_seed(evidence, drift_at(evidence, level, task, drift), m, **changed) for m, changed in (other, one))
    )


def spread(evidence: Evidence, settings: Iterable[Setting]) -> PerSeed:
    """Largest minus smallest area over a sweep, on each seed that all of it has."""
    swept = [areas(evidence, method, **changed) for method, changed in settings]
    shared = set(swept[0]).intersection(*swept)
    return {seed: max(v[seed] for v in swept) - min(v[seed] for v in swept) for seed in sorted(shared)}


def drift_at(evidence: Evidence, level: float, task: str = "task", drift: str = "drift") -> Measure:
    """The best drift at a task score, of the policy or of other columns."""
    return lambda curve, _: pareto.drift_at(curve[task], curve[drift], level, evidence.facts.YARDSTICK.better)


def steps_to(level: float, column: str) -> Measure:
    """Updates until a level is first reached; the length of the run where it never is (an understatement)."""
    return lambda curve, _: float(curve["step"][curve[column] >= level].min() if (curve[column] >= level).any()
                                  else curve["step"].max())  # fmt: skip


def tested(what: str, when: str = "test") -> Measure:
    return lambda _, record: _scores(record, when)[what]


def gained(what: str, when: str = "test") -> Measure:
    return lambda _, record: _scores(record, when)[what] - _scores(record, "test_before")[what]


def _scores(record: Finished, when: str) -> dict[str, float]:
    status = record.status()
    if when not in status:
        raise Missing(f"{when} in {record.run_id}")
    return status[when]


def early_task(curve: pd.DataFrame, _: Finished) -> float:
    third = curve["step"].max() / 3
    return float(curve["task"][curve["step"] <= third].iloc[-1])


def largest_gap(evidence: Evidence, one: str, other: str, until: int, **settings) -> PerSeed:
    """The largest difference of two methods' held-out task up to a step, before anything happens there."""
    both = [evidence.common(evidence.label(method, **settings)) for method in (one, other)]
    found = {}
    for seed in sorted(set(both[0]) & set(both[1])):
        a, b = (curves[seed].set_index("step")["task"] for curves in both)
        found[seed] = float((a[a.index <= until] - b[b.index <= until]).abs().max())
    return found


class Reset(NamedTuple):
    """The rows right before and right after a reset, and the first of the run."""

    first: pd.Series
    before: pd.Series
    after: pd.Series

    @property
    def undone(self) -> float:
        """The share of the drift since the start that the reset undoes, where lower drift is better."""
        return (self.before.drift - self.after.drift) / (self.before.drift - self.first.drift)

    @property
    def given_up(self) -> float:
        """The share of the task's gain that it gives up."""
        return (self.before.task - self.after.task) / (self.before.task - self.first.task)


def reset_every(evidence: Evidence) -> int:
    """Updates from reset to reset of Elastic Reset as it is by default."""
    return evidence.recipes[evidence.label("elastic")].reset.reset_every


def resets(evidence: Evidence, method: str, **settings) -> dict[int, list[Reset]]:
    """Every reset of every seed."""
    found = {}
    for seed, record in evidence.of(method, **settings).items():
        curve = evidence.curve(record)
        after = curve[curve["reset"] == 1]
        before = curve[(curve["reset"] == 0) & curve["step"].isin(after["step"])]
        found[seed] = [Reset(curve.iloc[0], before.iloc[i], after.iloc[i]) for i in range(min(len(before), len(after)))]
    return found


def over_resets(evidence: Evidence, what: Callable[[Reset], float], method: str = "elastic", **settings) -> PerSeed:
    """The mean of what(reset) over the resets of each seed."""
    return {
        seed: sum(map(what, every)) / len(every) if every else math.nan
        for seed, every in resets(evidence, method, **settings).items()
    }


def best_of(evidence: Evidence, measured: Callable[[dict], PerSeed], settings: list[dict], better: Callable) -> PerSeed:
    """The setting of the best mean, among those for which every seed has a number: the choice favours a rival."""
    swept = []
    for setting in settings:
        try:
            values = measured(setting)
        except Missing:
            continue
        if not any(math.isnan(value) for value in values.values()):
            swept.append(values)
    if not swept:
        raise Missing("a rival that gets there in every seed")
    return better(swept, key=lambda values: sum(values.values()) / len(values))
