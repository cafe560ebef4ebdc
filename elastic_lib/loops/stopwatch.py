"""Where a loop's time goes."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from time import perf_counter


class Stopwatch(defaultdict):
    """Seconds by activity: `with seconds("sample"): …`."""

    def __init__(self):
        super().__init__(float)

    @contextmanager
    def __call__(self, what: str):
        started = perf_counter()
        yield
        self[what] += perf_counter() - started
