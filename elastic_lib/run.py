"""One recipe, one record: pretrain (cached), train, evaluate, checkpoint, resume.

A run that is killed anywhere and started again leaves the record that it would have left, bit for bit but for the
seconds in `t_*` (same machine, same number of threads). `fingerprint` in status.json is the digest of the rest.
What a task is to this file stands in `tasks`, what a loop is in `loops`.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from safetensors.torch import load_file

from elastic_lib.loops import processes
from elastic_lib.loops.checks import RunFailed
from elastic_lib.loops.movement import whereabouts
from elastic_lib.loops.straight_line import StraightLine
from elastic_lib.nets.learned import learned, relearn
from elastic_lib.progress import Progress
from elastic_lib.recipe import Recipe
from elastic_lib.records import checkpoint
from elastic_lib.records.files import DamagedRecord, lock, set_aside
from elastic_lib.records.record import Record, columns
from elastic_lib.records.tensors import save_tensors
from elastic_lib.tasks import TASKS, facts
from elastic_lib.tasks.bases import conditions, lacking, other_models, pretrained
from elastic_lib.tasks.hub import used

# Measures that came after the first records, and change nothing of what a run does: a fingerprint is the same without.
SINCE = ("forward_kl", "reverse_kl", "gold")


def run(recipe: Recipe, results: Path | str) -> Path:
    """Makes the record of this recipe under `results`, or finds it there; returns its folder."""
    results = Path(results)
    record = Record.of(recipe, results)
    torch.set_num_threads(1)
    with processes.joined():
        if processes.size() > 1 and recipe.weights_of is not None:
            raise ValueError(f"{recipe.method} learns nothing that processes could share; run it in one")
        if processes.size() > 1 and not recipe.facts.SHARED:
            others = " and ".join(task for task in TASKS if facts(task).SHARED)
            raise ValueError(f"{recipe.task} runs in one process; {others} share a run between several")
        if processes.rank() > 0:
            _follow(recipe, record, results)
        else:
            _lead(recipe, record, results)
    return record.path


def _follow(recipe: Recipe, record: Record, results: Path) -> None:
    """Another process leads: this one learns with it, and writes nothing."""
    if (told := processes.tell(None)) == "done":
        return
    if told != "train":
        raise ValueError(told)
    loop = pretrained(recipe, results).loop()
    if processes.tell(None) == "resume":
        loop.load_state_dict(checkpoint.load(record)["state"])
    else:
        loop.state_dict()
    while loop.step < recipe.updates:
        loop.update()
        loop.tick()
        if _evaluated(recipe, loop.step):
            loop.state_dict()  # every process gives its random state to the one that saves


def _lead(recipe: Recipe, record: Record, results: Path) -> None:
    with lock(results / "records" / ".locks" / recipe.run_id, recipe.run_id):
        try:
            if record.done():
                if (own := Recipe.from_dict(record.recipe()).run_id) != recipe.run_id:
                    raise DamagedRecord(f"{record.path} holds the record of {own}")
                _refuse_other_models(record)
                _tidy(record)  # the one that finished it may have been stopped right after
                processes.tell("done")
                return
        except DamagedRecord as error:
            set_aside(record.path, str(error))
        if processes.size() > 1 and (parts := lacking(recipe, results)):
            first = f"elastic pretrain {recipe.task} --scale {recipe.scale} --base {recipe.base}"
            why = f"{', '.join(parts)} of {recipe.base_key} is not there, and one process alone can train it"
            raise ValueError(processes.tell(f"{why}: `{first}` first, with the --set and --results of this run"))
        task = pretrained(recipe, results)
        processes.tell("train")
        try:
            _train(recipe, record, task)
        except RunFailed as error:
            record.fail(str(error))
            raise RunFailed(f"{recipe.run_id}: {error}") from None


def _refuse_other_models(record: Record) -> None:
    """A folder of one's own may hold another model by now than when the record was made."""
    then = record.env()
    own = {name: used(name)[name] for name in then.get("models", {}) if Path(name).expanduser().is_dir()}
    if other := other_models(then, own):
        raise ValueError(
            f"{record.path} was made with another {other} than there is now: give the new model a folder of its own, "
            "or move the record away"
        )


