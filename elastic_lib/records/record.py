"""What a run leaves on disk, written and read in one place; reading needs no torch.

    {results}/records/{run_id}/
        recipe.json · env.json · curve.csv · samples.jsonl · path.csv · status.json · checkpoint/

`path.csv` holds where θ and θ̄ lay in weight space, as `loops/movement.py` says; older records have none. It,
`curve.csv` and `samples.jsonl` only grow. A checkpoint remembers how long they were, and a resumed run cuts them back;
`status.json` is written last and holds their sha256, so a file that was damaged later is noticed, never used.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from elastic_lib.records.files import ROOT, DamagedRecord, read_json, read_sealed, sealed, sha256, write_json
from elastic_lib.tasks import facts

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


def columns(task: str) -> tuple[str, ...]:
    """The columns of a task's curve: the common ones, then its own."""
    return tuple(GLOSSARY | facts(task).COLUMNS)


GROWING = ("curve.csv", "samples.jsonl", "path.csv")
MEASURED = "benchmarks.json"  # in a folder of its own among the committed ones


def own_results(scale: str) -> Path:
    """Where your own runs of a scale go."""
    return _yours() / scale


def _yours() -> Path:
    """What ELASTIC_RESULTS names, or a folder of the project."""
    named = os.environ.get("ELASTIC_RESULTS")
    return Path(named).expanduser().absolute() if named else ROOT / "papermill_runs"


def reference_results(scale: str) -> Path:
    """Where the committed runs of a scale lie."""
    return ROOT / "papermill_runs" / "reference" / scale


def others_results(name: str, scale: str) -> Path:
    """Where the runs of another machine lie, under its name."""
    return _yours() / "from" / name / scale


def whose(results: Path) -> str:
    """Whose runs lie in a folder: the reference, another machine's name, or your own."""
    place = Path(results).resolve()
    if place.is_relative_to(reference_results("").resolve()):
        return "the reference"
    others = (_yours() / "from").resolve()
    return place.relative_to(others).parts[0] if place != others and place.is_relative_to(others) else "your own runs"


class Record:
    """The folder of one run."""

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def of(cls, recipe: Any, results: Path) -> Record:
        """Where this recipe's record lies under `results`, there or not."""
        return cls(Path(results) / "records" / recipe.run_id)

    # ---- reading

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.path.name

    def status(self) -> dict[str, Any]:
        """The content of status.json; {} where there is none, DamagedRecord where it is not what was written."""
        path = self.path / "status.json"
        return read_sealed(path) if path.exists() else {}

    def done(self) -> bool:
        """Whether the run finished; raises DamagedRecord if it did and a file is not what it left."""
        status = self.status()
        if status.get("status") != "done":
            return False
        if not isinstance(status.get("files"), dict) or not status["files"]:
            raise DamagedRecord(f"{self.path / 'status.json'} names no files")
        for name, digest in status["files"].items():
            file = self.path / name
            if Path(name).name != name:
                raise DamagedRecord(f"{self.path / 'status.json'} names {name!r}, which is no file of this folder")
            if not file.exists() or sha256(file) != digest:
                raise DamagedRecord(f"{file} is {'damaged' if file.exists() else 'missing'}")
        return True

    def recipe(self) -> dict[str, Any]:
        """What `Recipe.from_dict` makes the run's recipe of."""
        return read_json(self.path / "recipe.json")

    def env(self) -> dict[str, Any]:
        """Versions, machine, threads."""
        return read_json(self.path / "env.json")

    def curve(self) -> pd.DataFrame:
        """One row an evaluation; the columns are those of `columns`."""
        return pd.read_csv(self.path / "curve.csv")

    def samples(self) -> pd.DataFrame:
        """What the model said to the same prompts at every evaluation."""
        lines = (self.path / "samples.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        return pd.DataFrame([json.loads(line) for line in lines])

    def moves(self) -> pd.DataFrame:
        """Sketches of θ ("policy") and θ̄ ("average") minus θ0 at every evaluation; empty where none were kept."""
        path = self.path / "path.csv"
        table = (
            pd.read_csv(path, header=None) if path.exists() and path.stat().st_size else pd.DataFrame(columns=range(3))
        )
        return table.astype(dict.fromkeys(table.columns[3:], float)).rename(columns={0: "step", 1: "reset", 2: "whose"})

    def files(self) -> dict[str, bytes]:
        """What a finished run left, by name."""
        return {name: (self.path / name).read_bytes() for name in (*self.status()["files"], "status.json")}

    # ---- writing

    def start(self, recipe: Any, env: dict[str, Any] | None, kept: dict[str, int] | None) -> None:
        """Opens the record: afresh, or cut back to the lengths that a checkpoint remembers. `env` None: as it is."""
        write_json(self.path / "recipe.json", recipe.to_dict())
        if env is not None:
            write_json(self.path / "env.json", env)
        if kept is None:
            for name in GROWING:
                (self.path / name).write_bytes(b"")
            (self.path / "curve.csv").write_text(",".join(columns(recipe.task)) + "\n")
        else:
            for name, size in kept.items():
                os.truncate(self.path / name, size)
        write_json(self.path / "status.json", {"status": "running"})

    def begin_as(self, other: Record, sizes: dict[str, int], lacking: Iterable[str], moves: bool) -> None:
        """Takes over what another run had written when its files were of these sizes.

        The columns that this one lacks stay empty, and without `moves` so does path.csv.
        """
        heads = {name: (other.path / name).read_bytes()[:size] for name, size in sizes.items()}
        rows = csv.DictReader(io.StringIO(heads["curve.csv"].decode()))
        with (self.path / "curve.csv").open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(
                [("" if name in lacking else cell) for name, cell in row.items()] for row in rows
            )
        (self.path / "samples.jsonl").write_bytes(heads["samples.jsonl"])
        (self.path / "path.csv").write_bytes(heads["path.csv"] if moves else b"")

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
        if self.curve().duplicated(["step", "reset"]).any():
            raise DamagedRecord(
                f"two processes wrote {self.path} at once, on a disk that locks no files across machines: remove it, "
                "and run it again in one place"
            )
        files = {name: sha256(self.path / name) for name in ("recipe.json", "env.json", *GROWING)}
        write_json(self.path / "status.json", sealed({"status": "done", **result, "files": files}))

    def fail(self, error: str) -> None:
        """Marks the run as failed, with the reason."""
        write_json(self.path / "status.json", {"status": "failed", "error": error})


def _cell(value: float | None) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else str(int(value))  # numpy's floats have another repr
