"""The toy landscape under one's hands: sliders that walk anew, and a reset to write oneself."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go

from elastic_lib.figures.landscape import GOOD, MATCHED, METHODS, Landscape, Walk, walk, walks
from elastic_lib.figures.landscape_pictures import ground, look, picture, traces
from elastic_lib.notebook import pictures
from elastic_lib.notebook.widgets import when_seen
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
COLUMN = "310px"  # of the controls, which stand beside the figure
SHOWN = ("sgd", "kl", "elastic")  # at first


class Playground:
    """Sliders, boxes to tick, a figure and its readings; `box` holds them all."""

    def __init__(self, **start):
        self.sliders = {name: _slider(name, *SLIDERS[name], start.get(name)) for name in SLIDERS}
        narrow = dict(indent=False, layout=widgets.Layout(width="auto", margin="0 14px 0 0"))
        self.ticks = {m: widgets.Checkbox(m in SHOWN, description=look(m)[0], **narrow) for m in METHODS}
        self.until = widgets.IntSlider(STEPS, 0, STEPS, layout=widgets.Layout(width="150px"))
        self.player = widgets.Play(value=STEPS, min=0, max=STEPS, step=4, interval=80)
        self.left, self.readings = widgets.HTML(), widgets.HTML()
        self.figure = None
        self.walk()
        self.link = widgets.link((self.player, "value"), (self.until, "value"))
        self.until.observe(self.redraw, "value")
        for control in (*self.sliders.values(), *self.ticks.values()):
            control.observe(self.walk, "value")
        self.box = self._laid_out()

    def _laid_out(self) -> widgets.HBox:
        """Controls beside the figure, readings below it: all of it in one look."""
        decay, every, *others = self.sliders.values()
        ticks = widgets.HBox(list(self.ticks.values()), layout=widgets.Layout(flex_flow="row wrap", width=COLUMN))
        live = widgets.HBox([self.player, self.until])
        controls = [decay, every, self.left, *others, ticks, widgets.HTML("up to step"), live]
        column = widgets.VBox(controls, layout=widgets.Layout(flex=f"0 0 {COLUMN}"))
        drawn = widgets.VBox([self.figure, self.readings], layout=widgets.Layout(flex="1 1 560px", min_width="340px"))
        return widgets.HBox([column, drawn], layout=widgets.Layout(flex_flow="row wrap"))

    def walk(self, change=None) -> None:
        """All methods anew, at what the sliders say."""
        values = {name: slider.value for name, slider in self.sliders.items()}
        self.landscape = Landscape(bend=values.pop("bend"))
        self.walks = walks(self.landscape, METHODS, steps=STEPS, **values)
        left = values["decay"] ** values["every"]
        self.left.value = f"η<sup>n</sup> = <b>{left:.0%}</b> of θ0 left in θ̄ at a reset"
        self.redraw()

    def redraw(self, change=None) -> None:
        """The walks up to the step that is asked for."""
        drawn = [w.until(self.until.value) for w in self.walks]
        if self.figure is None:  # and no update yet: one that comes before the first display garbles the data
            self.figure = picture(self.landscape, drawn, "The toy landscape")
            self.figure.update_layout(autosize=True, height=540, xaxis_domain=[0, 0.44], xaxis2_domain=[0.58, 1])
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
    """What opens the playground as soon as somebody sees it; a still picture of it for viewers without a kernel."""

    def __init__(self, **start):
        self.start = start
        super().__init__([when_seen(self.enter)])

    def enter(self) -> None:
        """Puts the playground in its place; not before, or an executed notebook would store megabytes of figure."""
        self.children = (Playground(**self.start).box,)

    def _repr_mimebundle_(self, **kwargs) -> dict:
        drawn = [w for w in walks(Landscape(), METHODS, steps=STEPS) if w.method in SHOWN]
        still = pictures.still(picture(Landscape(), drawn, "The playground, which needs a kernel"))
        words = {"text/plain": "The playground, which needs a kernel: run this cell."}
        return super()._repr_mimebundle_(**kwargs) | words | still


def play(**start) -> Door:
    """The playground; `start` sets sliders: play(noise=0, decay=0.99)."""
    for name, value in start.items():
        check_known("slider", name, SLIDERS)
        _check_within(name, value)
    return Door(**start)


def _slider(name: str, words: str, low: float, high: float, step: float, usual: float, start: float | None):
    start = _check_within(name, usual if start is None else start)
    kind = widgets.IntSlider if isinstance(usual, int) else widgets.FloatSlider
    form = {} if isinstance(usual, int) else dict(readout_format=".3f")
    style, layout = dict(description_width="126px"), widgets.Layout(width="300px")
    return kind(start, min=low, max=high, step=step, description=words, style=style, layout=layout, **form)


def _check_within(name: str, value: float) -> float:
    _, low, high, *_ = SLIDERS[name]
    if not low <= value <= high:
        raise ValueError(f"{name} must lie from {low:g} to {high:g}; got {value!r}")
    return value


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


# ---- a reset to write oneself

BEFORE = {"theta": (3.0, 1.0), "average": (2.0, 0.5), "theta0": (1.0, 0.25), "momentum": (0.7, -0.7)}
RIGHT = ("average", "theta0")  # whose values θ and θ̄ have after a reset
WRONG = {  # the same for what is not one
    (
        "theta",
        "average",
    ): "nothing has changed: `x = y` gives an array a second name, `x[:] = y` writes values into it",
    ("average", "average"): "the second line is missing: θ̄ stays where it was. That is Reset to EMA",
    ("theta", "theta0"): "the first line is missing: θ̄ is back at θ0, but θ never went to its average",
    ("theta0", "theta0"): "the order is swapped: θ̄ was at θ0 before θ went to it. That is Reset to Init",
    ("theta0", "average"): "θ went to θ0, and θ̄ stayed: θ goes to its average, and the average to θ0",
    ("average", "theta"): "θ and θ̄ have changed places: θ̄ goes to θ0, not to where θ was",
    ("theta", "theta"): "θ̄ went to θ, and θ stayed: it is the other way round, and then θ̄ goes to θ0",
}


def check_reset(function: Callable[[SimpleNamespace], None]) -> str:
    """What is right or wrong with a reset, in one line.

    The function gets a model of four arrays, `theta`, `average`, `theta0` and the optimiser's `momentum`, and is to
    write into them. It is tried once by itself, then in a whole walk on the toy.
    """
    if not callable(function):
        return "✗ check_reset wants the function itself, check_reset(reset), not what it returns."
    model = SimpleNamespace(**{name: np.array(values) for name, values in BEFORE.items()})
    held = dict(vars(model))  # the arrays that optimiser and average hold
    try:
        function(model)
        wrong = _wrong_with(model, held) or _wrong_on_the_toy(function)
    except Exception as error:
        return f"✗ It stops with {type(error).__name__}: {error}."
    if wrong:
        return f"✗ Not yet: {wrong}."
    return "✓ Right: on the toy your reset walks where the library's does, through two resets."


def _wrong_with(model: SimpleNamespace, held: Mapping[str, np.ndarray]) -> str:
    """What a single reset did wrong; nothing where it did what it should."""
    if not np.array_equal(model.theta0, BEFORE["theta0"]):
        return "θ0 has moved. It is what every reset goes back to, and never changes"
    if model.momentum is not held["momentum"] or not np.array_equal(model.momentum, BEFORE["momentum"]):
        return "the optimiser's momentum was touched: a reset moves weights, and leaves the optimiser as it is"
    names = {"theta": "θ", "average": "θ̄", "theta0": "θ0"}
    for one, other in (("theta", "average"), ("average", "theta0"), ("theta", "theta0")):
        if np.shares_memory(getattr(model, one), getattr(model, other)):
            return (
                f"{names[one]} and {names[other]} are one array now, so that what moves one moves the other: a "
                f"reference was copied. model.{one}[:] = model.{other} copies values"
            )
    now = tuple(_whose(getattr(model, name)) for name in ("theta", "average"))
    if now != RIGHT:
        is_now = f"θ is {np.asarray(model.theta)} and θ̄ {np.asarray(model.average)}"
        return WRONG.get(now) or f"{is_now}; they should be {BEFORE['average']} and {BEFORE['theta0']}"
    for name in ("theta", "average"):
        if getattr(model, name) is not held[name]:
            return (
                f"the numbers are right, but {names[name]} is a new array, and training goes on with the old one: "
                f"write into it, model.{name}[:] = …"
            )
    return ""


def _whose(values: np.ndarray) -> str | None:
    """Which of the arrays had these values before."""
    return next((name for name, before in BEFORE.items() if np.array_equal(values, before)), None)


def _wrong_on_the_toy(function: Callable[[SimpleNamespace], None]) -> str:
    """Where a whole walk leaves the library's."""
    toy, steps, every, lr, decay = Landscape(), 250, 100, 0.1, 0.993
    theirs = walk(toy, "elastic", steps=steps, lr=lr, noise=0.0, decay=decay, every=every)
    model = SimpleNamespace(**{name: np.zeros(2) for name in BEFORE})
    for step in range(1, steps + 1):
        model.theta += lr * toy.gradient(model.theta)
        model.average[:] = decay * model.average + (1 - decay) * model.theta
        if step % every == 0:
            function(model)
        row = np.flatnonzero(theirs.step == step)[-1]
        if not (np.allclose(model.theta, theirs.theta[row]) and np.allclose(model.average, theirs.average[row])):
            return f"it is right once, and then not for other numbers: on the toy it goes astray in step {step}"
    return ""