def _train(recipe: Recipe, record: Record, task) -> None:
    """From the start or from a checkpoint to the end; a checkpoint follows every evaluation."""
    loop, found = _loop(recipe, task, record.path.parents[1]), checkpoint.load(record)
    now = conditions(task)
    then = _begun_by(record) if found else None
    if found is not None and (why := _of_other_models(record, now, then)):
        set_aside(record.path, why)
        found = None
    processes.tell("start" if found is None else "resume")
    if found is None:
        record.start(recipe, now, kept=None)
        if (aside := _begun(recipe, record, loop)) is None:
            aside = {"before": task.evaluate(loop.model, "test")[0], "after_reset": {}, "began": {}}
            _evaluate(loop, task, record, {}, reset=False)
        checkpoint.save(record, loop.step, loop.state_dict(), aside)
    else:
        aside = found["aside"]
        loop.load_state_dict(found["state"])
        record.start(recipe, _of_both(record, now, then, loop.step), kept=found["sizes"])
    recent, kept = _Means(loop.MEANS), recipe.kept()
    with Progress(recipe.run_id, recipe.updates, done=loop.step, better=recipe.facts.YARDSTICK.better) as bar:
        row = record.curve().iloc[-1]
        bar.update(loop.step, **_shown(row))
        while loop.step < recipe.updates:
            recent.add(loop.update())
            if evaluated := _evaluated(recipe, loop.step):
                row = _evaluate(loop, task, record, recent.take(), reset=False)
            if loop.tick():
                row = _evaluate(loop, task, record, {}, reset=True)
                aside["after_reset"] = {name: part.clone() for name, part in learned(loop.model).items()}
            if evaluated:
                state = loop.state_dict()  # gathers from every process, as often here as in `_follow`
                if loop.step in kept:
                    checkpoint.keep(record, loop.step, state, aside | {"made_by": _made_by(record)})
                checkpoint.save(record, loop.step, state, aside)
            bar.update(loop.step, **_shown(row), **recent.latest("reward", "kl"))
    _finish(record, loop, task, aside)


def _loop(recipe: Recipe, task, results: Path):
    """What learns; or the line to where another run ended, which is made first where it is not there."""
    if (source := recipe.source()) is None:
        return task.loop()
    weights = run(source, results) / "checkpoint" / "policy.safetensors"
    if not weights.exists():
        raise RunFailed(f"{weights} is not kept; remove the record of {source.run_id}, and it is made again")
    return StraightLine(task.policy(), load_file(weights), recipe.updates)


def _begun(recipe: Recipe, record: Record, loop) -> dict[str, Any] | None:
    """Takes over what another run of the folder has in common with this one, and returns what that put aside.

    Those updates, rows and seconds are the other's. None where it is not there, or was made by other code or elsewhere:
    its numbers could be others than this run's own.
    """
    if processes.size() > 1 or (common := recipe.begins_as()) is None:
        return None
    twin, step = common
    other = Record(record.path.with_name(twin.run_id))
    if (found := checkpoint.kept(other, step)) is None:
        return None
    made_by = found["aside"].pop("made_by", None)  # of the other run, not to be taken over
    if made_by != _made_by(record):
        return None
    watching = {name for name in columns(recipe.task) if name.startswith("ema_")}
    averaging = set() if recipe.reset is not None else {"dist_init", "dist_ema"}
    record.begin_as(other, found["sizes"], watching | averaging, moves=recipe.reset is not None)
    loop.load_state_dict(found["state"])
    return found["aside"] | {"began": {"as": twin.run_id, "updates": step}}


def _begun_by(record: Record) -> dict[str, Any] | None:
    """What stands in the environment of a run underway; None where that was lost."""
    try:
        return record.env()
    except (FileNotFoundError, DamagedRecord):
        return None


def _of_other_models(record: Record, now: dict[str, Any], then: dict[str, Any] | None) -> str:
    """Why a run cannot go on from its checkpoint, if that is of other pretrained models than those that are there."""
    then = then or {}
    changed = [name for name in ("models", "pretrained") if name in then and then[name] != now.get(name)]
    return f"{record.path} was begun with other pretrained models than those here" if changed else ""


