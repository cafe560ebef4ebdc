"""Records to plotly figures: one colour and one dash a method everywhere, axes that say which way is better."""

from __future__ import annotations

import functools
import re
import textwrap
from collections.abc import Iterable

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from elastic_lib.evidence import Evidence
from elastic_lib.evidence.measures import KLS, Line, Setting, area, mean, over_kl, told_by_kl, with_kls
from elastic_lib.figures import captions
from elastic_lib.figures.names import METHODS
from elastic_lib.figures.style import (
    COLORS,
    Look,
    after,
    areas_shown,
    band,
    chosen,
    columns_of,
    draw,
    finish,
    frontier_band,
    hover,
    look,
    look_of_policy,
    mark_resets,
    mean_and_bar,
    name_axes,
    over_training,
    rolling,
    say_better,
    says,
    spread_drift,
    traded,
    turn,
)

ITERATIONS = ("#FDBE85", "#F16913", "#8C2D04")


def frontier(evidence: Evidence, settings: Iterable[Setting], title: str, by: str = "task") -> go.Figure:
    """The Pareto frontier graph (Section 5): the best drift that a method paid for each task score.

    `by`: the score, where it is another column than what pays.
    """
    figure = go.Figure()
    labels = chosen(evidence, settings)
    for label in labels:
        task, drift = columns_of(evidence, label) if by == "task" else (by, "drift")
        rows_of = functools.partial(frontier_band, label=label, task=task, drift=drift)
        draw(figure, evidence, label, rows_of, look(evidence, label, labels), traded(evidence))
    score = evidence.facts.AXES.task if by == "task" else re.sub(" ?{.*}", ",", evidence.facts.SAID[by])
    figure.update_xaxes(title=f"{score}  (higher is better →)")
    figure.update_yaxes(title=evidence.facts.AXES.frontier)
    spread_drift(figure, evidence, drawn_drifts(figure))
    turn(figure, evidence)
    say_better(figure)
    return finish(figure, evidence, labels, title, height=520, finding=captions.frontier(evidence, labels, by))


def three_panels(evidence: Evidence, settings: Iterable[Setting], title: str, stops: bool = False) -> go.Figure:
    """Drift, task and frontier side by side (Figures 3, 7, 8, Appendix D); `stops`: right after the last reset too."""
    headings = ("(a) language drift", "(b) task", "(c) Pareto frontier")
    figure = make_subplots(1, 3, subplot_titles=headings, horizontal_spacing=0.085)
    labels = chosen(evidence, settings)
    for label in labels:
        seen, (task, drift) = look(evidence, label, labels), columns_of(evidence, label)
        for column, name in enumerate((drift, task), 1):
            rows_of = functools.partial(over_training, label=label, column=name)
            draw(figure, evidence, label, rows_of, seen, after(evidence, name), column)
        rows_of = functools.partial(frontier_band, label=label, task=task, drift=drift)
        draw(figure, evidence, label, rows_of, seen, traded(evidence), 3)
        if stops and evidence.recipes[label].reset is not None:
            _stop(figure, evidence, label, seen)
    mark_resets(figure, evidence, labels, (1, 2))
    _drift_task_and_frontier(figure, evidence)
    for column, axis in ((1, "y"), (3, "y3")):
        spread_drift(figure, evidence, drawn_drifts(figure, axis), col=column)
    finding = captions.frontier(evidence, labels) + (captions.stops(evidence, labels) if stops else "")
    return finish(figure, evidence, labels, title, finding=finding)


def _drift_task_and_frontier(figure: go.Figure, evidence: Evidence) -> None:
    axes = evidence.facts.AXES
    task = (axes.steps, f"{axes.task} (↑ better)")
    name_axes(figure, (axes.steps, axes.drift), task, (f"{axes.task} (→ better)", axes.frontier))
    turn(figure, evidence, col=3)


