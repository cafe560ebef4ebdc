"""Records by setting and seed, and what claims and figures measure on them: a number a seed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import pandas as pd

from elastic_lib import pareto, records
from elastic_lib.recipe import SCALES, Recipe
from elastic_lib.records import Record
from elastic_lib.settings import unknown

BETAS = (0.0, 0.01, 0.03, 0.1)  # PPO's coefficients in the full grid
FEWEST_SEEDS = 3  # below it nothing is decided
REFERENCE_DRIFT = 1.5  # the frontier's area is taken under this multiple of the pretrained perplexity
PerSeed = dict[int, float]
Measure = Callable[[pd.DataFrame, Record], float]


class Missing(LookupError):
    """Records that a claim needs are not there."""


class Cells:
    """Finished records by setting (a recipe's label) and seed.

    A setting comes whole from one folder, never mixed: from the first that has at least FEWEST_SEEDS seeds of it, else
    from the first that has any.
    """

    def __init__(self, scale: str, sources: list[Path]):
        if scale not in SCALES:
            raise ValueError(unknown("scale", scale, SCALES))
        self.scale = scale
        self.found: dict[str, dict[int, Record]] = {}
        self.recipes: dict[str, Recipe] = {}
        self.source: dict[str, Path] = {}
        for source in sources:
            for label, (recipe, by_seed) in _by_setting(source, scale).items():
                if label not in self.found or len(self.found[label]) < FEWEST_SEEDS <= len(by_seed):
                    self.found[label], self.recipes[label], self.source[label] = by_seed, recipe, source
        self._curves: dict[Path, pd.DataFrame] = {}
        self._sources = sources

    @cached_property
    def reference(self) -> Cells | None:
        """The last folder by itself, where there are others: what one's own records are laid over."""
        return Cells(self.scale, self._sources[-1:]) if len(self._sources) > 1 else None

    def has_reference(self, label: str) -> bool:
        """Whether a setting is shown from one's own records while the reference has it too."""
        other = self.reference
        return other is not None and label in other.found and self.source[label] != other.source[label]

    def label(self, method: str, **settings) -> str:
        """The name of a setting here; Missing where there is no record of it."""
        label = Recipe("sentiment", method, self.scale, **settings).label()
        if label not in self.found:
            raise Missing(label)
        return label

    def settings(self) -> list[tuple[str, dict]]:
        """Every setting here, as (method, what was changed)."""
        every = ((recipe.method, recipe.changes()) for recipe in self.recipes.values())
        return [
            (method, {name: value for name, value in changed.items() if name != "base"}) for method, changed in every
        ]

    def of(self, method: str, **settings) -> dict[int, Record]:
        """The records of one setting by seed."""
        return self.found[self.label(method, **settings)]

    def common(self, label: str) -> dict[int, pd.DataFrame]:
        """A setting's curves by seed, on the steps that every method of this scale is evaluated at."""
        every = SCALES[self.scale]["sentiment"]["eval_every"]
        return {seed: on_common_steps(self.curve(record), every) for seed, record in self.found[label].items()}

    def curve(self, record: Record) -> pd.DataFrame:
        """A record's curve, read once."""
        if record.path not in self._curves:
            self._curves[record.path] = record.curve()
        return self._curves[record.path]


def _by_setting(source: Path, scale: str) -> dict[str, tuple[Recipe, dict[int, Record]]]:
    found: dict[str, tuple[Recipe, dict[int, Record]]] = {}
    for record in records.load(source).values():
        try:
            recipe = record.recipe()
        except ValueError as error:
            warnings.warn(f"left out: {record.path} was made by another version ({error})", stacklevel=2)
            continue
        if recipe.scale == scale:
            found.setdefault(recipe.label(), (recipe, {}))[1][recipe.seed] = record
    return found


def on_common_steps(curve: pd.DataFrame, eval_every: int) -> pd.DataFrame:
    """The rows that every method has: methods that reset log more, and more points flatter a frontier."""
    return curve[(curve["reset"] == 0) & (curve["step"] % eval_every == 0)]


def area(curve: pd.DataFrame, task: str = "task", drift: str = "drift") -> float:
    """Hypervolume as a share of the ideal: full reward at the pretrained perplexity is 1, no gain is 0."""
    first = curve.iloc[0]
    task0, limit = first["task"], REFERENCE_DRIFT * first["drift"]
    volume = pareto.hypervolume(curve[task], curve[drift], (task0, limit), better="lower")
    return volume / ((1 - task0) * (limit - first["drift"]))


# ---- measures


def per_seed(cells: Cells, measure: Measure, method: str, **settings) -> PerSeed:
    label = cells.label(method, **settings)
    return {seed: measure(curve, cells.found[label][seed]) for seed, curve in cells.common(label).items()}


def minus(a: PerSeed, b: PerSeed) -> PerSeed:
    return {seed: a[seed] - b[seed] for seed in sorted(set(a) & set(b))}


def area_of(curve: pd.DataFrame, _: Record) -> float:
    return area(curve)


def area_of_average(curve: pd.DataFrame, _: Record) -> float:
    return area(curve, "ema_task", "ema_drift")


def drift_at(level: float, task: str = "task", drift: str = "drift") -> Measure:
    """The least perplexity paid for a reward, of the policy or of other columns."""
    return lambda curve, _: pareto.drift_at(curve[task], curve[drift], level, better="lower")


def steps_to(level: float, column: str) -> Measure:
    """Updates until a level is first reached; the length of the run where it never is (an understatement)."""
    return lambda curve, _: float(curve["step"][curve[column] >= level].min() if (curve[column] >= level).any()
                                  else curve["step"].max())  # fmt: skip


def tested(what: str) -> Measure:
    return lambda _, record: record.status()["test"][what]


def gained(what: str) -> Measure:
    return lambda _, record: record.status()["test"][what] - record.status()["test_before"][what]


def multiplied(_: pd.DataFrame, record: Record) -> float:
    return record.status()["test"]["drift"] / record.status()["test_before"]["drift"]


def early_task(curve: pd.DataFrame, _: Record) -> float:
    third = curve["step"].max() / 3
    return float(curve["task"][curve["step"] <= third].iloc[-1])


def resets(cells: Cells, method: str) -> dict[int, list[tuple[float, float]]]:
    """For each reset of each seed: the share of the drift that it undid, and of the reward's gain that it gave up."""
    shares = {}
    for seed, record in cells.of(method).items():
        curve = cells.curve(record)
        first = curve.iloc[0]
        after = curve[curve["reset"] == 1]
        before = curve[(curve["reset"] == 0) & curve["step"].isin(after["step"])]
        shares[seed] = [
            ((b.drift - a.drift) / (b.drift - first.drift), (b.task - a.task) / (b.task - first.task))
            for b, a in zip(before.itertuples(), after.itertuples(), strict=True)
        ]
    return shares


def over_resets(cells: Cells, what: Callable[[float, float], float]) -> PerSeed:
    """The mean over an Elastic Reset run's resets of what(share of drift undone, share of reward given up)."""
    every = resets(cells, "elastic")
    return {
        seed: sum(what(*r) for r in shares) / len(shares) if shares else float("nan") for seed, shares in every.items()
    }


def later_iterations(cells: Cells, level: float) -> PerSeed:
    """Perplexity at a reward in the first iteration minus that in the last."""

    def gain(curve: pd.DataFrame, _: Record) -> float:
        parts = [curve[curve["iteration"] == i] for i in (curve["iteration"].min(), curve["iteration"].max())]
        first, last = (pareto.drift_at(part["task"], part["drift"], level, better="lower") for part in parts)
        return first - last

    return per_seed(cells, gain, "elastic")


def best_ppo(cells: Cells, measure: Measure, better: Callable) -> PerSeed:
    """PPO with the β of the best mean, among those for which every seed has a number: the choice favours PPO."""
    swept = []
    for beta in BETAS:
        try:
            values = per_seed(cells, measure, "ppo", beta=beta)
        except Missing:
            continue
        if not any(math.isnan(value) for value in values.values()):
            swept.append(values)
    if not swept:
        raise Missing("a PPO that gets there in every seed")
    return better(swept, key=lambda values: sum(values.values()) / len(values))
