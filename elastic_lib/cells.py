"""Records by setting and seed, and what claims and figures measure on them: a number a seed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from elastic_lib import pareto, records
from elastic_lib.grids import fits
from elastic_lib.recipe import SCALES, Recipe
from elastic_lib.records import Record
from elastic_lib.settings import unknown

FEWEST_SEEDS = 3  # below it nothing is decided
JUDGES = ("task", "judge_1", "judge_2")  # the three reward models of the answers task; the first is optimised
PerSeed = dict[int, float]
Measure = Callable[[pd.DataFrame, Record], float]


class Yardstick(NamedTuple):
    """How a task's two scores are read: which drift is better, the ideal task score, and how much drift still counts.

    The frontier's area is taken up to `limit` times the pretrained drift score.
    """

    better: str
    ideal: float
    limit: float


YARDSTICKS = {
    "sentiment": Yardstick("lower", 1.0, 1.5),  # P(positive); perplexity
    "translation": Yardstick("higher", 100.0, 0.5),  # BLEU; BLEU
    "answers": Yardstick("lower", 2.0, 1.5),  # deviations above people's answers; perplexity
}


class Missing(LookupError):
    """Records that a claim needs are not there."""


class Cells:
    """Finished records of a task by setting (a recipe's label) and seed.

    A setting comes whole from one folder, never mixed: from the first that has at least FEWEST_SEEDS seeds of it, else
    from the first that has any.
    """

    def __init__(self, task: str, scale: str, sources: list[Path]):
        for name, value, known in (("task", task, YARDSTICKS), ("scale", scale, SCALES)):
            if value not in known:
                raise ValueError(unknown(name, value, known))
        self.task, self.scale, self.yardstick = task, scale, YARDSTICKS[task]
        self.found: dict[str, dict[int, Record]] = {}
        self.recipes: dict[str, Recipe] = {}
        self.source: dict[str, Path] = {}
        for source in sources:
            for label, (recipe, by_seed) in _by_setting(source, task, scale).items():
                if label not in self.found or len(self.found[label]) < FEWEST_SEEDS <= len(by_seed):
                    self.found[label], self.recipes[label], self.source[label] = by_seed, recipe, source
        self._curves: dict[Path, pd.DataFrame] = {}
        self._common: dict[str, dict[int, pd.DataFrame]] = {}
        self._sources = sources

    @cached_property
    def reference(self) -> Cells | None:
        """The last folder by itself, where there are others: what one's own records are laid over."""
        return Cells(self.task, self.scale, self._sources[-1:]) if len(self._sources) > 1 else None

    def has_reference(self, label: str) -> bool:
        """Whether a setting is shown from one's own records while the reference has it too."""
        other = self.reference
        return other is not None and label in other.found and self.source[label] != other.source[label]

    def label(self, method: str, **settings) -> str:
        """The name of a setting here; Missing where there is no record of it."""
        if not fits(self.task, self.scale, settings):
            raise Missing(f"minibatches of {settings['minibatch']} at scale {self.scale}")
        label = Recipe(self.task, method, self.scale, **settings).label()
        if label not in self.found:
            raise Missing(label)
        return label

    def settings(self) -> list[tuple[str, dict]]:
        """Every setting here, as (method, what was changed)."""
        every = ((recipe.method, recipe.changes()) for recipe in self.recipes.values())
        return [
            (method, {name: value for name, value in changed.items() if name != "base"}) for method, changed in every
        ]

    def with_only(self, names: Iterable[str]) -> list[tuple[str, dict]]:
        """The settings here in which nothing but these was changed."""
        return [(method, changed) for method, changed in self.settings() if set(changed) <= set(names)]

    def of(self, method: str, **settings) -> dict[int, Record]:
        """The records of one setting by seed."""
        return self.found[self.label(method, **settings)]

    def common(self, label: str) -> dict[int, pd.DataFrame]:
        """A setting's curves by seed, on the steps that every method of this scale is evaluated at."""
        if label not in self._common:
            every = SCALES[self.scale][self.task]["eval_every"]
            found = self.found[label].items()
            self._common[label] = {seed: on_common_steps(self.curve(record), every) for seed, record in found}
        return self._common[label]

    def curve(self, record: Record) -> pd.DataFrame:
        """A record's curve, read once."""
        if record.path not in self._curves:
            self._curves[record.path] = record.curve()
        return self._curves[record.path]


def _by_setting(source: Path, task: str, scale: str) -> dict[str, tuple[Recipe, dict[int, Record]]]:
    found: dict[str, tuple[Recipe, dict[int, Record]]] = {}
    for record in records.load(source).values():
        try:
            recipe = record.recipe()
        except ValueError as error:
            warnings.warn(f"left out: {record.path} was made by another version ({error})", stacklevel=2)
            continue
        if (recipe.task, recipe.scale) == (task, scale):
            found.setdefault(recipe.label(), (recipe, {}))[1][recipe.seed] = record
    return found


def on_common_steps(curve: pd.DataFrame, eval_every: int) -> pd.DataFrame:
    """The rows that every method has: methods that reset log more, and more points flatter a frontier."""
    return curve[(curve["reset"] == 0) & (curve["step"] % eval_every == 0)]


def area(curve: pd.DataFrame, yardstick: Yardstick, task: str = "task", drift: str = "drift") -> float:
    """Hypervolume as a share of the ideal: the ideal score at the pretrained drift is 1, no gain is 0."""
    first = curve.iloc[0]
    task0, limit = first["task"], yardstick.limit * first["drift"]
    volume = pareto.hypervolume(curve[task], curve[drift], (task0, limit), yardstick.better)
    return volume / ((yardstick.ideal - task0) * abs(limit - first["drift"]))


# ---- measures


def per_seed(cells: Cells, measure: Measure, method: str, **settings) -> PerSeed:
    label = cells.label(method, **settings)
    return {seed: measure(curve, cells.found[label][seed]) for seed, curve in cells.common(label).items()}


def minus(a: PerSeed, b: PerSeed) -> PerSeed:
    return {seed: a[seed] - b[seed] for seed in sorted(set(a) & set(b))}


def areas(cells: Cells, method: str, task: str = "task", drift: str = "drift", **settings) -> PerSeed:
    """The area of a setting's frontier, of the policy or of other columns."""
    return per_seed(cells, lambda curve, _: area(curve, cells.yardstick, task, drift), method, **settings)


def spread(cells: Cells, settings: Iterable[tuple[str, dict]]) -> PerSeed:
    """Largest minus smallest area over a sweep, on each seed that all of it has."""
    swept = [areas(cells, method, **changed) for method, changed in settings]
    shared = set(swept[0]).intersection(*swept)
    return {seed: max(v[seed] for v in swept) - min(v[seed] for v in swept) for seed in sorted(shared)}


def drift_at(cells: Cells, level: float, task: str = "task", drift: str = "drift") -> Measure:
    """The best drift at a task score, of the policy or of other columns."""
    return lambda curve, _: pareto.drift_at(curve[task], curve[drift], level, cells.yardstick.better)


def steps_to(level: float, column: str) -> Measure:
    """Updates until a level is first reached; the length of the run where it never is (an understatement)."""
    return lambda curve, _: float(curve["step"][curve[column] >= level].min() if (curve[column] >= level).any()
                                  else curve["step"].max())  # fmt: skip


def tested(what: str, when: str = "test") -> Measure:
    return lambda _, record: _scores(record, when)[what]


def gained(what: str, when: str = "test") -> Measure:
    return lambda _, record: _scores(record, when)[what] - _scores(record, "test_before")[what]


def _scores(record: Record, when: str) -> dict[str, float]:
    status = record.status()
    if when not in status:
        raise Missing(f"{when} in {record.path.name}")
    return status[when]


def early_task(curve: pd.DataFrame, _: Record) -> float:
    third = curve["step"].max() / 3
    return float(curve["task"][curve["step"] <= third].iloc[-1])


def largest_gap(cells: Cells, one: str, other: str, until: int, **settings) -> PerSeed:
    """The largest difference of two methods' held-out task up to a step, before anything happens there."""
    both = [cells.common(cells.label(method, **settings)) for method in (one, other)]
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


def reset_every(cells: Cells) -> int:
    """Updates from reset to reset of Elastic Reset as it is by default."""
    return cells.recipes[cells.label("elastic")].reset.reset_every


def resets(cells: Cells, method: str, **settings) -> dict[int, list[Reset]]:
    """Every reset of every seed."""
    found = {}
    for seed, record in cells.of(method, **settings).items():
        curve = cells.curve(record)
        after = curve[curve["reset"] == 1]
        before = curve[(curve["reset"] == 0) & curve["step"].isin(after["step"])]
        found[seed] = [Reset(curve.iloc[0], before.iloc[i], after.iloc[i]) for i in range(min(len(before), len(after)))]
    return found


def over_resets(cells: Cells, what: Callable[[Reset], float], method: str = "elastic", **settings) -> PerSeed:
    """The mean of what(reset) over the resets of each seed."""
    return {
        seed: sum(map(what, every)) / len(every) if every else math.nan
        for seed, every in resets(cells, method, **settings).items()
    }


def best_of(cells: Cells, measured: Callable[[dict], PerSeed], settings: list[dict], better: Callable) -> PerSeed:
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