def _of_both(record: Record, now: dict[str, Any], then: dict[str, Any] | None, step: int) -> dict[str, Any] | None:
    """What a run was begun by and by what else it goes on, to be said in its record; None where that is the same."""
    if then is None:
        return now | {"resumed": [{"after": step, "before": "unknown"}]}
    last = dict(then)
    for again in then.get("resumed", []):
        last |= again.get("by", {})
    changed = {name: now[name] for name in now if name != "command" and now[name] != last.get(name)}
    if not changed:
        return None
    known = {name: str(value)[:40] for name, value in changed.items()}
    warnings.warn(f"{record.run_id} goes on after {step} updates by something else than before: {known}", stacklevel=2)
    return then | {"resumed": [*then.get("resumed", []), {"after": step, "by": changed}]}


def _made_by(record: Record) -> dict[str, Any]:
    """What a run's numbers depend on beside its recipe."""
    return {name: value for name, value in record.env().items() if name != "command"}


def _evaluated(recipe: Recipe, step: int) -> bool:
    """Whether the policy is evaluated, and saved, after so many updates: at every reset too."""
    return step % recipe.eval_every == 0 or step == recipe.updates or step in recipe.restarts()


def _evaluate(loop, task, record: Record, measures: dict[str, float], reset: bool) -> dict[str, float]:
    """One row of the curve: what the policy does on held-out text, where it lies, and what training measured."""
    started = perf_counter()
    scores, samples = task.evaluate(loop.model)
    distances, sketches = whereabouts(loop.resetting.elastic)
    average = _average_reaches(loop, task, "validation")
    loop.seconds["eval"] += perf_counter() - started
    row = {"step": loop.step, "iteration": loop.iteration, "reset": int(reset), "beta": loop.beta}
    row |= measures | scores | distances
    row |= {f"ema_{name}": average[name] for name in ("task", "drift") if average}
    row |= {f"t_{name}": loop.seconds[name] for name in ("sample", "score", "update", "ema", "eval")}
    record.add(row, samples, sketches)
    return row


def _average_reaches(loop, task, split: str) -> dict[str, float]:
    """Scores of θ̄ where it is only watched, {} elsewhere."""
    elastic = loop.resetting.elastic
    if elastic is None or elastic.mode != "track":
        return {}
    with elastic.averaged():
        return task.evaluate(loop.model, split)[0]


def _finish(record: Record, loop, task, aside: dict[str, Any]) -> None:
    """Test scores and weights of the end and of right after the last reset: either may be the one to keep."""
    folder = record.path / "checkpoint"
    test = {"test_before": aside["before"], "test": task.evaluate(loop.model, "test")[0]}
    if average := _average_reaches(loop, task, "test"):
        test["test_ema"] = average
    test |= task.at_the_end(loop.model) | ({"began": aside["began"]} if aside.get("began") else {})
    save_tensors(learned(loop.model), folder / "policy.safetensors")
    if aside["after_reset"]:
        save_tensors(aside["after_reset"], folder / "after_reset.safetensors")
        relearn(loop.model, aside["after_reset"])
        test["test_after_reset"] = task.evaluate(loop.model, "test")[0]
    curve = record.curve()
    timeless = curve[[name for name in curve if not name.startswith("t_") and name not in SINCE]].to_csv(index=False)
    digest = hashlib.sha256(timeless.encode() + (record.path / "samples.jsonl").read_bytes()).hexdigest()
    record.finish(step=loop.step, fingerprint=digest[:16], **test, **_averaged(loop))
    _tidy(record)


def _tidy(record: Record) -> None:
    """Takes away what only a run underway needs, and the drafts of processes that were killed."""
    folder = record.path / "checkpoint"
    drafts = (*record.path.glob(".*"), *folder.glob(".*"))
    for path in (folder / "checkpoint.json", *folder.glob("state-*.safetensors"), *drafts):
        if not path.is_dir():  # Jupyter's, say
            path.unlink(missing_ok=True)


def _averaged(loop) -> dict[str, Any]:
    """What the average held: numbers of parameters, those of adapters among them, and all that the model has."""
    if loop.resetting.elastic is None:
        return {}
    counts = {name: p.numel() for name, p in loop.resetting.elastic.parameters.items()}
    adapters = sum(count for name, count in counts.items() if "lora_" in name)
    whole = sum(p.numel() for p in loop.model.parameters())
    return {"averaged": {"parameters": sum(counts.values()), "adapters": adapters, "model": whole}}


def _shown(row) -> dict[str, float]:
    """What a progress bar says of an evaluation."""
    return {"held-out task": row["task"], "drift": row["drift"]}


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
