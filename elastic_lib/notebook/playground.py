"""The toy landscape under sliders: every move walks again, and redraws the figure and its readings."""

from __future__ import annotations

import html
import math

import ipywidgets as widgets
import plotly.graph_objects as go

from elastic_lib.figures.landscape import GOOD, MATCHED, METHODS, Landscape, Walk, walks
from elastic_lib.figures.landscape_pictures import ground, look, picture, traces
from elastic_lib.notebook import pictures
from elastic_lib.recipe.rules import check_known

STEPS = 300
SLIDERS = {  # of walk(), and the landscape's bend: words, least, most, step, start
    "decay": ("η of the average", 0.9, 1.0, 0.001, 0.993),
    "every": ("n, steps to a reset", 1, STEPS, 1, 100),
    "beta": ("β of the KL", 0.0, 0.5, 0.005, 0.05),
    "lr": ("learning rate", 0.01, 0.4, 0.01, 0.1),
    "noise": ("noise of a gradient", 0.0, 2.0, 0.05, 0.7),
    "bend": ("bend of language", -0.4, 0.4, 0.05, 0.0),
    "seed": ("seed", 0, 99, 1, 0),
}
NARROW = dict(width="210px")
SHOWN = ("sgd", "kl", "elastic")  # at first


class Playground:
    """Sliders, boxes to tick, a figure and its readings; `box` holds them all."""

    def __init__(self, **start):
        self.sliders = {name: _slider(name, *SLIDERS[name], start.get(name)) for name in SLIDERS}
        self.ticks = {
            m: widgets.Checkbox(m in SHOWN, description=look(m)[0], indent=False, layout=NARROW) for m in METHODS
        }
        self.until = widgets.IntSlider(STEPS, 0, STEPS, description="up to step", readout=True)
        self.player = widgets.Play(value=STEPS, min=0, max=STEPS, step=4, interval=80)
        self.readings = widgets.HTML()
        self.figure = None
        self.walk()
        self.link = widgets.link((self.player, "value"), (self.until, "value"))
        self.until.observe(self.redraw, "value")
        for control in (*self.sliders.values(), *self.ticks.values()):
            control.observe(self.walk, "value")
        whole, wrap = dict(layout=widgets.Layout(flex="0 0 auto")), dict(layout=widgets.Layout(flex_flow="row wrap"))
        columns = [widgets.VBox(list(part.values()), **whole) for part in (self.sliders, self.ticks)]
        live = widgets.HBox([self.player, self.until])
        self.box = widgets.VBox([widgets.HBox([*columns, self.readings], **wrap), live, self.figure])

    def walk(self, change=None) -> None:
        """All methods anew, at what the sliders say."""
        values = {name: slider.value for name, slider in self.sliders.items()}
        self.landscape = Landscape(bend=values.pop("bend"))
        self.walks = walks(self.landscape, METHODS, steps=STEPS, **values)
        self.redraw()

    def redraw(self, change=None) -> None:
        """The walks up to the step that is asked for."""
        drawn = [w.until(self.until.value) for w in self.walks]
        if self.figure is None:  # and no update yet: one that comes before the first display garbles the data
            self.figure = picture(self.landscape, drawn, "The toy landscape").update_layout(width=1050)
            self._hide()
            self.figure = go.FigureWidget(self.figure)
        else:
            self._move(drawn)
        self.readings.value = _table([w for w in drawn if self.ticks[w.method].value])

    def _move(self, drawn: list[Walk]) -> None:
        now = ground(self.landscape) + [trace for w in drawn for trace in traces(w)]
        with self.figure.batch_update():
            self._hide()
            for old, new in zip(self.figure.data, now, strict=True):
                old.update(x=new.x, y=new.y)
                if new.type == "scatter" and new.marker.size is not None:
                    old.marker.size = new.marker.size

    def _hide(self) -> None:
        for method, tick in self.ticks.items():
            self.figure.update_traces(visible=tick.value, selector=dict(legendgroup=look(method)[0]))


class Door(widgets.VBox):
    """The button, and for viewers without a kernel a still picture of what lies behind it."""

    def _repr_mimebundle_(self, **kwargs) -> dict:
        drawn = [w for w in walks(Landscape(), METHODS, steps=STEPS) if w.method in SHOWN]
        still = pictures.still(picture(Landscape(), drawn, "The playground, which needs a kernel"))
        return super()._repr_mimebundle_(**kwargs) | still


def play(**start) -> Door:
    """A button that opens the playground; `start` sets sliders: play(noise=0, decay=0.99)."""
    for name in start:
        check_known("slider", name, SLIDERS)
    button = widgets.Button(description="open the playground", icon="play", layout=widgets.Layout(width="220px"))
    box = Door([button])
    # A live figure brings five megabytes of JavaScript, which an executed notebook would store: only on demand.
    button.on_click(lambda _: setattr(box, "children", (Playground(**start).box,)))
    return box


def _slider(name: str, words: str, low: float, high: float, step: float, usual: float, start: float | None):
    start = usual if start is None else start
    if not low <= start <= high:
        raise ValueError(f"{name} must lie from {low:g} to {high:g}; got {start!r}")
    kind = widgets.IntSlider if isinstance(usual, int) else widgets.FloatSlider
    form = {} if isinstance(usual, int) else dict(readout_format=".3f")
    style, layout = dict(description_width="150px"), widgets.Layout(width="380px")
    return kind(start, min=low, max=high, step=step, description=words, style=style, layout=layout, **form)


def _table(drawn: list[Walk]) -> str:
    """What the walks have come to so far."""
    heads = ("", "reward now", "drift now", "area of the frontier", f"drift at reward {MATCHED:g}")
    rows = []
    for w in drawn:
        name, color, _ = look(w.method)
        matched = "not reached" if math.isnan(w.drift_at()) else f"{w.drift_at():.2f}"
        bad = " style='color:#B3261E'" if w.drift[-1] > GOOD else ""
        rows.append(
            f"<tr><td style='color:{color};padding-right:1em'><b>{html.escape(name)}</b></td>"
            f"<td>{w.reward[-1]:.3f}</td><td{bad}>{w.drift[-1]:.2f}</td><td>{w.area():.3f}</td><td>{matched}</td></tr>"
        )
    head = "".join(f"<th style='text-align:left;padding-right:1em'>{text}</th>" for text in heads)
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"
