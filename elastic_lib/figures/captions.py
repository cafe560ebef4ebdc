"""What a figure shows, in words computed from its records: a reader's own runs get captions of their own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pandas as pd

from elastic_lib import pareto
from elastic_lib.evidence import Evidence
from elastic_lib.evidence.measures import mean, over_kl, over_resets
from elastic_lib.evidence.verdicts import Verdict
from elastic_lib.figures.names import METHODS
from elastic_lib.figures.style import areas_shown, columns_of, look, seeds_of

FEW = 5  # more settings than these are not all named
Curves = dict[str, list[pd.DataFrame]]  # of each line of a figure, a curve a seed


def said(evidence: Evidence, column: str, value: float) -> str:
    """A value in words with its unit: 'reward 0.83'."""
    return evidence.facts.SAID[column.removeprefix("ema_")].format(value)


def at_level(evidence: Evidence, column: str, level: float) -> str:
    """A level of a grid in words, with no more digits than it has."""
    return re.sub(r"{[^}]*}", f"{level:g}", evidence.facts.SAID[column])


def number(evidence: Evidence, column: str, value: float) -> str:
    """The same without the words before it: '0.83', '27.1 BLEU'."""
    words = evidence.facts.SAID[column.removeprefix("ema_")]
    return words[words.index("{") :].format(value)


def level_reached(grid: float, tasks: Iterable[Iterable[pd.Series]]) -> float:
    """The highest task score on a grid that every line reaches in every seed; of most, where one never gains."""
    tasks = [list(seeds) for seeds in tasks]
    reached = sorted((min(task.max() for task in seeds) for seeds in tasks), reverse=True)
    start = max(task.iloc[0] for seeds in tasks for task in seeds)
    best = reached[-1] if reached[-1] > start + grid else reached[len(reached) // 2]
    return round(np.floor(best / grid + 1e-9) * grid, 4)


def curves_of(evidence: Evidence, labels: Iterable[str], task: str = "task", drift: str = "drift") -> Curves:
    """Task and drift of each setting, on the steps that all share, by the name that a figure gives it."""
    labels, curves = list(labels), {}
    for label in labels:
        columns = [*columns_of(evidence, label)] if task == "task" else [task, drift]
        seeds = [curve[columns].dropna() for curve in evidence.common(label).values()]
        name = look(evidence, label, labels).name
        curves[name] = [curve.set_axis([task, drift], axis=1) for curve in seeds if len(curve)]
    return {name: seeds for name, seeds in curves.items() if seeds}


def trade(evidence: Evidence, curves: Curves, task: str = "task", drift: str = "drift") -> str:
    """What each pays in drift for the same task score, the best first, and who gets furthest."""
    if not curves:
        return ""
    better = "lower" if drift == "kl" else evidence.facts.YARDSTICK.better
    level = level_reached(evidence.facts.AXES.grid, ([c[task] for c in seeds] for seeds in curves.values()))
    paid = {name: np.mean([pareto.drift_at(c[task], c[drift], level, better) for c in seeds])
            for name, seeds in curves.items()}  # fmt: skip
    there = sorted((name for name in paid if np.isfinite(paid[name])), key=paid.get, reverse=better == "higher")
    short = [name for name in paid if name not in there]
    shown = there
    if len(there) > FEW:
        resets = [name for name in there if name.startswith(METHODS["elastic"]) and "+" not in name]
        plain = [name for name in resets if name == METHODS["elastic"]] or resets
        named = {*there[:2], there[-1], *(plain if len(plain) == 1 else ())}
        shown = [name for name in there if name in named]
    parts = [f"{name} at {number(evidence, drift, paid[name])}" for name in shown]
    parts[0] = f"{shown[0]} at {said(evidence, drift, paid[shown[0]])}"
    if shown != there:
        parts[-1] = f"last of {len(there)} {parts[-1]}"
    reach = "" if short or len(curves) == 1 else ", which all reach"
    missing = f" Not every seed of {'; '.join(short)} gets there." if short else ""
    furthest = {name: min(c[task].max() for c in seeds) for name, seeds in curves.items()}  # where the curve ends
    far = max(furthest, key=furthest.get)
    every = " on every seed" if len(curves[far]) > 1 else ""
    beyond = f" Furthest{every}: {far}, to {said(evidence, task, furthest[far])}." if len(curves) > 1 else ""
    return f"At {at_level(evidence, task, level)}{reach}: {'; '.join(parts)}.{missing}{beyond}"


def frontier(evidence: Evidence, labels: list[str], task: str = "task") -> str:
    """The trade of each setting, and how far a sweep over one method spreads."""
    told = trade(evidence, curves_of(evidence, labels, task), task)
    spread = mean_areas(evidence, labels)
    if len(labels) > 2 and len({evidence.recipes[label].method for label in labels}) == 1:
        told += f" Hypervolume goes from {min(spread.values()):.2f} to {max(spread.values()):.2f} of the ideal."
    return told + count(evidence, labels)


def count(evidence: Evidence, labels: list[str]) -> str:
    """Of how many seeds the numbers of a caption are."""
    seeds = seeds_of([(evidence, labels)])
    return f" (Means of {seeds}.)" if labels and seeds != "1 seed" else ""


def mean_areas(evidence: Evidence, labels: list[str]) -> dict[str, float]:
    """The mean hypervolume of each setting, by its name."""
    return {look(evidence, x, labels).name: mean(areas_shown(evidence, x)) for x in labels}


def stops(evidence: Evidence, labels: list[str]) -> str:
    """Where each setting that resets stands right after its last reset."""
    told = []
    for label in labels:
        if evidence.recipes[label].reset is None:
            continue  # of students, which take their teachers' place
        rows = [curve[curve["reset"] == 1] for curve in map(evidence.curve, evidence.found[label].values())]
        last = [after.iloc[-1] for after in rows if len(after)]
        if last:
            task, drift = (np.mean([row[column] for row in last]) for column in ("task", "drift"))
            name = look(evidence, label, labels).name
            told.append(f"{name} stands at {said(evidence, 'task', task)} and {said(evidence, 'drift', drift)}")
    return f" Right after its last reset {'; '.join(told)}." if told else ""


def over_root_kl(evidence: Evidence, labels: list[str], meant: str) -> str:
    """What each is paid within a √KL that all reach; and of what is meant, how much at its best moment and the end."""
    curves = {look(evidence, x, labels).name: [*over_kl(evidence, x, meant).values()] for x in labels}
    curves = {name: seeds for name, seeds in curves.items() if seeds}
    if not curves:
        return ""
    counts = sorted({len(seeds) for seeds in curves.values()})
    of = f" (Means of {' to '.join(map(str, dict.fromkeys([counts[0], counts[-1]])))} seeds that measured a KL.)"
    if meant == "task":
        far = min(rows["root"].max() for seeds in curves.values() for rows in seeds)
        paid = {name: np.mean([c["paid"][c["root"] <= far].max() for c in seeds]) for name, seeds in curves.items()}
        told = "; ".join(f"{name} {paid[name]:.2f}" for name in sorted(paid, key=paid.get, reverse=True))
        return f"Highest reward within √KL = {far:.2f}, which all reach: {told}." + of
    return _gold({name: [(c["paid"], c["meant"]) for c in seeds] for name, seeds in curves.items()}) + of


def paid_and_meant(evidence: Evidence, labels: list[str]) -> str:
    """How much of what is meant each has at its best moment and in the end, and what it pays in drift for it."""
    curves = {look(evidence, x, labels).name: evidence.common(x).values() for x in labels}
    told = _gold({name: [(c["task"], c["gold"]) for c in seeds] for name, seeds in curves.items()})
    return f"{told} {trade(evidence, curves_of(evidence, labels, 'gold'), 'gold')}" + count(evidence, labels)


def _gold(rewards: dict[str, list[tuple[pd.Series, pd.Series]]]) -> str:
    """Of what pays and what is meant over training, seed by seed."""
    told = []
    for name, seeds in rewards.items():
        start = np.mean([meant.iat[0] for _, meant in seeds])
        top = np.mean([meant.max() for _, meant in seeds])
        end = np.mean([meant.iat[-1] for _, meant in seeds])
        paid = np.mean([pays.iat[-1] for pays, _ in seeds])
        told.append(
            f"{name} from {start:.2f} to at most {top:.2f}, in the end {end:.2f}, where the proxy says {paid:.2f}"
        )
    return f"Gold reward: {'; '.join(told)}." if told else ""


def hypervolumes(evidence: Evidence, labels: list[str]) -> str:
    """The largest and the smallest."""
    ranked = sorted(mean_areas(evidence, labels).items(), key=lambda row: -row[1])
    if len(ranked) < 2:
        return ""
    (best, most), (second, next_to_it), (worst, least) = ranked[0], ranked[1], ranked[-1]
    middle = f" before {second} with {next_to_it:.3f}" if len(ranked) > 2 else ""
    return (f"{best} covers most, {most:.3f} of the ideal{middle}; {worst} least, {least:.3f}."
            f"{count(evidence, labels)}")  # fmt: skip


def iterations(evidence: Evidence, label: str, others: list[str]) -> str:
    """What each iteration between resets pays for the same task score, and what a reset does."""
    curves = curves_of(evidence, others)
    whole = [curve[curve["reset"] == 0] for curve in map(evidence.curve, evidence.found[label].values())]
    for i in sorted({int(i) for curve in whole for i in curve["iteration"]}):
        curves[f"Iteration {i + 1}"] = [curve[curve["iteration"] == i] for curve in whole]
    return trade(evidence, curves) + resets(evidence, label) + count(evidence, [label])


def resets(evidence: Evidence, label: str) -> str:
    """How much of the drift a reset undoes, and how much of the task's gain it gives up."""
    recipe = evidence.recipes[label]
    if not recipe.reset or not recipe.reset.steps(recipe.updates):
        return ""
    shares = []
    for what in (lambda reset: reset.undone, lambda reset: reset.given_up):
        by_seed = np.array(list(over_resets(evidence, what, recipe.method, **recipe.changes()).values()))
        shares.append(by_seed[np.isfinite(by_seed)])
    if not all(map(len, shares)):
        return ""
    undone, lost = (share.mean() for share in shares)
    return f" A reset undoes {undone:.0%} of the drift since the start and gives up {lost:.0%} of the task's gain."


