"""The scrubber with a kernel behind it: methods and seeds to choose, readings made anew, and what the model says."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np
import plotly.graph_objects as go

try:
    import anywidget
    import ipywidgets
except ImportError:
    anywidget = ipywidgets = None

from elastic_lib.evidence import Evidence
from elastic_lib.figures import scrubber
from elastic_lib.figures.style import Setting, chosen, finish, look, say_better
from elastic_lib.notebook import pictures
from elastic_lib.notebook.reading import marked
from elastic_lib.recipe.rules import unknown

VIEWS = ("mean and band", "single seeds")
HINT = "Click a point: what the model says there, beside what it said before training."
# Tells the kernel that somebody looks. A figure carries all of plotly.js, which a notebook that is executed without a
# reader would keep in its file.
EYE = "export default { render({ model }) { model.send('seen'); } };"


def when_seen(do: Callable[[], None]) -> Any:
    """A widget that has no looks, and does something once it is on somebody's page."""
    eye = type("Eye", (anywidget.AnyWidget,), {"_esm": EYE})()
    eye.on_msg(lambda *_: do())
    return eye


def scrub(evidence: Evidence, settings: Iterable[Setting], title: str) -> Any:
    """A `Scrub` to show as the last line of a notebook's cell, which answers as long as the kernel runs.

    Where there are no records of the settings, a line that says so, as in a figure.
    """
    if ipywidgets is None:
        raise ImportError("the scrubber needs ipywidgets and anywidget: pip install ipywidgets anywidget")
    labels = chosen(evidence, settings)
    if not labels:
        makes = f"make reproduce SCALE={evidence.scale} FULL=1 makes them"
        return ipywidgets.HTML(f"<p>no records of this at scale {evidence.scale}: {makes}</p>")
    return Scrub(evidence, labels, title)


