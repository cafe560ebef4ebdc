"""The progress line: what it says, where it is redrawn, that a log gets whole lines."""

import io
import math
import time
import xml.etree.ElementTree

import pytest

from elastic_lib import pareto, progress
from elastic_lib.progress import Progress, clock


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_line_says_what_is_happening_how_far_and_how_long(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    bar = Progress("sentiment-ppo-s0", 40, done=10, stream=io.StringIO())
    now[0] += 30
    bar.update(20, reward=0.812345, held_out_drift=2.5)
    line = bar.line()
    assert line.startswith("sentiment-ppo-s0 ████████████░░░░░░░░░░░░ 20/40")
    assert "reward 0.812" in line and "held out drift 2.5" in line
    assert line.endswith("1:00 left")  # 10 of the 30 remaining at 3 s each took 30 s: 20 more
    now[0] += 60
    bar.update(40)
    assert bar.line().endswith("took 1:30")


def test_a_terminal_is_redrawn_in_place_and_a_log_gets_few_whole_lines(monkeypatch):
    monkeypatch.setattr(progress, "TERMINAL_EVERY", 0.0)
    terminal, log = Terminal(), io.StringIO()
    for stream in (terminal, log):
        with Progress("x", 50, stream=stream) as bar:
            for step in range(50):
                bar.update(step + 1)
    assert terminal.getvalue().count("\r") >= 50 and terminal.getvalue().count("\n") == 1
    assert log.getvalue().count("\n") == 1 and "\r" not in log.getvalue() and "50/50" in log.getvalue()


def test_a_shorter_line_covers_a_longer_one(monkeypatch):
    monkeypatch.setattr(progress, "TERMINAL_EVERY", 0.0)
    terminal = Terminal()
    with Progress("x", 3, stream=terminal) as bar:
        bar.update(1, reward=0.123456789)
        bar.measures.clear()
        bar.update(2)
    drawn = terminal.getvalue().split("\r")
    assert len(drawn[-2]) >= len(drawn[-3].rstrip())


def test_clock():
    assert [clock(s) for s in (0.4, 59, 61, 600, 3725)] == ["0 s", "59 s", "1:01", "10:00", "1:02:05"]


def test_a_log_says_the_end_once(monkeypatch):
    monkeypatch.setattr(progress, "LOG_EVERY", 0.0)
    log = io.StringIO()
    with Progress("x", 2, stream=log) as bar:
        bar.update(1)
        bar.update(2)
    assert log.getvalue().count("2/2") == 1


class Notebook:
    """A display as a kernel gives it: what it was told, and when."""

    def __init__(self):
        self.told = []

    def update(self, bundle, raw):
        assert raw
        self.told.append(bundle)


@pytest.fixture
def notebook(monkeypatch):
    shown = Notebook()
    monkeypatch.setattr(progress, "_notebook_display", lambda: shown)
    return shown


def pictures(markup):
    """What is well formed or fails: the words above each picture, its line and its dots."""
    tree = xml.etree.ElementTree.fromstring(f"<all>{markup.replace('<br>', '<br/>')}</all>")
    found = {}
    for part in tree.iter("div"):
        if (svg := part.find("svg")) is not None:
            line = [tuple(map(float, point.split(","))) for point in svg.find("polyline").get("points").split()]
            dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in svg.iter("circle")]
            found[part.text] = line, dots
    return found


def test_a_notebook_shows_how_each_measure_moved(notebook):
    with Progress("sentiment-ppo-s0", 4) as bar:
        for step, reward in enumerate([0.5, 0.75, math.nan, 0.25], 1):
            bar.update(step, reward=reward, kl=1.5)
    last = notebook.told[-1]
    assert "4/4 · reward 0.25 · kl 1.5" in last["text/plain"] and last["text/plain"] in last["text/html"]
    shown = pictures(last["text/html"])
    assert list(shown) == ["reward 0.25", "kl 1.5"]
    line, dots = shown["reward 0.25"]
    assert line == [(4.0, 16.0), (41.3, 4.0), (116.0, 28.0)] and dots == [line[-1]]  # the highest on top, no NaN
    assert shown["kl 1.5"][0] == [(4.0, 28.0)]


def test_what_is_shown_is_escaped(notebook):
    with Progress("<b>&'\"", 1) as bar:
        bar.update(1, **{"<i x='1'>&": 2.0})
    markup = notebook.told[-1]["text/html"]
    assert list(pictures(markup)) == ["<i x='1'>& 2"] and "<b>" not in markup and "<i" not in markup


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_the_dots_are_the_frontier_so_far_with_better_drift_on_top(notebook, better):
    path = [(0.5, 2.0), (0.6, 2.5), (0.7, 2.2), (0.8, 3.0), (0.75, 1.9)]
    with Progress("x", 5, better=better) as bar:
        for step, (task, drift) in enumerate(path, 1):
            bar.update(step, **{"held-out task": task, "drift": drift})
    line, dots = pictures(notebook.told[-1]["text/html"])["frontier: task →, better drift ↑"]
    assert len(line) == 5
    assert dots == [line[i] for i in pareto.frontier(*zip(*path, strict=True), better)]
    highest = min(line, key=lambda place: place[1])
    assert highest == line[4 if better == "lower" else 3]


def test_without_a_word_which_drift_is_better_the_path_alone_is_drawn(notebook):
    with Progress("x", 2) as bar:
        bar.update(1, **{"held-out task": 0.5, "drift": 2.0})
        bar.update(2, **{"held-out task": 0.6, "drift": 3.0})
    line, dots = pictures(notebook.told[-1]["text/html"])["task →, drift ↑"]
    assert line == [(4.0, 28.0), (116.0, 4.0)] and dots == line[-1:]


def test_a_long_run_keeps_its_ends_and_a_bounded_memory(notebook):
    with Progress("x", 100_000, better="lower") as bar:
        for step in range(1, 10_001):
            bar.update(step, reward=step, **{"held-out task": step, "drift": -step})
    assert len(notebook.told) < 50
    for points in (*bar.curves.values(), bar.path):
        assert 60 <= len(points) <= progress.KEPT
    assert bar.curves["reward"][0] == (1, 1) and bar.curves["reward"][-1] == (10_000, 10_000)
    assert len(notebook.told[-1]["text/html"]) < 20_000


def test_a_notebook_is_redrawn_five_times_a_second_at_most(notebook, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    bar = Progress("x", 1000)
    for step in range(1000):
        now[0] += 0.01
        bar.update(step, reward=step)
    assert 40 <= len(notebook.told) <= 10 / 0.2
