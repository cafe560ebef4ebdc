"""Curves as small as a line allows: in characters for a terminal, as SVG for a notebook."""

from __future__ import annotations

import html

import numpy as np

from elastic_lib import pareto

SPARKS = "▁▂▃▄▅▆▇█"
Points = list[tuple[float, float]]


def frontier(path: Points, better: str) -> str:
    """A path through task and drift with the points that no other beats, better drift on top."""
    dots = [path[i] for i in pareto.frontier(*zip(*path, strict=True), better)]
    return curve("frontier: task →, better drift ↑", path, dots, turned=better == "lower")


def curve(words: str, path: Points, dots: Points, turned: bool = False) -> str:
    """A path and some dots on it as a small picture under its words; `turned` puts what is lowest on top."""
    across, up = (np.array(part) for part in zip(*path, strict=True))
    scale = [(part.min(), max(part.max() - part.min(), 1e-12)) for part in (across, up)]

    def place(point: tuple[float, float]) -> tuple[str, str]:
        x, y = ((value - low) / span for value, (low, span) in zip(point, scale, strict=True))
        return f"{4 + 112 * x:.1f}", f"{4 + 24 * (y if turned else 1 - y):.1f}"

    line = " ".join(",".join(place(point)) for point in path)
    circles = "".join("<circle cx='{}' cy='{}' r='2.2'/>".format(*place(dot)) for dot in dots)
    words, opacity = html.escape(words), 0.6 if len(dots) == 1 else 0.25  # many dots say more than the path
    return (
        f"<div style='font-size:smaller'>{words}<br>"
        f"<svg width='120' height='32' role='img' aria-label='{words}' fill='currentColor'>"
        f"<polyline points='{line}' fill='none' stroke='currentColor' opacity='{opacity}'/>{circles}</svg></div>"
    )


def sparks(values, width: int) -> str:
    """Values as a row of small bars from the lowest to the highest; more than `width` are averaged, NaN left out."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if not len(values) or width < 1:
        return ""
    means = np.array([part.mean() for part in np.array_split(values, min(width, len(values)))])
    return "".join(SPARKS[i] for i in _places(means, len(SPARKS)))


def plot(task, drift, reset, better: str, width: int, height: int = 12) -> list[str]:
    """The frontier so far in characters: task across, drift up, better drift on top.

    `●` lies on the frontier, `◆` too and right after a reset; `·` and `◇` are beaten.
    """
    task, drift = np.asarray(task, float), np.asarray(drift, float)
    if not len(task):
        return ["no evaluation yet"]
    kept = set(pareto.frontier(task, drift, better).tolist())
    marks = [("·◇", "●◆")[i in kept][int(after)] for i, after in enumerate(reset)]
    rows, columns = _places(drift if better == "lower" else -drift, height), _places(task, width)
    grid = [[" "] * width for _ in range(height)]
    for i in sorted(range(len(task)), key=lambda i: "·◇●◆".index(marks[i])):  # what is best is drawn last
        grid[rows[i]][columns[i]] = marks[i]
    top, bottom = (drift.min(), drift.max()) if better == "lower" else (drift.max(), drift.min())
    side = {0: f"{top:.3g}", height // 2: "drift", height - 1: f"{bottom:.3g}"}
    lines = [f"{side.get(row, ''):>8} │{''.join(cells)}".rstrip() for row, cells in enumerate(grid)]
    low, high = f"{task.min():.3g}", f"{task.max():.3g}"
    below = low + "task".center(max(width - len(low) - len(high), 6)) + high
    return [*lines, f"{'':>8} └{'─' * width}", f"{'':>10}{below}"]


def _places(values: np.ndarray, size: int) -> list[int]:
    """Where each value lies among `size` places from the lowest to the highest; all alike: in the middle."""
    low, high = values.min(), values.max()
    if low == high:
        return [size // 2] * len(values)
    return np.rint((values - low) / (high - low) * (size - 1)).astype(int).tolist()
