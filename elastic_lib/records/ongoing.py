"""Runs as their files stand while they are being written: how far each is, and how many seconds it still takes.

Nothing here writes, or waits for a writer. A run goes on while somebody holds its lock; without that, a record that is
not done was stopped.
"""

from __future__ import annotations

import fcntl
import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from elastic_lib import pareto
from elastic_lib.progress import clock
from elastic_lib.records.files import DamagedRecord, read_sealed
from elastic_lib.records.record import columns
from elastic_lib.tasks import TASKS, facts

PACE = 12  # rows that the pace of a run is taken from: the machine may be busier than it was
STOPPED = "stopped: the same command goes on"


@dataclass(frozen=True)
class Run:
    """A run as its files stand now; `state` is going, stopped, done or failed, `since` when its files last moved."""

    run_id: str
    state: str
    total: int | None
    curve: pd.DataFrame
    since: float
    stretch: float  # how much longer it takes than its own stopwatches say
    error: str

    @property
    def task(self) -> str:
        return self.run_id.split("-")[0]

    @property
    def method(self) -> str:
        return self.run_id.split("-")[1]

    @property
    def step(self) -> int:
        """Updates at the last evaluation."""
        return int(self.curve["step"].iloc[-1]) if len(self.curve) else 0

    @property
    def better(self) -> str:
        """Which drift is better."""
        return facts(self.task).YARDSTICK.better

    def points(self) -> pd.DataFrame:
        """Task, drift and reset at each evaluation: of the average where that is what the method keeps."""
        averaged = facts(self.task).METHODS.get(self.method, {}).get("mode") == "track"
        names = ["ema_task", "ema_drift"] if averaged else ["task", "drift"]
        return self.curve[[*names, "reset"]].set_axis(["task", "drift", "reset"], axis=1).dropna()

    def frontier(self) -> pd.DataFrame:
        """Those of the points that no other beats."""
        points = self.points()
        return points.iloc[pareto.frontier(points["task"], points["drift"], self.better)]


def states(results: Path) -> dict[str, str]:
    """Every run of a results folder by run_id: going, stopped, done or failed."""
    folder = Path(results) / "records"
    names = {path.name for path in (*folder.glob("*/"), *(folder / ".locks").glob("*"))}
    names = {name for name in names if name.split("-")[0] in TASKS and name.count("-") == 3}  # none set aside
    found = {name: _state(folder, name) for name in sorted(names)}
    return {name: state for name, state in found.items() if state is not None}


def _state(folder: Path, run_id: str) -> str | None:
    if _status(folder / run_id).get("status") == "done":
        return "done"
    if _held(folder / ".locks" / run_id):
        return "going"
    if not (folder / run_id).is_dir():
        return None  # killed before its record began
    after = _status(folder / run_id).get("status")  # once more: it may have ended between the two questions
    return after if after in ("done", "failed") else "stopped"


def _status(record: Path) -> dict[str, Any]:
    try:
        return read_sealed(record / "status.json")
    except (OSError, DamagedRecord):
        return {}


def _held(path: Path) -> bool:
    """Whether a process is at this run.

    Asked with a shared lock that is given back at once. A run that starts in that very moment says that it waits, and
    goes on.
    """
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def read(results: Path, run_id: str, state: str) -> Run:
    """A run as its files stand now."""
    folder = Path(results) / "records" / run_id
    try:
        total = read_sealed(folder / "recipe.json").get("updates")
    except (OSError, DamagedRecord):
        total = None
    total = total if isinstance(total, int) and total > 0 else None
    files = (folder / "curve.csv", folder / "status.json", folder.parent / ".locks" / run_id)
    moved = [path.stat().st_mtime for path in files if path.exists()]
    error = str(_status(folder).get("error", ""))
    curve = _curve(folder, run_id.split("-")[0])
    return Run(run_id, state, total, curve, max(moved, default=time.time()), _stretch(folder, curve), error)


