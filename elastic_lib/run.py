"""One recipe, one record: pretrain (cached), train, evaluate, checkpoint, resume.

A run that is killed anywhere and started again leaves the record that it would have left, bit for bit but for the
seconds in `t_*` (same machine, same number of threads). `fingerprint` in status.json is the digest of all the rest.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from elastic_lib.loops import processes as ranks
from elastic_lib.loops.distill import Distillation
from elastic_lib.loops.learning import RunFailed, learned, relearn
from elastic_lib.loops.movement import sketch
from elastic_lib.loops.ppo import PPO
from elastic_lib.loops.reinforce import Game
from elastic_lib.progress import Progress
from elastic_lib.recipe import Recipe
from elastic_lib.records import checkpoint
from elastic_lib.records.files import DamagedRecord, lock, read_json, set_aside, sha256, write_json
from elastic_lib.records.record import Record
from elastic_lib.records.tensors import save_tensors
from elastic_lib.tasks import scores
from elastic_lib.tasks.answers.task import Answers
from elastic_lib.tasks.sentiment.drift_by_word import where
from elastic_lib.tasks.sentiment.task import Sentiment
from elastic_lib.tasks.translation.task import Translation

Task = Sentiment | Translation | Answers
Loop = PPO | Game | Distillation
TASKS: dict[str, type[Task]] = {"sentiment": Sentiment, "translation": Translation, "answers": Answers}
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "sacrebleu", "numpy", "pandas")


def run(recipe: Recipe, results: Path | str) -> Path:
    """Makes the record of this recipe under `results`, or finds it there; returns its folder."""
    results = Path(results)
    record = Record.of(recipe, results)
    torch.set_num_threads(1)
    with ranks.joined():
        if ranks.size() > 1 and recipe.task == "translation":
            raise ValueError("translation runs in one process; sentiment and answers share a run between several")
        if ranks.rank() > 0:
            _follow(recipe, record, results)
        else:
            _lead(recipe, record, results)
    return record.path


def _follow(recipe: Recipe, record: Record, results: Path) -> None:
    """Another process leads: this one learns with it, and writes nothing."""
    if ranks.tell(None) == "done":
        return
    loop = loop_of(recipe, pretrained(recipe, results))
    if ranks.tell(None) == "resume":
        loop.load_state_dict(checkpoint.load(record)["state"])
    else:
        loop.state_dict()
    while loop.step < recipe.updates:
        loop.update()
        loop.tick()
        if _evaluated(recipe, loop.step):
            loop.state_dict()  # every rank gives its random state to the one that saves


def _lead(recipe: Recipe, record: Record, results: Path) -> None:
    waiting = functools.partial(print, f"{recipe.run_id}: another process is at it; waiting for it to end", flush=True)
    with lock(results / "records" / ".locks" / recipe.run_id, waiting):
        try:
            if record.done():
                ranks.tell("done")
                return
        except DamagedRecord as error:
            set_aside(record.path, str(error))
        task = pretrained(recipe, results)
        ranks.tell("train")
        try:
            _train(recipe, record, task)
        except RunFailed as error:
            record.fail(str(error))
            raise RunFailed(f"{recipe.run_id}: {error}") from None


def pretrained(recipe: Recipe, results: Path | str, parts: tuple[str, ...] | None = None) -> Task:
    """The task with the models that this recipe starts from; those that are missing or damaged are trained now."""
    torch.set_num_threads(1)
    folder = Path(results) / "bases" / recipe.base_key
    task = TASKS[recipe.task](recipe, folder, device_of(recipe))
    asked = parts or recipe.parts
    for part in dict.fromkeys(name for one in asked for name in (recipe.facts.MADE_FROM.get(one, one), one)):
        note = f"waiting for another process to pretrain {recipe.base_key} {part}"
        with lock(folder / f".{part}.lock", functools.partial(print, note, flush=True)):
            if not _whole(task, part):
                learnt, reached = task.pretrain(part)
                digest = None
                if learnt is not None:
                    weights = folder / f"{part}.safetensors"
                    save_tensors(learnt, weights)
                    digest = sha256(weights)
                meta = {**reached, "text": task.text_digest(), "sha256": digest, "env": environment(recipe)}
                write_json(folder / f"{part}.json", meta)
    return task


def device_of(recipe: Recipe) -> torch.device:
    """The GPU where the recipe allows it and there is one; each process of a launcher has its own."""
    if recipe.device == "auto" and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


# ---- training


def loop_of(recipe: Recipe, task: Task) -> Loop:
    """The algorithm that a recipe asks for."""
    if recipe.task != "translation":
        return PPO(recipe, task)
    return Game(recipe, task) if recipe.sil_teacher is None else Distillation(recipe, task)


def _train(recipe: Recipe, record: Record, task: Task) -> None:
    loop = loop_of(recipe, task)
    found = checkpoint.load(record)
    ranks.tell("start" if found is None else "resume")
    if found is None:
        record.start(recipe, environment(recipe) | {"pretrained": _reached(task)}, kept=None)
        aside = {"before": task.evaluate(loop.model, "test")[0], "after_reset": {}}
        _evaluate(loop, task, record, {}, reset=False)
        checkpoint.save(record, loop, aside)
    else:
        aside = found["aside"]
        loop.load_state_dict(found["state"])
        record.start(recipe, environment(recipe), kept=found["sizes"])
    recent, resets = _Means(loop.MEANS), recipe.restarts()
    better = recipe.facts.YARDSTICK.better
    with Progress(recipe.run_id, recipe.updates, done=loop.step, better=better) as bar:
        last = record.curve().iloc[-1]
        shown = {"held-out task": last["task"], "drift": last["drift"]}
        bar.update(loop.step, **shown)
        while loop.step < recipe.updates:
            recent.add(loop.update())
            if _evaluated(recipe, loop.step):
                row = _evaluate(loop, task, record, recent.take(), reset=False)
                if loop.tick():
                    row = _evaluate(loop, task, record, {}, reset=True)
                    if loop.step == resets[-1]:
                        aside["after_reset"] = {name: part.clone() for name, part in learned(loop.model).items()}
                checkpoint.save(record, loop, aside)
                shown = {"held-out task": row["task"], "drift": row["drift"]}
            else:
                loop.tick()
            bar.update(loop.step, **shown, **recent.latest("reward", "kl"))
    _finish(record, loop, task, aside)


def _evaluated(recipe: Recipe, step: int) -> bool:
    """Whether the policy is evaluated, and saved, after so many updates."""
    return step % recipe.eval_every == 0 or step == recipe.updates or step in recipe.restarts()


def _evaluate(loop: Loop, task: Task, record: Record, measures: dict[str, float], reset: bool) -> dict[str, float]:
    """One row of the curve: what the policy does on held-out text, where it lies, and what training measured."""
    started = perf_counter()
    reached, samples = task.evaluate(loop.model)
    row = {"step": loop.step, "iteration": loop.iteration, "reset": int(reset), "beta": loop.beta}
    row |= {**measures, **reached}
    moves = {}
    if loop.elastic is not None:
        distances = loop.elastic.distances()
        row |= {"dist_init": distances.init, "dist_ema": distances.ema}
        whose = {"policy": loop.elastic.parameters, "average": loop.elastic.ema}
        moves = {name: sketch(weights, loop.elastic.initial).tolist() for name, weights in whose.items()}
        if loop.elastic.mode == "track":
            with loop.elastic.averaged():
                average = task.evaluate(loop.model)[0]
                row |= {"ema_task": average["task"], "ema_drift": average["drift"]}
    loop.seconds["eval"] += perf_counter() - started
    row |= {f"t_{name}": loop.seconds[name] for name in ("sample", "score", "update", "ema", "eval")}
    record.add(row, samples, moves)
    return row


def _finish(record: Record, loop: Loop, task: Task, aside: dict[str, Any]) -> None:
    """Test scores and weights of the end and of right after the last reset: either may be the one to keep."""
    folder = record.path / "checkpoint"
    test = {"test_before": aside["before"], "test": task.evaluate(loop.model, "test")[0]}
    if loop.elastic is not None and loop.elastic.mode == "track":
        with loop.elastic.averaged():
            test["test_ema"] = task.evaluate(loop.model, "test")[0]
    if isinstance(task, Sentiment) and task.recipe.lm_name is None:
        test["where"] = {"before": where(task, task.policy()), "end": where(task, loop.model)}
    save_tensors(learned(loop.model), folder / "policy.safetensors")
    if aside["after_reset"]:
        save_tensors(aside["after_reset"], folder / "after_reset.safetensors")
        relearn(loop.model, aside["after_reset"])
        test["test_after_reset"] = task.evaluate(loop.model, "test")[0]
    curve = record.curve()
    timeless = curve[[name for name in curve if not name.startswith("t_")]].to_csv(index=False)
    digest = hashlib.sha256(timeless.encode() + (record.path / "samples.jsonl").read_bytes()).hexdigest()
    record.finish(step=loop.step, fingerprint=digest[:16], **test, **_averaged(loop))
    for path in (folder / "checkpoint.json", *folder.glob("state-*.safetensors")):
        path.unlink(missing_ok=True)


def _averaged(loop: Loop) -> dict[str, Any]:
    """What the average held: numbers of parameters, those of adapters among them, and all that the model has."""
    if loop.elastic is None:
        return {}
    counts = {name: p.numel() for name, p in loop.elastic.parameters.items()}
    adapters = sum(count for name, count in counts.items() if "lora_" in name)
    whole = sum(p.numel() for p in loop.model.parameters())
    return {"averaged": {"parameters": sum(counts.values()), "adapters": adapters, "model": whole}}


class _Means:
    """Measures since they were last taken: means of those that are named, the others as they were last."""

    def __init__(self, names: tuple[str, ...]):
        self.names = names
        self.rows: list[dict[str, float]] = []

    def add(self, row: dict[str, float]) -> None:
        self.rows.append(row)

    def latest(self, *names: str) -> dict[str, float]:
        last = self.rows[-1] if self.rows else {}
        return {name: last[name] for name in names if not math.isnan(last.get(name, math.nan))}

    def take(self) -> dict[str, float]:
        last, count = self.rows[-1], len(self.rows)
        means = {name: sum(row[name] for row in self.rows) / count for name in self.names}
        self.rows = []
        return {**last, **means}


def _reached(task: Task) -> dict[str, Any]:
    """How good the pretrained models are."""
    found = {part: read_json(task.base / f"{part}.json") for part in task.recipe.parts}
    return {part: {name: v for name, v in meta.items() if isinstance(v, float)} for part, meta in found.items()}


def _whole(task: Task, part: str) -> bool:
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
        "processes": ranks.size(),
        **({"bleu": scores.bleu_signature()} if recipe.task == "translation" else {}),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
