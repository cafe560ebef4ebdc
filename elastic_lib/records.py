"""What a run leaves on disk, written and read in one place; reading needs no torch.

    {results}/records/{run_id}/
        recipe.json · env.json · curve.csv · samples.jsonl · path.csv · status.json · checkpoint/

`path.csv` holds where θ and θ̄ lay in weight space, as `loops/sketch.py` says; older records have none. It,
`curve.csv` and `samples.jsonl` only grow. A checkpoint remembers how long they were, and a resumed run cuts them back;
`status.json` is written last and holds their sha256, so a file that was damaged later is noticed, never used.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from elastic_lib.recipe import Recipe

# Every name that a run logs. One row an evaluation; `reset` = 1 marks an extra one at the same step, after a reset.
GLOSSARY = {
    "step": "updates made so far",
    "iteration": "resets so far, or students that took their teacher's place",
    "task": "what is optimised, on held-out text; higher is better",
    "drift": "how well the model still speaks, on held-out text",
    "reward": "mean reward of the samples trained on since the last row, without the KL term",
    "kl": "mean KL to the anchor a sample since the last row, in nats: the estimate that is trained on",
    "length": "mean tokens a sample",
    "entropy": "of the policy a token since the last row, in nats",
    "dist_init": "|θ−θ0|",
    "dist_ema": "|θ−θ̄|, empty where no average is kept",
    "reset": "1 for a row right after a reset, else 0",
    "t_sample": "seconds spent sampling so far",
    "t_score": "seconds in rewards, KL and values so far",
    "t_update": "seconds in gradient steps so far",
    "t_ema": "seconds in averaging and resetting so far",
    "t_eval": "seconds in evaluation so far",
    "beta": "the KL coefficient now",
}
OF_TASK = {
    "sentiment": {
        "task": "mean P(positive) that the reward model gives completions of held-out prompts; higher is better",
        "drift": "perplexity on held-out reviews; lower is better",
        "entropy": "mean of −log π of the sampled tokens since the last row, in nats",
        "explained_variance": "of the returns by the value network, at the last update",
        "value_loss": "at the last update",
        "clipped": "share of ratios outside the clip, at the last update",
        "ema_task": "`task` of the average θ̄, where mode is track",
        "ema_drift": "`drift` of the average θ̄, where mode is track",
    },
    "answers": {
        "task": "mean reward of answers to held-out questions, in deviations of people's answers; higher is better",
        "drift": "perplexity on people's answers to held-out questions; lower is better",
        "length": "mean words that the policy chose a sample since the last row",
        "entropy": "mean of −log π of the sampled tokens since the last row, in nats",
        "explained_variance": "of the returns by the value head, at the last update",
        "value_loss": "at the last update",
        "clipped": "share of ratios outside the clip, at the last update",
        "judge_1": "`task` by a second reward model, which nothing is optimised for",
        "judge_2": "`task` by a third",
        "words": "mean words of an answer to a held-out question",
        "has_code": "share of them that hold code",
        "compiles": "share of them whose code compiles",
        "courtesy": "mean courtesies in one",
        "ema_task": "`task` of the average θ̄, where mode is track",
        "ema_drift": "`drift` of the average θ̄, where mode is track",
    },
    "translation": {
        "task": "BLEU of FR→EN→DE on held-out sentences; higher is better",
        "drift": "BLEU of FR→EN on them: the English that nobody pays for; higher is better",
        "reward": "mean log-likelihood of a German token under the listener since the last row, in nats",
        "listener_loss": "cross entropy of the German that the listener learns from, since the last row",
        "length_ratio": "words of the English said by those of the reference: above 1, it is too long",
        "repeated": "share of its word pairs that the same sentence had said before",
        "unended": "share of its sentences without a full stop at the end",
        "distinct_1": "share of its words that are different ones",
        "distinct_2": "share of its word pairs that are different ones",
    },
}


def columns(task: str) -> tuple[str, ...]:
    """The columns of a task's curve: the common ones, then its own."""
    return tuple(GLOSSARY | OF_TASK[task])


GROWING = ("curve.csv", "samples.jsonl", "path.csv")
ROOT = Path(__file__).resolve().parents[1]


def own_results(scale: str) -> Path:
    """Where your own runs of a scale go."""
    return ROOT / "papermill_runs" / scale


def reference_results(scale: str) -> Path:
    """Where the committed runs of a scale lie."""
    return ROOT / "papermill_runs" / "reference" / scale


class DamagedRecord(ValueError):
    """A record or checkpoint that is not what was written."""


