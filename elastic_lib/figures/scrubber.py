"""The frontier as it grows over training: a plotly figure with a slider, which needs no kernel."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from elastic_lib import pareto
from elastic_lib.evidence import Evidence
from elastic_lib.evidence.measures import Setting, area
from elastic_lib.figures import captions
from elastic_lib.figures.style import (
    Look,
    chosen,
    columns_of,
    finish,
    look,
    say_better,
    says,
    spread_drift,
    translucent,
)

TEXTS = 3  # prompts whose answers go with every point
BRIGHT, FADED = 0.95, 0.16
Runs = dict[int, pd.DataFrame]  # a setting's checkpoints by seed


class Part(NamedTuple):
    """One drawn line or cloud of a setting: its 'band', its 'mean', or the 'line' or the 'dots' of a seed."""

    label: str
    kind: str
    seed: int | None
    trace: dict


def scrubber(evidence: Evidence, settings: Iterable[Setting], title: str) -> go.Figure:
    """The frontier as it grows: a slider over training and a choice of seeds, both without a kernel.

    Only each seed's dots have `customdata`, a row a point: label, seed, step, reset (1 right after one, else 0), then
    what the model says there to the first TEXTS prompts. `layout.meta` has `prompts`, and `references` and `germans`
    (of the references) where the task has them, in the order of the texts; and `columns`, the names in `customdata`.
    """
    labels = chosen(evidence, settings)
    if not labels:
        return finish(go.Figure(), evidence, labels, title)
    runs = {label: checkpoints(evidence, label) for label in labels}
    parts = [part for label in labels for part in parts_of(evidence, label, labels, runs[label])]
    names = [named(evidence, label, labels) for label in labels]
    figure = go.Figure([*names, *(part.trace for part in parts)])
    level, steps = matched_level(evidence, runs), steps_of(runs)
    say_better(figure)
    _table(figure, evidence, labels, runs, level)
    moved = range(len(names), len(figure.data))
    figure.frames = [
        dict(name=str(step), traces=list(moved), data=[c for label in labels for c in at(evidence, runs[label], step)],
             layout=dict(annotations=[{}, {}, *(dict(text=t) for t in told(evidence, labels, runs, step, level))]))
        for step in steps
    ]  # fmt: skip
    _controls(figure, parts, moved, steps, runs)
    set_axes(figure, evidence, runs)
    figure.layout.meta = asked(evidence, labels[0])
    return _dress(figure, evidence, labels, title)


def checkpoints(evidence: Evidence, label: str) -> Runs:
    """The checkpoints of each seed that every method has, and the rows right after a reset, in training's order."""
    task, drift = columns_of(evidence, label)
    found = {}
    for seed, common in sorted(evidence.common(label).items()):
        curve = evidence.curve(evidence.found[label][seed])
        rows = pd.concat([common, curve[curve["reset"] == 1]]).sort_values(["step", "reset"], ignore_index=True)
        points = pd.DataFrame({"step": rows["step"], "reset": rows["reset"], "task": rows[task], "drift": rows[drift]})
        found[seed] = points.dropna(ignore_index=True)
    return found


def steps_of(runs: dict[str, Runs], resets: bool = False) -> list[int]:
    """Every step at which some run has a point, or only those of resets."""
    every = (points for seeds in runs.values() for points in seeds.values())
    return sorted({int(step) for points in every for step in points["step"][points["reset"] >= resets]})


def unbeaten(points: pd.DataFrame, better: str) -> np.ndarray:
    """Indices of the run's frontier, by rising task; a row right after a reset is never on it."""
    counted = np.flatnonzero(points["reset"] == 0)
    rows = points.iloc[counted]
    return counted[pareto.frontier(rows["task"], rows["drift"], better)]


