"""Frontiers against brute force: the definitions written out again, point by point and cell by cell."""

import math

import numpy as np
import pytest

from elastic_lib import pareto


def beats(a, b, better):
    """Definition, independent of the module: at least as good in both, better in one."""
    drift = (lambda x, y: x < y) if better == "lower" else (lambda x, y: x > y)
    return (a[0] >= b[0] and not drift(b[1], a[1])) and (a[0] > b[0] or drift(a[1], b[1]))


def random_points(seed, count=12, ties=True):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 6, (count, 2)).astype(float) if ties else rng.random((count, 2))
    return points[:, 0], points[:, 1]


@pytest.mark.parametrize("better", ["higher", "lower"])
@pytest.mark.parametrize("seed", range(20))
def test_the_frontier_by_brute_force(seed, better):
    task, drift = random_points(seed, ties=seed % 2 == 0)
    points = list(zip(task, drift, strict=True))
    expected = {i for i, p in enumerate(points) if not any(beats(q, p, better) for q in points)}
    found = pareto.frontier(task, drift, better)
    assert set(found.tolist()) == expected
    assert list(task[found]) == sorted(task[found])


@pytest.mark.parametrize("better", ["higher", "lower"])
@pytest.mark.parametrize("seed", range(20))
def test_hypervolume_by_counting_cells(seed, better):
    task, drift = random_points(seed)  # whole numbers: unit cells are dominated wholly or not at all
    ref = (1.0, 4.0) if better == "lower" else (1.0, 1.0)
    cells = 0
    for x in range(1, 6):
        for y in range(0, 6):
            low, high = (y, y + 1)
            if better == "lower":
                cells += high <= ref[1] and any(t >= x + 1 and d <= low for t, d in zip(task, drift, strict=True))
            else:
                cells += low >= ref[1] and any(t >= x + 1 and d >= high for t, d in zip(task, drift, strict=True))
    assert pareto.hypervolume(task, drift, ref, better) == pytest.approx(cells)


def test_hypervolume_by_hand():
    # perplexities under a reference of 4 at reward 0: (.5, 2) and (.8, 3) → .5·2 + .3·1
    assert pareto.hypervolume([0.5, 0.8, 0.4], [2, 3, 3.5], (0, 4), "lower") == pytest.approx(1.3)
    assert pareto.hypervolume([0.5], [5.0], (0, 4), "lower") == 0
    assert pareto.hypervolume([], [], (0, 4), "lower") == 0


def test_hypervolume_up_to_a_level_by_hand():
    # (.5, 2) and (.8, 3) under 4: up to .6 the second counts for a width of .1, up to .4 the first alone, for .4
    assert pareto.hypervolume([0.5, 0.8], [2, 3], (0, 4), "lower", up_to=0.6) == pytest.approx(0.5 * 2 + 0.1 * 1)
    assert pareto.hypervolume([0.5, 0.8], [2, 3], (0, 4), "lower", up_to=0.4) == pytest.approx(0.4 * 2)
    assert pareto.hypervolume([0.5, 0.8], [2, 3], (0, 4), "lower", up_to=0.8) == pytest.approx(1.3)
    assert pareto.hypervolume([0.5, 0.8], [2, 3], (0.5, 4), "lower", up_to=0.5) == 0
    assert pareto.hypervolume([30, 40], [20, 10], (25, 5), "higher", up_to=35) == pytest.approx(5 * 15 + 5 * 5)


@pytest.mark.parametrize("better", ["higher", "lower"])
@pytest.mark.parametrize("seed", range(10))
def test_drift_at_by_brute_force(seed, better):
    task, drift = random_points(seed)
    for level in np.linspace(-1, 7, 17):
        reached = [d for t, d in zip(task, drift, strict=True) if t >= level]
        best = (min if better == "lower" else max)(reached) if reached else math.nan
        assert pareto.drift_at(task, drift, level, better) == pytest.approx(best, nan_ok=True)


def test_a_point_more_never_makes_it_worse():
    task, drift = random_points(3, ties=False)
    volumes = [pareto.hypervolume(task[:n], drift[:n], (0, 1), "lower") for n in range(len(task) + 1)]
    assert volumes == sorted(volumes)
    assert volumes[-1] > 0


def test_nan_is_never_on_a_frontier():
    assert pareto.frontier([0.5, np.nan, 0.9], [2.0, 1.0, np.nan], "lower").tolist() == [0]
    assert pareto.drift_at([0.5, 0.6], [2.0, np.nan], 0.1, "lower") == 2.0
    assert pareto.hypervolume([np.nan, 0.5], [1.0, 2.0], (0, 4), "lower") == 1.0


def test_band_gives_a_mean_only_where_every_seed_arrives():
    curves = [([0.5, 0.9], [2.0, 3.0]), ([0.5, 0.7], [4.0, 5.0])]
    mean, error, reached = pareto.band(curves, "lower", [0.4, 0.6, 0.8])
    assert mean.tolist() == pytest.approx([3.0, 4.0, math.nan], nan_ok=True)
    assert error[:2] == pytest.approx([1.0, 1.0])  # deviation √2 over √2 seeds
    assert reached.tolist() == [2, 2, 1]


def test_wrong_arguments_say_what_is_allowed():
    with pytest.raises(ValueError, match='"higher" or "lower"'):
        pareto.frontier([1], [1], "up")
    with pytest.raises(ValueError, match="one length"):
        pareto.hypervolume([1, 2], [1], (0, 0), "lower")