def while_training(evidence: Evidence, settings: Iterable[Setting], title: str, window: int = 1) -> go.Figure:
    """Reward and KL of the samples that are trained on, and one against the other (Figure 6); rolling means (Figure 9).

    A row is the mean of the updates since the last one; `window` such rows are averaged.
    """
    axes = evidence.facts.AXES
    headings = ("(a) reward", "(b) KL to the initial model", "(c) Pareto frontier")
    figure = make_subplots(1, 3, subplot_titles=headings, horizontal_spacing=0.085)
    labels = chosen(evidence, settings)
    for label in labels:
        seen = look(evidence, label, labels)
        for column, name in enumerate(("reward", "kl"), 1):
            rows_of = functools.partial(rolling, label=label, column=name, window=window)
            draw(figure, evidence, label, rows_of, seen, after(evidence, name), column)
        rows_of = functools.partial(frontier_band, label=label, task="reward", drift="kl", window=window)
        draw(figure, evidence, label, rows_of, seen, traded(evidence, "reward", "kl"), 3)
    mark_resets(figure, evidence, labels, (1, 2))
    name_axes(
        figure,
        (axes.steps, f"{axes.task} (↑ better)"),
        (axes.steps, "KL, nats a sample (↓ better)"),
        (f"{axes.task} (→ better)", "KL, nats, reversed (↑ better)"),
    )
    figure.update_yaxes(autorange="reversed", col=3)
    finding = captions.trade(evidence, captions.curves_of(evidence, labels, "reward", "kl"), "reward", "kl")
    return finish(figure, evidence, labels, title, finding=finding + captions.count(evidence, labels))


def _stop(figure: go.Figure, evidence: Evidence, label: str, seen: Look) -> None:
    """A star at the mean of a setting right after its last reset."""
    curves = [evidence.curve(record) for record in evidence.found[label].values()]
    last = pd.DataFrame([curve[curve["reset"] == 1].iloc[-1] for curve in curves if (curve["reset"] == 1).any()])
    if len(last):
        words = f"right after its last reset · {says(evidence, 'task', 'x')} · {says(evidence, 'drift')}"
        figure.add_scatter(
            x=[last["task"].mean()], y=[last["drift"].mean()], mode="markers", row=1, col=3, showlegend=False,
            marker=dict(symbol="star", size=15, color=seen.color, line=dict(width=1, color="white")),
            legendgroup=seen.name, hovertemplate=hover(evidence, label, seen.name, words),
        )  # fmt: skip


def iterations(evidence: Evidence, title: str, without: Setting = ("ppo", {})) -> go.Figure:
    """PPO against Elastic Reset, whose curve is split at its resets (Figure 4), and the frontier of each iteration."""
    headings = ("(a) language drift", "(b) task", "(c) frontier of each iteration")
    figure = make_subplots(1, 3, subplot_titles=headings, horizontal_spacing=0.085)
    ppo, elastic = evidence.label(without[0], **without[1]), evidence.label("elastic")
    parts = [(ppo, None, look(evidence, ppo))]
    parts += [(elastic, i, Look(f"Elastic Reset, {_iteration(i)}", c)) for i, c in enumerate(ITERATIONS)]
    for label, iteration, seen in parts:
        for column, name in enumerate(("drift", "task"), 1):
            rows = over_training(evidence, label, name, iteration)
            words = hover(evidence, label, seen.name, after(evidence, name))
            band(figure, rows, seen, words, column, legend=column == 1)
        rows = frontier_band(evidence, label, "task", "drift", iteration)
        band(figure, rows, seen, hover(evidence, label, seen.name, traded(evidence)), 3, legend=False)
    mark_resets(figure, evidence, [elastic], (1, 2))
    _drift_task_and_frontier(figure, evidence)
    finding = captions.iterations(evidence, elastic, [ppo])
    return finish(figure, evidence, [ppo, elastic], title, finding=finding)


