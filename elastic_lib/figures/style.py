"""What every figure shares: looks of the methods, names of the axes, bands over seeds, the common dress.

A band is the mean over seeds ± its standard error; a dotted upright line is a reset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from elastic_lib import pareto
from elastic_lib.evidence.evidence import Evidence, Missing
from elastic_lib.evidence.measures import PerSeed, Setting, areas_of
from elastic_lib.figures.names import METHODS, by_coefficient, name_of
from elastic_lib.figures.provenance import Shown, runs_behind

# Colours of Okabe and Ito and of Tol, which the colour-blind can tell apart; the dash says the same again.
COLORS = {
    "ppo": ("#0072B2", "solid"),
    "nlpo": ("#E69F00", "dash"),
    "frozen": ("#999999", "dash"),
    "reinforce": ("#0072B2", "solid"),
    "gumbel": ("#332288", "dash"),
    "kl": ("#56B4E9", "dash"),
    "kl_lm": ("#999933", "dashdot"),
    "multitask": ("#882255", "6px,2px"),
    "sil": ("#000000", "dot"),
    "elastic": ("#D55E00", "solid"),
    "to_ema": ("#009E73", "dashdot"),
    "to_init": ("#CC79A7", "dot"),
    "track": ("#555555", "9px,3px"),
    "reference": ("#117733", "solid"),
    "ema_pg": ("#88CCEE", "longdashdot"),
    "elastic_reference": ("#AA4499", "longdash"),
    "bema": ("#44AA99", "9px,3px,2px,3px"),
    "grad_reg": ("#CC6677", "12px,4px"),
    "line": ("#661100", "2px,4px"),
    "best_of_n": ("#000000", "dot"),
}
AT_A_RESET = dict(color="#888888", width=1, dash="dot")
VERDICTS = {"supported": "#00785A", "refuted": "#B3400F", "inconclusive": "#56648C", "not run": "#767676"}
# Of several settings of one method, in the order of their coefficient: from pale to dark, a dash and a sign each.
PALEST, DARKEST = 0.55, 0.5
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SIGNS = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down")


LOG_FROM = 2.0  # times the best drift
TICKS = (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40, 60, 80, 100, 150, 200, 300, 400, 1000)


class Look(NamedTuple):
    """How a setting is drawn; a sign where a figure holds others of its method."""

    name: str
    color: str
    dash: str = "solid"
    sign: str | None = None

    @property
    def line(self) -> dict:
        """Of a line of plotly."""
        return dict(color=self.color, dash=self.dash, width=2.4)

    @property
    def marked(self) -> dict:
        """A line with its signs, where it has one."""
        if self.sign is None:
            return dict(mode="lines", line=self.line)
        marker = dict(symbol=self.sign, size=7, color=self.color, maxdisplayed=8)
        return dict(mode="lines+markers", line=self.line, marker=marker)


def chosen(evidence: Evidence, settings: Iterable[Setting]) -> list[str]:
    """Labels of the settings of which there are records, those of a method together and by their coefficient."""
    labels = []
    for method, changed, *_ in settings:
        try:
            labels.append(evidence.label(method, **changed))
        except Missing:
            continue
    return by_coefficient({label: evidence.recipes[label] for label in labels})


def look(evidence: Evidence, label: str, labels: Collection[str] = ()) -> Look:
    """How a setting is called and drawn beside the others of a figure."""
    recipe, others = evidence.recipes[label], [evidence.recipes[other] for other in labels]
    color, dash = COLORS[recipe.method]
    name = name_of(recipe, others)
    alike = [other for other in labels if evidence.recipes[other].method == recipe.method]
    if len(alike) < 2:
        return Look(name, color, dash)
    at, last = alike.index(label), max(len(alike) - 1, 2)  # of two the second has the method's own colour
    lines_of = Counter(evidence.recipes[x].method for x in labels)
    several = [x for x in labels if lines_of[evidence.recipes[x].method] > 1]
    sign = SIGNS[several.index(label) % len(SIGNS)]
    return Look(name, shade(color, at / last), DASHES[at % len(DASHES)], sign)


def look_of_policy(evidence: Evidence, label: str, labels: Collection[str] = ()) -> Look:
    """The same where the policy itself is meant: of a run whose average is read out it is plain PPO's."""
    seen = look(evidence, label, labels)
    if not evidence.recipes[label].reads_average:
        return seen
    color, dash = COLORS["ppo"]
    return seen._replace(name=f"{METHODS['ppo']}, no resets", color=color, dash=dash)