def so_far(by_name: dict[str, list[float]]) -> str:
    """What each further reset adds to the area."""
    parts = (f"{name}: {', '.join(f'{value:.2f}' for value in means)}" for name, means in by_name.items())
    return f"Hypervolume before any reset, after one, after two … {'; '.join(parts)}."


def ends(evidence: Evidence, labels: list[str], columns: dict[str, str]) -> str:
    """Where each setting has the columns at the end."""
    told = []
    for column, heading in columns.items():
        last = {}
        for label in labels:
            every = [curve[column].dropna() for curve in evidence.common(label).values()]
            if any(map(len, every)):
                last[look(evidence, label, labels).name] = np.mean([values.iloc[-1] for values in every if len(values)])
        told.append(_by_name(heading, last))
    return f"At the end: {'; '.join(told)}.{count(evidence, labels)}"


def _by_name(heading: str, values: dict[str, float]) -> str:
    return f"{heading.split(' (')[0]} {', '.join(f'{value:.2g} ({name})' for name, value in values.items())}"


def second_half(evidence: Evidence, labels: list[str], columns: dict[str, str]) -> str:
    """What each setting has of the columns in the second half of a run: of what goes up and down with every batch."""
    told = []
    for column, heading in columns.items():
        means = {}
        for label in labels:
            half = evidence.recipes[label].updates / 2
            every = [curve.loc[curve["step"] > half, column].mean() for curve in evidence.common(label).values()]
            means[look(evidence, label, labels).name] = np.mean(every)
        told.append(_by_name(heading, dict(sorted(means.items(), key=lambda one: -one[1]))))
    return f"In the second half: {'; '.join(told)}.{count(evidence, labels)}"


