"""All three tasks and all claims in a figure each: what notebook 00 begins with."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from elastic_lib.evidence import Evidence
from elastic_lib.evidence.verdicts import Verdict, counted, sections
from elastic_lib.figures import captions
from elastic_lib.figures.style import (
    COLORS,
    VERDICTS,
    Look,
    band,
    chosen,
    dress,
    frontier_band,
    hover,
    origin,
    seeds_of,
    traded,
    turn,
)

GLANCED = {"no resets": "ppo", "a stronger KL": "kl", "Elastic Reset": "elastic"}


def glance(worlds: dict[str, Evidence], title: str) -> go.Figure:
    """The frontier of each task in one picture: without resets, with a stronger KL instead, and with Elastic Reset."""
    titles = [evidence.title for evidence in worlds.values()]
    figure = make_subplots(1, len(worlds), subplot_titles=titles, horizontal_spacing=0.085)
    shown, used, drawn = [], [], {}
    for column, evidence in enumerate(worlds.values(), 1):
        settings = evidence.facts.GLANCE_AT_SCALE.get(evidence.scale, evidence.facts.GLANCE)
        for setting, (name, look_of) in zip(settings, GLANCED.items(), strict=True):
            for label in chosen(evidence, [setting]):
                rows = frontier_band(evidence, label, "task", "drift")
                words = hover(evidence, label, name, traded(evidence))
                band(figure, rows, Look(name, *COLORS[look_of]), words, column, legend=name not in shown)
                shown.append(name)
                used.append((evidence, [label]))
                drawn.setdefault(evidence, {})[name] = label
        figure.update_xaxes(title=f"{evidence.facts.AXES.task} (→ better)", col=column)
        figure.update_yaxes(title=evidence.facts.AXES.frontier, col=column)
        turn(figure, evidence, col=column)
    scales = " and ".join(dict.fromkeys(evidence.scale for evidence in worlds.values()))
    words = f"{scales}, {seeds_of(used)}, mean ± standard error; records: {origin(used)}"
    figure.layout.meta = {"finding": captions.glance(drawn.items())}
    figure = dress(figure, title, words, height=470, shown=used)
    if len(worlds) > 3:  # narrow panels
        figure.update_annotations(font_size=14)
        figure.update_xaxes(title_font_size=12).update_yaxes(title_font_size=12)
    return figure


def tally(worlds: dict[str, Evidence], verdicts: list[Verdict], title: str) -> go.Figure:
    """How many statements of each part of the paper hold, fail, or cannot be told; each counts once."""
    verdicts = counted(verdicts)
    figure, parts = go.Figure(), sections(verdicts)[::-1]
    for name, color in VERDICTS.items():
        counts = [sum(v.section() == part and v.verdict == name for v in verdicts) for part in parts]
        if any(counts):
            figure.add_bar(y=parts, x=counts, name=name, orientation="h", marker=dict(color=color),
                           text=[c or "" for c in counts], textposition="inside", insidetextanchor="middle",
                           textfont=dict(color="white"), constraintext="none", textangle=0,
                           hovertemplate=f"%{{y}} · %{{x}} {name}<extra></extra>")  # fmt: skip
    every = [(evidence, evidence.found) for evidence in worlds.values()]
    words = f"{verdicts[0].scale}, {len(verdicts)} statements of the paper; records: {origin(every)}"
    figure.layout.meta = {"finding": captions.tally(verdicts)}
    figure = dress(figure, title, words, height=150 + 36 * len(parts), shown=every)
    figure.update_layout(
        barmode="stack",
        uniformtext=dict(mode="hide", minsize=10),
        margin=dict(l=130, t=120),
        legend=dict(y=1.0, traceorder="normal"),
    )
    return figure.update_xaxes(title="statements")
