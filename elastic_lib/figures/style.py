"""What every figure shares: looks of the methods, names of the axes, bands over seeds, the common dress.

A band is the mean over seeds ± its standard error; a dotted upright line is a reset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from elastic_lib import pareto
from elastic_lib.evidence.evidence import Evidence, Missing
from elastic_lib.evidence.measures import Setting
from elastic_lib.figures.provenance import Shown, runs_behind, whose

# Colours of Okabe and Ito and of Tol, which the colour-blind can tell apart; the dash says the same again.
LOOKS = {
    "ppo": ("PPO", "#0072B2", "solid"),
    "nlpo": ("NLPO", "#E69F00", "dash"),
    "frozen": ("Frozen English", "#999999", "dash"),
    "reinforce": ("REINFORCE", "#0072B2", "solid"),
    "gumbel": ("Gumbel-Softmax", "#332288", "dash"),
    "kl": ("KL to initial", "#56B4E9", "dash"),
    "kl_lm": ("KL to English LM", "#999933", "dashdot"),
    "multitask": ("Multitask", "#882255", "6px,2px"),
    "sil": ("SIL", "#000000", "dot"),
    "elastic": ("Elastic Reset", "#D55E00", "solid"),
    "to_ema": ("Reset to EMA", "#009E73", "dashdot"),
    "to_init": ("Reset to Init", "#CC79A7", "dot"),
    "track": ("PPO, its EMA read out", "#555555", "9px,3px"),
    "reference": ("Reference Resets", "#117733", "solid"),
    "ema_pg": ("EMA-PG", "#88CCEE", "longdashdot"),
    "elastic_reference": ("Elastic + Reference Resets", "#AA4499", "longdash"),
}
VERDICTS = {"supported": "#00785A", "refuted": "#B3400F", "inconclusive": "#56648C", "not run": "#767676"}
SHADES = {0: 1.0, 1: 0.75, 2: 0.58, 3: 0.45}  # settings of one method differ in strength, first the strongest
DASHES = ("dash", "dot", "longdashdot", "5px,2px")
SYMBOLS = {"beta": "β", "decay": "η", "multitask": "weight", "reset_every": "n", "value_net": "value"}


def name_of(evidence: Evidence, label: str) -> str:
    """A setting as a legend says it: 'Elastic Reset β=0.01'."""
    recipe = evidence.recipes[label]
    known = evidence.facts
    changed = {key: value for key, value in recipe.changes().items() if key not in known.UNSAID}
    if {"samples", "updates"} & set(recipe.changes()):
        changed.pop("decay", None)  # another regime has its own
    if recipe.method in known.SAYS_BETA:
        changed = {"beta": recipe.beta, **changed}
    if recipe.method == "elastic" and "multitask" in changed:
        changed = {name: value for name, value in changed.items() if "multitask" not in name and name != "beta"}
        return " ".join(["Elastic Reset + Multitask", *_said(changed)])
    changed.pop("multitask_batch", None)
    return " ".join([LOOKS[recipe.method][0], *_said(changed)])


def _said(changed: dict) -> list[str]:
    return [
        f"{SYMBOLS.get(n, n)}={v:g}" if isinstance(v, float) else f"{SYMBOLS.get(n, n)}={v}" for n, v in changed.items()
    ]


def chosen(evidence: Evidence, settings: Iterable[Setting]) -> list[str]:
    """Labels of the settings of which there are records."""
    labels = []
    for method, changed in settings:
        try:
            labels.append(evidence.label(method, **changed))
        except (Missing, ValueError):
            continue
    return labels


def look(evidence: Evidence, label: str, labels: list[str]) -> tuple[str, str, str, float]:
    """Name, colour, dash, strength; settings of one method are told apart by strength and a dash of their own."""
    method = evidence.recipes[label].method
    _, color, dash = LOOKS[method]
    place = [other for other in labels if evidence.recipes[other].method == method].index(label)
    dash = dash if place == 0 else DASHES[(place - 1) % len(DASHES)]
    return name_of(evidence, label), color, dash, SHADES[min(place, 3)]


def ramp(evidence: Evidence, label: str, labels: list[str]) -> tuple[str, str, str, float]:
    """The same for a sweep: from pale to the method's own colour, and on to dark, in the order of the labels."""
    name, color, _, _ = look(evidence, label, labels)
    at = labels.index(label) / max(len(labels) - 1, 1)
    end, share = (255, 0.7 * (1 - 2 * at)) if at < 0.5 else (0, 0.7 * (2 * at - 1))
    mixed = (round((1 - share) * int(color[i : i + 2], 16) + share * end) for i in (1, 3, 5))
    return name, "#" + "".join(f"{part:02X}" for part in mixed), "solid", 1.0


