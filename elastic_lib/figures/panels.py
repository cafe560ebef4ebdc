"""Records to plotly figures: one colour and one dash a method everywhere, axes that say which way is better."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from elastic_lib import pareto
from elastic_lib.evidence import Evidence
from elastic_lib.evidence.measures import Setting, areas
from elastic_lib.figures.style import (
    band,
    chosen,
    draw,
    finish,
    frontier_band,
    look,
    mark_resets,
    name_axes,
    over_training,
    ramp,
    rolling,
    say_better,
    turn,
)

ITERATIONS = ("#FDBE85", "#F16913", "#8C2D04")


def frontier(evidence: Evidence, settings: Iterable[Setting], title: str, sweep: bool = False) -> go.Figure:
    """The Pareto frontier graph (Section 5): the best drift that a method paid for each task score.

    A `sweep` over one setting goes from pale to dark.
    """
    appearance = ramp if sweep else look
    figure = go.Figure()
    labels = chosen(evidence, settings)
    for label in labels:
        columns = ("ema_task", "ema_drift") if evidence.recipes[label].method == "track" else ("task", "drift")
        rows_of = functools.partial(frontier_band, label=label, task=columns[0], drift=columns[1])
        draw(figure, evidence, label, rows_of, appearance(evidence, label, labels))
    figure.update_xaxes(title=f"{evidence.facts.AXES.task}  (higher is better →)")
    figure.update_yaxes(title=evidence.facts.AXES.frontier)
    turn(figure, evidence)
    say_better(figure)
    return finish(figure, evidence, labels, title, height=520)


def three_panels(evidence: Evidence, settings: Iterable[Setting], title: str, stops: bool = False) -> go.Figure:
    """Drift, task and frontier side by side (Figures 3 and 8); `stops` adds the policy right after its last reset."""
    headings = ("(a) language drift", "(b) task", "(c) Pareto frontier")
    figure = make_subplots(1, 3, subplot_titles=headings, horizontal_spacing=0.085)
    labels = chosen(evidence, settings)
    for label in labels:
        appearance = look(evidence, label, labels)
        draw(figure, evidence, label, lambda c, x=label: over_training(c, x, "drift"), appearance, 1)
        draw(figure, evidence, label, lambda c, x=label: over_training(c, x, "task"), appearance, 2)
        draw(figure, evidence, label, lambda c, x=label: frontier_band(c, x, "task", "drift"), appearance, 3)
        if stops and evidence.recipes[label].reset is not None:
            _stop(figure, evidence, label, appearance)
    mark_resets(figure, evidence, labels, (1, 2))
    name_axes(figure, evidence)
    return finish(figure, evidence, labels, title)


def while_training(evidence: Evidence, settings: Iterable[Setting], title: str, window: int = 1) -> go.Figure:
    """Reward and KL of the samples that are trained on, and one against the other (Figure 6); rolling means (Figure 9).

    A row is the mean of the updates since the last one; `window` such rows are averaged.
    """
    axes = evidence.facts.AXES
    headings = ("(a) reward", "(b) KL to the initial model", "(c) Pareto frontier")
    figure = make_subplots(1, 3, subplot_titles=headings, horizontal_spacing=0.085)
    labels = chosen(evidence, settings)
    for label in labels:
        appearance = look(evidence, label, labels)
        for column, name in enumerate(("reward", "kl"), 1):
            draw(figure, evidence, label, lambda c, x=label, y=name: rolling(c, x, y, window), appearance, column)
        draw(
            figure,
            evidence,
            label,
            lambda c, x=label: frontier_band(c, x, "reward", "kl", window=window),
            appearance,
            3,
        )
    mark_resets(figure, evidence, labels, (1, 2))
    names = (
        (axes.steps, f"{axes.task} (↑ better)"),
        (axes.steps, "KL, nats a sample (↓ better)"),
        (f"{axes.task} (→ better)", "KL, nats, reversed (↑ better)"),
    )
    for column, (across, up) in enumerate(names, 1):
        figure.update_xaxes(title=across, col=column)
        figure.update_yaxes(title=up, col=column)
    figure.update_yaxes(autorange="reversed", col=3)
    return finish(figure, evidence, labels, title)


def _stop(figure: go.Figure, evidence: Evidence, label: str, appearance: tuple) -> None:
    """A star at the mean of a setting right after its last reset."""
    curves = [evidence.curve(record) for record in evidence.found[label].values()]
    last = pd.DataFrame([curve[curve["reset"] == 1].iloc[-1] for curve in curves if (curve["reset"] == 1).any()])
    if len(last):
        figure.add_scatter(
            x=[last["task"].mean()], y=[last["drift"].mean()], mode="markers", row=1, col=3, showlegend=False,
            marker=dict(symbol="star", size=15, color=appearance[1], line=dict(width=1, color="white")),
            legendgroup=appearance[0], hovertemplate="stopped right after the last reset<br>%{x:.2f}, %{y:.2f}",
        )  # fmt: skip


def iterations(evidence: Evidence, title: str) -> go.Figure:
    """PPO against Elastic Reset, whose curve is split at its resets (Figure 4), and the frontier of each iteration."""
    headings = ("(a) language drift", "(b) task", "(c) frontier of each iteration")
    figure = make_subplots(1, 3, subplot_titles=headings, horizontal_spacing=0.085)
    ppo, elastic = evidence.label("ppo"), evidence.label("elastic")
    for column, name in ((1, "drift"), (2, "task")):
        band(figure, over_training(evidence, ppo, name), look(evidence, ppo, [ppo]), column, legend=column == 1)
        for i, color in enumerate(ITERATIONS):
            appearance = (f"Elastic Reset, iteration {i + 1}", color, "solid", 1.0)
            band(figure, over_training(evidence, elastic, name, iteration=i), appearance, column, legend=column == 1)
    parts = [(ppo, None, look(evidence, ppo, [ppo]))]
    parts += [(elastic, i, (f"iteration {i + 1}", color, "solid", 1.0)) for i, color in enumerate(ITERATIONS)]
    for label, iteration, appearance in parts:
        band(figure, frontier_band(evidence, label, "task", "drift", iteration), appearance, 3, legend=False)
    mark_resets(figure, evidence, [elastic], (1, 2))
    name_axes(figure, evidence)
    return finish(figure, evidence, [ppo, elastic], title)


def hypervolumes(evidence: Evidence, settings: Iterable[Setting], title: str) -> go.Figure:
    """The hypervolume of every setting: each seed a dot, the mean and its 95% interval a bar."""
    labels = chosen(evidence, settings)
    rows = sorted(((label, _areas(evidence, label)) for label in labels), key=lambda row: np.mean(row[1]))
    figure = go.Figure()
    for label, values in rows:
        name, color, _, _ = look(evidence, label, labels)
        figure.add_scatter(x=values, y=[name] * len(values), mode="markers", showlegend=False,
                           marker=dict(color=color, opacity=0.45, size=7),
                           hovertemplate="%{x:.3f}<extra>a seed</extra>")  # fmt: skip
        mean, bars = _interval(values, color)
        figure.add_scatter(x=[mean], y=[name], error_x=bars, mode="markers", showlegend=False,
                           marker=dict(color=color, size=12, symbol="line-ns", line=dict(width=3, color=color)),
                           hovertemplate="%{x:.3f}<extra>mean</extra>")  # fmt: skip
    figure.update_xaxes(title="hypervolume, share of the ideal (→ better)")
    height = 150 + 34 * max(len(rows), 3)
    figure = finish(figure, evidence, labels, title, height, shown="each a dot, mean and 95% interval")
    return figure.update_layout(margin=dict(t=90))


def _areas(evidence: Evidence, label: str) -> list[float]:
    recipe = evidence.recipes[label]
    columns = ("ema_task", "ema_drift") if recipe.method == "track" else ("task", "drift")
    return list(areas(evidence, recipe.method, *columns, **recipe.changes()).values())


def _interval(values: list[float], color: str) -> tuple[float, dict]:
    """The mean, and plotly's error bar for its 95% interval."""
    mean, (low, high) = float(np.mean(values)), pareto.interval(values)
    bar = dict(type="data", array=[high - mean], arrayminus=[mean - low], color=color, thickness=2, width=6)
    return mean, bar


