"""Runs that are going on, watched from outside: `elastic watch` in a terminal, `monitor.live()` in a notebook."""

from __future__ import annotations

import asyncio
import html
import math
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd

from elastic_lib import pareto
from elastic_lib.drawing import AXES, LOOKS
from elastic_lib.progress import BAR, clock
from elastic_lib.records import ROOT, own_results
from elastic_lib.settings import check_known
from elastic_lib.sparks import plot, sparks
from elastic_lib.underway import Run, measures, newest, read, state_of, states

SECONDS = 1.0  # between two looks
GRACE = 15.0  # a scheduler takes some seconds to start the next run: so long nothing may run before a watch ends
CLEAR = "\x1b[{}F\x1b[J"  # up so many lines, and clear to the end
WHATEVER = "whatever is running"


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
        marks = "● on the frontier, · beaten" + "; ◆ ◇ right after a reset" * bool(points["reset"].any())
        lines = [*block(run, width, now), "", *drawn, "", f"better is up and right; {marks}"]
        return [_cut(line, width) for line in lines]
    runs = [read(results, name, state) for name, state in found.items() if state != "done" or name in followed]
    runs.sort(key=lambda run: run.since or 0.0)
    going = [run for run in runs if run.state == "going"]
    ended = [run for run in runs if run.state != "going" and run.run_id in followed]
    stopped = [run for run in runs if run.state in ("stopped", "failed") and run.run_id not in followed]
    words = f"{len(going)} going on in {_named(results)} (↑ ↓: which way is better)"
    lines = [words if going else f"Nothing runs in {_named(results)}.", ""]
    if not going and not ended and (last := newest(results, found)):
        lines += ["last to finish:", *block(read(results, last, "done"), width, now), ""]
    for run in sorted(going, key=lambda run: run.run_id):
        lines += [*block(run, width, now), ""]
    lines += [block(run, width, now)[0] for run in [*ended, *stopped[-3:]]]
    lines += [f"and {len(stopped) - 3} more that stopped or failed"] if len(stopped) > 3 else []
    return [_cut(line, width) for line in (lines if lines[-1] else lines[:-1])]


def _named(results: Path) -> str:
    path = Path(results).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def watch(results: Path, run_id: str | None = None, once: bool = False) -> int:
    """Prints the runs that go on; in a terminal again each second, until nothing runs any more."""
    found = states(results)
    if not found:
        raise ValueError(f"{_named(results)} holds no runs; `elastic run` and `make reproduce` make some")
    if run_id is not None:
        check_known(f"run of {_named(results)}", run_id, found)
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
            print(CLEAR.format(shown) * bool(shown) + "\n".join(lines), flush=True)
            shown, ran = len(lines), time.monotonic() if going else ran
            if not again or not (going or waiting):
                return 0
            time.sleep(SECONDS)
            found = states(results)
    except KeyboardInterrupt:
        print()
        return 0


# ---- in a notebook


def live(results: Path | str | None = None, run_id: str | None = None, seconds: float = SECONDS) -> Panel:
    """A panel that follows the runs of a results folder while the kernel is free; your own of pocket by default."""
    results = own_results("pocket") if results is None else Path(results)
    if run_id is not None:
        check_known(f"run of {_named(results)}", run_id, states(results))
    for panel in _FOLLOWING:  # a cell that is run again leaves its old panel behind
        panel.stop()
    panel = Panel(results, run_id, seconds)
    panel.follow()
    _FOLLOWING[:] = [panel]
    return panel


_FOLLOWING: list[Panel] = []


class Panel:
    """Task, drift, KL and the frontier of a run as it goes on; `live` makes one."""

    def __init__(self, results: Path, run_id: str | None, seconds: float):
        import ipywidgets  # here, so that a terminal does not wait for it

        self.results, self.asked, self.seconds = results, run_id, seconds
        self.run: Run | None = None
        self._task, self._filling, self._drawn = None, False, None
        self.menu = ipywidgets.Dropdown(options=[(WHATEVER, None)], layout={"width": "330px"})
        self.button = ipywidgets.ToggleButton(value=False, description="follow", layout={"width": "90px"})
        self.words, self.figure = ipywidgets.HTML(), _empty_figure()
        self.box = ipywidgets.VBox([ipywidgets.HBox([self.menu, self.button]), self.words, self.figure])
        self.menu.observe(self._ask, "value")
        self.button.observe(lambda change: self.follow() if change.new else self.stop(), "value")
        self.refresh()

    def _repr_mimebundle_(self, **how: Any) -> Any:
        return self.box._repr_mimebundle_(**how)

    def follow(self) -> None:
        """Refreshes from now on; where no event loop runs (outside of a kernel), `refresh` is all there is."""
        if self._task is not None:
            return
        try:
            self._task = asyncio.get_running_loop().create_task(self._keep_on())
        except RuntimeError:
            return
        self.button.value, self.button.description = True, "stop"

    def stop(self) -> None:
        """Refreshes no more until it is asked to follow."""
        if self._task is not None:
            self._task.cancel()
        self._task = None
        self.button.value, self.button.description = False, "follow"

    async def _keep_on(self) -> None:
        while True:
            try:
                self.refresh()
            except Exception as error:  # nobody would see it in a task
                self.words.value = html.escape(f"stopped looking: {type(error).__name__}: {error}")
                return self.stop()
            await asyncio.sleep(self.seconds)

    def _ask(self, change: Any) -> None:
        if not self._filling:
            self.asked = change.new
            self.refresh()

    def refresh(self) -> None:
        """Looks at the files, and shows what they say now."""
        found = states(self.results)
        going = [name for name, state in found.items() if state == "going"]
        self._fill_menu(going)
        name = self.asked or next(iter(going), None)
        if self.asked is None and self.run is not None and (self.run.run_id in going or not going):
            name = self.run.run_id  # stays with the one that is shown
        name = name or newest(self.results, found)
        if name is None:
            self.words.value = f"Nothing has run in {html.escape(_named(self.results))} so far."
            return
        self.run = read(self.results, name, found.get(name, "stopped"))
        self.words.value = _headline(self.run, time.time())
        drawn = (name, len(self.run.curve), self.run.step)
        if drawn != self._drawn:
            _redraw(self.figure, self.run)
            self._drawn = drawn

    def _fill_menu(self, going: list[str]) -> None:
        names = sorted({*going, self.asked} - {None})
        options = ((WHATEVER, None), *((name, name) for name in names))
        if options != tuple(self.menu.options):
            self._filling = True
            self.menu.options = options
            self.menu.value = self.asked
            self._filling = False


