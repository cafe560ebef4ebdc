"""The paper's three experiments, a folder each, in the paper's order: all that is known of one lies there.

facts.py    its scales, methods, axes, columns and grid, without torch or pandas
claims.py   the paper's statements about it, without torch
task.py     its class, named as the task: text, pretraining, the loop, evaluation

What runs a task knows no more of it than what these classes share:
    Task(recipe, base, device)   the task on the pretrained models of the folder `base`
    .text_digest()               of its held-out text, which pretrained models belong to
    .pretrain(part)              weights and scores of one of those models
    .loop()                      what learns, a PPO, a Game or a Distillation, or asks again, a BestOfN (see `loops`)
    .evaluate(model, split)      scores by name, `task` and `drift` among them, and some samples
    .at_the_end(model)           what else its status keeps of a run that ended
    .environment()               what else its numbers depend on, beside packages and machine
"""

from __future__ import annotations

import importlib
from types import ModuleType

TASKS = ("translation", "sentiment", "answers")
SCALES = ("smoke", "pocket", "lab", "paper")


def facts(task: str) -> ModuleType:
    """What is known of a task before anything runs."""
    return importlib.import_module(f"elastic_lib.tasks.{task}.facts")


def training(task: str) -> type:
    """The class that a task is trained by."""
    return getattr(importlib.import_module(f"elastic_lib.tasks.{task}.task"), task.capitalize())
