"""How the two scores of a task are read and drawn."""

from __future__ import annotations

from typing import NamedTuple


class Yardstick(NamedTuple):
    """Which drift is better, the ideal task score, and how much drift still counts.

    The frontier's area is taken up to `limit` times the pretrained drift score.
    """

    better: str
    ideal: float
    limit: float


class Axes(NamedTuple):
    """What a task's axes are called, and the grid that frontiers are averaged on."""

    steps: str
    task: str
    drift: str
    frontier: str
    grid: float
    top: float
