"""What claims and figures measure on finished runs: numbers a seed, so that methods are compared on the same seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from elastic_lib import pareto
from elastic_lib.evidence.evidence import Evidence, Missing
from elastic_lib.records.tables import Finished
from elastic_lib.tasks.axes import Yardstick

PerSeed = dict[int, float]
Setting = tuple[str, dict]  # a method, and what is changed of its recipe
Measure = Callable[[pd.DataFrame, Finished | None], float]
Effect = Callable[[Evidence], PerSeed]
Points = dict[int, tuple[np.ndarray, np.ndarray]]  # task and drift at every evaluation, by seed
QUARTERS = (0.25, 0.5, 0.75, 1.0)  # of the way from the start to the highest task score that all the compared reach
HALF, WHOLE = 0.5, 1.0


class Line(NamedTuple):
    """What is drawn against task and drift: a setting's policy, or what else its records hold, the average say."""

    method: str
    changed: dict = {}  # noqa: RUF012
    task: str = "task"
    drift: str = "drift"


ELASTIC = Line("elastic")
AVERAGE = Line("track", {}, "ema_task", "ema_drift")  # the EMA that is read out of a run without resets


def area(
    curve: pd.DataFrame, yardstick: Yardstick, task: str = "task", drift: str = "drift", up_to: float = math.inf
) -> float:
    """Hypervolume as a share of the ideal: the ideal score at the pretrained drift is 1, no gain is 0."""
    task0, drift0 = curve["task"].iat[0], curve["drift"].iat[0]
    limit = yardstick.limit * drift0
    volume = pareto.hypervolume(curve[task], curve[drift], (task0, limit), yardstick.better, up_to)
    return volume / ((yardstick.ideal - task0) * abs(limit - drift0))


def per_seed(evidence: Evidence, measure: Measure, method: str, **settings) -> PerSeed:
    label = evidence.label(method, **settings)
    return {seed: measure(curve, evidence.found[label][seed]) for seed, curve in evidence.common(label).items()}


def on(evidence: Evidence, measure: Measure, line: Setting) -> PerSeed:
    """A measure of a line's runs, or of a setting's."""
    method, changed, *_ = line
    return per_seed(evidence, measure, method, **changed)


def minus(a: PerSeed, b: PerSeed) -> PerSeed:
    return {seed: a[seed] - b[seed] for seed in sorted(set(a) & set(b))}


def more_of(evidence: Evidence, measure: Measure, one: Setting, other: Setting) -> PerSeed:
    """A measure of one line minus that of another."""
    return minus(on(evidence, measure, one), on(evidence, measure, other))


def share(part: float, whole: float) -> float:
    """A part of a gain, nan where nothing was gained."""
    return part / whole if whole > 0 else math.nan


def shares(parts: PerSeed, wholes: PerSeed) -> PerSeed:
    return {seed: share(parts[seed], wholes[seed]) for seed in sorted(set(parts) & set(wholes))}


def mean(values: PerSeed) -> float:
    return sum(values.values()) / len(values)


def areas(evidence: Evidence, method: str, task: str = "task", drift: str = "drift", **settings) -> PerSeed:
    """The area of a setting's frontier, of the policy or of other columns."""
    return areas_of(evidence, evidence.label(method, **settings), task, drift)


def areas_of(evidence: Evidence, label: str, task: str = "task", drift: str = "drift") -> PerSeed:
    """The same of a setting by its name, on the seeds that it has."""
    yardstick = evidence.facts.YARDSTICK
    return {seed: area(curve, yardstick, task, drift) for seed, curve in evidence.common(label).items()}


def larger_area(one: Setting, other: Setting) -> Effect:
    """The area of one setting's frontier minus another's, each up to what it reaches: for claims of likeness."""
    return lambda evidence: minus(*(areas(evidence, method, **changed) for method, changed in (one[:2], other[:2])))


