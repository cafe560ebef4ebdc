"""The frontier of somebody's own training run."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from elastic_lib import pareto
from elastic_lib.figures.style import COLORS


def picture(log: pd.DataFrame, title: str) -> go.Figure:
    """Reward against KL, a dot a line, and the frontier: the best reward at each KL."""
    best = pareto.frontier(log["reward"], log["kl"], "lower")
    color = COLORS["elastic"][0]
    words = "step %{customdata}<br>reward %{y:.3g}<br>KL %{x:.3g}<extra></extra>"
    figure = go.Figure()
    dots = dict(color=log["step"], colorscale="Greys", size=7, line=dict(width=0.5, color="#888888"))
    figure.add_scatter(
        x=log["kl"], y=log["reward"], mode="markers", name="every line of the log", customdata=log["step"], marker=dots,
        hovertemplate=words,
    )  # fmt: skip
    rows = log.iloc[best].sort_values("kl")
    figure.add_scatter(x=rows["kl"], y=rows["reward"], mode="lines", name="frontier: the best reward at each KL",
                       line=dict(color=color, width=2, shape="hv"), hoverinfo="skip")  # fmt: skip
    figure.update_xaxes(title="KL from the initial model, nats (← better)")
    figure.update_yaxes(title="reward (↑ better)")
    return figure.update_layout(title=title, template="plotly_white", height=460, legend=dict(orientation="h", y=-0.2))