class Scrub:
    """A slider over training, methods and seeds to choose, readings, and what the model says at a clicked point.

    `at`, `show` and `click` do what the slider, the boxes and the mouse do.
    """

    def __init__(self, evidence: Evidence, labels: list[str], title: str):
        self.evidence, self.labels, self.title = evidence, labels, title
        self.runs = {label: scrubber.checkpoints(evidence, label) for label in labels}
        self.parts = [part for x in labels for part in scrubber.parts_of(evidence, x, labels, self.runs[x])]
        self.steps = scrubber.steps_of(self.runs)
        self._make_controls()
        for control in (self.step, self.view, self.level, *self.methods.values(), *self.seeds.values()):
            control.observe(lambda _: self.draw(), names="value")
        self.draw()
        row = dict(layout=ipywidgets.Layout(flex_flow="row wrap"))
        eye = when_seen(self.open)
        self.box = ipywidgets.VBox([
            ipywidgets.HBox([self.play, self.step], **row), ipywidgets.HBox([self.view, self.level], **row),
            ipywidgets.HBox(list(self.methods.values()), **row), ipywidgets.HBox(list(self.seeds.values()), **row),
            self.readings, eye, self.said,
        ])  # fmt: skip

    def open(self) -> None:
        """Puts the figure in its place; the page does it by itself as soon as the scrubber is on it."""
        *above, _, said = self.box.children
        self.box.children = (*above, self.figure, said)

    @functools.cached_property
    def figure(self) -> Any:
        """The FigureWidget, made when it is first wanted."""
        figure = go.FigureWidget(self._drawn())
        for part, trace in zip(self.parts, figure.data, strict=True):
            if part.kind == "dots":
                trace.on_click(self._clicked)
        self._move(figure)
        return figure

    def _drawn(self) -> go.Figure:
        drawn = go.Figure([part.trace for part in self.parts])
        shown = "every checkpoint a dot, ★ right after a reset"
        finish(drawn, self.evidence, self.labels, self.title, 520, shown)
        under = f"<span style='font-size:12px;color:#666666'>{drawn.layout.title.subtitle.text}</span>"
        drawn.layout.title = dict(text=f"{self.title}<br>{under}", x=0.01, y=0.97, yanchor="top", yref="container")
        drawn.update_layout(margin=dict(t=80), showlegend=False, autosize=True)
        drawn.update_traces(mode="lines", line_width=1.4, selector=dict(mode="none"))
        scrubber.set_axes(drawn, self.evidence, self.runs)
        say_better(drawn)
        return drawn

    def _make_controls(self) -> None:
        last, words = len(self.steps) - 1, dict(style=dict(description_width="initial"))
        self.step = ipywidgets.SelectionSlider(options=self.steps, index=last, description="after update", **words)
        self.play = ipywidgets.Play(min=0, max=last, value=last, interval=500)
        self.linked = ipywidgets.jslink((self.play, "value"), (self.step, "index"))
        self.view = ipywidgets.ToggleButtons(options=VIEWS)
        grid, task = self.evidence.facts.AXES.grid, self.evidence.facts.AXES.task.split(",")[0]
        self.level = ipywidgets.FloatText(
            value=scrubber.matched_level(self.evidence, self.runs),
            step=grid,
            description=f"drift at {task} ≥",
            **words,
        )
        narrow = dict(indent=False, layout=ipywidgets.Layout(width="auto", margin="0 14px 0 0"))
        self.methods = {
            x: ipywidgets.Checkbox(value=True, description=look(self.evidence, x, self.labels).name, **narrow)
            for x in self.labels
        }
        seeds = sorted({seed for runs in self.runs.values() for seed in runs})
        self.seeds = {seed: ipywidgets.Checkbox(value=True, description=f"seed {seed}", **narrow) for seed in seeds}
        self.readings, self.said = ipywidgets.HTML(), ipywidgets.HTML(f"<p>{HINT}</p>")

    # ---- what the controls do

    def at(self, step: int) -> None:
        """Goes to a step."""
        _check("step", step, self.steps)
        self.step.value = step

    def show(self, methods: Collection[str] | None = None, seeds: Collection[int] | None = None) -> None:
        """Shows these settings, by label, and these seeds alone; None leaves what is chosen."""
        for what, wanted, boxes in (("setting", methods, self.methods), ("seed", seeds, self.seeds)):
            for name in wanted or ():
                _check(what, name, boxes)
            for name, box in boxes.items():
                box.value = box.value if wanted is None else name in wanted

    def click(self, label: str, seed: int, step: int, reset: int = 0) -> None:
        """Shows what a run says at a checkpoint, or right after a reset, beside what it said before training."""
        _check("setting", label, self.runs)
        _check("seed", seed, self.runs[label])
        every = self.evidence.found[label][seed].samples().sort_values("id", kind="stable")
        _check("reset at step" if reset else "step", step, sorted(set(every["step"][every["reset"] == reset])))
        before, now = (every[(every["step"] == s) & (every["reset"] == r)] for s, r in ((0, 0), (step, reset)))
        when = f"right after the reset at update {step}" if reset else f"after update {step}"
        name = html.escape(self.methods[label].description)
        online = " (the policy itself says: records keep no words of its average)" * (
            self.evidence.recipes[label].reads_average
        )
        self.said.value = f"<h4>{name}, seed {seed}{online}</h4>" + beside(before, now, when)

    def _clicked(self, trace: Any, points: Any, _: Any) -> None:
        for i in points.point_inds[:1]:
            label, seed, step, reset = trace.customdata[i][:4]
            self.click(str(label), int(seed), int(step), int(reset))

    # ---- what they change

    def chosen(self) -> dict[str, scrubber.Runs]:
        """The checkpoints of what is ticked."""
        seeds = [seed for seed, box in self.seeds.items() if box.value]
        ticked = [label for label, box in self.methods.items() if box.value]
        found = {label: {s: points for s, points in self.runs[label].items() if s in seeds} for label in ticked}
        return {label: runs for label, runs in found.items() if runs}

    def draw(self) -> None:
        """Brings lines, dots and readings to the step, for what is ticked."""
        self.readings.value = self._table(self.chosen())
        if "figure" in vars(self):
            self._move(self.figure)

    def _move(self, figure: Any) -> None:
        single, changes = self.view.value == VIEWS[1], {}
        for label, runs in self.chosen().items():
            kinds = [("band", None), ("mean", None), *((kind, seed) for seed in runs for kind in ("line", "dots"))]
            made = scrubber.at(self.evidence, runs, self.step.value)
            changes |= {(label, *kind): change for kind, change in zip(kinds, made, strict=True)}
        # One message a kind, each with a value for every trace: what a message leaves out, the page would forget.
        for kind in ("band", "mean", "line", "dots"):
            places = [i for i, part in enumerate(self.parts) if part.kind == kind]
            news = [changes.get(self.parts[i][:3]) for i in places]
            visible = {"dots": True, "line": single, "band": not single, "mean": not single}[kind]
            shown = [new is not None and visible for new in news]
            news = [new or dict(x=[], y=[], marker=dict(opacity=[])) for new in news]
            change = {"visible": shown, "x": [new["x"] for new in news], "y": [new["y"] for new in news]}
            if kind == "dots":
                change["marker.opacity"] = [new["marker"]["opacity"] for new in news]
            figure.plotly_restyle(change, trace_indexes=places)

    def _table(self, shown: dict[str, scrubber.Runs]) -> str:
        heads = [head.replace("<br>", " ") for head in scrubber.heads(self.evidence, self.level.value)]
        rows = []
        for label, runs in shown.items():
            seen = look(self.evidence, label, self.labels)
            read = scrubber.reading(self.evidence, runs, self.step.value, self.level.value)
            dot = f"<span style='color:{seen.color}'>●</span>"
            rows.append(
                [f"{dot} {html.escape(seen.name)}", *("–" if np.isnan(value) else f"{value:.4g}" for value in read)]
            )
        body = "".join(f"<tr>{''.join(f'<td style=padding-right:2em>{x}</td>' for x in row)}</tr>" for row in rows)
        head = "".join(f"<th style='text-align:left;padding-right:2em'>{html.escape(x)}</th>" for x in ("", *heads))
        count = sum(box.value for box in self.seeds.values())
        note = f"<small>means over {count} seeds; –: not every one gets there</small>"
        return f"<table><tr>{head}</tr>{body}</table>{note}"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        words = {"text/plain": "A scrubber, which needs a kernel: run this cell."}
        drawn = self._drawn()
        self._move(drawn)
        return self.box._repr_mimebundle_(**kwargs) | words | pictures.still(drawn)


def beside(before: Any, now: Any, when: str) -> str:
    """A table of each prompt, what was said before training and is said now; words that were not said are marked."""
    columns = [name for name in ("prompt", "reference") if name in now]
    before = before.set_index("id")["text"]
    rows = []
    for row in now.to_dict("records"):
        first = before.get(row["id"], "")
        asked = [html.escape(row[name]) for name in columns]
        rows.append([*asked, html.escape(first), marked(first.split(), row["text"].split())])
    style = "style='text-align:left;vertical-align:top;padding:0 1em .5em 0;white-space:normal'"
    body = "".join(f"<tr>{''.join(f'<td {style}>{part}</td>' for part in row)}</tr>" for row in rows)
    heads = "".join(f"<th {style}>{html.escape(name)}</th>" for name in (*columns, "before training", when))
    note = "<small><mark>marked</mark>: not said before training</small>"
    return f"<table style='width:100%'><tr>{heads}</tr>{body}</table>{note}"


def _check(what: str, given: Any, known: Collection) -> None:
    if given not in known:
        raise ValueError(unknown(what, given, [str(name) for name in known] or ["none"]))