def spread(evidence: Evidence, settings: Iterable[Setting]) -> PerSeed:
    """Largest minus smallest area over a sweep, on each seed that all of it has."""
    settings = list(settings)
    evidence = evidence.with_sweep(settings)
    swept = [areas(evidence, method, **changed) for method, changed, *_ in settings]
    shared = set(swept[0]).intersection(*swept)
    return {seed: max(v[seed] for v in swept) - min(v[seed] for v in swept) for seed in sorted(shared)}


# ---- dominance: over the levels that the subject of a claim achieves

DOMINANCE = "area of the frontier up to the highest task score that the first reaches in that seed: {} minus {}"
IDEAL = "of the ideal area"


def dominance(evidence: Evidence, subject: Line, rival: Line) -> PerSeed:
    """The subject's area minus the rival's, both up to the highest task score that the subject reaches on that seed."""
    ours, theirs = (evidence.common(evidence.label_of(line)) for line in (subject, rival))
    found = {}
    for seed in sorted(set(ours) & set(theirs)):
        top = ours[seed][subject.task].max()
        both = ((ours[seed], subject), (theirs[seed], rival))
        one, other = (area(curve, evidence.facts.YARDSTICK, line.task, line.drift, top) for curve, line in both)
        found[seed] = one - other if not math.isnan(top) else math.nan
    return found


def dominates(subject: Line, rival: Line) -> Effect:
    return lambda evidence: dominance(evidence, subject, rival)


def dominance_over_best(evidence: Evidence, subject: Line, rivals: Iterable[Line]) -> PerSeed:
    """Dominance over the rival that leaves the least of it, on the mean over seeds: the choice favours rivals."""
    rivals = list(rivals)
    evidence = evidence.with_sweep(rivals)
    every = [dominance(evidence, subject, rival) for rival in rivals]
    return min(every, key=lambda values: mean(values) if values else -math.inf)


# ---- the drift at a task score that is named by how far the compared methods get


def points(evidence: Evidence, line: Line) -> Points:
    """Task and drift of a line by seed, where it has both."""
    found = {}
    for seed, curve in evidence.common(evidence.label_of(line)).items():
        task, drift = curve[line.task].to_numpy(float), curve[line.drift].to_numpy(float)
        there = ~(np.isnan(task) | np.isnan(drift))
        found[seed] = task[there], drift[there]
    return found


def levels(way: float, *lines: Points) -> PerSeed:
    """The task score so far on the way from the start to the highest that all of the lines reach, on each seed."""
    found = {}
    for seed in sorted(set(lines[0]).intersection(*lines)):
        scores = [line[seed][0] for line in lines]
        top = min(score.max(initial=-math.inf) for score in scores)
        # at the whole way no rounding may put the level above what is reached
        found[seed] = top - (1 - way) * (top - scores[0][0]) if top > -math.inf else math.nan
    return found


def drifts_at(evidence: Evidence, level: PerSeed, line: Points) -> PerSeed:
    """The best drift of a line at each seed's level."""
    better = evidence.facts.YARDSTICK.better
    return {seed: pareto.drift_at(*line[seed], level[seed], better) for seed in level if seed in line}


def saved(evidence: Evidence, way: float, subject: Line, rival: Line) -> PerSeed:
    """How much less drift (perplexity, KL) a subject pays than a rival, so far on the way that both go."""
    ours, theirs = points(evidence, subject), points(evidence, rival)
    level = levels(way, ours, theirs)
    return minus(drifts_at(evidence, level, theirs), drifts_at(evidence, level, ours))


def cheaper(way: float, subject: Line, rival: Line) -> Effect:
    return lambda evidence: saved(evidence, way, subject, rival)