def over_training(evidence: Evidence, label: str, column: str, iteration: int | None = None) -> pd.DataFrame:
    """Mean and standard error over seeds at each step, before and after a reset; of one iteration or of all."""
    parts = []
    for record in evidence.found[label].values():
        curve = evidence.curve(record)
        if iteration is not None:
            curve = curve[curve["iteration"] == iteration]
        parts.append(curve.set_index(["step", "reset"])[column])
    table = pd.concat(parts, axis=1).sort_index()
    spread = table.std(axis=1, ddof=1) / np.sqrt(table.shape[1])
    return pd.DataFrame({"mean": table.mean(axis=1), "error": spread}).droplevel("reset")


def rolling(evidence: Evidence, label: str, column: str, window: int) -> pd.DataFrame:
    """Mean and standard error over seeds of a rolling mean of what training measured."""
    curves = [curve.set_index("step")[column].dropna() for curve in evidence.common(label).values()]
    table = pd.concat([curve.rolling(window, min_periods=1).mean() for curve in curves], axis=1)
    return pd.DataFrame({"mean": table.mean(axis=1), "error": table.sem(axis=1)})


def frontier_band(
    evidence: Evidence, label: str, task: str, drift: str, iteration: int | None = None, window: int = 1
) -> pd.DataFrame:
    """Mean and standard error over seeds of the best drift at each task score, of rolling means if asked."""
    axes = evidence.facts.AXES
    seeds = []
    for curve in evidence.common(label).values():
        if iteration is not None:
            curve = curve[curve["iteration"] == iteration]
        points = curve[[task, drift]].dropna().rolling(window, min_periods=1).mean()
        seeds.append((points[task].to_numpy(), points[drift].to_numpy()))
    start = min(points[0].min() for points in seeds if len(points[0]))
    top = min(axes.top, max(points[0].max() for points in seeds if len(points[0])) + axes.grid)
    levels = np.round(np.arange(np.ceil(start / axes.grid) * axes.grid, top, axes.grid), 2)
    mean, error, _ = pareto.band(seeds, evidence.facts.YARDSTICK.better, levels)
    return pd.DataFrame({"mean": mean, "error": error}, index=levels)


def band(
    figure: go.Figure,
    rows: pd.DataFrame,
    appearance: tuple,
    column: int | None = None,
    legend: bool = True,
    row: int = 1,
) -> None:
    """A line with its band of one standard error."""
    name, color, dash, strength = appearance
    rows = rows.dropna(subset=["mean"])
    error = rows["error"].fillna(0)
    place = {} if column is None else dict(row=row, col=column)
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    edge = dict(mode="lines", line=dict(width=0), hoverinfo="skip", showlegend=False, legendgroup=name)
    figure.add_scatter(x=rows.index, y=rows["mean"] + error, **edge, **place)
    fill = f"rgba({red},{green},{blue},{0.18 * strength:.2f})"
    figure.add_scatter(x=rows.index, y=rows["mean"] - error, fill="tonexty", fillcolor=fill, **edge, **place)
    figure.add_scatter(
        x=rows.index, y=rows["mean"], mode="lines", name=name, legendgroup=name, showlegend=legend, opacity=strength,
        line=dict(color=color, dash=dash, width=2.4), hovertemplate="%{x}: %{y:.3f}", **place,
    )  # fmt: skip


