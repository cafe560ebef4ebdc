"""Runs watched while they are written: what a reader sees of a row that is half there, of a dead writer, of many."""

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from elastic_lib import cli, pareto
from elastic_lib.notebook import live
from elastic_lib.recipe import Recipe
from elastic_lib.records import ongoing
from elastic_lib.records import watch as watching
from elastic_lib.records.files import DamagedRecord, lock
from elastic_lib.records.packed import unpack
from elastic_lib.records.record import Record, reference_results
from elastic_lib.records.tables import load
from elastic_lib.records.watch import SPARKS, block, plot, sparks, watch

RECIPE = Recipe("sentiment", "elastic", "smoke", 0, updates=40, eval_every=5, reset_every=15)
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


def row(step, reset=0, seconds=2.0):
    """One evaluation of a run that takes `seconds` an update, better in task and worse in drift from step to step."""
    return {"step": step, "iteration": 0, "task": 0.5 + step / 100, "drift": 2.0 + step / 10 - reset, "reset": reset,
            "reward": 0.4 + step / 100, "kl": step / 5, "t_update": seconds * step, "t_eval": 0.5}  # fmt: skip


def begin(results, recipe=RECIPE, steps=(0, 5, 10)):
    record = Record.of(recipe, results)
    record.start(recipe, {}, kept=None)
    for step in steps:
        record.add(row(step), [])
    return record


def held(results, recipe=RECIPE):
    return lock(results / "records" / ".locks" / recipe.run_id)


def looked(results, run_id=RECIPE.run_id):
    return ongoing.read(results, run_id, ongoing.states(results)[run_id])


def watched(capsys, *words):
    assert cli.main(["watch", *map(str, words)]) == 0
    return capsys.readouterr().out


# ---- reading


def test_a_run_goes_on_while_its_lock_is_held_and_is_stopped_after(tmp_path):
    record = begin(tmp_path)
    with held(tmp_path):
        assert ongoing.states(tmp_path) == {RECIPE.run_id: "going"}
    assert ongoing.states(tmp_path) == {RECIPE.run_id: "stopped"}
    record.fail("the loss is not finite")
    run = looked(tmp_path)
    assert run.state == "failed" and ongoing.state_of(run, time.time()) == "failed: the loss is not finite"
    record.finish(step=40)
    with held(tmp_path):  # a finished run keeps its lock until it has tidied up
        assert ongoing.states(tmp_path) == {RECIPE.run_id: "done"}


def test_a_record_that_two_processes_wrote_is_not_finished(tmp_path):
    """Where a disk locks nothing across machines."""
    with pytest.raises(DamagedRecord, match=f"two processes wrote .*{RECIPE.run_id} at once, .* remove it, and run it"):
        begin(tmp_path, steps=(0, 5, 5, 10)).finish(step=10)


def test_looking_keeps_no_run_from_its_lock(tmp_path, capsys):
    begin(tmp_path)
    with held(tmp_path):
        ongoing.states(tmp_path)
    ongoing.states(tmp_path)
    with lock(tmp_path / "records" / ".locks" / RECIPE.run_id, "a run"):
        pass
    assert "waiting" not in capsys.readouterr().err


def test_a_killed_writer_is_stopped(tmp_path):
    code = f"""
import time
from pathlib import Path
from elastic_lib.recipe import Recipe
from elastic_lib.records.files import DamagedRecord, lock
from elastic_lib.records.record import Record
recipe = Recipe("sentiment", "elastic", "smoke", 0, updates=40, eval_every=5, reset_every=15)
with lock(Path({str(tmp_path)!r}) / "records" / ".locks" / recipe.run_id):
    Record.of(recipe, Path({str(tmp_path)!r})).start(recipe, {{}}, kept=None)
    print("at it", flush=True)
    time.sleep(60)
"""
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=ENV)
    try:
        assert writer.stdout.readline() == "at it\n"
        assert ongoing.states(tmp_path) == {RECIPE.run_id: "going"}
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    assert ongoing.states(tmp_path) == {RECIPE.run_id: "stopped"}
    assert ongoing.state_of(looked(tmp_path), time.time()) == "stopped: the same command goes on"