def distances(evidence: Evidence, settings: Iterable[Setting], title: str) -> go.Figure:
    """The hypervolume of each method where the two domains are near, in the middle, and far apart."""
    figure, labels = go.Figure(), []
    settings = list(settings)
    for at, distance in enumerate(("near", "middle", "far")):
        there = chosen(evidence, [(m, s if distance == "middle" else s | {"distance": distance}) for m, s in settings])
        labels += there
        for place, label in enumerate(there):
            name, color, _, strength = look(evidence, label, there)
            mean, bar = _interval(_areas(evidence, label), color)
            figure.add_scatter(
                x=[at + 0.09 * (place - (len(there) - 1) / 2)], y=[mean], error_y=bar, mode="markers", name=name,
                legendgroup=name, showlegend=not any(trace.name == name for trace in figure.data),
                marker=dict(color=color, size=10, symbol="circle" if strength == 1 else "diamond-open"),
                hovertemplate=f"{distance}: %{{y:.3f}}",
            )  # fmt: skip
    ticks = dict(tickvals=[0, 1, 2], ticktext=["near", "middle", "far"], range=[-0.5, 2.5])
    figure.update_xaxes(title="distance between the pretraining's domain and the game's", **ticks)
    figure.update_yaxes(title="hypervolume, share of the ideal (↑ better)")
    return finish(figure, evidence, labels, title, height=500, shown="mean and 95% interval")


