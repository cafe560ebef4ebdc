"""One line that says what is happening, the measures as they move, the time left; in a terminal, a notebook, a log."""

from __future__ import annotations

import sys
import time

BAR = 24
TERMINAL_EVERY, LOG_EVERY = 0.1, 10.0  # seconds between redraws


class Progress:
    """`with Progress("training", 75) as bar: bar.update(step, reward=…)`; `done` steps were made earlier."""

    def __init__(self, title: str, total: int, done: int = 0, stream=None):
        self.title, self.total, self.first = title, total, done
        self.stream = stream or sys.stderr
        self.step, self.measures = done, {}
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
            self.stream.write("\n")

    def update(self, step: int, **measures: float) -> None:
        """Moves to `step`; measures that are not given keep their last value."""
        self.step = step
        self.measures.update(measures)
        every = TERMINAL_EVERY if self._notebook or self._terminal else LOG_EVERY
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

    def _draw(self) -> None:
        self._drawn, self._said = time.monotonic(), self.step
        line = self.line()
        if self._notebook:
            self._notebook.update({"text/plain": line}, raw=True)
        elif self._terminal:
            self.stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self.stream.write(line + "\n")
        self.stream.flush()


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