def test_set_aside_records_and_locks_without_a_record_are_no_runs(tmp_path):
    begin(tmp_path).path.rename(tmp_path / "records" / f"{RECIPE.run_id}.damaged-1")
    with held(tmp_path):
        assert ongoing.states(tmp_path) == {RECIPE.run_id: "going"}  # it trains the models that it starts from
        assert block(looked(tmp_path), 80, time.time()) == [f"{RECIPE.run_id}  before its first update for 0 s"]
    assert ongoing.states(tmp_path) == {}


@pytest.mark.parametrize("recipe", ["[]", "null", '{"updates": "six"}', '{"updates": 0}', "{"])
@pytest.mark.parametrize("status", ["[]", '"done"', "{"])
def test_files_that_hold_something_else_are_a_run_of_unknown_length(tmp_path, recipe, status):
    record = begin(tmp_path)
    (record.path / "recipe.json").write_text(recipe)
    (record.path / "status.json").write_text(status)
    run = looked(tmp_path)
    assert (run.state, run.total, run.step) == ("stopped", None, 10) and block(run, 80, time.time())


def test_no_part_of_a_row_is_ever_read(tmp_path):
    """The curve at every length that a reader may find it at: whole rows with the numbers that were written."""
    record = begin(tmp_path)
    path = record.path / "curve.csv"
    whole = path.read_bytes()
    full = looked(tmp_path).curve
    assert full["step"].tolist() == [0, 5, 10]
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        curve = looked(tmp_path).curve
        assert len(curve) == max(whole[:size].count(b"\n") - 1, 0)
        assert curve["drift"].tolist() == full["drift"].tolist()[: len(curve)]
    path.write_bytes(whole + b"\0\0\xff,,\n15,0,x,y")
    assert looked(tmp_path).curve["step"].tolist() == [0, 5, 10]
    path.unlink()
    assert looked(tmp_path).curve.empty
    (record.path / "recipe.json").write_text('{"upda')
    assert looked(tmp_path).total is None and "stopped" in block(looked(tmp_path), 80, 0.0)[0]


def test_seconds_left_are_those_of_the_rows_less_those_since_the_last(tmp_path):
    begin(tmp_path, steps=(0,))
    with held(tmp_path):
        now = looked(tmp_path).since
        assert ongoing.left(looked(tmp_path), now) is None  # nothing is known after one row
        record = begin(tmp_path, steps=(0, 5, 10))
        run = looked(tmp_path)
        assert ongoing.left(run, run.since) == pytest.approx(2.0 * 30)
        assert ongoing.left(run, run.since + 4) == pytest.approx(2.0 * 30 - 4)
        assert ongoing.left(run, run.since + 19) == pytest.approx(2.0 * 25)  # the next row is late: no more than it
        assert ongoing.state_of(run, run.since) == "1:00 left"
        assert ongoing.left(run, run.since + 60) is None
        assert ongoing.state_of(run, run.since + 60) == "– left, no row for 1:00"
        for step in range(15, 41, 5):  # it slows down: only the last rows count
            record.add(row(step, seconds=2.0 if step < 40 else 3.0), [])
        assert ongoing.state_of(looked(tmp_path), time.time()) == "last tests"
    assert ongoing.left(looked(tmp_path), time.time()) is None


def test_what_no_stopwatch_counts_is_taken_from_the_times_of_the_files(tmp_path):
    path = begin(tmp_path).path  # 20.5 s by its stopwatches, half a second before the first update
    with held(tmp_path):
        written = (path / "curve.csv").stat().st_mtime
        for name in ("env.json", "status.json"):
            os.utime(path / name, (written - 42, written - 42))
        run = looked(tmp_path)
        assert ongoing.left(run, run.since) == pytest.approx(2.0 * 30 * (42 - 0.5) / 20.5, rel=0.01)
        os.utime(path / "env.json", (written - 500, written - 500))  # taken up again
        run = looked(tmp_path)
        assert ongoing.left(run, run.since) == pytest.approx(2.0 * 30)


def test_a_reset_at_the_same_step_and_a_curve_cut_back_are_no_trouble(tmp_path):
    record = begin(tmp_path, steps=(0, 5, 10, 15))
    kept = record.sizes()
    record.add(row(15, reset=1), [])
    with held(tmp_path):
        run = looked(tmp_path)
        assert run.points()["reset"].tolist() == [0, 0, 0, 0, 1] and ongoing.left(run, run.since) == 50
        record.start(RECIPE, {}, kept=kept)
        assert len(looked(tmp_path).curve) == 4


