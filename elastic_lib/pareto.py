"""Pareto frontiers of task against drift (the paper's Section 5), in numpy alone.

A task score is better when higher. A drift score is better as `better` says: "lower" for a perplexity, "higher" for the
BLEU of the language that drifts. A point beats another if it is at least as good in both and better in one. Frontiers
here are steps, never interpolated: no checkpoint lies between two points.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import NormalDist

import numpy as np

# 97.5% points of Student's t, by degrees of freedom
T_975 = {
    1: 12.706,
    2: 4.303,
    3: 3.182,
    4: 2.776,
    5: 2.571,
    6: 2.447,
    7: 2.365,
    8: 2.306,
    9: 2.262,
    14: 2.145,
    19: 2.093,
    29: 2.045,
}


def _points(task, drift, better: str) -> tuple[np.ndarray, np.ndarray]:
    """Both as float arrays, drift turned so that higher is better."""
    if better not in ("higher", "lower"):
        raise ValueError(f'better must be "higher" or "lower"; got {better!r}')
    task, drift = np.asarray(task, float), np.asarray(drift, float)
    if task.shape != drift.shape or task.ndim != 1:
        raise ValueError(f"task and drift must be two lists of one length; got shapes {task.shape} and {drift.shape}")
    return task, -drift if better == "lower" else drift


def frontier(task, drift, better: str) -> np.ndarray:
    """Indices of the points that no other point beats, by rising task; equal points stay together, NaN never counts."""
    task, good = _points(task, drift, better)
    finite = np.flatnonzero(~(np.isnan(task) | np.isnan(good)))
    kept: list[int] = []
    for i in finite[np.lexsort((-good[finite], -task[finite]))]:  # best task first, and among equals the best drift
        if not kept or good[i] > good[kept[-1]] or (task[i], good[i]) == (task[kept[-1]], good[kept[-1]]):
            kept.append(i)
    return np.array(kept[::-1], dtype=int)


def hypervolume(task, drift, ref: tuple[float, float], better: str, up_to: float = math.inf) -> float:
    """Area between the frontier and ref = (task0, drift0); points that are not better than ref in both add nothing.

    Task scores above `up_to` count as that score: two methods are compared over the levels that one of them reaches.
    """
    task, good = _points(np.minimum(np.asarray(task, float), up_to), drift, better)
    task0, good0 = ref[0], -ref[1] if better == "lower" else ref[1]
    kept = frontier(task, drift, better)
    kept = kept[(task[kept] > task0) & (good[kept] > good0)]
    left = np.concatenate(([task0], task[kept][:-1]))
    return float(np.sum((task[kept] - left) * (good[kept] - good0)))


def drift_at(task, drift, level: float, better: str) -> float:
    """The best drift among points with task >= level; nan if there is none."""
    task, good = _points(task, drift, better)
    reached = good[(task >= level) & ~np.isnan(good)]
    if not len(reached):
        return float("nan")
    return float(-reached.max() if better == "lower" else reached.max())


def staircase(task, drift, better: str, levels: Iterable[float]) -> np.ndarray:
    """`drift_at` for each level."""
    task, good = _points(task, drift, better)
    reached = (task >= np.asarray(list(levels), float)[:, None]) & ~np.isnan(good)
    best = np.where(reached, good, -np.inf).max(1, initial=-np.inf)
    return np.where(reached.any(1), -best if better == "lower" else best, np.nan)


def band(curves: Iterable[tuple], better: str, levels: Iterable[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Over seeds, one (task, drift) each: mean drift at each level, its standard error, and how many seeds reach it.

    The mean is given only where every seed reaches the level: a mean over the lucky ones would flatter the method.
    """
    levels = np.asarray(list(levels), float)
    rows = np.array([staircase(task, drift, better, levels) for task, drift in curves])
    reached = (~np.isnan(rows)).sum(0)
    mean = np.where(reached == len(rows), rows.mean(0), np.nan)
    spread = rows.std(0, ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.full(len(levels), np.nan)
    return mean, np.where(np.isnan(mean), np.nan, spread), reached


def interval(values: Iterable[float]) -> tuple[float, float]:
    """95% expanded percentile bootstrap of the mean; every resample is enumerated up to 6 values, else 20,000 drawn."""
    values = np.asarray(list(values), float)
    n = len(values)
    if n < 2:
        return math.nan, math.nan
    if n <= 6:
        means = values[np.indices((n,) * n).reshape(n, -1).T].mean(1)
    else:
        means = values[np.random.default_rng(0).integers(0, n, (20000, n))].mean(1)
    t = T_975[max(df for df in T_975 if df <= n - 1)]  # the next smaller entry: never too narrow
    tail = NormalDist().cdf(-t * math.sqrt(n / (n - 1)))
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
