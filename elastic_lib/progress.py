"""One line that says what is happening, the measures as they move, the time left; in a terminal, a notebook, a log."""

from __future__ import annotations

import html
import math
import sys
import time

BAR = 24
TERMINAL_EVERY, NOTEBOOK_EVERY, LOG_EVERY = 0.1, 0.2, 10.0  # seconds between redraws
KEPT = 160  # points of a curve that a line remembers: when there are more, every other one is forgotten
PLANE = ("held-out task", "drift")  # the measures that a frontier is drawn of
Points = list[tuple[float, float]]


class Progress:
    """`with Progress("training", 75) as bar: bar.update(step, reward=…)`; `done` steps were made earlier.

    `better` says which drift is, "higher" or "lower": with it, a notebook shows the frontier so far, else the path.
    """

    def __init__(self, title: str, total: int, done: int = 0, stream=None, better: str | None = None):
        self.title, self.total, self.first, self.better = title, total, done, better
        self.stream = stream or sys.stderr
        self.step, self.measures = done, {}
        self.curves: dict[str, Points] = {}  # by measure, (step, value) where it moved
        self.path: Points = []  # (task, drift)
        self.started = time.monotonic()
        self._drawn = self.started  # a log gets its first line after LOG_EVERY, a screen at once
        self._width, self._said = 0, None
        self._notebook = _notebook_display() if stream is None else None
        self._terminal = self._notebook is None and self.stream.isatty()

    def __enter__(self) -> Progress:
        if self._notebook or self._terminal:
            self._draw()
        return self

    def __exit__(self, error, *_) -> None:
        if self._notebook or self._terminal or (self.step >= self.total and self._said != self.step):
            self._draw()
        if self._terminal:
            self._say("\n")

    def update(self, step: int, **measures: float) -> None:
        """Moves to `step`; measures that are not given keep their last value."""
        self.step = step
        self.measures.update(measures)
        if self._notebook:
            for name, value in measures.items():
                _remember(self.curves.setdefault(name, []), (step, value), moved=1)
            if set(PLANE) <= set(self.measures):
                _remember(self.path, tuple(self.measures[name] for name in PLANE), moved=0)
        if self._notebook:
            every = NOTEBOOK_EVERY
        else:
            every = TERMINAL_EVERY if self._terminal else LOG_EVERY
        if time.monotonic() - self._drawn >= every:
            self._draw()

    def line(self) -> str:
        """The line as it stands."""
        full = round(BAR * self.step / max(self.total, 1))
        parts = [f"{self.title} {'█' * full}{'░' * (BAR - full)} {self.step}/{self.total}"]
        parts += [f"{name.replace('_', ' ')} {value:.3g}" for name, value in self.measures.items()]
        spent = time.monotonic() - self.started
        if self.step >= self.total:
            parts.append(f"took {clock(spent)}")
        elif self.step > self.first:
            parts.append(f"{clock(spent / (self.step - self.first) * (self.total - self.step))} left")
        return " · ".join(parts)

    def markup(self) -> str:
        """The line in HTML, and below it how each measure moved and where in the plane of task and drift it went."""
        parts = [curve(f"{name.replace('_', ' ')} {c[-1][1]:.3g}", c, c[-1:]) for name, c in self.curves.items() if c]
        if len(self.path) > 1:
            parts.append(
                frontier(self.path, self.better) if self.better else curve("task →, drift ↑", self.path, self.path[-1:])
            )
        row = "".join(parts)
        return (
            f"<div style='font-family:monospace;white-space:pre-wrap'>{html.escape(self.line())}</div>"
            f"<div style='display:flex;flex-wrap:wrap;gap:4px 18px'>{row}</div>"
        )

    def _draw(self) -> None:
        self._drawn, self._said = time.monotonic(), self.step
        line = self.line()
        if self._notebook:
            self._notebook.update({"text/plain": line, "text/html": self.markup()}, raw=True)
        elif self._terminal:
            self._say("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._say(line + "\n")

    def _say(self, text: str) -> None:
        """Writes where it can: a terminal that was closed, or that knows no █, must not cost the work behind it."""
        try:
            self.stream.write(text)
            self.stream.flush()
        except UnicodeEncodeError:
            self.stream.write(text.encode("ascii", "replace").decode())
        except (OSError, ValueError):
            pass


def _remember(points: Points, new: tuple[float, float], moved: int) -> None:
    """Appends a point that is finite and that moved, from its `moved`th number on."""
    if not all(map(math.isfinite, new)) or (points and points[-1][moved:] == new[moved:]):
        return
    points.append(new)
    if len(points) > KEPT:
        del points[1:-1:2]  # the first and the last stay


def frontier(path: Points, better: str) -> str:
    """A path through task and drift with the points that no other beats, better drift on top."""
    from elastic_lib import pareto  # here, since what asks for no numpy gets along without

    dots = [path[i] for i in pareto.frontier(*zip(*path, strict=True), better)]
    return curve("frontier: task →, better drift ↑", path, dots, turned=better == "lower")


def curve(words: str, path: Points, dots: Points, turned: bool = False) -> str:
    """A path and some dots on it as a small picture under its words; `turned` puts what is lowest on top."""
    scale = [(min(part), max(max(part) - min(part), 1e-12)) for part in zip(*path, strict=True)]

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


def clock(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 3:05, 1:02:00."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _notebook_display():
    """A display that can be redrawn when this runs in a Jupyter kernel, else None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display({"text/plain": ""}, raw=True, display_id=True)
