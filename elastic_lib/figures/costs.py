"""What the benchmarks measured, as rows and as curves, from the file that `elastic bench --keep` leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from elastic_lib.figures.names import many
from elastic_lib.figures.style import Look, dress

Report = Mapping[str, Any]

TITLES = {  # in the order of the page
    "overhead": "What Elastic Reset adds to an update",
    "ema": "The average beside others’ averages, and beside one pass through memory",
    "sampler": "Sampling beside transformers’ generate",
    "ppo_vs_trl": "PPO beside TRL’s",
    "rloo_grpo": "PPO beside TRL’s RLOO and GRPO",
    "growth": "How costs grow",
    "reproduce": "Where the time of make reproduce goes",
    "make_lab": "Where the time of make lab SEEDS=1 goes",
    "cores": "What a second core is worth",
    "startup": "What one waits for",
    "cost": "What each method costs",
    "loop": "An update of PPO by its parts",
    "game": "A Translation Game by its parts",
    "lab": "An update on a real language model",
    "text": "Writing the worlds’ texts",
}
LOOKS = {  # what grows: colours of Okabe and Ito, a dash and a sign each
    "parameters": Look("parameters", "#0072B2", "solid", "circle"),
    "batch": Look("samples a batch", "#D55E00", "dash", "square"),
    "response length": Look("words a response", "#009E73", "dot", "diamond"),
    "adapters": Look("numbers in adapters", "#CC79A7", "dashdot", "triangle-up"),
    "records": Look("records", "#000000", "solid", "circle"),
}
PANELS = {"s/update": "an update takes", "MB": "peak memory, beyond the smallest’s", "s": "reading takes"}
UNITS = {"s/update": "s", "s/evaluation": "s", "s, 600 updates": "s"}  # what they are seconds of, their row says
OF_SECONDS = ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (float("inf"), 1.0, "s"))


class Row(NamedTuple):
    """One figure in words; `met` is None where there is no target."""

    name: str
    measured: str
    span: str
    target: str
    met: bool | None


def title(report: Report) -> str:
    """What a benchmark is about."""
    return TITLES.get(report["name"], report["name"])


def in_order(reports: list[Report]) -> list[Report]:
    """Those that are about what is claimed first."""
    known = list(TITLES)
    return sorted(reports, key=lambda r: (known.index(r["name"]) if r["name"] in known else len(known), r["name"]))


def rows(report: Report) -> list[Row]:
    """Its figures, with what they were to reach."""
    found = []
    for name, figure in report["figures"].items():
        unit, met = figure["unit"], figure.get("met")
        several = figure["times"] > 1
        span = f"{amount(figure['min'], unit)} to {amount(figure['max'], unit)}" if several else ""
        target = "" if met is None else f"{figure['within']} {amount(figure['target'], unit)}"
        beside = f" ({figure['with']})" if "with" in figure else ", slope" if unit == "slope" else ""
        found.append(Row(name + beside, amount(figure["median"], unit), span, target, met))
    return found


def amount(value: float, unit: str) -> str:
    """A number with its unit, as one would say it."""
    unit = UNITS.get(unit, unit)
    if unit == "s":
        times, unit = next((times, short) for below, times, short in OF_SECONDS if abs(value) < below)
        value *= times
    if unit == "x":
        return f"{value:.3f}".rstrip("0").rstrip(".") + "×" if value < 10 else f"{value:.1f}×"
    if unit == "slope":
        return f"{value:.2f}"
    return f"{value:,.0f} {unit}" if abs(value) >= 999.5 else f"{value:.3g} {unit}"  # no 1e+03


def where(report: Report) -> str:
    """The machine, and how busy it was."""
    before, after = (report["load"][when][0] for when in ("before", "after"))
    threads = many(report["threads"], "thread")
    machine = f"{report['machine']}, {report['cores']} cores, {threads}, torch {report['torch']}"
    return f"{machine}; load {before:.2f} before and {after:.2f} after."


def growth(report: Report) -> go.Figure | None:
    """Each cost over how much there is of something, beside the least of both; None where nothing was grown."""
    curves = [figure["curve"] | {"slope": figure["median"]} for figure in report["figures"].values()
              if "curve" in figure]  # fmt: skip
    shown = {unit: heading for unit, heading in PANELS.items() if any(curve["unit"] == unit for curve in curves)}
    if not shown:
        return None
    figure = make_subplots(1, len(shown), subplot_titles=list(shown.values()), horizontal_spacing=0.09)
    named: set[str] = set()
    for column, unit in enumerate(shown, 1):
        most = 1.0
        for curve in (curve for curve in curves if curve["unit"] == unit and curve["fitted"]):
            most = max(most, _line(figure, curve, column, named))
        line = dict(color="#999999", width=1, dash="dot")
        figure.add_scatter(x=[1, most], y=[1, most], mode="lines", name="in proportion", legendgroup="in proportion",
                           showlegend=column == 1, line=line, hoverinfo="skip", row=1, col=column)  # fmt: skip
        base = 10 if most > 100 else 2
        ticks = dict(type="log", tickvals=[base**i for i in range(-1, 12)])
        figure.update_xaxes(**ticks, title="how much there is, times the least", col=column)
        figure.update_yaxes(**ticks, title="times the least" if column == 1 else None, col=column)
    dress(figure, title(report), "both axes in logarithms; a slope of 1 is in proportion, 2 with the square", 470)
    figure.layout.meta = {}  # it was drawn from no runs
    return figure


def _line(figure: go.Figure, curve: Mapping[str, Any], column: int, named: set[str]) -> float:
    """Adds one; returns how many times the least there is at most."""
    seen = LOOKS.get(curve["over"]) or Look(curve["over"], "#555555")
    (least, cheapest), points = curve["fitted"][0], curve["fitted"]
    more = " more" * curve["beyond"]
    said = [f"{size:,.0f}{more} {seen.name}: {amount(cost, curve['unit'])}{more}" for size, cost in points]
    figure.add_scatter(
        x=[size / least for size, _ in points], y=[cost / cheapest for _, cost in points], name=seen.name,
        legendgroup=seen.name, showlegend=seen.name not in named, customdata=said, **seen.marked,
        hovertemplate=f"%{{customdata}}<br>slope {curve['slope']:.2f}<extra></extra>", row=1, col=column,
    )  # fmt: skip
    named.add(seen.name)
    return points[-1][0] / least
