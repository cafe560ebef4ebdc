"""All three tasks and all claims in a figure each: what notebook 00 begins with."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from elastic_lib.evidence import Evidence
from elastic_lib.evidence.verdicts import Verdict, counted, sections
from elastic_lib.figures.style import LOOKS, VERDICTS, band, chosen, dress, frontier_band, origin, seeds_of, turn

GLANCED = {"no resets": "ppo", "no resets, a stronger KL": "kl", "Elastic Reset": "elastic"}


def glance(worlds: dict[str, Evidence], title: str) -> go.Figure:
    """The frontier of each task in one picture: without resets, with a stronger KL instead, and with Elastic Reset."""
    figure = make_subplots(
        1, len(worlds), subplot_titles=[evidence.facts.TITLE for evidence in worlds.values()], horizontal_spacing=0.085
    )
    shown, used = [], []
    for column, evidence in enumerate(worlds.values(), 1):
        for setting, (name, look_of) in zip(evidence.facts.GLANCE, GLANCED.items(), strict=True):
            for label in chosen(evidence, [setting]):
                rows = frontier_band(evidence, label, "task", "drift")
                band(figure, rows, (name, *LOOKS[look_of][1:], 1.0), column, legend=name not in shown)
                shown.append(name)
                used.append((evidence, [label]))
        figure.update_xaxes(title=f"{evidence.facts.AXES.task} (→ better)", col=column)
        figure.update_yaxes(title=evidence.facts.AXES.frontier, col=column)
        turn(figure, evidence, col=column)
    scale = next(iter(worlds.values())).scale
    words = f"{scale}, {seeds_of(used)} seeds, mean ± standard error; records: {origin(used)}"
    return dress(figure, title, words, height=470, shown=used)


def tally(worlds: dict[str, Evidence], verdicts: list[Verdict], title: str) -> go.Figure:
    """How many statements of each part of the paper hold, fail, or cannot be told; each counts once."""
    verdicts = counted(verdicts)
    figure, parts = go.Figure(), sections(verdicts)[::-1]
    for name, color in VERDICTS.items():
        counts = [sum(v.section() == part and v.verdict == name for v in verdicts) for part in parts]
        if any(counts):
            figure.add_bar(y=parts, x=counts, name=name, orientation="h", marker=dict(color=color),
                           text=[c or "" for c in counts], textposition="inside", insidetextanchor="middle",
                           textfont=dict(color="white"), hovertemplate="%{y}: %{x}")  # fmt: skip
    every = [(evidence, evidence.found) for evidence in worlds.values()]
    words = f"{verdicts[0].scale}, {len(verdicts)} statements of the paper; records: {origin(every)}"
    figure = dress(figure, title, words, height=150 + 36 * len(parts), shown=every)
    figure.update_layout(barmode="stack", margin=dict(l=130, t=120), legend=dict(y=1.0, traceorder="normal"))
    return figure.update_xaxes(title="statements")