def shade(color: str, at: float) -> str:
    """A colour from pale (0) through itself to dark (1)."""
    end, share = (255, PALEST * (1 - 2 * at)) if at < 0.5 else (0, DARKEST * (2 * at - 1))
    mixed = (round((1 - share) * int(color[i : i + 2], 16) + share * end) for i in (1, 3, 5))
    return "#" + "".join(f"{part:02X}" for part in mixed)


def translucent(color: str, strength: float) -> str:
    """A colour that lets through what lies beneath."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{strength:.2f})"


def mean_and_bar(values: Iterable[float], color: str) -> tuple[float, dict]:
    """The mean, and plotly's error bar for its 95% interval."""
    values = list(values)
    mean, (low, high) = float(np.mean(values)), pareto.interval(values)
    bar = dict(type="data", array=[high - mean], arrayminus=[mean - low], color=color, thickness=2, width=6)
    return mean, bar


def columns_of(evidence: Evidence, label: str) -> tuple[str, str]:
    """The columns that hold a setting's task and drift: those of its average where nothing but the average is new."""
    return ("ema_task", "ema_drift") if evidence.recipes[label].reads_average else ("task", "drift")


def areas_shown(evidence: Evidence, label: str) -> PerSeed:
    """The hypervolume of a setting on each seed, by these columns."""
    return areas_of(evidence, label, *columns_of(evidence, label))


def says(evidence: Evidence, column: str, axis: str = "y") -> str:
    """A column's value at the mouse, in words with its unit: 'reward %{y:.3f}'."""
    words = evidence.facts.SAID.get(column.removeprefix("ema_"), f"{column} {{:.3g}}")
    return words.replace("{", f"%{{{axis}")


def hover(evidence: Evidence, label: str, name: str, words: str) -> str:
    """What a line says at the mouse: whose it is, of how many seeds, and `words`."""
    count = len(evidence.found[label])
    of = f"mean of {count} seeds" if count > 1 else f"seed {next(iter(evidence.found[label]))}"
    return f"{name} · {of}<br>{words}<extra></extra>"


def after(evidence: Evidence, column: str) -> str:
    """The words of a line over training."""
    return "after %{x} updates · " + says(evidence, column)


def traded(evidence: Evidence, task: str = "task", drift: str = "drift") -> str:
    """The words of a frontier."""
    return f"{says(evidence, task, 'x')} or more · {says(evidence, drift)}"


def over_training(evidence: Evidence, label: str, column: str, iteration: int | None = None) -> pd.DataFrame:
    """Mean and standard error over seeds at each step, before and after a reset; of one iteration or of all."""
    parts = []
    for record in evidence.found[label].values():
        curve = evidence.curve(record)
        if iteration is not None:
            curve = curve[curve["iteration"] == iteration]
        parts.append(curve.set_index(["step", "reset"])[column])
    table = pd.concat(parts, axis=1).sort_index()
    return pd.DataFrame({"mean": table.mean(axis=1), "error": table.sem(axis=1)}).droplevel("reset")


def rolling(evidence: Evidence, label: str, column: str, window: int) -> pd.DataFrame:
    """Mean and standard error over seeds of a rolling mean of what training measured."""
    curves = [curve.set_index("step")[column].dropna() for curve in evidence.common(label).values()]
    table = pd.concat([curve.rolling(window, min_periods=1).mean() for curve in curves], axis=1)
    return pd.DataFrame({"mean": table.mean(axis=1), "error": table.sem(axis=1)})