def _curve(folder: Path, task: str) -> pd.DataFrame:
    """The rows that are whole: the writer may be in the middle of the last one, or be cutting the file back."""
    try:
        whole = (folder / "curve.csv").read_text(errors="replace").rpartition("\n")[0]
    except FileNotFoundError:
        whole = ""
    table = pd.read_csv(io.StringIO(whole), on_bad_lines="skip") if whole else pd.DataFrame()
    table = table.reindex(columns=columns(task)).apply(pd.to_numeric, errors="coerce")
    return table.dropna(subset=["step"]).fillna({"reset": 0}).astype({"step": int, "reset": int})


def _stretch(folder: Path, curve: pd.DataFrame) -> float:
    """Time by the clock over the seconds in `t_*`, since what a checkpoint takes is in none of them.

    1 for a run that was taken up again, which writes its status anew and not its environment: when it started is lost.
    """
    try:
        first, again, last = ((folder / f).stat().st_mtime for f in ("env.json", "status.json", "curve.csv"))
    except FileNotFoundError:
        return 1.0
    seconds = _seconds(curve)
    if again - first > 1 or len(curve) < 2 or not seconds.iloc[-1] > 0:
        return 1.0
    before = seconds.iloc[0]  # the same is spent once more before training, on the texts of the test
    return max(float((last - again - before) / seconds.iloc[-1]), 1.0)


def _seconds(curve: pd.DataFrame) -> pd.Series:
    return curve[[name for name in curve if name.startswith("t_")]].sum(axis=1)


def newest(results: Path, found: dict[str, str]) -> str | None:
    """The finished run whose files moved last."""
    folder = Path(results) / "records"
    names = [name for name, its in found.items() if its == "done" and (folder / name / "status.json").exists()]
    return max(names, key=lambda name: (folder / name / "status.json").stat().st_mtime, default=None)


def left(run: Run, now: float) -> float | None:
    """Seconds that a run still takes, from those that its last rows took; None where that cannot be known."""
    gap, pace = _pace(run)
    if run.state != "going" or run.total is None or pace is None or quiet(run, now):
        return None
    ahead = min((now - run.since) / pace, gap)  # updates since the last row, as far as one can tell
    return max(pace * (run.total - run.step - ahead), 0.0)


def quiet(run: Run, now: float) -> bool:
    """Whether a run that goes on has written nothing for much longer than a row takes it."""
    gap, pace = _pace(run)
    return run.state == "going" and pace is not None and run.step != run.total and now - run.since > 10 + 4 * pace * gap


def _pace(run: Run) -> tuple[int, float | None]:
    """Updates between the last two evaluations, and seconds an update."""
    rows = run.curve.groupby("step").last().iloc[-PACE:]
    if len(rows) < 2:
        return 0, None
    seconds, steps = _seconds(rows), rows.index.to_numpy()
    spent = run.stretch * (seconds.iloc[-1] - seconds.iloc[0])
    return int(steps[-1] - steps[-2]), float(spent / (steps[-1] - steps[0])) if spent > 0 else None


def state_of(run: Run, now: float) -> str:
    """How a run stands, in words: '12 s left'."""
    if run.state == "done":
        return f"done, took {clock(_seconds(run.curve).iloc[-1])}" if len(run.curve) else "done"
    if run.state == "failed":
        return f"failed: {run.error}"
    if run.state == "stopped":
        return STOPPED
    if quiet(run, now):
        return f"– left, no row for {clock(now - run.since)}"
    if run.step == run.total:
        return "last tests"
    rest = left(run, now)
    return "– left" if rest is None else f"{clock(rest)} left"


def measures(run: Run) -> dict[str, pd.Series]:
    """What is shown of a run, each with an arrow that says which way is better."""
    drift = "drift ↓" if run.better == "lower" else "drift ↑"
    names = {"task ↑": "task", drift: "drift", "reward ↑": "reward", "KL ↓": "kl"}
    return {words: run.curve[name].dropna() for words, name in names.items()}
