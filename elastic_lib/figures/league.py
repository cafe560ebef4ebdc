"""The league of a task: a table that is sorted, with ties that are called ties, and a figure of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from textwrap import wrap

import pandas as pd
import plotly.graph_objects as go

from elastic_lib.evidence import Evidence
from elastic_lib.evidence.league import SHARES, Standing, better, league, tried
from elastic_lib.evidence.measures import Line, Setting, mean, minus
from elastic_lib.figures.captions import said
from elastic_lib.figures.names import name_of
from elastic_lib.figures.style import finish, look, mean_and_bar
from elastic_lib.pareto import interval

WIDE = 36  # letters of a name on one line


def league_table(
    evidence: Evidence, lines: Iterable[Line], plain: Line | None, counts: Mapping[str, int] | None = None
) -> pd.DataFrame:
    """Each line's place, hypervolume over the levels that all reach, drift at three of them, and cost: means of seeds.

    Behind the first: with its paired 95% interval. A place is one more than the number of those who are better beyond
    such an interval. Time is over that of `plain`, if it is given, and how many settings were tried of a method stands
    beside it, if `counts` say so.
    """
    standings = league(evidence, lines, plain)
    recipes = [evidence.recipes[one.label] for one in standings]
    rows, arrow = {}, evidence.facts.YARDSTICK.arrow
    for one in standings:
        row = {"place": _place(one, standings), "↑ hypervolume": f"{mean(one.area):.3f}"}
        row |= {"behind the first [95%]": _behind(one, standings[0])}
        row |= {f"{arrow} drift at {share:.0%}": f"{mean(one.drifts[share]):.3f}" for share in SHARES}
        row |= {"↑ highest task": f"{mean(one.highest):.3f}", "↑ hypervolume up to there": f"{mean(one.whole):.3f}"}
        row |= {"↓ time of plain": f"{mean(one.cost):.2f}" if one.cost else "–"} if plain else {}
        row |= {"↓ copies of θ": one.copies}
        row |= {"settings tried": counts.get(one.line.method, 1)} if counts else {}
        row |= {"seeds": len(one.area)}
        rows[name_of(evidence.recipes[one.label], recipes)] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def league_figure(evidence: Evidence, lines: Iterable[Line], plain: Line | None, title: str) -> go.Figure:
    """How far each is behind the first: a dot a seed, the mean and its paired 95% interval a bar; best on top."""
    figure, standings = go.Figure(), league(evidence, lines, plain)
    labels = [one.label for one in standings]
    for one in standings[::-1]:
        color, behind = look(evidence, one.label).color, minus(one.area, standings[0].area)
        name = "<br>".join(wrap(look(evidence, one.label, labels).name, WIDE)) + f"  {_place(one, standings)}"
        figure.add_scatter(x=list(behind.values()), y=[name] * len(behind), mode="markers", showlegend=False,
                           marker=dict(color=color, opacity=0.4, size=7),
                           hovertemplate="%{x:+.3f}<extra>a seed</extra>")  # fmt: skip
        middle, bar = mean_and_bar(behind.values(), color)
        figure.add_scatter(x=[middle], y=[name], error_x=bar, mode="markers", showlegend=False,
                           marker=dict(color=color, size=12, symbol="line-ns", line=dict(width=3, color=color)),
                           hovertemplate="%{x:+.3f}<extra>mean</extra>")  # fmt: skip
    figure.add_vline(x=0, line=dict(color="#888888", width=1, dash="dot"))
    figure.update_xaxes(title="hypervolume, minus that of the first (→ better)")
    height, shown = 150 + 34 * max(len(standings), 3), "each a dot, mean and paired 95% interval"
    figure = finish(figure, evidence, labels, title, height, shown, finding=told(evidence, standings))
    return figure.update_layout(margin=dict(t=90))


def told(evidence: Evidence, standings: list[Standing]) -> str:
    """Who is first up to where all get, who is level with it, and who is first over all that each reaches."""
    if len(standings) < 2:
        return ""
    labels = [one.label for one in standings]
    names = {one.label: look(evidence, one.label, labels).name for one in standings}
    top = mean({seed: min(one.highest[seed] for one in standings) for seed in standings[0].highest})
    first, *others = standings
    behind = [one for one in others if better(first.area, one.area)]
    level = [names[one.label] for one in others if one not in behind]
    beaten = [f"{names[one.label]} by {mean(minus(first.area, one.area)):.3f}" for one in behind]
    words = f"Up to {said(evidence, 'task', top)}, which all reach, {names[first.label]} pays least"
    words += f"; no interval parts {' and '.join(level)} from it" if level else ""
    words += f". Behind it: {'; '.join(beaten)}." if beaten else "."
    far = max(standings, key=lambda one: mean(one.whole))
    level = [names[one.label] for one in standings if one is not far and not better(far.whole, one.whole)]
    words += f" Over all that each reaches, {names[far.label]} covers most, {mean(far.whole):.3f} of the ideal"
    return words + (f"; no interval parts {' and '.join(level)} from it." if level else ".")


def tuning_table(evidence: Evidence, rivals: Mapping[str, Iterable[Setting]]) -> pd.DataFrame:
    """What was tried of each method, on seeds that are reported nowhere else, best first: the first was chosen.

    A seed is empty where a setting had not been among the best on the other.
    """
    rows = []
    for settings in rivals.values():
        for i, (line, areas) in enumerate(tried(evidence, settings)):
            name = name_of(evidence.recipes[evidence.label_of(line)])
            seeds = {f"hypervolume, seed {seed}": f"{value:.3f}" for seed, value in sorted(areas.items())}
            seeds |= {} if len(areas) < 2 else {"mean": f"{mean(areas):.3f}"}
            rows.append({"setting": name, **seeds, "chosen": "chosen" if i == 0 else ""})
    return pd.DataFrame(rows).fillna("").set_index("setting") if rows else pd.DataFrame()


def budget(evidence: Evidence, rivals: Mapping[str, Iterable[Setting]]) -> dict[str, int]:
    """How many settings were tried of each method."""
    return {name: max(len(tried(evidence, settings)), 1) for name, settings in rivals.items()}


def _place(one: Standing, standings: list[Standing]) -> str:
    """The place, marked where it is shared."""
    shared = sum(other.place == one.place for other in standings) > 1
    return f"{'=' if shared else ''}{one.place}"


def _behind(one: Standing, first: Standing) -> str:
    if one is first:
        return "–"
    behind = minus(one.area, first.area)
    low, high = interval(behind.values())
    return f"{mean(behind):+.3f} [{low:+.3f}, {high:+.3f}]"
