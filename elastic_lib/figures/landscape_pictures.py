"""The toy landscape drawn: walks over contours, their frontiers, sliders that need no kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from elastic_lib import pareto
from elastic_lib.figures.landscape import GOOD, MATCHED, METHODS, Landscape, Walk, walk, walks
from elastic_lib.figures.names import METHODS as METHOD_NAMES
from elastic_lib.figures.style import AT_A_RESET, COLORS, dress, say_better
from elastic_lib.recipe import Recipe
from elastic_lib.recipe.rules import COUNT, check_known

NAMES = {"sgd": "SGD", "ema": "SGD, its EMA read out"}  # the others are called as everywhere
STYLES = {"sgd": "ppo", "ema": "track"}
ORIGIN = "a toy, computed here: no records"
WINDOW = ((-0.45, 2.9), (-0.95, 2.2))
GRID = 61


def look(method: str) -> tuple[str, str, str]:
    """Name, colour, dash."""
    check_known("method of the toy", method, METHODS)
    return NAMES.get(method) or METHOD_NAMES[method], *COLORS[STYLES.get(method, method)]


def contest(landscape: Landscape, methods: Iterable[str] = METHODS, seeds: int = 20, **settings) -> pd.DataFrame:
    """Means over seeds; the drift at the matched reward only where every seed reaches it."""
    COUNT.check("seeds", seeds)
    rows = {}
    for method in methods:
        several = [walk(landscape, method, seed=seed, **settings) for seed in range(seeds)]
        areas, matched = [w.area() for w in several], [w.drift_at() for w in several]
        low, high = pareto.interval(areas)
        rows[look(method)[0]] = {
            "reward at the end": np.mean([w.reward[-1] for w in several]),
            "drift at the end": np.mean([w.drift[-1] for w in several]),
            "area of the frontier": np.mean(areas),
            "95% interval": f"{low:.3f} to {high:.3f}" if seeds > 1 else "",
            f"drift at reward {MATCHED:g}": f"{np.mean(matched):.3f}" if np.isfinite(matched).all() else "–",
            "got there": f"{np.isfinite(matched).sum()} of {seeds}",
        }
    return pd.DataFrame(rows).T.infer_objects().round(3)


def picture(landscape: Landscape, drawn: Iterable[Walk], title: str) -> go.Figure:
    """The walks over contours of the reward, and their frontiers of reward and drift."""
    drawn = list(drawn)
    figure = make_subplots(1, 2, subplot_titles=("(a) two weights", "(b) Pareto frontier"), horizontal_spacing=0.1)
    figure.add_traces(ground(landscape))
    figure.add_traces([trace for w in drawn for trace in traces(w)])
    start = float(landscape.reward(np.zeros(2)))
    figure.update_xaxes(title="x, which is paid for and cheap", range=WINDOW[0], col=1)
    figure.update_yaxes(title="y, which pays little and costs much", range=WINDOW[1], col=1)
    figure.update_xaxes(title="reward  (higher is better →)", range=[start - 0.05, 1.03], col=2)
    figure.update_yaxes(title="drift, axis reversed (↑ better)", range=[1.3 * GOOD, -0.08], col=2)
    figure.add_hline(y=GOOD, line=dict(color="#2E7D32", width=1, dash="dot"), row=1, col=2)
    say_better(figure)
    figure.layout.annotations[-1].update(xref="x2 domain", yref="y2 domain")
    return dress(figure, title, ORIGIN, height=600).update_layout(margin=dict(l=60, t=125), legend=dict(y=1.07))


def ground(landscape: Landscape) -> list[go.Scatter | go.Contour]:
    """What does not move: good language, the reward, θ0 and the optimum."""
    across, up = (np.linspace(*ends, GRID, dtype=np.float32) for ends in WINDOW)
    height = landscape.reward(np.stack(np.meshgrid(across, up), -1)).astype(np.float32)
    turn, size = np.linspace(0, 2 * np.pi, 121), np.sqrt(2 * GOOD)
    x = size * landscape.language_widths[0] * np.cos(turn)
    y = landscape.bend * x**2 + size * landscape.language_widths[1] * np.sin(turn)
    region = go.Scatter(
        x=x, y=y, mode="lines", fill="toself", fillcolor="rgba(46,125,50,0.13)", hoverinfo="skip",
        line=dict(color="#2E7D32", width=1, dash="dot"), name=f"good language: drift up to {GOOD:g}",
    )  # fmt: skip
    contours = go.Contour(
        x=across, y=up, z=height, showscale=False, line=dict(width=1), hovertemplate="reward %{z:.2f}<extra></extra>",
        colorscale=[[0, "#E3E3E3"], [1, "#6E6E6E"]],
        contours=dict(coloring="lines", showlabels=True, start=0.2, end=0.95, size=0.15, labelfont=dict(size=10)),
    )  # fmt: skip
    marks = go.Scatter(
        x=[0, landscape.goal[0]], y=[0, landscape.goal[1]], mode="markers+text", text=["θ0 ", " optimum"],
        textposition=["middle left", "middle right"], hoverinfo="skip", showlegend=False,
        marker=dict(symbol=["circle", "star"], size=[9, 14], color="black"),
    )  # fmt: skip
    return [contours, region, marks]


def traces(w: Walk) -> list[go.Scatter]:
    """A walk's path, its resets, where it is; its path over reward and drift, its frontier."""
    name, color, dash = look(w.method)
    at, jumps = w.shown, np.flatnonzero(w.reset)
    broken = np.insert(np.column_stack([at, w.reward, w.drift]), jumps, np.nan, axis=0).astype(np.float32)
    leaps = np.full((len(jumps), 3, 2), np.nan)
    leaps[:, 0], leaps[:, 1] = at[jumps - 1], at[jumps]
    leaps = leaps.reshape(-1, 2).astype(np.float32)
    reward, drift = w.points()
    best = pareto.frontier(reward, drift, "lower")
    shared = dict(legendgroup=name, showlegend=False, name=name)
    thin, right = dict(color=color, width=1.3), dict(xaxis="x2", yaxis="y2")
    place = "x %{x:.2f} · y %{y:.2f}<extra></extra>"
    trade = "reward %{x:.3f} or more · drift %{y:.3f}<extra></extra>"
    return [
        go.Scatter(x=broken[:, 0], y=broken[:, 1], mode="lines", opacity=0.65, line=thin, hoverinfo="skip", **shared),
        go.Scatter(x=leaps[:, 0], y=leaps[:, 1], mode="lines+markers", line=dict(color=color, width=2.2, dash="dot"),
                   marker=dict(symbol="diamond", size=np.tile(np.float32([0, 10, 0]), len(jumps)), opacity=1,
                               color=color, line=dict(width=1, color="white")),
                   hovertemplate=f"{name} · right after a reset<br>{place}", **shared),
        go.Scatter(x=at[-1:, 0], y=at[-1:, 1], mode="markers",
                   hovertemplate=f"{name} · after {w.step[-1]} steps<br>{place}",
                   marker=dict(size=12, color=color, line=dict(width=1.5, color="white")), **shared),
        go.Scatter(x=broken[:, 2], y=broken[:, 3], mode="lines", opacity=0.25, line=thin, hoverinfo="skip", **shared,
                   **right),
        go.Scatter(x=reward[best].astype(np.float32), y=drift[best].astype(np.float32), mode="lines",
                   line=dict(color=color, dash=dash, width=2.6, shape="vh"),
                   hovertemplate=f"{name}<br>{trade}", **shared | dict(showlegend=True), **right),
    ]  # fmt: skip