def _headline(run: Run, now: float) -> str:
    resets = int(run.curve["reset"].sum())
    count = f"{run.step} of {run.total} updates" if run.total is not None else "before its first update"
    parts = [count, f"{resets} reset{'s' * (resets != 1)}" if resets else "", state_of(run, now)]
    return f"<b>{html.escape(run.run_id)}</b>: {html.escape(', '.join(filter(None, parts)))}"


def _empty_figure() -> Any:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    headings = ("(a) task", "(b) drift", "(c) KL", "(d) frontier")
    figure = go.FigureWidget(make_subplots(2, 2, subplot_titles=headings, vertical_spacing=0.2, horizontal_spacing=0.1))
    says = "%{x}: %{y:.3f}<extra></extra>"
    for row, column in ((1, 1), (1, 2), (2, 1)):
        figure.add_scatter(row=row, col=column, mode="lines+markers", hovertemplate=says)
    says = "update %{text}<br>%{x:.3f}, %{y:.3f}<extra></extra>"
    figure.add_scatter(row=2, col=2, mode="markers", hovertemplate=says)
    figure.add_scatter(row=2, col=2, mode="lines+markers", line=dict(shape="vh"), hoverinfo="skip")
    figure.update_annotations(font_size=12)
    figure.update_layout(template="plotly_white", autosize=True, height=540, showlegend=False,
                         margin=dict(l=45, r=20, t=60, b=50),
                         font=dict(family="DejaVu Sans, Arial, sans-serif", size=12))  # fmt: skip
    return figure


def _redraw(figure: Any, run: Run) -> None:
    axes, color, points = AXES[run.task], LOOKS[run.method][1], run.points()
    kept = points.iloc[pareto.frontier(points["task"], points["drift"], run.better)]
    curves = [run.curve[["step", name]].dropna() for name in ("task", "drift", "kl")]
    with figure.batch_update():
        for trace, curve in zip(figure.data, curves, strict=False):
            trace.update(x=curve["step"], y=curve.iloc[:, 1], line_color=color, marker=dict(color=color, size=4))
        steps = run.curve["step"].loc[points.index]
        symbols = points["reset"].map({0: "circle", 1: "diamond"})
        marker = dict(color=color, opacity=0.35, size=8, symbol=symbols)
        figure.data[3].update(x=points["task"], y=points["drift"], text=steps, marker=marker)
        marker = dict(color=color, size=8, symbol=symbols.loc[kept.index])
        figure.data[4].update(x=kept["task"], y=kept["drift"], line_color=color, marker=marker)
        resets = run.curve.loc[run.curve["reset"] == 1, "step"]
        line = dict(color="#888888", width=1, dash="dot")
        figure.layout.shapes = [
            dict(type="line", x0=step, x1=step, y0=0, y1=1, xref=f"x{i}", yref=f"y{i} domain", line=line)
            for i in ("", 2, 3) for step in resets
        ]  # fmt: skip
        silent = len(run.curve) > 1 and curves[2].empty
        kl = "KL: this run measures none" if silent else "KL a sample, nats (↓ better)"
        names = (f"{axes.task} (↑ better)", axes.drift, kl, f"frontier: {axes.frontier}")
        for note, letter, words in zip(figure.layout.annotations, "abcd", names, strict=True):
            note.text = f"({letter}) {words}"
        for across in ("xaxis", "xaxis2", "xaxis3"):
            figure.layout[across].update(title_text=axes.steps, range=(0, run.total))
        figure.layout.xaxis4.title.text = f"{axes.task} (→ better)"
        figure.layout.yaxis4.autorange = "reversed" if run.better == "lower" else True