def symptoms(evidence: Evidence, settings: Iterable[Setting], title: str) -> go.Figure:
    """How what is said changes over training: too long, repeating itself, without an end, poor in words."""
    readings = evidence.facts.SYMPTOMS
    figure = make_subplots(2, 2, subplot_titles=list(readings.values()), vertical_spacing=0.16)
    labels = chosen(evidence, settings)
    for label in labels:
        appearance = look(evidence, label, labels)
        for i, column in enumerate(readings):
            place = dict(row=1 + i // 2, column=1 + i % 2)
            band(figure, over_training(evidence, label, column), appearance, legend=i == 0, **place)
    figure.update_xaxes(title=evidence.facts.AXES.steps, row=2)
    return finish(figure, evidence, labels, title, height=680)


def measures(evidence: Evidence, settings: Iterable[Setting], columns: dict[str, str], title: str) -> go.Figure:
    """Columns of the curves over training, a panel each, under the names that are given."""
    figure = make_subplots(1, len(columns), horizontal_spacing=0.085)
    labels = chosen(evidence, settings)
    for label in labels:
        appearance = look(evidence, label, labels)
        for i, name in enumerate(columns, 1):
            band(figure, over_training(evidence, label, name), appearance, i, legend=i == 1)
    for i, words in enumerate(columns.values(), 1):
        figure.update_xaxes(title=evidence.facts.AXES.steps, col=i)
        figure.update_yaxes(title=words, col=i)
    mark_resets(figure, evidence, labels, range(1, len(columns) + 1))
    return finish(figure, evidence, labels, title)


def paths(evidence: Evidence, settings: Iterable[Setting], title: str, panels: int = 3) -> go.Figure:
    """The ways of the policies through weight space, a panel a seed, in the plane that holds most of their movement.

    All start at θ0, the cross. A dotted line is a reset; a pale one is the average, where it is a way of its own.
    """
    labels = [
        label for label in chosen(evidence, settings) if all(len(r.moves()) for r in evidence.found[label].values())
    ]
    seeds = sorted(set.intersection(*(set(evidence.found[label]) for label in labels)))[:panels] if labels else []
    headings = [f"seed {seed}" for seed in seeds]
    figure = make_subplots(1, max(len(seeds), 1), subplot_titles=headings, horizontal_spacing=0.09)
    for column, seed in enumerate(seeds, 1):
        moves = {label: evidence.found[label][seed].moves() for label in labels}
        policies = [rows[rows["whose"] == "policy"].iloc[:, 3:] for rows in moves.values()]
        visited = np.concatenate(policies).astype(float)
        _, sizes, plane = np.linalg.svd(visited, full_matrices=False)
        plane = plane[:2] * np.sign(visited.mean(0) @ plane[:2].T)[:, None]
        for label, rows in moves.items():
            _path(figure, rows, plane, look(evidence, label, labels), column)
        figure.add_scatter(x=[0], y=[0], mode="markers", showlegend=False, row=1, col=column, hovertemplate="θ0",
                           marker=dict(symbol="x-thin", size=12, line=dict(width=2.5, color="#444444")))  # fmt: skip
        shares = sizes[:2] ** 2 / (sizes**2).sum()
        figure.update_xaxes(title=f"1st direction, {shares[0]:.0%} of movement", col=column)
        figure.update_yaxes(title=f"2nd, {shares[1]:.0%}", scaleanchor=f"x{column}", col=column)
    return finish(figure, evidence, labels, title, height=520, shown=f"the first {len(seeds)} drawn")


def _path(figure: go.Figure, rows: pd.DataFrame, plane: np.ndarray, appearance: tuple, column: int) -> None:
    """One policy's way in a plane, its jumps, and its average."""
    name, color, dash, strength = appearance
    at = {whose: part.iloc[:, 3:].to_numpy(float) @ plane.T for whose, part in rows.groupby("whose")}
    policy = rows[rows["whose"] == "policy"]
    place = dict(legendgroup=name, row=1, col=column)
    jumps = np.flatnonzero(policy["reset"] == 1)
    walked = np.insert(at["policy"], jumps, np.nan, axis=0)
    jumped = np.concatenate([[*at["policy"][[i - 1, i]], [np.nan] * 2] for i in jumps] or [np.empty((0, 2))])
    said = np.insert(policy["step"].to_numpy(float), jumps, np.nan)
    pale = dict(mode="lines", showlegend=False, hoverinfo="skip", **place)
    figure.add_scatter(x=at["average"][:, 0], y=at["average"][:, 1], opacity=0.35,
                       line=dict(color=color, width=1.2), **pale)  # fmt: skip
    figure.add_scatter(x=jumped[:, 0], y=jumped[:, 1], line=dict(color=color, width=1.6, dash="dot"), **pale)
    figure.add_scatter(
        x=walked[:, 0], y=walked[:, 1], name=name, showlegend=column == 1, mode="lines+markers", opacity=strength,
        line=dict(color=color, dash=dash, width=2), marker=dict(size=4, color=color), customdata=said,
        hovertemplate="update %{customdata}", **place,
    )  # fmt: skip