def film(landscape: Landscape, drawn: Iterable[Walk], title: str, stride: int = 10) -> go.Figure:
    """The walks as they go, with a slider over steps that works without a kernel."""
    drawn = list(drawn)
    stops = sorted({*range(0, int(drawn[0].step[-1]) + 1, COUNT.check("stride", stride)), int(drawn[0].step[-1])})
    states = {f"{stop}": [trace for w in drawn for trace in traces(w.until(stop))] for stop in stops}
    return _slide(picture(landscape, drawn, title), states, "after step ", len(stops) - 1, play=True)


def over_decay(
    landscape: Landscape, methods: Iterable[str], decays: Iterable[float], title: str, every: int = 100, **settings
) -> go.Figure:
    """The same walks for each η, with a slider over it."""
    methods, decays = list(methods), list(decays)
    sets = [walks(landscape, methods, decay=decay, every=every, **settings) for decay in decays]
    names = [f"{decay:g} ({decay**every:.0%})" for decay in decays]
    states = {name: [t for w in drawn for t in traces(w)] for name, drawn in zip(names, sets, strict=True)}
    middle = len(decays) // 2
    prefix = "η (θ0 left in θ̄ at a reset): "
    return _slide(picture(landscape, sets[middle], title), states, prefix, middle, play=False)