def draw(
    figure: go.Figure, evidence: Evidence, label: str, rows_of: Callable, appearance: tuple, column: int | None = None
) -> None:
    """A setting's band, over the reference's mean as a thin line where both are there."""
    if evidence.has_reference(label):
        rows = rows_of(evidence.reference).dropna(subset=["mean"])
        place = {} if column is None else dict(row=1, col=column)
        line = dict(mode="lines", line=dict(color=appearance[1], width=1), legendgroup=appearance[0], showlegend=False)
        figure.add_scatter(x=rows.index, y=rows["mean"], hoverinfo="skip", **line, **place)
    band(figure, rows_of(evidence), appearance, column, legend=column in (None, 1))


def mark_resets(figure: go.Figure, evidence: Evidence, labels: list[str], columns: Iterable[int]) -> None:
    recipes = [evidence.recipes[label] for label in labels]
    steps = {step for recipe in recipes if recipe.reset for step in recipe.reset.steps(recipe.updates)}
    for column in columns:
        for step in sorted(steps):
            figure.add_vline(x=step, line=dict(color="#888888", width=1, dash="dot"), row=1, col=column)


def name_axes(figure: go.Figure, evidence: Evidence) -> None:
    """Of panels (a) drift, (b) task and (c) frontier."""
    axes = evidence.facts.AXES
    over = [(axes.steps, axes.drift), (axes.steps, f"{axes.task} (↑ better)")]
    for column, (across, up) in enumerate([*over, (f"{axes.task} (→ better)", axes.frontier)], 1):
        figure.update_xaxes(title=across, col=column)
        figure.update_yaxes(title=up, col=column)
    turn(figure, evidence, col=3)


def turn(figure: go.Figure, evidence: Evidence, **place: int) -> None:
    """Puts better drift on top."""
    if evidence.facts.YARDSTICK.better == "lower":
        figure.update_yaxes(autorange="reversed", **place)


def say_better(figure: go.Figure) -> None:
    figure.add_annotation(text="better ↗", xref="paper", yref="paper", x=0.99, y=0.98, showarrow=False,
                          font=dict(color="#777777", size=14))  # fmt: skip


def finish(
    figure: go.Figure,
    evidence: Evidence,
    labels: list[str],
    title: str,
    height: int = 470,
    shown: str = "mean ± standard error",
) -> go.Figure:
    """The common dress: title, where the records come from, legend below the title."""
    thin = "; thin lines: the reference" if any(map(evidence.has_reference, labels)) else ""
    drawn = [(evidence, labels)]
    subtitle = f"{evidence.scale}, {seeds_of(drawn)} seeds, {shown}; records: {origin(drawn)}{thin}"
    if not labels:
        text = f"no records of this at scale {evidence.scale}: make reproduce SCALE={evidence.scale} FULL=1 makes them"
        figure.add_annotation(text=text, xref="paper", yref="paper", x=0.5, y=0.5, showarrow=False)
    return dress(figure, title, subtitle, height, drawn)


def seeds_of(shown: Shown) -> str:
    """How many seeds the settings have: '5', or '3 to 5'."""
    counts = sorted({len(evidence.found[label]) for evidence, labels in shown for label in labels})
    return " to ".join(str(count) for count in dict.fromkeys([*counts[:1], *counts[-1:]])) or "no"


def origin(shown: Shown) -> str:
    """Whose records they are."""
    return " and ".join(sorted({whose(evidence, label) for evidence, labels in shown for label in labels})) or "none"


def dress(figure: go.Figure, title: str, subtitle: str, height: int, shown: Shown = ()) -> go.Figure:
    """Titles, fonts, margins, axes, and the runs behind it: what all figures have in common, of records or not."""
    figure.layout.meta = (figure.layout.meta or {}) | {"runs": runs_behind(shown)}
    figure.update_layout(
        title=dict(text=title, subtitle=dict(text=subtitle, font=dict(size=12, color="#666666")),
                   x=0.01, xanchor="left", y=0.97, yanchor="top", yref="container"),
        template="plotly_white", height=height, width=None, margin=dict(l=70, r=25, t=150, b=60), hovermode="closest",
        legend=dict(orientation="h", yanchor="bottom", y=1.08, xanchor="left", x=0),
        font=dict(family="DejaVu Sans, Arial, sans-serif", size=13),
    )  # fmt: skip
    edge = dict(showline=True, linecolor="#999999", ticks="outside", tickcolor="#999999", zeroline=False)
    return figure.update_xaxes(**edge).update_yaxes(**edge)