def write_json(path: Path, content: Any) -> None:
    """Writes a whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """The content of a JSON file; a clear error where it is cut short."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DamagedRecord(f"{path} is not whole JSON ({error})") from None


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def set_aside(path: Path, why: str) -> Path:
    """Renames a damaged file or folder out of the way and says so."""
    number = 1
    while (target := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(target)
    warnings.warn(f"{why}; set aside as {target.name}, made again", stacklevel=2)
    return target


@contextmanager
def lock(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Only one process at a time gets past it; the kernel frees it when that process dies, however it dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Record:
    """The folder of one run."""

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def of(cls, recipe: Recipe, results: Path) -> Record:
        """Where this recipe's record lies under `results`, there or not."""
        return cls(Path(results) / "records" / recipe.run_id)

    # ---- reading

    def status(self) -> dict[str, Any]:
        """The content of status.json; {} where there is none."""
        path = self.path / "status.json"
        return read_json(path) if path.exists() else {}

    def done(self) -> bool:
        """Whether the run finished; raises DamagedRecord if it did and a file is not what it left."""
        status = self.status()
        if status.get("status") != "done":
            return False
        if not status.get("files"):
            raise DamagedRecord(f"{self.path / 'status.json'} names no files")
        for name, digest in status["files"].items():
            file = self.path / name
            if not file.exists() or sha256(file) != digest:
                raise DamagedRecord(f"{file} is {'damaged' if file.exists() else 'missing'}")
        return True

    def recipe(self) -> Recipe:
        """The recipe that the run was made from."""
        return Recipe.from_dict(read_json(self.path / "recipe.json"))

    def env(self) -> dict[str, Any]:
        """Versions, machine, threads."""
        return read_json(self.path / "env.json")

    def curve(self) -> pd.DataFrame:
        """One row an evaluation; the columns are those of `columns`."""
        return pd.read_csv(self.path / "curve.csv")

    def samples(self) -> pd.DataFrame:
        """What the model said to the same prompts at every evaluation."""
        return pd.read_json(self.path / "samples.jsonl", lines=True, dtype=False)

    def moves(self) -> pd.DataFrame:
        """Sketches of θ ("policy") and θ̄ ("average") minus θ0 at every evaluation; empty where none were kept."""
        path = self.path / "path.csv"
        table = (
            pd.read_csv(path, header=None) if path.exists() and path.stat().st_size else pd.DataFrame(columns=range(3))
        )
        return table.rename(columns={0: "step", 1: "reset", 2: "whose"})

    # ---- writing

    def start(self, recipe: Recipe, env: dict[str, Any], kept: dict[str, int] | None) -> None:
        """Opens the record: afresh, or cut back to the lengths that a checkpoint remembers."""
        write_json(self.path / "recipe.json", recipe.to_dict())
        if kept is None:
            write_json(self.path / "env.json", env)
            for name in GROWING:
                (self.path / name).write_bytes(b"")
            (self.path / "curve.csv").write_text(",".join(columns(recipe.task)) + "\n")
        else:
            for name, size in kept.items():
                os.truncate(self.path / name, size)
        write_json(self.path / "status.json", {"status": "running"})

    def add(
        self,
        row: dict[str, float],
        samples: Iterable[dict[str, Any]],
        moves: Mapping[str, Iterable[float]] | None = None,
    ) -> None:
        """Appends one evaluation: a row of the curve, what was said, and where θ and θ̄ lie."""
        with (self.path / "curve.csv").open() as file:
            names = file.readline().strip().split(",")
        if extra := set(row) - set(names):
            raise ValueError(f"columns without a word in the glossary: {sorted(extra)}")
        with (self.path / "samples.jsonl").open("a", encoding="utf-8") as file:
            for sample in samples:
                file.write(
                    json.dumps({"step": row["step"], "reset": row["reset"], **sample}, ensure_ascii=False) + "\n"
                )
        with (self.path / "path.csv").open("a") as file:
            for whose, numbers in (moves or {}).items():
                file.write(",".join([f"{row['step']},{row['reset']},{whose}", *(f"{x:.4g}" for x in numbers)]) + "\n")
        with (self.path / "curve.csv").open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow([_cell(row.get(name)) for name in names])

    def sizes(self) -> dict[str, int]:
        """What a checkpoint remembers of the files that grow."""
        return {name: (self.path / name).stat().st_size for name in GROWING}

    def finish(self, **result: Any) -> None:
        """Marks the run as done, with the digests of what it left."""
        files = {name: sha256(self.path / name) for name in ("recipe.json", "env.json", *GROWING)}
        write_json(self.path / "status.json", {"status": "done", **result, "files": files})

    def fail(self, error: str, **result: Any) -> None:
        """Marks the run as failed, with the reason."""
        write_json(self.path / "status.json", {"status": "failed", **result, "error": error})


def load(results: Path) -> dict[str, Record]:
    """The finished records under `results` by run_id; a damaged one is named and left out."""
    found = {}
    for path in sorted((Path(results) / "records").glob("*/")):
        record = Record(path)
        if path.name.startswith(".") or ".damaged-" in path.name:
            continue
        try:
            if record.done():
                found[path.name] = record
        except DamagedRecord as error:
            warnings.warn(f"left out: {error}; `elastic run` makes it again", stacklevel=2)
    return found


def _cell(value: float | None) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else str(int(value))  # numpy's floats have another repr