def _slide(figure: go.Figure, states: Mapping[str, list], prefix: str, active: int, play: bool) -> go.Figure:
    moving = list(range(len(figure.data) - len(next(iter(states.values()))), len(figure.data)))
    figure.frames = [go.Frame(name=name, data=data, traces=moving) for name, data in states.items()]
    # Without a redraw plotly loses the contours, and the sizes of the diamonds.
    still = dict(mode="immediate", frame=dict(duration=0, redraw=True), transition=dict(duration=0))
    steps = [dict(method="animate", label=name, args=[[name], still]) for name in states]
    slider = dict(active=active, steps=steps, currentvalue=dict(prefix=prefix), pad=dict(t=55), x=0.1, len=0.84)
    figure.update_layout(sliders=[slider], height=690, margin=dict(b=150))
    if play:
        run = dict(frame=dict(duration=150, redraw=True), transition=dict(duration=0), fromcurrent=True)
        buttons = [dict(label="▶", method="animate", args=[None, run])]
        buttons += [dict(label="❚❚", method="animate", args=[[None], still])]
        menu = dict(type="buttons", direction="left", buttons=buttons, x=0, y=-0.13, xanchor="left", yanchor="top")
        figure.update_layout(updatemenus=[menu])
    return figure


def sawtooth(drawn: Iterable[Walk], title: str) -> go.Figure:
    """How far θ lies from θ0 and from θ̄ at each step."""
    figure = make_subplots(1, 2, horizontal_spacing=0.1)
    for w in drawn:
        name, color, dash = look(w.method)
        line = dict(mode="lines", name=name, legendgroup=name, line=dict(color=color, dash=dash, width=2))
        for column, other in enumerate((0, w.average), 1):
            far = np.linalg.norm(w.theta - other, axis=-1)
            words = f"{name} · after %{{x}} steps<br>{('|θ−θ0|', '|θ−θ̄|')[column - 1]} %{{y:.2f}}<extra></extra>"
            figure.add_scatter(x=w.step, y=far, hovertemplate=words, **line, showlegend=column == 1, row=1, col=column)
            for step in w.resets:
                figure.add_vline(x=step, line=AT_A_RESET, row=1, col=column)
    figure.update_xaxes(title="steps")
    figure.update_yaxes(title="|θ−θ0|", rangemode="tozero", col=1)
    figure.update_yaxes(title="|θ−θ̄|", rangemode="tozero", col=2)
    return dress(figure, title, ORIGIN, height=450).update_layout(margin=dict(l=60, t=125), legend=dict(y=1.07))


def fading(recipes: Iterable[Recipe], title: str) -> go.Figure:
    """The share of θ0 in θ̄ from one reset to the next, for recipes that reset: solid at scale paper."""
    figure, age = go.Figure(), np.linspace(0, 1, 101)
    for recipe in recipes:
        known, left = recipe.facts, recipe.left_at_reset()
        moves = recipe.moves_to_reset()
        name = f"{known.TITLE}, {recipe.scale}: η = {recipe.reset.decay:.4g}, {moves:,} moves, {left:.1%} left"
        figure.add_scatter(
            x=age, y=recipe.reset.decay ** (age * moves), mode="lines", name=name,
            line=dict(color=known.COLOR, width=2.4, dash="solid" if recipe.scale == "paper" else "dash"),
            hovertemplate=f"{known.TITLE}, {recipe.scale}<br>%{{y:.1%}} of θ0 left<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title="from one reset (0) to the next (1)", range=[-0.01, 1.01])
    figure.update_yaxes(title="share of θ0 in θ̄", tickformat=".0%", range=[-0.02, 1.02])
    legend = dict(orientation="v", x=1.02, xanchor="left", y=1, yanchor="top")
    figure = dress(figure, title, "computed from the settings of each scale", height=430)
    return figure.update_layout(legend=legend, margin=dict(l=60, t=80))
