"""Finished runs of a task by setting and seed, whose they are, and their curves."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from elastic_lib.recipe import Recipe
from elastic_lib.recipe.grid import fits
from elastic_lib.recipe.rules import check_known
from elastic_lib.records.record import reference_results, whose
from elastic_lib.records.tables import Finished, Results, opened
from elastic_lib.tasks import SCALES, TASKS, facts

FEWEST_SEEDS = 3  # below it nothing is decided
BESIDE = "beyond"  # the committed runs of what came after the paper, and those that they are compared with


class Missing(LookupError):
    """Records that a claim needs are not there."""


class Evidence:
    """Finished records of a task by setting (a recipe's label) and seed.

    A setting comes whole from one folder, never mixed: from the first that has at least FEWEST_SEEDS seeds of it, else
    from the first that has any. A folder that is open already is not opened again. Only a sweep may have what it lacks
    from `spare`, the reference where that is not among the folders; it is opened when it is needed.

    `given` is what all of these runs have in the place of the scale's own, another model or judge say; it is no part of
    a setting's name. Without it runs are left aside under names that say what was changed.
    """

    def __init__(
        self,
        task: str,
        scale: str,
        sources: Iterable[Path | Results],
        spare: Callable[[], Results] | None = None,
        given: Mapping[str, Any] | None = None,
    ):
        check_known("task", task, TASKS)
        check_known("scale", scale, SCALES)
        self.task, self.scale, self.facts, self.given = task, scale, facts(task), dict(given or {})
        self.found: dict[str, dict[int, Finished]] = {}
        self.recipes: dict[str, Recipe] = {}
        self.source: dict[str, Path] = {}
        self.sources, self._spare = [opened(source) for source in sources], spare
        for results in self.sources:
            self._add(results)
        self.asked: set[tuple[Evidence, str]] = set()  # settings, and where they were found, since this was cleared …
        self.swept: set[str] = set()  # … and those of them that a sweep holds
        self._curves: dict[Finished, pd.DataFrame] = {}
        self._common: dict[str, dict[int, pd.DataFrame]] = {}

    def _add(self, results: Results, only: Iterable[str] | None = None) -> None:
        for label, (recipe, by_seed) in _by_setting(results, self.task, self.scale, self.given).items():
            wanted = only is None or label in only
            if wanted and (label not in self.found or len(self.found[label]) < FEWEST_SEEDS <= len(by_seed)):
                self.found[label], self.recipes[label], self.source[label] = by_seed, recipe, results.folder

    def with_sweep(self, settings: Iterable[tuple]) -> Evidence:
        """These records with a whole sweep: what is not here is the reference's; Missing says what is nowhere."""
        labels = {self._name(method, changed) for method, changed, *_ in settings}
        self.swept |= labels
        whole = self
        if self._spare is not None and any(len(self.found.get(label, ())) < FEWEST_SEEDS for label in labels):
            whole = copy.copy(self)
            whole.found, whole.recipes, whole.source = dict(self.found), dict(self.recipes), dict(self.source)
            whole._common = {}
            whole._add(self._spare(), labels)
        if lacking := sorted(labels - set(whole.found)):
            raise Missing(", ".join(lacking))
        return whole

    def together(self, settings: Iterable[tuple]) -> Evidence:
        """The first folder that holds all of these settings by itself: its runs start from the same pretrained models.

        The first with at least FEWEST_SEEDS seeds of each, else the first with any; where there is none, all as it is.
        """
        labels = {self._name(method, changed) for method, changed, *_ in settings}
        for enough in (FEWEST_SEEDS, 1):
            for alone in self._apart:
                if all(len(alone.found.get(label, ())) >= enough for label in labels):
                    return alone
        return self

    @cached_property
    def _apart(self) -> list[Evidence]:
        """Each folder by itself; beside the reference lies BESIDE."""
        reference, beside = reference_results(self.scale).resolve(), reference_results(BESIDE)
        committed = any(results.folder.resolve() == reference for results in self.sources)
        more = [_open_once(beside)] if committed and beside.is_dir() else []
        apart = [self.alone(results) for results in (*self.sources, *more)]
        for alone in apart:
            alone.asked = self.asked  # whose they are is asked here
        return apart

    @property
    def title(self) -> str:
        """What its task is called at its scale."""
        if self.given:
            return f"{self.facts.TITLE}, {' '.join(f'{name}={value}' for name, value in self.given.items())}"
        return self.facts.TITLE_AT_SCALE.get(self.scale, self.facts.TITLE)

    def owner(self, label: str) -> str:
        """Whose runs of a setting are here: the reference, your own runs, or the name of another machine."""
        return whose(self.source[label])

    def whose(self) -> str:
        """Whose records were asked for: yours, the reference's, or which of them are the reference's."""
        used = {label for _, label in self.asked}
        theirs = {label for found, label in self.asked if found.owner(label) == "the reference"}
        if theirs and theirs == used:
            return "the reference's"
        owners = sorted({found.owner(label) for found, label in self.asked} - {"the reference"})
        whose = " and ".join("yours" if owner == "your own runs" else owner for owner in owners) or "yours"
        if not theirs:
            return whose
        of = (
            "the sweep is the reference's"
            if theirs <= self.swept
            else f"the reference's of {', '.join(sorted(theirs))}"
        )
        return f"{whose}; {of}"

    @cached_property
    def reference(self) -> Evidence | None:
        """The last folder by itself, where there are others: what one's own records are laid over."""
        return self.alone(self.sources[-1]) if len(self.sources) > 1 else None

    def alone(self, results: Results) -> Evidence:
        """What one of the folders holds by itself; its curves are not read again."""
        evidence = Evidence(self.task, self.scale, [results], given=self.given)
        evidence._curves = self._curves
        return evidence

    def has_reference(self, label: str) -> bool:
        """Whether a setting is shown from one's own records while the reference has it too."""
        other = self.reference
        return other is not None and label in other.found and self.source[label] != other.source[label]

    def differ_from_the_start(self) -> bool:
        """Whether runs of one seed that were asked for began from pretrained models of two machines.

        Made anew elsewhere these differ in their last digits, and so does what is trained from them.
        """
        began: dict[tuple, float] = {}
        for evidence, label in self.asked:
            for seed, record in evidence.found[label].items():
                for part, reached in record.env().get("pretrained", {}).items():
                    model, loss = (seed, evidence.recipes[label].base_key, part), reached.get("loss")
                    if began.setdefault(model, loss) != loss:
                        return True
        return False

    def label(self, method: str, **settings) -> str:
        """The name of a setting here; Missing where there is no record of it."""
        label = self._name(method, settings)
        if label not in self.found:
            raise Missing(label)
        self.asked.add((self, label))
        return label

    def label_of(self, setting: tuple) -> str:
        """The name of a setting, or of a line, which both begin with a method and what was changed of it."""
        method, changed, *_ = setting
        return self.label(method, **changed)

    def _name(self, method: str, changed: dict) -> str:
        if not fits(self.task, self.scale, changed):
            raise Missing(f"{', '.join(f'{name}={value}' for name, value in changed.items())} at scale {self.scale}")
        return _name(self.task, self.scale, method, tuple(changed.items()))

    def settings(self) -> list[tuple[str, dict]]:
        """Every setting here, as (method, what was changed)."""
        return [recipe.setting() for recipe in self.recipes.values()]

    def with_only(self, names: Iterable[str]) -> list[tuple[str, dict]]:
        """The settings here that train a model, in which nothing but these was changed."""
        trained = [recipe.setting() for recipe in self.recipes.values() if recipe.best_of is None]
        return [(method, changed) for method, changed in trained if set(changed) <= set(names)]

    def of(self, method: str, **settings) -> dict[int, Finished]:
        """The records of one setting by seed."""
        return self.found[self.label(method, **settings)]

    def common(self, label: str) -> dict[int, pd.DataFrame]:
        """A setting's curves by seed, on the steps that every method of this scale is evaluated at."""
        if label not in self._common:
            every = (self.facts.SCALES[self.scale] | self.given)["eval_every"]
            found = self.found[label].items()
            self._common[label] = {seed: on_common_steps(self.curve(record), every) for seed, record in found}
        return self._common[label]

    def curve(self, record: Finished) -> pd.DataFrame:
        """A record's curve, read once."""
        if record not in self._curves:
            self._curves[record] = record.curve()
        return self._curves[record]


@cache
def _open_once(folder: Path) -> Results:
    return opened(folder)


@cache
def _name(task: str, scale: str, method: str, changed: tuple) -> str:
    return Recipe(task, method, scale, **dict(changed)).label()


def _by_setting(
    results: Results, task: str, scale: str, given: dict[str, Any]
) -> dict[str, tuple[Recipe, dict[int, Finished]]]:
    found: dict[str, tuple[Recipe, dict[int, Finished]]] = {}
    for record in results.runs.values():
        stored = record.recipe()
        if stored.get("task") in TASKS and stored["task"] != task:
            continue  # to make a recipe of each would take longer than all the rest
        try:
            recipe = Recipe.from_dict(stored)
        except ValueError as error:
            where = f"{record.run_id} of {results.folder}"
            warnings.warn(f"left out: {where} was made by another version ({error})", stacklevel=2)
            continue
        if recipe.scale == scale and all(getattr(recipe, name, None) == value for name, value in given.items()):
            recipe = _without(recipe, given) if given else recipe
            found.setdefault(recipe.label(), (recipe, {}))[1][recipe.seed] = record
    return found


def _without(recipe: Recipe, given: dict[str, Any]) -> Recipe:
    """The recipe with its scale's own values in the place of these."""
    changed = {name: value for name, value in recipe.changes().items() if name not in given}
    return Recipe(recipe.task, recipe.method, recipe.scale, recipe.seed, **changed)


def on_common_steps(curve: pd.DataFrame, eval_every: int) -> pd.DataFrame:
    """The rows that every method has: methods that reset log more, and more points flatter a frontier."""
    return curve[(curve["reset"].to_numpy() == 0) & (curve["step"].to_numpy() % eval_every == 0)]