def mean_frontier(evidence: Evidence, runs: Runs, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Task levels, the mean over seeds of the best drift so far at each, and its standard error."""
    grid = evidence.facts.AXES.grid
    seeds = [so_far[so_far["reset"] == 0] for so_far in (points[points["step"] <= step] for points in runs.values())]
    low, high = min(rows["task"].iloc[0] for rows in seeds), max(rows["task"].max() for rows in seeds)
    levels = np.round(np.arange(np.ceil(low / grid) * grid, min(evidence.facts.AXES.top, high + grid), grid), 2)
    mean, error, _ = pareto.band(
        [(rows["task"], rows["drift"]) for rows in seeds], evidence.facts.YARDSTICK.better, levels
    )
    kept = ~np.isnan(mean)
    return levels[kept], mean[kept], np.nan_to_num(error[kept])


def at(evidence: Evidence, runs: Runs, step: int) -> list[dict]:
    """What a step changes in the parts of a setting, in the order of `parts_of`."""
    levels, mean, error = mean_frontier(evidence, runs, step)
    band = dict(x=_array([*levels, *levels[::-1]]), y=_array([*(mean + error), *(mean - error)[::-1]]))
    changes = [band, dict(x=_array(levels), y=_array(mean))]
    for points in runs.values():
        points = points[points["step"] <= step]
        best = unbeaten(points, evidence.facts.YARDSTICK.better)
        opacity = np.where(points["reset"] == 1, BRIGHT, FADED)
        opacity[best] = BRIGHT
        line, opacity = points.iloc[best], dict(opacity=_array(opacity))
        changes.append(dict(x=_array(line["task"]), y=_array(line["drift"])))
        changes.append(dict(x=_array(points["task"]), y=_array(points["drift"]), marker=opacity))
    return changes


def parts_of(evidence: Evidence, label: str, labels: list[str], runs: Runs) -> list[Part]:
    """All that is drawn of a setting, as it is at the end of training."""
    seen = look(evidence, label, labels)
    fill = dict(fill="toself", fillcolor=translucent(seen.color, 0.18), line=dict(width=0))
    parts = [("band", None, dict(mode="lines", **fill)), ("mean", None, dict(mode="lines", line=seen.line))]
    for seed, points in runs.items():
        parts.append(("line", seed, dict(mode="none", line=seen.line | dict(shape="vh"))))
        parts.append(("dots", seed, _dots(evidence, label, seed, points, seen)))
    common = dict(type="scatter", name=seen.name, legendgroup=label, showlegend=False)
    drawn = []
    for (kind, seed, trace), change in zip(parts, at(evidence, runs, steps_of({label: runs})[-1]), strict=True):
        if kind == "dots":
            change["marker"] |= trace.pop("marker")
        else:
            trace |= dict(hoverinfo="skip")
        drawn.append(Part(label, kind, seed, common | trace | change))
    return drawn


def _dots(evidence: Evidence, label: str, seed: int, points: pd.DataFrame, seen: Look) -> dict:
    texts, rows, short = said(evidence, label, seed), [], []
    for step, reset in zip(points["step"], points["reset"], strict=True):
        rows.append([label, seed, int(step), int(reset), *texts.get((step, reset), [""] * TEXTS)])
        first = textwrap.shorten(rows[-1][4], 100, placeholder=" …").replace("<", "&lt;")
        short.append("<br>".join(["right after a reset"] * int(reset) + textwrap.wrap(first, 38)))
    after = points["reset"] == 1
    signs = ["star" if a else seen.sign or "circle" for a in after]
    marker = dict(color=seen.color, symbol=signs, size=[12 if a else 6 for a in after])
    scores = f"{says(evidence, 'task', 'x')} · {says(evidence, 'drift')}"
    hover = f"{seen.name}, seed {seed} · after %{{customdata[2]}} updates<br>{scores}<br><i>%{{text}}</i>"
    return dict(
        mode="markers", marker=marker | dict(line=dict(color="white", width=0.5)), customdata=rows, hoverinfo="all",
        text=short, hovertemplate=hover + "<extra></extra>",
    )  # fmt: skip


def said(evidence: Evidence, label: str, seed: int) -> dict[tuple[int, int], list[str]]:
    """What a run says to the first TEXTS prompts, by step and reset."""
    if evidence.recipes[label].reads_average:
        return {}  # the records keep what the policy says, and the points are its average's
    samples = evidence.found[label][seed].samples().sort_values("id", kind="stable")
    return {at: list(rows["text"].head(TEXTS)) for at, rows in samples.groupby(["step", "reset"])}


def asked(evidence: Evidence, label: str) -> dict:
    """What a page needs to show the texts of `customdata`: the prompts, and the references where there are any."""
    samples = next(iter(evidence.found[label].values())).samples().sort_values("id", kind="stable")
    first = samples[(samples["step"] == 0) & (samples["reset"] == 0)].head(TEXTS)
    names = dict(prompts="prompt", references="reference", germans="german_reference")
    meta = {name: list(first[column]) for name, column in names.items() if column in first}
    return meta | {"columns": ["label", "seed", "step", "reset", *(f"text {i + 1}" for i in range(TEXTS))]}


def matched_level(evidence: Evidence, runs: dict[str, Runs]) -> float:
    """The highest task score that every setting reaches in every seed, on the grid; of most, where one never gains."""
    counted = ((points[points["reset"] == 0]["task"] for points in seeds.values()) for seeds in runs.values())
    return captions.level_reached(evidence.facts.AXES.grid, counted)


def reading(evidence: Evidence, runs: Runs, step: int, level: float) -> tuple[float, float]:
    """Means over seeds up to a step: the hypervolume, and the best drift at a task score, nan if one is short of it."""
    seeds = [points[(points["step"] <= step) & (points["reset"] == 0)] for points in runs.values()]
    drifts = [pareto.drift_at(rows["task"], rows["drift"], level, evidence.facts.YARDSTICK.better) for rows in seeds]
    return float(np.mean([area(rows, evidence.facts.YARDSTICK) for rows in seeds])), float(np.mean(drifts))


def heads(evidence: Evidence, level: float) -> tuple[str, str]:
    """Over the columns of readings, which way is better first."""
    task, drift = (words.split(",")[0] for words in (evidence.facts.AXES.task, evidence.facts.AXES.frontier))
    return "↑ hypervolume<br>so far", f"{evidence.facts.YARDSTICK.arrow} {drift} at<br>{task} ≥ {level:g}"


def told(evidence: Evidence, labels: list[str], runs: dict[str, Runs], step: int, level: float) -> list[str]:
    """The columns of readings at a step, and what was reset there."""
    read = [reading(evidence, runs[label], step, level) for label in labels]
    columns = [
        "<br>".join([head, *("–" if np.isnan(v) else f"{v:.3g}" for v in values)])
        for head, values in zip(heads(evidence, level), zip(*read, strict=True), strict=True)
    ]
    after = [label for label in labels if step in steps_of({label: runs[label]}, resets=True)]
    names = [look(evidence, label, labels).name for label in after]
    return [*columns, "<br>".join(textwrap.wrap(f"★ reset after {step}: {', '.join(names)}", 52)) if names else " "]


def named(evidence: Evidence, label: str, labels: list[str]) -> dict:
    """A setting's entry in the legend, which a click switches off with all that is drawn of it."""
    seen = look(evidence, label, labels)
    return dict(x=[None], y=[None], name=seen.name, legendgroup=label, **seen.marked)


def set_axes(figure: go.Figure, evidence: Evidence, runs: dict[str, Runs]) -> None:
    """The same axes at every step; what is worst of all may run out of the drift's."""
    axes = evidence.facts.AXES
    points = pd.concat([points for seeds in runs.values() for points in seeds.values()])
    task, drift, edge = points["task"], points["drift"], 2 * axes.grid
    low, high = drift.min(), max(drift.quantile(0.97), drift.min() * 1.1)
    up = [high + 0.05, low - 0.05 * (high - low)]
    if evidence.facts.YARDSTICK.better == "higher":
        up = [drift.quantile(0.03) - 1, drift.max() + 1]
    words = f"{axes.task}  (higher is better →)"
    figure.update_xaxes(title=words, range=[task.min() - edge, task.max() + edge], title_font_size=13)
    spread_drift(figure, evidence, drift)
    if figure.layout.yaxis.type == "log":
        up = list(np.log10([drift.quantile(0.99) * 1.05, low * 0.97]))
    figure.update_yaxes(title=axes.frontier, range=up, automargin=True, title_font_size=13)


def _array(values: Iterable[float]) -> np.ndarray:
    return np.array([*values], np.float32)  # plotly writes an array as one string: half the page, and faster to save


# ---- below the plot, in pixels from its lower edge: buttons, slider, readings

PLOT, BUTTONS, SLIDER, TABLE, ROW = 340, 56, 96, 182, 17


def _table(figure: go.Figure, evidence: Evidence, labels: list[str], runs: dict[str, Runs], level: float) -> None:
    looks = [look(evidence, label, labels) for label in labels]
    names = [f"<span style='color:{seen.color}'>●</span> {seen.name}" for seen in looks]
    columns = told(evidence, labels, runs, steps_of(runs)[-1], level)
    signs = "★ right after a reset: counts for no frontier<br>pale: another checkpoint of the same run beats it"
    below = TABLE + ROW * (len(labels) + 2) + 6
    for text, x, side, down in [
        ("<br>".join(["&nbsp;", "&nbsp;", *names]), 0, "left", TABLE), (columns[0], 0.66, "right", TABLE),
        (columns[1], 1, "right", TABLE), (columns[2], 0, "left", below + 2 * ROW), (signs, 0, "left", below),
    ]:  # fmt: skip
        figure.add_annotation(text=text, x=x, y=0, xref="paper", yref="paper", xanchor=side, yanchor="top", align=side,
                              yshift=-down, xshift=-45 if x == 0 else 0, showarrow=False, font_size=12)  # fmt: skip


def _controls(figure: go.Figure, parts: list[Part], moved: range, steps: list[int], runs: dict[str, Runs]) -> None:
    """▶ and ❚❚, the choice of seeds, the slider; a choice never touches `visible`, which is the legend's."""
    after = steps_of(runs, resets=True)
    still = dict(mode="immediate", frame=dict(duration=0), transition=dict(duration=0))
    play = dict(mode="immediate", fromcurrent=True, frame=dict(duration=450), transition=dict(duration=0))
    animate = dict(method="animate")
    buttons = [animate | dict(label="▶", args=[None, play]), animate | dict(label="❚❚", args=[[None], still])]
    seeds = sorted({part.seed for part in parts} - {None})
    choices = ["mean and band", "every seed", *(f"seed {seed}" for seed in seeds)]
    views = [dict(method="restyle", label=c, args=[view(parts, c), list(moved)]) for c in choices]
    place = dict(y=0, yanchor="top", pad=dict(t=BUTTONS), bgcolor="#FFFFFF")
    slider = dict(
        active=len(steps) - 1, x=0, len=1, pad=dict(t=SLIDER), currentvalue=dict(prefix="after update ", font_size=13),
        steps=[animate | dict(label=f"{s} ↺" if s in after else f"{s}", value=str(s), args=[[str(s)], still])
               for s in steps],
    )  # fmt: skip
    figure.update_layout(
        sliders=[slider],
        updatemenus=[
            place | dict(type="buttons", direction="left", buttons=buttons, x=0, xanchor="left", showactive=False),
            place | dict(type="dropdown", direction="up", buttons=views, x=1, xanchor="right"),
        ],
    )


def view(parts: list[Part], choice: str) -> dict:
    """What shows the mean and its band, every seed or one: a list with an entry a part for each attribute."""
    shown = [
        part.kind in ("band", "mean", "dots") if choice == "mean and band"
        else part.seed is not None and choice in ("every seed", f"seed {part.seed}")
        for part in parts
    ]  # fmt: skip
    rows = list(zip(parts, shown, strict=True))
    return {
        "mode": [("markers" if part.kind == "dots" else "lines") if on else "none" for part, on in rows],
        "fill": ["toself" if on and part.kind == "band" else "none" for part, on in rows],
        "hoverinfo": ["all" if on and part.kind == "dots" else "skip" for part, on in rows],
        "line.width": [{"band": 0, "line": 1.2 if choice == "every seed" else 2.4}.get(p.kind, 2.4) for p in parts],
    }


def _dress(figure: go.Figure, evidence: Evidence, labels: list[str], title: str) -> go.Figure:
    """The common one, folded to the width of a phone."""
    entries = sum(50 + 7 * len(look(evidence, label, labels).name) for label in labels)  # the legend's, in pixels
    top, bottom = 115 + 19 * (1 + entries // 260), TABLE + ROW * (len(labels) + 7)
    finding = captions.frontier(evidence, labels)
    figure = finish(figure, evidence, labels, title, top + PLOT + bottom, "every checkpoint a dot", finding)
    words = figure.layout.title
    words.text = "<br>".join(textwrap.wrap(words.text, 34))
    subtitle = words.subtitle.text.removesuffix("; thin lines: the reference")  # only one's own are drawn here
    words.subtitle.text = "<br>".join(textwrap.wrap(subtitle, 52))
    unneeded = ["pan2d", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"]
    return figure.update_layout(
        margin=dict(l=60, r=20, t=top, b=bottom), title_font_size=16, modebar=dict(remove=unneeded, orientation="v"),
        legend=dict(y=1.02, font=dict(size=12), tracegroupgap=0), dragmode=False,  # so that a finger scrolls the page
    )  # fmt: skip