# ---- in characters


def test_sparks_reach_from_the_lowest_to_the_highest():
    assert sparks([1, 2, 3], 10) == SPARKS[0] + SPARKS[4] + SPARKS[-1]
    assert sparks([3, np.nan, 1], 10) == SPARKS[-1] + SPARKS[0]
    many = sparks(np.sin(np.linspace(0, 7, 500)), 20)
    assert len(many) == 20 and SPARKS[0] in many and SPARKS[-1] in many
    assert set(sparks([2, 2, 2], 10)) == {SPARKS[4]}
    assert sparks([], 10) == sparks([np.nan], 10) == sparks([1, 2], 0) == ""


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_the_marks_of_the_plot_are_the_frontier(better):
    """On a grid as fine as the points: each mark stands where its point lies."""
    rng = np.random.default_rng(3)
    task, drift = rng.permutation(20).astype(float), rng.permutation(20).astype(float)
    reset = rng.integers(0, 2, 20)
    lines = plot(task, drift, reset, better, width=20, height=20)[:20]
    kept = set(pareto.frontier(task, drift, better).tolist())
    for i in range(20):
        line = lines[int(drift[i] if better == "lower" else 19 - drift[i])].split("│")[1]
        assert line[int(task[i])] == (("●" if i in kept else "·"), ("◆" if i in kept else "◇"))[reset[i]]
    assert sum(line.count("●") + line.count("◆") for line in lines) == len(kept) > 1


