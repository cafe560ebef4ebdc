"""The progress line: what it says, where it is redrawn, that a log gets whole lines."""

import io
import time

from elastic_lib import progress
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
