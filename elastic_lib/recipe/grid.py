"""The runs behind the figures: the core ones, which `make reproduce` makes, and every setting of the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elastic_lib.recipe.recipe import Recipe
from elastic_lib.recipe.rules import check_known
from elastic_lib.tasks import TASKS, facts


def fits(task: str, scale: str, changed: dict) -> bool:
    """Whether a scale has room for a setting: its batch for minibatches, a reward model trained here for a proxy."""
    numbers = facts(task).SCALES[scale]
    no_proxy = "gold_labels" in changed and numbers.get("rm_steps") is None
    return numbers.get("batch", 0) % changed.get("minibatch", 1) == 0 and not no_proxy


def grid(
    task: str, scale: str = "pocket", seeds: int = 3, full: bool = False, given: Mapping[str, Any] | None = None
) -> list[Recipe]:
    """The runs behind the figures of a task: the core ones, or every setting; all of them with what is `given`."""
    check_known("task", task, TASKS)
    core, every = facts(task).GRID_AT_SCALE.get(scale, (facts(task).CORE, facts(task).FULL))
    settings = every if full else core
    settings = [(method, {**changed, **(given or {})}) for method, changed in settings]
    settings = [(method, changed) for method, changed in settings if fits(task, scale, changed)]
    runs = (Recipe(task, method, scale, seed, **changed) for method, changed in settings for seed in range(seeds))
    return list({run.run_id: run for run in runs}.values())  # a sweep holds the method's own value too