def test_the_plot_of_one_point_and_of_none():
    assert plot([], [], [], "lower", 20) == ["no evaluation yet"]
    assert sum(line.count("●") for line in plot([0.5], [2.0], [0], "lower", 20)) == 1


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal(tmp_path, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    long = Recipe("translation", "multitask", "smoke", 1234567, updates=100000)
    record = begin(tmp_path, long, steps=range(0, 3000, 5))
    record.add({**row(3000), "task": -1.23456e-7, "drift": 1.23456e9}, [])
    begin(tmp_path).fail("words " * 100)
    with held(tmp_path, long):
        for words in ((), (long.run_id,)):
            lines = watched(capsys, "--results", tmp_path, *words).splitlines()
            assert max(map(len, lines)) <= width and any(long.run_id[:30] in line for line in lines)


def test_once_shows_every_run_that_goes_on_and_names_those_that_stopped(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    every = [Recipe("sentiment", method, "smoke", 0, updates=40, eval_every=5) for method in ("ppo", "nlpo", "to_ema")]
    for recipe in every:
        begin(tmp_path, recipe)
    with held(tmp_path, every[0]), held(tmp_path, every[1]):
        lines = watched(capsys, "--once", "--results", tmp_path).splitlines()
    assert lines[0].startswith("2 going on in ")
    for recipe in every[:2]:
        assert any(re.search(rf"{recipe.run_id}  █+░+  10/40  (59 s|1:00) left", line) for line in lines)
    moved = [re.findall(r"(\w+) [↑↓] +[▁-█]+ +(\S+ → \S+)", line) for line in lines]
    assert moved.count([("task", "0.5 → 0.6"), ("drift", "2 → 3")]) == 2
    assert moved.count([("reward", "0.4 → 0.5"), ("KL", "0 → 2")]) == 2
    assert re.fullmatch(rf"{every[2].run_id}  [█░]*  10/40  stopped: the same command goes on", lines[-1])


def test_where_nothing_runs_the_last_to_finish_is_named(tmp_path, capsys):
    begin(tmp_path, steps=range(0, 41, 5)).finish(step=40)
    other = Recipe("sentiment", "ppo", "smoke", 0)
    path = begin(tmp_path, other, steps=(0, 6)).path
    Record(path).finish(step=6)
    os.utime(path / "status.json", (1e9, 1e9))
    said = watched(capsys, "--results", tmp_path)
    assert "Nothing runs in" in said and RECIPE.run_id in said and other.run_id not in said
    assert "40/40  done, took 1:20" in said


def test_what_is_not_there_is_one_line(tmp_path, capsys):
    assert cli.main(["watch", "--results", str(tmp_path)]) == 1
    assert "holds no runs" in capsys.readouterr().err
    begin(tmp_path)
    assert cli.main(["watch", RECIPE.run_id[:-1], "--results", str(tmp_path)]) == 1
    assert f"did you mean {RECIPE.run_id}" in capsys.readouterr().err
    assert cli.main(["watch", "--scale", "smok"]) == 1
    assert "did you mean smoke" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_watch_follows_every_run_to_its_end(tmp_path, monkeypatch):
    """Two writers in threads, one after the other with a pause: the watch waits for the second, then ends."""
    monkeypatch.setattr(watching, "SECONDS", 0.01)
    monkeypatch.setattr(watching, "GRACE", 0.5)
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    recipes = [Recipe("sentiment", "elastic", "smoke", seed, updates=40, eval_every=5) for seed in (0, 1)]
    started = threading.Event()

    def write():
        for recipe in recipes:
            with held(tmp_path, recipe):
                record = begin(tmp_path, recipe, steps=(0,))
                started.set()
                for step in range(5, 41, 5):
                    time.sleep(0.02)
                    record.add(row(step), [])
                record.finish(step=40)
            time.sleep(0.1)

    writer = threading.Thread(target=write)
    writer.start()
    started.wait()
    began = time.monotonic()
    assert watch(tmp_path) == 0
    writer.join()
    assert time.monotonic() - began < 60  # it ends by itself
    frames = re.split(r"\x1b\[\d+F\x1b\[J", terminal.getvalue())
    seen = [[int(n) for n in re.findall(r"(\d+)/40", frame)] for frame in frames]
    assert len({tuple(steps) for steps in seen}) >= 6 and seen[-1] == [40, 40]
    assert any("waiting" in frame for frame in frames) and "waiting" not in frames[-1]
    drawn = [int(n) for n in re.findall(r"\x1b\[(\d+)F", terminal.getvalue())]
    assert drawn == [frame.count("\n") for frame in frames[:-1]]  # each is drawn over, to its first line


def test_control_c_ends_a_watch_without_a_word(tmp_path):
    begin(tmp_path)
    main, end = pty.openpty()
    words = [sys.executable, "-m", "elastic_lib.cli", "watch", RECIPE.run_id, "--results", str(tmp_path)]
    said = ""
    with held(tmp_path):
        watcher = subprocess.Popen(words, stdout=end, stderr=subprocess.STDOUT, env={**ENV, "COLUMNS": "80"})
        os.close(end)
        try:
            while said.count("better is up") < 2:
                assert select.select([main], [], [], 30)[0], said
                said += os.read(main, 65536).decode(errors="replace")
            watcher.send_signal(signal.SIGINT)
            assert watcher.wait(10) == 0
        finally:
            watcher.kill()
            watcher.wait()
            os.close(main)
    assert (
        "Traceback" not in said and "10/40" in said and max(map(len, said.splitlines())) <= 80 + len("\x1b[20F\x1b[J")
    )


def test_a_real_run_is_seen_while_it_goes_on(results, capsys):
    recipe = Recipe("sentiment", "elastic", "smoke", 0, updates=400)
    words = ["run", "sentiment", "elastic", "--scale", "smoke", "--set", "updates=400", "--results", str(results)]
    run = subprocess.Popen([sys.executable, "-m", "elastic_lib.cli", *words], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, env=ENV)  # fmt: skip
    try:
        end, steps, said = time.monotonic() + 60, [], ""
        while len(set(steps)) < 3:
            assert time.monotonic() < end and run.poll() is None, said
            if (results / "records" / ".locks" / recipe.run_id).exists():
                said = watched(capsys, "--once", "--results", results)
                steps += [int(n) for n in re.findall(r"(\d+)/400  .* left", said)]
            time.sleep(0.05)
    finally:
        run.kill()
        run.wait()
    assert steps == sorted(steps)
    said = watched(capsys, "--results", results)
    assert "Nothing runs in" in said and ongoing.STOPPED in said


# ---- in a notebook


def test_a_refresh_puts_the_files_into_the_traces(tmp_path):
    record = begin(tmp_path)
    panel = live.live(tmp_path)
    assert "stopped" not in panel.words.value and panel.run is None  # nothing goes on, nothing ever ended
    with held(tmp_path):
        panel.refresh()
        task, drift, kl, points, frontier = panel.figure.data
        assert list(task.x) == [0, 5, 10] and list(task.y) == [0.5, 0.55, 0.6]
        assert list(drift.y) == [2.0, 2.5, 3.0] and list(kl.y) == [0, 1, 2]
        assert "10 of 40 updates" in panel.words.value and "left" in panel.words.value
        record.add(row(15, reset=1), [])
        panel.refresh()
        assert list(points.x) == [0.5, 0.55, 0.6, 0.65] and list(points.y) == [2.0, 2.5, 3.0, 2.5]
        kept = pareto.frontier(points.x, points.y, "lower")
        assert list(frontier.x) == [points.x[i] for i in kept] == [0.5, 0.65]
        assert panel.figure.layout.xaxis.range == (0, 40) == panel.figure.layout.xaxis3.range
        assert panel.figure.layout.xaxis4.range is None
        assert "perplexity" in panel.figure.layout.annotations[1].text
        assert [shape.x0 for shape in panel.figure.layout.shapes] == [15, 15, 15]
        assert "1 reset" in panel.words.value and panel.figure.layout.yaxis4.autorange == "reversed"
    record.finish(step=15)
    panel.refresh()
    assert "done, took 30 s" in panel.words.value


def test_the_menu_names_what_goes_on_and_keeps_to_what_was_chosen(tmp_path):
    others = [Recipe("sentiment", "ppo", "smoke", 1), Recipe("translation", "elastic", "smoke", 0)]
    for recipe in (RECIPE, *others):
        begin(tmp_path, recipe)
    with held(tmp_path):
        panel = live.live(tmp_path)
        assert panel.run.run_id == RECIPE.run_id
        with held(tmp_path, others[0]), held(tmp_path, others[1]):
            panel.refresh()
            assert {value for _, value in panel.menu.options} == {None, RECIPE.run_id, *(r.run_id for r in others)}
            assert panel.run.run_id == RECIPE.run_id
            panel.menu.value = others[1].run_id
            assert panel.run.run_id == others[1].run_id and panel.figure.layout.yaxis4.autorange is True
        panel.refresh()
        assert panel.menu.value == panel.run.run_id == others[1].run_id and "stopped" in panel.words.value
        panel.menu.value = None
        assert panel.run.run_id == RECIPE.run_id
    with pytest.raises(ValueError, match=f"did you mean {RECIPE.run_id}"):
        live.live(tmp_path, run_id=RECIPE.run_id[:-1])


def test_in_a_kernel_it_refreshes_itself_until_it_is_stopped(kernel, tmp_path):
    import nbformat

    begin(tmp_path)
    cells = [
        f"import asyncio\nfrom pathlib import Path\nfrom elastic_lib.notebook import live\n"
        f"from elastic_lib.records.record import Record\nresults = Path({str(tmp_path)!r})",
        f"panel = live.live(results, {RECIPE.run_id!r}, seconds=0.1)\npanel",
        f"record = Record(results / 'records' / {RECIPE.run_id!r})\nrecord.add({row(15)!r}, [])",
        "await asyncio.sleep(1)\nprint(panel.figure.data[0].x.tolist(), panel.button.description)\npanel.stop()",
        f"record.add({row(20)!r}, [])",
        "await asyncio.sleep(1)\nprint(panel.figure.data[0].x.tolist(), panel.button.description)",
    ]
    book = kernel.execute(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells]))
    assert "application/vnd.jupyter.widget-view+json" in book.cells[1].outputs[0]["data"]
    assert book.cells[3].outputs[0]["text"] == "[0, 5, 10, 15] stop\n"
    assert book.cells[5].outputs[0]["text"] == "[0, 5, 10, 15] follow\n"


def test_a_run_of_the_reference_is_shown_once_it_has_its_folder_again(tmp_path, capsys):
    packed = load(reference_results("pocket"))
    for task in ("sentiment", "translation", "answers"):
        name = next(name for name in packed if name.startswith(task))
        unpack(reference_results("pocket"), name, tmp_path)
        assert ongoing.states(tmp_path)[name] == "done"
        assert "done, took" in watched(capsys, name, "--results", tmp_path)