def against_kl(evidence: Evidence, settings: Iterable[Setting], title: str) -> go.Figure:
    """Drift over both KLs to the pretrained model: every evaluation of every seed is a dot."""
    headings = ("(a) KL(π0‖π), on what π0 says", "(b) KL(π‖π0), on what π says")
    figure = make_subplots(1, 2, subplot_titles=headings, shared_yaxes=True, horizontal_spacing=0.06)
    labels = chosen(evidence, settings)
    lines = [Line(method, changed) for method, changed, *_ in settings if chosen(evidence, [(method, changed)])]
    for line in lines:
        label = evidence.label_of(line)
        seen, rows = look(evidence, label, labels), pd.concat(with_kls(evidence, line).values())
        if evidence.recipes[label].reads_average:
            seen = seen._replace(name=f"{seen.name}: its policy")
        for column, kl in enumerate(KLS, 1):
            words = f"{seen.name}<br>KL %{{x:.3f}} nats a token · {says(evidence, 'drift')}<extra></extra>"
            figure.add_scatter(
                x=rows[kl], y=rows["drift"], mode="markers", name=seen.name, legendgroup=seen.name, hovertemplate=words,
                marker=dict(color=seen.color, symbol=seen.sign or "circle", size=6, opacity=0.6),
                showlegend=column == 1, row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(title="nats a token (← better)")
    figure.update_yaxes(title=evidence.facts.AXES.drift, col=1)
    told = told_by_kl(evidence, lines)
    finding = ""
    if told["forward_kl"]:
        forward, reverse = (mean(told[kl]) for kl in KLS)
        finding = f"R² of log drift, means of seeds: {forward:.3f} on the forward KL, {reverse:.3f} on the reverse one."
    return finish(figure, evidence, labels, title, shown="a dot an evaluation", finding=finding)


def reward_over_kl(evidence: Evidence, settings: Iterable[Setting], title: str, meant: str = "task") -> go.Figure:
    """Rewards over √KL to the pretrained model (Gao et al. 2022): a mark an evaluation, joined in their order.

    Of a column that is `meant` while another one pays there is a second panel.
    """
    headings = ("(a) the proxy, which pays", "(b) gold, which is meant") if meant != "task" else ("",)
    figure = make_subplots(1, len(headings), subplot_titles=headings, shared_yaxes=True, horizontal_spacing=0.06)
    labels = chosen(evidence, settings)
    for label in labels:
        seen, seeds = look(evidence, label, labels), over_kl(evidence, label, meant)
        if not seeds:
            continue
        rows = pd.concat(seeds.values()).groupby("step").agg(["mean", "sem"])
        for column, (name, _) in enumerate(zip(("paid", "meant"), headings, strict=False), 1):
            words = hover(evidence, label, seen.name, "after %{customdata} updates · √KL %{x:.2f} · reward %{y:.3f}")
            figure.add_scatter(
                x=rows["root"]["mean"], y=rows[name]["mean"], customdata=rows.index, mode="lines+markers",
                error_y=dict(array=rows[name]["sem"].fillna(0), thickness=1, width=0), name=seen.name,
                line=seen.line, marker=dict(size=6, symbol=seen.sign or "circle", color=seen.color),
                legendgroup=seen.name, showlegend=column == 1, hovertemplate=words, row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(title="√KL(π‖π0) of a text, √nats (← better)")
    figure.update_yaxes(title=f"{evidence.facts.AXES.task} (↑ better)", col=1)
    return finish(figure, evidence, labels, title, finding=captions.over_root_kl(evidence, labels, meant))


def paid_and_meant(evidence: Evidence, settings: Iterable[Setting], title: str) -> go.Figure:
    """The reward of a proxy, which pays, that of gold, which is meant, over training, and gold against drift."""
    headings = ("(a) the proxy, which pays", "(b) gold, which is meant", "(c) gold against drift")
    figure = make_subplots(1, 3, subplot_titles=headings, horizontal_spacing=0.085)
    labels, axes = chosen(evidence, settings), evidence.facts.AXES
    for label in labels:
        seen = look(evidence, label, labels)
        for column, name in enumerate(("task", "gold"), 1):
            rows_of = functools.partial(over_training, label=label, column=name)
            draw(figure, evidence, label, rows_of, seen, after(evidence, name), column)
        rows_of = functools.partial(frontier_band, label=label, task="gold", drift="drift")
        draw(figure, evidence, label, rows_of, seen, traded(evidence, "gold"), 3)
    mark_resets(figure, evidence, labels, (1, 2))
    name_axes(
        figure,
        (axes.steps, "reward by the proxy (↑ better)"),
        (axes.steps, "gold reward, P(positive) (↑ better)"),
        ("gold reward, P(positive) (→ better)", axes.frontier),
    )
    turn(figure, evidence, col=3)
    spread_drift(figure, evidence, drawn_drifts(figure, "y3"), col=3)
    return finish(figure, evidence, labels, title, finding=captions.paid_and_meant(evidence, labels))


def _iteration(i: int) -> str:
    return f"{('1st', '2nd', '3rd')[i] if i < 3 else f'{i + 1}th'} iteration"


def _ends(evidence: Evidence, label: str) -> list[int]:
    """After which updates the iterations between resets end."""
    recipe = evidence.recipes[label]
    return [*recipe.restarts(), recipe.updates]


def fewer_resets(evidence: Evidence, settings: Iterable[Setting], title: str) -> go.Figure:
    """What each further reset adds (Figure 10): the frontier so far, and the area under it, iteration by iteration."""
    headings = ("(a) frontier after each iteration", "(b) hypervolume after each iteration")
    figure = make_subplots(1, 2, subplot_titles=headings, horizontal_spacing=0.12)
    settings = list(settings)
    labels, means_of = chosen(evidence, settings), {}
    for label in chosen(evidence, settings[:1]):
        for i, (end, color) in enumerate(zip(_ends(evidence, label), ITERATIONS, strict=False)):
            part = Look(f"{METHODS[evidence.recipes[label].method]}, up to its {_iteration(i)}", color)
            rows = frontier_band(evidence, label, "task", "drift", until=end)
            band(figure, rows, part, hover(evidence, label, part.name, traded(evidence)), 1)
    for label in labels:
        ends, seen = _ends(evidence, label), look(evidence, label, labels)
        seen = seen._replace(color=COLORS[evidence.recipes[label].method][0])  # shades are the iterations' here
        so_far = [[area(c[c["step"] <= end], evidence.facts.YARDSTICK) for c in evidence.common(label).values()]
                  for end in ends]  # fmt: skip
        means, bars = zip(*(mean_and_bar(values, seen.color) for values in so_far), strict=True)
        means_of[seen.name] = means
        bar = bars[0] | {side: [one[side][0] for one in bars] for side in ("array", "arrayminus")}
        words = "with %{x} resets · hypervolume %{y:.3f} of the ideal"
        figure.add_scatter(
            x=list(range(len(ends))), y=means, error_y=bar, name=seen.name, legendgroup=seen.name, row=1, col=2,
            mode="lines+markers", line=seen.line, marker=dict(size=8, symbol=seen.sign or "circle", color=seen.color),
            hovertemplate=hover(evidence, label, seen.name, words),
        )  # fmt: skip
    figure.update_xaxes(title=f"{evidence.facts.AXES.task} (→ better)", col=1)
    figure.update_yaxes(title=evidence.facts.AXES.frontier, col=1)
    turn(figure, evidence, col=1)
    figure.update_xaxes(title="resets so far", dtick=1, col=2)
    figure.update_yaxes(title="share of the ideal (↑ better)", col=2)
    shown, finding = "mean ± standard error; (b) 95% interval", captions.so_far(means_of)
    return finish(figure, evidence, labels, title, shown=shown, finding=finding)


def hypervolumes(evidence: Evidence, settings: Iterable[Setting], title: str) -> go.Figure:
    """The hypervolume of every setting: each seed a dot, the mean and its 95% interval a bar."""
    labels = chosen(evidence, settings)
    rows = sorted(
        ((label, areas_shown(evidence, label)) for label in labels),
        key=lambda row: np.mean(list(row[1].values())),
    )
    figure = go.Figure()
    for label, by_seed in rows:
        name, color = look(evidence, label, labels).name, COLORS[evidence.recipes[label].method][0]
        tick, values = _folded(name), list(by_seed.values())
        words = f"{name} · seed %{{customdata}}<br>hypervolume %{{x:.3f}} of the ideal<extra></extra>"
        figure.add_scatter(x=values, y=[tick] * len(values), mode="markers", showlegend=False, hovertemplate=words,
                           customdata=list(by_seed), marker=dict(color=color, opacity=0.45, size=7))  # fmt: skip
        mean, bars = mean_and_bar(values, color)
        words = hover(evidence, label, name, "hypervolume %{x:.3f} of the ideal")
        bar = dict(color=color, size=12, symbol="line-ns", line=dict(width=3, color=color))
        figure.add_scatter(x=[mean], y=[tick], error_x=bars, mode="markers", showlegend=False, hovertemplate=words,
                           marker=bar)  # fmt: skip
    figure.update_xaxes(title="hypervolume, share of the ideal (→ better)")
    high = sum(22 + 14 * (1 + _folded(look(evidence, label, labels).name).count("<br>")) for label in labels)
    shown, finding = "each a dot, mean and 95% interval", captions.hypervolumes(evidence, labels)
    figure = finish(figure, evidence, labels, title, 150 + max(high, 102), shown, finding)
    return figure.update_layout(margin=dict(t=90))


def _folded(name: str) -> str:
    """A long name on several lines, as a row's label has it."""
    return "<br>".join(textwrap.wrap(name, 34, break_long_words=False))


def distances(evidence: Evidence, settings: Iterable[Setting], title: str) -> go.Figure:
    """The hypervolume of each method where the two domains are near, in the middle, and far apart."""
    figure, labels = go.Figure(), []
    settings, areas_at = list(settings), {}
    for at, distance in enumerate(("near", "middle", "far")):
        there = chosen(evidence, [(m, s if distance == "middle" else s | {"distance": distance}) for m, s in settings])
        labels += there
        for place, label in enumerate(there):
            name, color, _, sign = look(evidence, label, there)
            mean, bar = mean_and_bar(areas_shown(evidence, label).values(), color)
            areas_at.setdefault(distance, {})[name] = mean
            words = f"{distance} domains · hypervolume %{{y:.3f}} of the ideal"
            figure.add_scatter(
                x=[at + 0.09 * (place - (len(there) - 1) / 2)], y=[mean], error_y=bar, mode="markers", name=name,
                legendgroup=name, showlegend=not any(trace.name == name for trace in figure.data),
                marker=dict(color=color, size=10, symbol=sign or "circle"),
                hovertemplate=hover(evidence, label, name, words),
            )  # fmt: skip
    ticks = dict(tickvals=[0, 1, 2], ticktext=["near", "middle", "far"], range=[-0.5, 2.5])
    figure.update_xaxes(title="distance between the pretraining's domain and the game's", **ticks)
    figure.update_yaxes(title="hypervolume, share of the ideal (↑ better)")
    finding = captions.distances(areas_at)
    return finish(figure, evidence, labels, title, height=500, shown="mean and 95% interval", finding=finding)


def symptoms(evidence: Evidence, settings: Iterable[Setting], title: str) -> go.Figure:
    """How what is said changes over training: too long, repeating itself, without an end, poor in words."""
    readings = evidence.facts.SYMPTOMS
    figure = make_subplots(2, 2, subplot_titles=list(readings.values()), vertical_spacing=0.16)
    labels = chosen(evidence, settings)
    for label in labels:
        seen = look(evidence, label, labels)
        for i, (column, heading) in enumerate(readings.items()):
            place = dict(row=1 + i // 2, column=1 + i % 2)
            words = hover(evidence, label, seen.name, f"after %{{x}} updates · {heading}: %{{y:.3g}}")
            band(figure, over_training(evidence, label, column), seen, words, legend=i == 0, **place)
    figure.update_xaxes(title=evidence.facts.AXES.steps, row=2)
    return finish(figure, evidence, labels, title, height=680, finding=captions.symptoms(evidence, labels, readings))


def measures(evidence: Evidence, settings: Iterable[Setting], columns: dict[str, str], title: str) -> go.Figure:
    """Columns of the curves over training, a panel each, under the names that are given."""
    figure = make_subplots(1, len(columns), horizontal_spacing=0.085)
    labels = [label for label in chosen(evidence, settings) if _holds(evidence, label, columns)]
    for label in labels:
        seen = look_of_policy(evidence, label, labels)
        for i, (name, heading) in enumerate(columns.items(), 1):
            heading = heading.split(" (")[0]
            words = hover(evidence, label, seen.name, f"after %{{x}} updates · {heading}: %{{y:.3g}}")
            band(figure, over_training(evidence, label, name), seen, words, i, legend=i == 1)
    for i, words in enumerate(columns.values(), 1):
        figure.update_xaxes(title=evidence.facts.AXES.steps, col=i)
        figure.update_yaxes(title=words, col=i)
    mark_resets(figure, evidence, labels, range(1, len(columns) + 1))
    by_distance = "dist_init" in columns
    told = captions.way_back(evidence, labels) if by_distance else captions.second_half(evidence, labels, columns)
    return finish(figure, evidence, labels, title, finding=told)


def _holds(evidence: Evidence, label: str, columns: Iterable[str]) -> bool:
    """Whether the curves of a setting hold any of these columns."""
    return any(curve.reindex(columns=columns).notna().any(axis=None) for curve in evidence.common(label).values())


def drawn_drifts(figure: go.Figure, axis: str = "y") -> list[float]:
    """All that the lines over an axis show of drift."""
    lines = (trace for trace in figure.data if (trace.yaxis or "y") == axis and trace.hovertemplate)
    return [value for trace in lines for value in trace.y]


def paths(evidence: Evidence, settings: Iterable[Setting], title: str) -> go.Figure:
    """The ways of the policies through weight space, of three seeds, in the plane that holds most of their movement.

    All start at θ0, the cross. A dotted line is a reset; a pale one is the average, where it is a way of its own.
    """
    labels = [
        label for label in chosen(evidence, settings) if all(len(r.moves()) for r in evidence.found[label].values())
    ]
    seeds = sorted(set.intersection(*(set(evidence.found[label]) for label in labels)))[:3] if labels else []
    headings = [f"seed {seed}" for seed in seeds]
    figure = make_subplots(1, max(len(seeds), 1), subplot_titles=headings, horizontal_spacing=0.09)
    for column, seed in enumerate(seeds, 1):
        moves = {label: evidence.found[label][seed].moves() for label in labels}
        policies = [rows[rows["whose"] == "policy"].iloc[:, 3:] for rows in moves.values()]
        visited = np.concatenate(policies).astype(float)
        _, sizes, plane = np.linalg.svd(visited, full_matrices=False)
        plane = plane[:2] * np.sign(visited.mean(0) @ plane[:2].T)[:, None]
        for label, rows in moves.items():
            _path(figure, rows, plane, look_of_policy(evidence, label, labels), column, seed)
        figure.add_scatter(x=[0], y=[0], mode="markers", showlegend=False, row=1, col=column, hovertemplate="θ0",
                           marker=dict(symbol="x-thin", size=12, line=dict(width=2.5, color="#444444")))  # fmt: skip
        shares = sizes[:2] ** 2 / (sizes**2).sum()
        figure.update_xaxes(title=f"1st direction, {shares[0]:.0%} of movement", col=column)
        figure.update_yaxes(title=f"2nd, {shares[1]:.0%}", scaleanchor=f"x{column}", col=column)
    shown, finding = f"the first {len(seeds)} drawn", captions.way_back(evidence, labels)
    return finish(figure, evidence, labels, title, 520, shown, finding)


def _path(figure: go.Figure, rows: pd.DataFrame, plane: np.ndarray, seen: Look, column: int, seed: int) -> None:
    """One policy's way in a plane, its jumps, and its average."""
    at = {whose: part.iloc[:, 3:].to_numpy(float) @ plane.T for whose, part in rows.groupby("whose")}
    policy = rows[rows["whose"] == "policy"]
    place = dict(legendgroup=seen.name, row=1, col=column)
    jumps = np.flatnonzero(policy["reset"] == 1)
    walked = np.insert(at["policy"], jumps, np.nan, axis=0)
    jumped = np.concatenate([[*at["policy"][[i - 1, i]], [np.nan] * 2] for i in jumps] or [np.empty((0, 2))])
    said = np.insert(policy["step"].to_numpy(float), jumps, np.nan)
    pale = dict(mode="lines", showlegend=False, hoverinfo="skip", **place)
    figure.add_scatter(x=at["average"][:, 0], y=at["average"][:, 1], opacity=0.35,
                       line=dict(color=seen.color, width=1.2), **pale)  # fmt: skip
    figure.add_scatter(x=jumped[:, 0], y=jumped[:, 1], line=dict(color=seen.color, width=1.6, dash="dot"), **pale)
    figure.add_scatter(
        x=walked[:, 0], y=walked[:, 1], name=seen.name, showlegend=column == 1, mode="lines+markers",
        line=seen.line | dict(width=2), marker=dict(size=4, color=seen.color), customdata=said,
        hovertemplate=f"{seen.name} · seed {seed}<br>after %{{customdata}} updates<extra></extra>", **place,
    )  # fmt: skip
