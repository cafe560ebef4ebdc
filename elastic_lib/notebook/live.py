"""Runs that are going on, watched in a notebook: `live.live()`; in a terminal it is `elastic watch`."""

from __future__ import annotations

import asyncio
import html
import time
from pathlib import Path
from typing import Any

from elastic_lib.figures.names import many
from elastic_lib.figures.style import AT_A_RESET, COLORS
from elastic_lib.recipe.rules import check_known
from elastic_lib.records.ongoing import Run, newest, read, state_of, states
from elastic_lib.records.record import own_results
from elastic_lib.records.watch import named
from elastic_lib.tasks import facts

SECONDS = 1.0  # between two looks
WHATEVER = "whatever is running"


def live(results: Path | str | None = None, run_id: str | None = None, seconds: float = SECONDS) -> Panel:
    """A panel that follows the runs of a results folder while the kernel is free; your own of pocket by default."""
    results = own_results("pocket") if results is None else Path(results)
    if run_id is not None:
        check_known(f"run of {named(results)}", run_id, states(results))
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
            self.words.value = f"Nothing has run in {html.escape(named(self.results))} so far."
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
    parts = [count, many(resets, "reset") if resets else "", state_of(run, now)]
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
    axes, color, points = facts(run.task).AXES, COLORS[run.method][0], run.points()
    kept = run.frontier()
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
        figure.layout.shapes = [
            dict(type="line", x0=step, x1=step, y0=0, y1=1, xref=f"x{i}", yref=f"y{i} domain", line=AT_A_RESET)
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
