"""How the two scores of a task are read and drawn, and which of the paper's tables are about it."""

from __future__ import annotations

from typing import NamedTuple


class Yardstick(NamedTuple):
    """Which drift is better, the ideal task score, and how much drift still counts.

    The frontier's area is taken up to `limit` times the pretrained drift score.
    """

    better: str
    ideal: float
    limit: float

    @property
    def arrow(self) -> str:
        """Which way drift is better."""
        return "↓" if self.better == "lower" else "↑"


class Axes(NamedTuple):
    """What a task's axes are called, and the grid that frontiers are averaged on."""

    steps: str
    task: str
    drift: str
    frontier: str
    grid: float
    top: float


class Table(NamedTuple):
    """One of the paper's tables: what it is called, what it is of, our settings for its rows, its own numbers.

    `kind` is a function of `figures.tables`; `published` has a row a method, in the order of its columns.
    """

    title: str
    kind: str
    settings: list[tuple[str, dict]]
    published: dict[str, tuple[str, ...]]
