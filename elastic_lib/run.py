"""One recipe, one record: pretrain (cached), train, evaluate, checkpoint, resume.

A run that is killed anywhere and started again leaves the record that it would have left, bit for bit but for the
seconds in `t_*` (same machine, same number of threads). `fingerprint` in status.json is the digest of all the rest.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from elastic_lib import checkpoint
from elastic_lib.loops.ppo import PPO, RunFailed
from elastic_lib.progress import Progress
from elastic_lib.recipe import Recipe
from elastic_lib.records import DamagedRecord, Record, lock, read_json, set_aside, sha256, write_json
from elastic_lib.tasks.sentiment import Sentiment

PARTS = ("lm", "rm")
TASKS = {"sentiment": Sentiment}
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "sacrebleu", "numpy", "pandas")


def run(recipe: Recipe, results: Path | str) -> Path:
    """Makes the record of this recipe under `results`, or finds it there; returns its folder."""
    results = Path(results)
    record = Record.of(recipe, results)
    torch.set_num_threads(1)
    waiting = functools.partial(print, f"{recipe.run_id}: another process is at it; waiting for it to end", flush=True)
    with lock(results / "records" / ".locks" / recipe.run_id, waiting):
        try:
            if record.done():
                return record.path
        except DamagedRecord as error:
            set_aside(record.path, str(error))
        task = pretrained(recipe, results)
        try:
            _train(recipe, record, task)
        except RunFailed as error:
            record.fail(str(error))
            raise RunFailed(f"{recipe.run_id}: {error}") from None
    return record.path


def pretrained(recipe: Recipe, results: Path | str, parts: tuple[str, ...] = PARTS) -> Sentiment:
    """The task with the models that this recipe starts from; those that are missing or damaged are trained now."""
    torch.set_num_threads(1)
    folder = Path(results) / "bases" / recipe.base_key
    task = TASKS[recipe.task](recipe, folder, device_of(recipe))
    for part in parts:
        note = f"waiting for another process to pretrain {recipe.base_key} {part}"
        with lock(folder / f".{part}.lock", functools.partial(print, note, flush=True)):
            if not _whole(task, part):
                model, reached = task.pretrain(part)
                digest = None
                if model is not None:
                    weights = folder / f"{part}.safetensors"
                    checkpoint.save_tensors(model.state_dict(), weights)
                    digest = sha256(weights)
                meta = {**reached, "text": task.text_digest(), "sha256": digest, "env": environment(recipe)}
                write_json(folder / f"{part}.json", meta)
    return task


def device_of(recipe: Recipe) -> torch.device:
    """The GPU where the recipe allows it and there is one."""
    return torch.device("cuda" if recipe.device == "auto" and torch.cuda.is_available() else "cpu")


# ---- training


def _train(recipe: Recipe, record: Record, task) -> None:
    loop = PPO(recipe, task)
    found = checkpoint.load(record)
    if found is None:
        record.start(recipe, environment(recipe), kept=None)
        before = task.evaluate(loop.policy, "test")[0]
        _evaluate(loop, task, record, {}, reset=False)
        checkpoint.save(record, loop, before)
    else:
        before = found["before"]
        loop.load_state_dict(found["state"])
        record.start(recipe, environment(recipe), kept=found["sizes"])
    recent = _Means()
    resets = recipe.reset.steps(recipe.updates) if recipe.reset else ()
    with Progress(recipe.run_id, recipe.updates, done=loop.step) as bar:
        last = record.curve().iloc[-1]
        shown = {"held-out reward": last["task"], "drift": last["drift"]}
        bar.update(loop.step, **shown)
        while loop.step < recipe.updates:
            recent.add(loop.update())
            if loop.step % recipe.eval_every == 0 or loop.step == recipe.updates or loop.step in resets:
                row = _evaluate(loop, task, record, recent.take(), reset=False)
                if loop.tick():
                    row = _evaluate(loop, task, record, {}, reset=True)
                checkpoint.save(record, loop, before)
                shown = {"held-out reward": row["task"], "drift": row["drift"]}
            else:
                loop.tick()
            bar.update(loop.step, **shown, **recent.latest("reward", "kl"))
    _finish(record, loop, task, before)


def _evaluate(loop: PPO, task, record: Record, measures: dict[str, float], reset: bool) -> dict[str, float]:
    """One row of the curve: what the policy does on held-out text, where it lies, and what training measured."""
    started = perf_counter()
    reached, samples = task.evaluate(loop.policy)
    row = {"step": loop.step, "iteration": 0, "reset": int(reset), "beta": loop.beta, **measures, **reached}
    if loop.elastic is not None:
        distances = loop.elastic.distances()
        row |= {"iteration": loop.elastic.resets, "dist_init": distances.init, "dist_ema": distances.ema}
        if loop.elastic.mode == "track":
            with loop.elastic.averaged():
                row |= {f"ema_{name}": value for name, value in task.evaluate(loop.policy)[0].items()}
    loop.seconds["eval"] += perf_counter() - started
    row |= {f"t_{name}": loop.seconds[name] for name in ("sample", "score", "update", "ema", "eval")}
    record.add(row, samples)
    return row


def _finish(record: Record, loop: PPO, task, before: dict[str, float]) -> None:
    test = {"test_before": before, "test": task.evaluate(loop.policy, "test")[0]}
    if loop.elastic is not None and loop.elastic.mode == "track":
        with loop.elastic.averaged():
            test["test_ema"] = task.evaluate(loop.policy, "test")[0]
    folder = record.path / "checkpoint"
    checkpoint.save_tensors(loop.policy.state_dict(), folder / "policy.safetensors")
    curve = record.curve()
    timeless = curve[[name for name in curve if not name.startswith("t_")]].to_csv(index=False)
    digest = hashlib.sha256(timeless.encode() + (record.path / "samples.jsonl").read_bytes()).hexdigest()
    record.finish(step=loop.step, fingerprint=digest[:16], **test)
    for path in (folder / "checkpoint.json", *folder.glob("state-*.safetensors")):
        path.unlink(missing_ok=True)


class _Means:
    """Means of the measures since they were last taken."""

    def __init__(self):
        self.rows: list[dict[str, float]] = []

    def add(self, row: dict[str, float]) -> None:
        self.rows.append(row)

    def latest(self, *names: str) -> dict[str, float]:
        return {name: self.rows[-1][name] for name in names} if self.rows else {}

    def take(self) -> dict[str, float]:
        last, count = self.rows[-1], len(self.rows)
        means = {name: sum(row[name] for row in self.rows) / count for name in ("reward", "kl", "entropy")}
        self.rows = []
        return {**last, **means}


def _whole(task: Sentiment, part: str) -> bool:
    """Whether a pretrained model is there, undamaged, and was trained on the text that this version makes."""
    meta, weights = task.base / f"{part}.json", task.base / f"{part}.safetensors"
    if not meta.exists():
        return False
    try:
        content = read_json(meta)
        if content["sha256"] is not None and (not weights.exists() or sha256(weights) != content["sha256"]):
            raise DamagedRecord(f"{weights} is damaged or missing")
        if content["text"] != task.text_digest():
            raise DamagedRecord(f"{weights} was trained on other text than this version of the project makes")
    except (DamagedRecord, KeyError) as error:
        set_aside(meta, str(error))
        return False
    return True


def environment(recipe: Recipe) -> dict[str, Any]:
    """What the numbers of a record depend on beside the recipe."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    device = device_of(recipe)
    return {
        "command": " ".join(recipe.command("DIR")),
        "commit": commit or "unknown",
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "machine": _processor(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