def saved_over_best(evidence: Evidence, way: float, subject: Line, rivals: Iterable[Line]) -> PerSeed:
    """The same against the rival that is cheapest there, among those that get there in every seed.

    The way is that of the subject and of the rival that gets furthest, on the mean over seeds.
    """
    rivals = list(rivals)
    evidence = evidence.with_sweep(rivals)
    ours, every = points(evidence, subject), [points(evidence, rival) for rival in rivals]
    level = levels(way, ours, max(every, key=_reach))
    savings = [minus(drifts_at(evidence, level, line), drifts_at(evidence, level, ours)) for line in every]
    reached = [values for values in savings if values and not any(map(math.isnan, values.values()))]
    return min(reached, key=mean) if reached else {}


def _reach(line: Points) -> float:
    return mean({seed: task.max(initial=-math.inf) for seed, (task, _) in line.items()})


def least(every: Iterable[PerSeed]) -> PerSeed:
    """The smallest of several effects on each seed: what is claimed of every level has to hold at the worst."""
    every = list(every)
    return {seed: min(values[seed] for values in every) for seed in every[0]}


def more_steps(evidence: Evidence, way: float, slow: Line, fast: Line) -> PerSeed:
    """Updates until one line is so far on the way that both go, minus those of the other."""
    level = levels(way, points(evidence, slow), points(evidence, fast))

    def steps(line: Line) -> PerSeed:
        curves = evidence.common(evidence.label_of(line))
        return {seed: float(curves[seed]["step"][curves[seed][line.task] >= level[seed]].min()) for seed in level}

    return minus(steps(slow), steps(fast))


def tested(what: str, when: str = "test") -> Measure:
    return lambda _, record: _scores(record, when)[what]


def gained(what: str, when: str = "test") -> Measure:
    return lambda _, record: _scores(record, when)[what] - _scores(record, "test_before")[what]


def _scores(record: Finished, when: str) -> dict[str, float]:
    status = record.status()
    if when not in status:
        raise Missing(f"{when} in {record.run_id}")
    return status[when]


def early_task(curve: pd.DataFrame, _: Finished) -> float:
    third = curve["step"].max() / 3
    return float(curve["task"][curve["step"] <= third].iloc[-1])


def largest_gap(evidence: Evidence, one: Line, other: Line, until: int) -> PerSeed:
    """The largest difference of two settings' held-out task up to a step, before anything happens there."""
    both = [evidence.common(evidence.label_of(line)) for line in (one, other)]
    found = {}
    for seed in sorted(set(both[0]) & set(both[1])):
        a, b = (curves[seed].set_index("step")["task"] for curves in both)
        found[seed] = float((a[a.index <= until] - b[b.index <= until]).abs().max())
    return found


# ---- reward at equal √KL, where the reward that pays and the one that is meant may be two


def over_kl(evidence: Evidence, label: str, meant: str = "task") -> dict[int, pd.DataFrame]:
    """√KL(π‖π0) of a text, KL in nats, the reward that pays and the one that is meant, at each evaluation, by seed."""
    length, found = evidence.recipes[label].length, {}
    for seed, curve in evidence.common(label).items():
        rows = curve.reindex(columns=[*{"step", "reverse_kl", "task", meant}]).dropna()
        root = np.sqrt(length * rows["reverse_kl"].clip(lower=0))
        found[seed] = pd.DataFrame({"step": rows["step"], "root": root, "paid": rows["task"], "meant": rows[meant]})
    return {seed: rows for seed, rows in found.items() if len(rows)}


def within(rows: pd.DataFrame, far: float) -> float:
    """What is meant of the policy that is paid most within a √KL, the mean over all of them up to `far`."""
    rows = rows[rows["root"] <= far].sort_values("root", kind="stable")
    root, paid, meant = (rows[name].to_numpy() for name in ("root", "paid", "meant"))
    is_best_so_far = paid >= np.maximum.accumulate(paid)
    place_of_best = np.maximum.accumulate(np.where(is_best_so_far, np.arange(len(paid)), 0))
    widths = np.diff(np.append(root, far))
    return float(meant[place_of_best] @ widths / (far - root[0]))


