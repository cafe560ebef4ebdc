"""`elastic watch`: the runs that are going on, in a terminal."""

from __future__ import annotations

import difflib
import math
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from elastic_lib import pareto
from elastic_lib.progress import BAR, clock
from elastic_lib.records.files import ROOT
from elastic_lib.records.ongoing import Run, measures, newest, read, state_of, states

SECONDS = 1.0  # between two looks
GRACE = 15.0  # a scheduler takes some seconds to start the next run: so long nothing may run before a watch ends
CLEAR = "\x1b[{}F\x1b[J"  # up so many lines, and clear to the end
SPARKS = "▁▂▃▄▅▆▇█"


def block(run: Run, width: int, now: float) -> list[str]:
    """A run in three lines of at most `width` characters: how far it is, and how its measures have moved."""
    words = state_of(run, now)
    if run.total is None:
        going = run.state == "going"
        words = f"before its first update for {clock(now - run.since)}" if going else words
        return [_cut(f"{run.run_id}  {words}", width)]
    count = f"{run.step}/{run.total}"
    room = min(width - len(run.run_id) - len(count) - len(words) - 6, BAR)
    full = round(max(room, 0) * run.step / run.total)
    bar = f"{'█' * full}{'░' * (room - full)}  " if room >= 6 else ""
    across = 2 if width >= 70 else 1
    cell = (width + 1) // across - 3  # 2 before the first, 3 between two
    shown = [_measure(name, values, cell) for name, values in measures(run).items()]
    rows = ["  " + "   ".join(shown[i : i + across]).rstrip() for i in range(0, len(shown), across)]
    return [_cut(line, width) for line in (f"{run.run_id}  {bar}{count}  {words}", *(rows if len(run.curve) else ()))]


def _measure(name: str, values: pd.Series, width: int) -> str:
    moved = f"{values.iloc[0]:.3g} → {values.iloc[-1]:.3g}" if len(values) else "–"
    return f"{name:<8} {sparks(values, width - 27):<{max(width - 27, 0)}} {moved:>17}".ljust(width)


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"


def view(results: Path, found: dict[str, str], run_id: str | None, followed: set[str], width: int) -> list[str]:
    """What a watch prints: one run with its frontier, or all that go on, that ended meanwhile, that were stopped."""
    now = time.time()
    if run_id is not None:
        run = read(results, run_id, found.get(run_id, "stopped"))
        points = run.points()
        drawn = plot(points["task"], points["drift"], points["reset"], run.better, max(min(width, 100) - 12, 10))
        marks = "● on the frontier, · beaten"
        if points["reset"].any():
            marks += "; ◆ ◇ right after a reset"
        lines = [*block(run, width, now), "", *drawn, "", f"better is up and right; {marks}"]
        return [_cut(line, width) for line in lines]
    runs = [read(results, name, state) for name, state in found.items() if state != "done" or name in followed]
    runs.sort(key=lambda run: run.since)
    going = [run for run in runs if run.state == "going"]
    ended = [run for run in runs if run.state != "going" and run.run_id in followed]
    stopped = [run for run in runs if run.state in ("stopped", "failed") and run.run_id not in followed]
    words = f"{len(going)} going on in {named(results)} (↑ ↓: which way is better)"
    lines = [words if going else f"Nothing runs in {named(results)}.", ""]
    if not going and not ended and (last := newest(results, found)):
        lines += ["last to finish:", *block(read(results, last, "done"), width, now), ""]
    for run in sorted(going, key=lambda run: run.run_id):
        lines += [*block(run, width, now), ""]
    lines += [block(run, width, now)[0] for run in [*ended, *stopped[-3:]]]
    lines += [f"and {len(stopped) - 3} more that stopped or failed"] if len(stopped) > 3 else []
    return [_cut(line, width) for line in (lines if lines[-1] else lines[:-1])]


def named(results: Path) -> str:
    path = Path(results).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def watch(results: Path, run_id: str | None = None, once: bool = False) -> int:
    """Prints the runs that go on; in a terminal again each second, until nothing runs any more."""
    found = states(results)
    if not found:
        raise ValueError(f"{named(results)} holds no runs; `elastic run` and `make reproduce` make some")
    if run_id not in (None, *found):
        near = difflib.get_close_matches(run_id, found, n=3, cutoff=0.5) or list(found)[:3]
        raise ValueError(f"unknown run of {named(results)} {run_id!r}; did you mean {' or '.join(near)}?")
    followed, shown, ran = set(), 0, -math.inf
    again = sys.stdout.isatty() and not once
    try:
        while True:
            size = shutil.get_terminal_size()
            going = {name for name, state in found.items() if state == "going" and run_id in (None, name)}
            followed |= going
            lines = view(results, found, run_id, followed, size.columns)
            rest = GRACE - (time.monotonic() - ran)
            waiting = again and not going and run_id is None and rest > 0
            lines += [f"waiting {clock(rest)} for the next run"] if waiting else []
            if again and len(lines) >= size.lines:  # what has scrolled away cannot be drawn over
                lines = [*lines[: size.lines - 2], "…"]
            up = CLEAR.format(shown) if shown else ""
            print(up + "\n".join(lines), flush=True)
            shown, ran = len(lines), time.monotonic() if going else ran
            if not again or not (going or waiting):
                return 0
            time.sleep(SECONDS)
            found = states(results)
    except KeyboardInterrupt:
        print()
        return 0


# ---- curves in characters


def sparks(values, width: int) -> str:
    """Values as a row of small bars from the lowest to the highest; more than `width` are averaged, NaN left out."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if not len(values) or width < 1:
        return ""
    means = np.array([part.mean() for part in np.array_split(values, min(width, len(values)))])
    return "".join(SPARKS[i] for i in _places(means, len(SPARKS)))


def plot(task, drift, reset, better: str, width: int, height: int = 12) -> list[str]:
    """The frontier so far in characters: task across, drift up, better drift on top.

    `●` lies on the frontier, `◆` too and right after a reset; `·` and `◇` are beaten.
    """
    task, drift = np.asarray(task, float), np.asarray(drift, float)
    if not len(task):
        return ["no evaluation yet"]
    kept = set(pareto.frontier(task, drift, better).tolist())
    marks = [("·◇", "●◆")[i in kept][int(after)] for i, after in enumerate(reset)]
    rows, columns = _places(drift if better == "lower" else -drift, height), _places(task, width)
    grid = [[" "] * width for _ in range(height)]
    for i in sorted(range(len(task)), key=lambda i: "·◇●◆".index(marks[i])):  # what is best is drawn last
        grid[rows[i]][columns[i]] = marks[i]
    top, bottom = (drift.min(), drift.max()) if better == "lower" else (drift.max(), drift.min())
    side = {0: f"{top:.3g}", height // 2: "drift", height - 1: f"{bottom:.3g}"}
    lines = [f"{side.get(row, ''):>8} │{''.join(cells)}".rstrip() for row, cells in enumerate(grid)]
    low, high = f"{task.min():.3g}", f"{task.max():.3g}"
    below = low + "task".center(max(width - len(low) - len(high), 6)) + high
    return [*lines, f"{'':>8} └{'─' * width}", f"{'':>10}{below}"]


def _places(values: np.ndarray, size: int) -> list[int]:
    """Where each value lies among `size` places from the lowest to the highest; all alike: in the middle."""
    low, high = values.min(), values.max()
    if low == high:
        return [size // 2] * len(values)
    return np.rint((values - low) / (high - low) * (size - 1)).astype(int).tolist()