def frontier_band(
    evidence: Evidence, label: str, task: str, drift: str, iteration: int | None = None, window: int = 1,
    until: int | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Mean and standard error over seeds of the best drift at each task score.

    Of one iteration, of rolling means, or of what was there until a step, if asked.
    """
    axes = evidence.facts.AXES
    seeds = []
    for curve in evidence.common(label).values():
        if iteration is not None:
            curve = curve[curve["iteration"] == iteration]
        if until is not None:
            curve = curve[curve["step"] <= until]
        points = curve[[task, drift]].dropna().rolling(window, min_periods=1).mean()
        seeds.append((points[task].to_numpy(), points[drift].to_numpy()))
    start = min(points[0][0] for points in seeds if len(points[0]))  # below what one begins with there is no gain
    top = min(axes.top, max(points[0].max() for points in seeds if len(points[0])) + axes.grid)
    levels = np.round(np.arange(np.ceil(start / axes.grid) * axes.grid, top, axes.grid), 2)
    mean, error, _ = pareto.band(seeds, evidence.facts.YARDSTICK.better, levels)
    return pd.DataFrame({"mean": mean, "error": error}, index=levels)


def band(
    figure: go.Figure, rows: pd.DataFrame, seen: Look, words: str, column: int | None = None, legend: bool = True,
    row: int = 1,
) -> None:  # fmt: skip
    """A line with its band of one standard error; `words` are said at the mouse."""
    rows = rows.dropna(subset=["mean"])
    error = rows["error"].fillna(0)
    place = {} if column is None else dict(row=row, col=column)
    edge = dict(mode="lines", line=dict(width=0), hoverinfo="skip", showlegend=False, legendgroup=seen.name)
    figure.add_scatter(x=rows.index, y=rows["mean"] + error, **edge, **place)
    fill = translucent(seen.color, 0.16)
    figure.add_scatter(x=rows.index, y=rows["mean"] - error, fill="tonexty", fillcolor=fill, **edge, **place)
    figure.add_scatter(
        x=rows.index, y=rows["mean"], name=seen.name, legendgroup=seen.name, showlegend=legend, hovertemplate=words,
        **seen.marked, **place,
    )  # fmt: skip


def draw(
    figure: go.Figure, evidence: Evidence, label: str, rows_of: Callable, seen: Look, words: str,
    column: int | None = None,
) -> None:  # fmt: skip
    """A setting's band, over the reference's mean as a thin line where both are there."""
    if evidence.has_reference(label):
        rows = rows_of(evidence.reference).dropna(subset=["mean"])
        place = {} if column is None else dict(row=1, col=column)
        line = dict(mode="lines", line=dict(color=seen.color, width=1), legendgroup=seen.name, showlegend=False)
        figure.add_scatter(x=rows.index, y=rows["mean"], hoverinfo="skip", **line, **place)
    words = hover(evidence, label, seen.name, words)
    band(figure, rows_of(evidence), seen, words, column, legend=column in (None, 1))


def mark_resets(figure: go.Figure, evidence: Evidence, labels: list[str], columns: Iterable[int]) -> None:
    recipes = [evidence.recipes[label] for label in labels]
    steps = {step for recipe in recipes if recipe.reset for step in recipe.reset.steps(recipe.updates)}
    for column in columns:
        for step in sorted(steps):
            figure.add_vline(x=step, line=AT_A_RESET, row=1, col=column)


def name_axes(figure: go.Figure, *panels: tuple[str, str]) -> None:
    """What lies across each panel, and what goes up in it."""
    for column, (across, up) in enumerate(panels, 1):
        figure.update_xaxes(title=across, col=column)
        figure.update_yaxes(title=up, col=column)


def turn(figure: go.Figure, evidence: Evidence, **place: int) -> None:
    """Puts better drift on top."""
    if evidence.facts.YARDSTICK.better == "lower":
        figure.update_yaxes(autorange="reversed", **place)


def spread_drift(figure: go.Figure, evidence: Evidence, drifts: Iterable[float], **place: int) -> None:
    """A logarithmic axis for drift where the worst would squash the rest."""
    drifts = np.array([*drifts], float)
    drifts = drifts[np.isfinite(drifts) & (drifts > 0)]
    if evidence.facts.YARDSTICK.better == "lower" and len(drifts) and drifts.max() > LOG_FROM * drifts.min():
        figure.update_yaxes(type="log", tickvals=TICKS, ticktext=[f"{tick:g}" for tick in TICKS], **place)


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
    finding: str = "",
) -> go.Figure:
    """The common dress: title, where the records come from, legend below the title; and what it shows, in words."""
    thin = "; thin lines: the reference" if any(map(evidence.has_reference, labels)) else ""
    drawn = [(evidence, labels)]
    subtitle = f"{evidence.scale}, {seeds_of(drawn)}, {shown}; records: {origin(drawn)}{thin}"
    if not labels:
        text = f"no records of this at scale {evidence.scale}: make reproduce SCALE={evidence.scale} FULL=1 makes them"
        figure.add_annotation(text=text, xref="paper", yref="paper", x=0.5, y=0.5, showarrow=False)
    figure.layout.meta = (figure.layout.meta or {}) | {"finding": finding}
    return dress(figure, title, subtitle, height, drawn)


def seeds_of(shown: Shown) -> str:
    """How many seeds the settings have: '5 seeds', or '3 to 5 seeds'."""
    counts = sorted({len(evidence.found[label]) for evidence, labels in shown for label in labels})
    span = " to ".join(str(count) for count in dict.fromkeys([*counts[:1], *counts[-1:]])) or "no"
    return f"{span} seed{'s' * (span != '1')}"


def origin(shown: Shown) -> str:
    """Whose records they are."""
    return " and ".join(sorted({evidence.owner(label) for evidence, labels in shown for label in labels})) or "none"


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
