"""The pretrained models that runs start from: made once, shared by all runs of a base, made again when damaged."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from elastic_lib.loops import processes
from elastic_lib.recipe import Recipe
from elastic_lib.records.environment import environment
from elastic_lib.records.files import DamagedRecord, lock, read_json, read_sealed, sealed, set_aside, sha256, write_json
from elastic_lib.records.tensors import save_tensors
from elastic_lib.tasks import training


def pretrained(recipe: Recipe, results: Path | str, parts: tuple[str, ...] | None = None):
    """The task with the models that this recipe starts from; those that are missing or damaged are trained now."""
    torch.set_num_threads(1)
    folder = Path(results) / "bases" / recipe.base_key
    task = task_on(recipe, folder, device_of(recipe))
    asked, here = parts or recipe.parts, task.environment()
    for part in dict.fromkeys(name for one in asked for name in (recipe.facts.MADE_FROM.get(one, one), one)):
        with lock(folder / f".{part}.lock", f"{part} of {recipe.base_key}"):
            if not _whole(task, part, here):
                _make(task, part)
    return task


def lacking(recipe: Recipe, results: Path | str) -> list[str]:
    """The pretrained models of this recipe that are not there, or not whole."""
    task = task_on(recipe, Path(results) / "bases" / recipe.base_key)
    here = task.environment()
    return [part for part in recipe.parts if not _whole(task, part, here)]


def task_on(recipe: Recipe, base: Path, device: torch.device | str = "cpu"):
    """The task of a recipe on the models of a folder, as they are."""
    return training(recipe.task)(recipe, base, device)


def device_of(recipe: Recipe) -> torch.device:
    """The GPU where the recipe allows it and there is one; each process of a launcher has its own."""
    if recipe.device == "auto" and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def conditions(task) -> dict[str, Any]:
    """What the numbers of a run depend on beside its recipe, how good the pretrained models are included."""
    found = {part: read_json(task.base / f"{part}.json") for part in task.recipe.parts}
    reached = {part: {name: v for name, v in meta.items() if isinstance(v, float)} for part, meta in found.items()}
    return _here(task) | {"pretrained": reached}


def other_models(then: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    """Which real models of an environment are others by now, of those that are here under the same name."""
    before = then.get("models", {})
    return " and ".join(name for name in models if name in before and models[name] != before[name])


def _here(task) -> dict[str, Any]:
    command = {"command": " ".join(task.recipe.command("DIR"))}
    return command | environment(task.device, processes.size()) | task.environment()


def _make(task, part: str) -> None:
    """Weights first, then the file that makes them count."""
    learnt, scores = task.pretrain(part)
    digest = None
    if learnt is not None:
        weights = task.base / f"{part}.safetensors"
        save_tensors(learnt, weights)
        digest = sha256(weights)
    made = {"text": task.text_digest(), "sha256": digest, "env": _here(task)}
    write_json(task.base / f"{part}.json", sealed({**scores, **made}))


def _whole(task, part: str, here: Mapping[str, Any]) -> bool:
    """Whether a pretrained model is there, undamaged, and was trained on the text that this version makes."""
    meta, weights = task.base / f"{part}.json", task.base / f"{part}.safetensors"
    if not meta.exists():
        return False
    try:
        content = read_sealed(meta)
        if content["sha256"] is not None and (not weights.exists() or sha256(weights) != content["sha256"]):
            raise DamagedRecord(f"{weights} is damaged or missing")
        if content["text"] != task.text_digest():
            raise DamagedRecord(f"{weights} was trained on other text than this version of the project makes")
        if other := other_models(content["env"], here.get("models", {})):
            raise DamagedRecord(f"{weights} was trained on another {other} than there is now")
    except (DamagedRecord, KeyError) as error:
        set_aside(meta, str(error) if isinstance(error, DamagedRecord) else f"{meta} names no {error}")
        return False
    return True
