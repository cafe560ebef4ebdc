"""The benchmark of the Translation Game: pretraining both translators, and one game by its parts.

Untrained translators never end a sentence, so this one pretrains first, the two side by side on a thread each.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from elastic_lib.progress import Progress
from elastic_lib.recipe import Recipe
from elastic_lib.tasks.bases import pretrained

SCALE, WARM_UP, UPDATES, EVALUATIONS = "pocket", 3, 60, 5


def measure(folder: Path) -> Iterator[tuple[str, tuple[list[float], str]]]:
    """Named seconds, and what they are seconds of."""
    yield "pretraining, both on a thread each", ([pretrain(folder)], "s")
    for method in ("reinforce", "elastic"):
        for name, seconds in play(folder, method).items():
            unit = {"evaluation": "s/evaluation", "game": "s, 600 updates"}.get(name, "s/update")
            yield f"{method}: {name}", (seconds, unit)


def pretrain(folder: Path) -> float:
    """Seconds until both translators are there."""
    command = [sys.executable, "-m", "elastic_lib.cli", "pretrain", "translation"]
    started = perf_counter()
    both = [subprocess.Popen([*command, part, "--scale", SCALE, "--results", str(folder)], stdout=subprocess.DEVNULL)
            for part in ("speaker", "listener")]  # fmt: skip
    if any([process.wait() for process in both]):
        raise RuntimeError("the translators could not be pretrained; what was said above tells why")
    return perf_counter() - started


def play(folder: Path, method: str) -> dict[str, list[float]]:
    """Seconds of each update by its parts, of each evaluation, and of a whole game made of as many as it has."""
    recipe = Recipe("translation", method, SCALE)
    task, parts = pretrained(recipe, folder), []
    game = task.loop()
    with Progress(f"game, {method}", WARM_UP + UPDATES + EVALUATIONS) as bar:
        for i in range(WARM_UP + UPDATES):
            game.seconds.clear()
            started = perf_counter()
            game.update()
            parts.append({"whole update": perf_counter() - started, **game.seconds})
            bar.update(i + 1)
        evaluations = []
        for i in range(1 + EVALUATIONS):
            started = perf_counter()
            task.evaluate(game.model)
            evaluations.append(perf_counter() - started)
            bar.update(WARM_UP + UPDATES + i)
    seconds = {name: [part[name] for part in parts[WARM_UP:]] for name in parts[-1]}
    seconds["evaluation"] = evaluations[1:]  # the first makes texts
    mean = {name: sum(values) / len(values) for name, values in seconds.items()}
    count = recipe.updates // recipe.eval_every + len(recipe.restarts()) + 3  # the first, and two on the test set
    return seconds | {"game": [recipe.updates * mean["whole update"] + count * mean["evaluation"]]}