def more_at_equal_kl(subject: Line, rival: Line, meant: str = "task") -> Effect:
    """How much more of what is meant a subject has than a rival, over the √KLs that both reach in that seed.

    Who has a KL to spend takes the policy that is paid most within it: what is meant is not known while training.
    """

    def effect(evidence: Evidence) -> PerSeed:
        labels = (evidence.label_of(line) for line in (subject, rival))
        ours, theirs = (over_kl(evidence, label, meant) for label in labels)
        shared = sorted(ours.keys() & theirs.keys())
        far = {seed: min(ours[seed]["root"].max(), theirs[seed]["root"].max()) for seed in shared}
        return {seed: within(ours[seed], top) - within(theirs[seed], top) for seed, top in far.items()}

    return effect


def highest(what: str) -> Measure:
    """Of all evaluations."""
    return lambda curve, _: float(curve[what].max())


def lost_since_its_peak(what: str) -> Measure:
    """The share of the largest gain of a run that it has lost again at its last evaluation."""

    def lost(curve: pd.DataFrame, _: Finished | None) -> float:
        start, end, top = curve[what].iat[0], curve[what].iat[-1], curve[what].max()
        return share(top - end, top - start)

    return lost


KLS = ("forward_kl", "reverse_kl")  # KL(π0‖π) on what π0 says, KL(π‖π0) on what π says


def with_kls(evidence: Evidence, line: Line) -> dict[int, pd.DataFrame]:
    """Both KLs of a line's policy to the pretrained model, and its drift, by seed; no rows where none was measured."""
    curves = evidence.common(evidence.label_of(line))
    return {seed: curve.reindex(columns=[*KLS, "drift"]).dropna() for seed, curve in curves.items()}


def told_by_kl(evidence: Evidence, lines: Iterable[Line]) -> dict[str, PerSeed]:
    """R² of log drift on each of the KLs, over all evaluations of all the lines' policies, a number a seed."""
    seen = [with_kls(evidence, line) for line in lines]
    seeds = sorted({seed for by_seed in seen for seed, rows in by_seed.items() if len(rows)})
    found: dict[str, PerSeed] = {kl: {} for kl in KLS}
    for seed in seeds:
        rows = pd.concat([by_seed[seed] for by_seed in seen if seed in by_seed])
        for kl in KLS:
            found[kl][seed] = float(np.corrcoef(rows[kl], np.log(rows["drift"]))[0, 1] ** 2)
    return found


class Reset(NamedTuple):
    """The rows right before and right after a reset, and the first of the run."""

    first: pd.Series
    before: pd.Series
    after: pd.Series

    @property
    def undone(self) -> float:
        """The share of the drift since the start that the reset undoes, where lower drift is better."""
        return (self.before.drift - self.after.drift) / (self.before.drift - self.first.drift)

    @property
    def given_up(self) -> float:
        """The share of the task's gain that it gives up."""
        return (self.before.task - self.after.task) / (self.before.task - self.first.task)


def reset_every(evidence: Evidence) -> int:
    """Updates from reset to reset of Elastic Reset as it is by default."""
    return evidence.recipes[evidence.label("elastic")].reset.reset_every


def resets(evidence: Evidence, method: str, **settings) -> dict[int, list[Reset]]:
    """Every reset of every seed."""
    found = {}
    for seed, record in evidence.of(method, **settings).items():
        curve = evidence.curve(record)
        after = curve[curve["reset"] == 1]
        before = curve[(curve["reset"] == 0) & curve["step"].isin(after["step"])]
        found[seed] = [Reset(curve.iloc[0], before.iloc[i], after.iloc[i]) for i in range(min(len(before), len(after)))]
    return found


def over_resets(evidence: Evidence, what: Callable[[Reset], float], method: str = "elastic", **settings) -> PerSeed:
    """The mean of what(reset) over the resets of each seed."""
    return {
        seed: sum(map(what, every)) / len(every) if every else math.nan
        for seed, every in resets(evidence, method, **settings).items()
    }