def symptoms(evidence: Evidence, labels: list[str], columns: dict[str, str]) -> str:
    """The same, of the setting that drifts most and of Elastic Reset."""
    better = evidence.facts.YARDSTICK.better
    last = {x: np.mean([curve["drift"].iloc[-1] for curve in evidence.common(x).values()]) for x in labels}
    if not last:
        return ""
    worst = (max if better == "lower" else min)(last, key=last.get)
    elastic = [x for x in labels if evidence.recipes[x].method == "elastic" and x != worst]
    return ends(evidence, [worst, *elastic[:1]], columns)


def way_back(evidence: Evidence, labels: list[str]) -> str:
    """How much of the way to θ0 a reset goes back, in weight space."""
    told = []
    for label in labels:
        shares = []
        for curve in map(evidence.curve, evidence.found[label].values()):
            after = curve[curve["reset"] == 1].set_index("step")["dist_init"]
            before = curve[curve["reset"] == 0].set_index("step")["dist_init"].reindex(after.index)
            shares += list((1 - after / before).dropna())
        if shares:
            told.append(f"{np.mean(shares):.0%} ({look(evidence, label, labels).name})")
    return f"Of the way to θ0 a reset goes back {', '.join(told)}.{count(evidence, labels)}" if told else ""


def distances(by_distance: dict[str, dict[str, float]]) -> str:
    """Who covers most at each distance between the domains."""
    told = []
    for distance, found in by_distance.items():
        if found:
            best = max(found, key=found.get)
            told.append(f"{distance}, {best} ({found[best]:.2f})")
    return f"The largest area of all: {'; '.join(told)}." if told else ""


def glance(worlds: Iterable[tuple[Evidence, dict[str, str]]]) -> str:
    """The trade of each task, a line each."""
    told = []
    for evidence, names in worlds:
        curves = {name: next(iter(curves_of(evidence, [label]).values())) for name, label in names.items()}
        told.append(f"{evidence.title}. {trade(evidence, curves)}")
    return "\n".join(told)


def tally(verdicts: list[Verdict]) -> str:
    """How many statements came out how."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    return f"Of {len(verdicts)}: " + ", ".join(f"{number} {name}" for name, number in counts.most_common()) + "."
