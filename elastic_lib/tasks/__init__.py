"""The paper's three experiments, a folder each, in the paper's order: all that is known of one lies there.

facts.py    its scales, methods, axes, columns and grid, without torch or pandas
claims.py   the paper's statements about it, without torch
task.py     text, pretraining, the loop, evaluation
"""

from __future__ import annotations

import importlib
from types import ModuleType

TASKS = ("translation", "sentiment", "answers")
SCALES = ("smoke", "pocket", "lab", "paper")


def facts(task: str) -> ModuleType:
    """What is known of a task before anything runs."""
    return importlib.import_module(f"elastic_lib.tasks.{task}.facts")
