"""Records to plotly figures: one colour and one dash a method everywhere, axes that say which way is better.

A band is the mean over seeds ± its standard error; a dotted upright line is a reset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from elastic_lib import pareto
from elastic_lib.cells import Cells, Missing, area_of, area_of_average, per_seed

# Okabe and Ito's colours, which the colour-blind can tell apart; the dash says the same again.
LOOKS = {
    "ppo": ("PPO", "#0072B2", "solid"),
    "nlpo": ("NLPO", "#E69F00", "dash"),
    "elastic": ("Elastic Reset", "#D55E00", "solid"),
    "to_ema": ("Reset to EMA", "#009E73", "dashdot"),
    "to_init": ("Reset to Init", "#CC79A7", "dot"),
    "track": ("PPO, its EMA read out", "#555555", "9px,3px"),
}
SHADES = {0: 1.0, 1: 0.75, 2: 0.58, 3: 0.45}  # settings of one method differ in strength, first the strongest
ITERATIONS = ("#FDBE85", "#F16913", "#8C2D04")
TASK_AXIS = "sentiment reward, P(positive)  (higher is better →)"
REWARD_AXIS = "sentiment reward (↑ better)"
DRIFT_AXIS = "perplexity of true reviews (↓ better)"
FRONTIER_AXIS = "perplexity, axis reversed (↑ better)"
Setting = tuple[str, dict]


def name_of(cells: Cells, label: str) -> str:
    """A setting as a legend says it: 'Elastic Reset β=0.01'."""
    recipe = cells.recipes[label]
    extra = [f"{key}={value}" for key, value in recipe.changes().items() if key != "beta"]
    return " ".join([LOOKS[recipe.method][0], f"β={recipe.beta:g}", *extra])


def chosen(cells: Cells, settings: Iterable[Setting]) -> list[str]:
    """Labels of the settings of which there are records."""
    labels = []
    for method, changed in settings:
        try:
            labels.append(cells.label(method, **changed))
        except (Missing, ValueError):
            continue
    return labels


def frontier(cells: Cells, settings: Iterable[Setting], title: str) -> go.Figure:
    """The Pareto frontier graph (Section 5): the least perplexity that a method paid for each reward."""
    figure = go.Figure()
    labels = chosen(cells, settings)
    for label in labels:
        columns = ("ema_task", "ema_drift") if cells.recipes[label].method == "track" else ("task", "drift")
        _draw(figure, cells, label, lambda c, x=label, y=columns: _frontier_band(c, x, *y), _look(cells, label, labels))
    figure.update_xaxes(title=TASK_AXIS)
    figure.update_yaxes(title=FRONTIER_AXIS, autorange="reversed")
    _say_better(figure)
    return _finish(figure, cells, labels, title, height=520)


def three_panels(cells: Cells, settings: Iterable[Setting], title: str) -> go.Figure:
    """Drift, task and frontier side by side (Figure 8)."""
    headings = ("(a) language drift", "(b) task", "(c) Pareto frontier")
    figure = make_subplots(1, 3, subplot_titles=headings, horizontal_spacing=0.085)
    labels = chosen(cells, settings)
    for label in labels:
        look = _look(cells, label, labels)
        _draw(figure, cells, label, lambda c, x=label: _over_training(c, x, "drift"), look, 1)
        _draw(figure, cells, label, lambda c, x=label: _over_training(c, x, "task"), look, 2)
        _draw(figure, cells, label, lambda c, x=label: _frontier_band(c, x, "task", "drift"), look, 3)
    _mark_resets(figure, cells, labels, (1, 2))
    _name_axes(figure)
    return _finish(figure, cells, labels, title)


def iterations(cells: Cells, title: str) -> go.Figure:
    """PPO against Elastic Reset, whose curve is split at its resets (Figure 4), and the frontier of each iteration."""
    headings = ("(a) language drift", "(b) task", "(c) frontier of each iteration")
    figure = make_subplots(1, 3, subplot_titles=headings, horizontal_spacing=0.085)
    ppo, elastic = cells.label("ppo"), cells.label("elastic")
    for column, name in ((1, "drift"), (2, "task")):
        _band(figure, _over_training(cells, ppo, name), _look(cells, ppo, [ppo]), column, legend=column == 1)
        for i, color in enumerate(ITERATIONS):
            look = (f"Elastic Reset, iteration {i + 1}", color, "solid", 1.0)
            _band(figure, _over_training(cells, elastic, name, iteration=i), look, column, legend=column == 1)
    parts = [(ppo, None, _look(cells, ppo, [ppo]))]
    parts += [(elastic, i, (f"iteration {i + 1}", color, "solid", 1.0)) for i, color in enumerate(ITERATIONS)]
    for label, iteration, look in parts:
        _band(figure, _frontier_band(cells, label, "task", "drift", iteration), look, 3, legend=False)
    _mark_resets(figure, cells, [elastic], (1, 2))
    _name_axes(figure)
    return _finish(figure, cells, [ppo, elastic], title)


def areas(cells: Cells, settings: Iterable[Setting], title: str) -> go.Figure:
    """The hypervolume of every setting: each seed a dot, the mean and its 95% interval a bar."""
    labels = chosen(cells, settings)
    rows = []
    for label in labels:
        recipe = cells.recipes[label]
        measure = area_of_average if recipe.method == "track" else area_of
        rows.append((label, list(per_seed(cells, measure, recipe.method, **recipe.changes()).values())))
    rows.sort(key=lambda row: np.mean(row[1]))
    figure = go.Figure()
    for label, values in rows:
        name, color, _, _ = _look(cells, label, labels)
        low, high = pareto.interval(values)
        mean = float(np.mean(values))
        bars = dict(type="data", array=[high - mean], arrayminus=[mean - low], color=color, thickness=2, width=6)
        figure.add_scatter(x=values, y=[name] * len(values), mode="markers", showlegend=False,
                           marker=dict(color=color, opacity=0.45, size=7),
                           hovertemplate="%{x:.3f}<extra>a seed</extra>")  # fmt: skip
        figure.add_scatter(x=[mean], y=[name], error_x=bars, mode="markers", showlegend=False,
                           marker=dict(color=color, size=12, symbol="line-ns", line=dict(width=3, color=color)),
                           hovertemplate="%{x:.3f}<extra>mean</extra>")  # fmt: skip
    figure.update_xaxes(title="hypervolume, share of the ideal (→ better)")
    height = 150 + 34 * max(len(rows), 3)
    figure = _finish(figure, cells, labels, title, height, shown="each a dot, mean and 95% interval")
    return figure.update_layout(margin=dict(t=90))


def scrubber(cells: Cells, settings: Iterable[Setting], title: str) -> go.Figure:
    """The frontier as it grows: a slider over training that works without a kernel; dominated points fade."""
    labels = chosen(cells, settings)
    steps = sorted({int(s) for label in labels for curve in cells.common(label).values()
                    for s in curve["step"]})  # fmt: skip
    frames = [go.Frame(name=str(step), data=[t for label in labels for t in _until(cells, label, labels, step)])
              for step in steps]  # fmt: skip
    figure = go.Figure(data=frames[-1].data, frames=frames)
    go_to = [dict(method="animate", label=str(step), args=[[str(step)], _still()]) for step in steps]
    sliders = [dict(active=len(steps) - 1, steps=go_to, currentvalue=dict(prefix="after update "), pad=dict(t=45))]
    play = dict(
        label="▶", method="animate", args=[None, dict(frame=dict(duration=350, redraw=False), fromcurrent=True)]
    )
    stop = dict(label="❚❚", method="animate", args=[[None], _still()])
    menu = dict(type="buttons", direction="left", buttons=[play, stop], x=0, y=-0.2, xanchor="left", yanchor="top")
    points = pd.concat([curve for label in labels for curve in cells.common(label).values()])
    top = points["drift"].quantile(0.97)
    low, high = points["drift"].min(), max(top, points["drift"].min() * 1.1)
    figure.update_layout(sliders=sliders, updatemenus=[menu | dict(pad=dict(t=60))])
    figure.update_xaxes(title=TASK_AXIS, range=[points["task"].min() - 0.02, points["task"].max() + 0.02])
    figure.update_yaxes(title=FRONTIER_AXIS, range=[high + 0.05, low - 0.05 * (high - low)])
    figure = _finish(figure, cells, labels, title, height=620, shown="every checkpoint of each a dot")
    return figure.update_layout(margin=dict(b=150))


# ---- pieces


def _look(cells: Cells, label: str, labels: list[str]) -> tuple[str, str, str, float]:
    """Name, colour, dash, strength; settings of one method are told apart by strength and a dash of their own."""
    method = cells.recipes[label].method
    _, color, dash = LOOKS[method]
    place = [other for other in labels if cells.recipes[other].method == method].index(label)
    dash = dash if place == 0 else ("dash", "dot", "longdashdot")[(place - 1) % 3]
    return name_of(cells, label), color, dash, SHADES[min(place, 3)]


def _over_training(cells: Cells, label: str, column: str, iteration: int | None = None) -> pd.DataFrame:
    """Mean and standard error over seeds at each step, before and after a reset; of one iteration or of all."""
    parts = []
    for record in cells.found[label].values():
        curve = cells.curve(record)
        if iteration is not None:
            curve = curve[curve["iteration"] == iteration]
        parts.append(curve.set_index(["step", "reset"])[column])
    table = pd.concat(parts, axis=1).sort_index()
    spread = table.std(axis=1, ddof=1) / np.sqrt(table.shape[1])
    return pd.DataFrame({"mean": table.mean(axis=1), "error": spread}).droplevel("reset")


def _frontier_band(cells: Cells, label: str, task: str, drift: str, iteration: int | None = None) -> pd.DataFrame:
    """Mean and standard error over seeds of the least perplexity at each reward, in steps of 0.01."""
    seeds = []
    for curve in cells.common(label).values():
        if iteration is not None:
            curve = curve[curve["iteration"] == iteration]
        seeds.append((curve[task].to_numpy(), curve[drift].to_numpy()))
    start = min(points[0].min() for points in seeds if len(points[0]))
    levels = np.round(np.arange(np.ceil(start * 100) / 100, 1.0, 0.01), 2)
    mean, error, _ = pareto.band(seeds, "lower", levels)
    return pd.DataFrame({"mean": mean, "error": error}, index=levels)


def _band(figure: go.Figure, rows: pd.DataFrame, look: tuple, column: int | None = None, legend: bool = True) -> None:
    """A line with its band of one standard error."""
    name, color, dash, strength = look
    rows = rows.dropna(subset=["mean"])
    error = rows["error"].fillna(0)
    place = {} if column is None else dict(row=1, col=column)
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    edge = dict(mode="lines", line=dict(width=0), hoverinfo="skip", showlegend=False, legendgroup=name)
    figure.add_scatter(x=rows.index, y=rows["mean"] + error, **edge, **place)
    fill = f"rgba({red},{green},{blue},{0.18 * strength:.2f})"
    figure.add_scatter(x=rows.index, y=rows["mean"] - error, fill="tonexty", fillcolor=fill, **edge, **place)
    figure.add_scatter(
        x=rows.index, y=rows["mean"], mode="lines", name=name, legendgroup=name, showlegend=legend, opacity=strength,
        line=dict(color=color, dash=dash, width=2.4), hovertemplate="%{x}: %{y:.3f}", **place,
    )  # fmt: skip


def _draw(
    figure: go.Figure, cells: Cells, label: str, rows_of: Callable, look: tuple, column: int | None = None
) -> None:
    """A setting's band, over the reference's mean as a thin line where both are there."""
    if cells.has_reference(label):
        rows = rows_of(cells.reference).dropna(subset=["mean"])
        place = {} if column is None else dict(row=1, col=column)
        line = dict(mode="lines", line=dict(color=look[1], width=1), legendgroup=look[0], showlegend=False)
        figure.add_scatter(x=rows.index, y=rows["mean"], hoverinfo="skip", **line, **place)
    _band(figure, rows_of(cells), look, column, legend=column in (None, 1))


def _until(cells: Cells, label: str, labels: list[str], step: int) -> list[go.Scatter]:
    """All points up to a step, and the frontier of the points of all seeds."""
    name, color, dash, strength = _look(cells, label, labels)
    points = pd.concat(cells.common(label).values())
    points = points[points["step"] <= step].reset_index(drop=True)
    best = points.iloc[pareto.frontier(points["task"], points["drift"], "lower")]
    at = np.full(len(points), 0.16)
    at[best.index] = 0.9
    text = [f"update {s}" for s in points["step"]]
    dots = go.Scatter(x=points["task"], y=points["drift"], mode="markers", text=text, legendgroup=name,
                      showlegend=False, marker=dict(color=color, size=6, opacity=at),
                      hovertemplate="%{x:.3f}, %{y:.2f}<br>%{text}")  # fmt: skip
    line = go.Scatter(x=best["task"], y=best["drift"], mode="lines", name=name, legendgroup=name, opacity=strength,
                      line=dict(color=color, dash=dash, width=2.4, shape="vh"), hoverinfo="skip")  # fmt: skip
    return [dots, line]


def _still() -> dict:
    return dict(mode="immediate", frame=dict(duration=0, redraw=False), transition=dict(duration=0))


def _mark_resets(figure: go.Figure, cells: Cells, labels: list[str], columns: Iterable[int]) -> None:
    recipes = [cells.recipes[label] for label in labels]
    steps = {step for recipe in recipes if recipe.reset for step in recipe.reset.steps(recipe.updates)}
    for column in columns:
        for step in sorted(steps):
            figure.add_vline(x=step, line=dict(color="#888888", width=1, dash="dot"), row=1, col=column)


def _name_axes(figure: go.Figure) -> None:
    """Of panels (a) drift, (b) task and (c) frontier."""
    for column, (across, up) in enumerate(
        (("PPO updates", DRIFT_AXIS), ("PPO updates", REWARD_AXIS), ("sentiment reward (→ better)", FRONTIER_AXIS)), 1
    ):
        figure.update_xaxes(title=across, col=column)
        figure.update_yaxes(title=up, autorange="reversed" if up == FRONTIER_AXIS else None, col=column)


def _say_better(figure: go.Figure) -> None:
    figure.add_annotation(text="better ↗", xref="paper", yref="paper", x=0.99, y=0.98, showarrow=False,
                          font=dict(color="#777777", size=14))  # fmt: skip


def _finish(
    figure: go.Figure,
    cells: Cells,
    labels: list[str],
    title: str,
    height: int = 470,
    shown: str = "mean ± standard error",
) -> go.Figure:
    """The common dress: title, where the records come from, legend below the title."""
    seeds = sorted({len(cells.found[label]) for label in labels})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}" if seeds else "no"
    origin = " and ".join(
        sorted({"the reference" if "reference" in cells.source[x].parts else "your own runs" for x in labels})
    )
    thin = "; thin lines: the reference" if any(map(cells.has_reference, labels)) else ""
    subtitle = f"{cells.scale}, {count} seeds, {shown}; records: {origin or 'none'}{thin}"
    figure.update_layout(
        title=dict(text=title, subtitle=dict(text=subtitle, font=dict(size=12, color="#666666")),
                   x=0.01, xanchor="left", y=0.97, yanchor="top", yref="container"),
        template="plotly_white", height=height, width=None, margin=dict(l=70, r=25, t=150, b=60), hovermode="closest",
        legend=dict(orientation="h", yanchor="bottom", y=1.08, xanchor="left", x=0),
        font=dict(family="DejaVu Sans, Arial, sans-serif", size=13),
    )  # fmt: skip
    figure.update_xaxes(showline=True, linecolor="#999999", ticks="outside", tickcolor="#999999")
    figure.update_yaxes(showline=True, linecolor="#999999", ticks="outside", tickcolor="#999999")
    return figure
