"""Runs and their files under torture: killed at random moments, refused by the disk, raced for, repeated.

A few of each in `make test`; `make torture` tries them all and counts.
"""

import builtins
import errno
import io
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from elastic_lib.recipe import Recipe
from elastic_lib.records.record import Record

# Processes that have imported everything and have done nothing: a command in one of them starts at once.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["elastic_lib.run", "elastic_lib.records.packed", "elastic_lib.tasks.sentiment.task",
                               "elastic_lib.tasks.translation.task", "elastic_lib.tasks.answers.task"])  # fmt: skip


def child(words, log, terminal=None, before=None, arguments=()):
    """The command as `elastic` runs it; what it says goes to a file, or to a terminal that is this process's own."""
    os.setsid()
    out = os.open(terminal, os.O_RDWR) if terminal else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(out, standard)
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(n, "w", closefd=False), "utf-8", line_buffering=True,
                              write_through=True) for n in (1, 2))  # fmt: skip
    from elastic_lib import cli

    if before is not None:
        before(*arguments)
    print(BEGUN)
    code = cli.main([str(word) for word in words])
    os._exit(code)


BEGUN = "begun"  # nobody is killed before the command is


def start(words, log, **more):
    process = SERVER.Process(target=child, args=(words, log), kwargs=more)
    process.start()
    return process


def finish(process):
    """Its exit code."""
    process.join(300)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def elastic(words, log, **more):
    """A command from beginning to end: exit code and words."""
    Path(log).write_text("")
    code = finish(start(words, log, **more))
    return code, Path(log).read_text(errors="replace")


def command(recipe, results):
    return recipe.command(str(results))[1:]


def contents(record):
    """All that must be equal between two runs of a recipe: everything but the seconds, and who made the beginning."""
    curve = record.curve()
    timeless = curve[[name for name in curve if not name.startswith("t_")]]
    grown = [(record.path / name).read_bytes() for name in ("recipe.json", "samples.jsonl", "path.csv")]
    weights = {path.name: path.read_bytes() for path in sorted((record.path / "checkpoint").glob("*.safetensors"))}
    for path in (record.path / "checkpoint").glob("*.json"):  # what a kept state says beside its weights
        said = json.loads(path.read_text())
        del said["kept"], said["seal"], said["plain"]["state"]["seconds"]  # of files with seconds in them, and of these
        weights[path.name] = said
    ended = {name: value for name, value in record.status().items() if name not in ("files", "seal", "began")}
    return timeless.to_csv(), grown, ended, weights


def nothing_half_is_called_done(results):
    """What says that it is done, is whole; a base that counts, has its weights. Raises DamagedRecord otherwise."""
    from elastic_lib.records.files import read_json, sha256

    for path in (results / "records").glob("*-*"):
        if ".damaged-" not in path.name:
            Record(path).done()
    for meta in (results / "bases").glob("*/*.json"):
        digest = read_json(meta)["sha256"]
        assert digest is None or sha256(meta.with_suffix(".safetensors")) == digest, meta


def until(true, process, seconds=120.0):
    """Waits until something is so, or the process has ended."""
    end = time.monotonic() + seconds
    while not true() and process.is_alive() and time.monotonic() < end:
        time.sleep(0.002)


# ---- killed

RUNS = {
    "sentiment": Recipe("sentiment", "elastic", "smoke", 0),
    "translation": Recipe("translation", "elastic", "smoke", 0),
    "answers": Recipe("answers", "elastic", "smoke", 0),
}
DEATHS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")  # the last as its terminal closes


def kill(words, log, moment, death, process_at, chance):
    """Starts a command and ends it at a random moment after `process_at` is true; whether it died of that."""
    master = None
    if death == "SIGHUP":
        master, slave = os.openpty()
        process = start(words, log, terminal=os.ttyname(slave), before=hearing)
        os.read(master, len(BEGUN))  # waits for the first words
    else:
        log.write_text("")
        process = start(words, log, before=hearing)
        until(lambda: BEGUN in log.read_text(), process)
    until(process_at, process)
    time.sleep(chance.uniform(0, moment))
    if master is not None:
        os.close(slave)
        os.close(master)  # the kernel tells the session's leader
    elif process.is_alive():
        os.kill(process.pid, getattr(signal, death))
    code = finish(process)
    assert code in (0, 130, -getattr(signal, death)), (death, code, Path(log).read_text())
    return code != 0


def rows(record):
    path = record.path / "curve.csv"
    return path.read_text().count("\n") - 1 if path.exists() else 0


@pytest.mark.parametrize("task", RUNS)
def test_a_run_and_its_bases_killed_at_random_moments_end_as_if_they_never_were(task, made, shared, tmp_path, torture):
    """Each stage in turn: while bases are made, anywhere in training, in the last tests, while records are packed."""
    if task != "sentiment" and not torture.full:
        pytest.skip("one task in make test, all of them in make torture")
    recipe, chance = RUNS[task], random.Random(f"{torture.seed} {task}")
    print(f"random moments of seed {torture.seed}: --torture-seed repeats them")
    whole = made(recipe)
    results, log, deaths = tmp_path / "killed", tmp_path / "log", itertools.cycle(DEATHS)
    log.write_text("")
    record, words, every = Record.of(recipe, results), command(recipe, results), len(whole.curve())

    stages = {
        "bases": (torture.many(1, 3), lambda: True, 1.0),
        "training": (torture.many(2, 4), None, 0.1),
        "last tests": (torture.many(1, 1), lambda: rows(record) >= every, 0.1),
    }
    died = dict.fromkeys((*stages, "pack"), 0)
    for stage, (times, at, moment) in stages.items():
        tries = 0
        while died[stage] < times and tries < 4 * times:
            first = rows(record) + 1
            row = chance.randint(min(first, every - 1), min(first + every // times, every - 1))
            died[stage] += kill(words, log, moment / (1 + tries), next(deaths),
                                at or (lambda row=row: rows(record) >= row), chance)  # fmt: skip
            tries += 1
            assert "Traceback" not in log.read_text()
            nothing_half_is_called_done(results)
            if record.status().get("status") == "done":  # it came to its end before it was killed
                shutil.rmtree(record.path)
                if stage == "bases":
                    shutil.rmtree(results / "bases")
    code, said = elastic(words, log)
    assert code == 0, said
    assert contents(record) == contents(whole)
    for path in (shared / "bases" / recipe.base_key).glob("*.safetensors"):
        assert (results / "bases" / recipe.base_key / path.name).read_bytes() == path.read_bytes()

    pack = ["pack", "--scale", "smoke", "--results", results, "--to"]
    assert elastic([*pack, tmp_path / "once" / "set"], log)[0] == 0
    took, target = 0.3, tmp_path / "often" / "set"
    while died["pack"] < torture.many(1, 2):
        died["pack"] += kill([*pack, target], log, took, next(deaths), lambda: True, chance)
        took *= 0.8
    assert elastic([*pack, target], log)[0] == 0
    assert files(target) == files(tmp_path / "once" / "set")
    for stage, number in died.items():
        assert number, f"no kill fell into {stage}"
        torture.count("killed and gone on", f"{task}, {stage}", number, "0 lost, 0 other bits")


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_run_outlives_its_terminal(made, results, tmp_path):
    """`setsid elastic run …` and the terminal is closed: the bar has nowhere to go, the run goes on."""
    recipe = RUNS["sentiment"]
    master, slave = os.openpty()
    process = start(command(recipe, results), tmp_path / "log", terminal=os.ttyname(slave), before=deaf)
    until(lambda: rows(Record.of(recipe, results)) > 1, process)
    os.close(slave)
    os.close(master)
    finish(process)  # 1, since there is nowhere to print the record's path
    assert contents(Record.of(recipe, results)) == contents(made(recipe))


def deaf():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def hearing():
    """Whatever these tests were started by: `nohup` and a shell's `&` leave signals ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


# ---- refused by the disk

SMALL = dict(updates=2, batch=2, minibatch=1, epochs=1, eval_prompts=4, eval_reviews=2, train_reviews=50,
             lm_steps=1, rm_steps=1, lm_batch=2, rm_batch=2)  # fmt: skip
TINY = Recipe("sentiment", "elastic", "smoke", 0, reset_every=1, **SMALL)
FAILS = {  # what each kind of call may say
    "open to read": (errno.EACCES, errno.EIO),
    "open to write": (errno.ENOSPC, errno.EACCES, errno.EROFS),
    "write": (errno.ENOSPC, errno.EIO),  # after half of it
    "weights": (errno.ENOSPC, errno.EIO),  # half of a file of safetensors
    "table": (errno.ENOSPC, errno.EIO),  # half of one of Parquet
    "fsync": (errno.EIO, errno.ENOSPC),
    "rename": (errno.EIO, errno.EACCES),
    "mkdir": (errno.ENOSPC, errno.EACCES),
    "truncate": (errno.EIO, errno.EACCES),
    "remove": (errno.EACCES, errno.EIO),
    "lock": (errno.ENOLCK,),
}
AUDITED = {"os.rename": "rename", "os.mkdir": "mkdir", "os.truncate": "truncate", "os.remove": "remove",
           "os.rmdir": "remove", "fcntl.flock": "lock"}  # fmt: skip


class Disk:
    """Stands between this process and what lies under a folder: counts its calls, and lets one of them fail."""

    def __init__(self):
        self.folder, self.calls, self.failing, self.number = None, [], None, 0
        sys.addaudithook(self.hear)  # for good, so it is deaf where no folder is watched

    def watch(self, folder, failing=None, number=0):
        """`failing`: the call, counted from 0, that says the `number`th of what its kind may say."""
        self.folder, self.calls, self.failing, self.number = str(folder), [], failing, number

    def call(self, kind, path):
        """The error of this call, if it is its turn."""
        self.calls.append(kind)
        if len(self.calls) - 1 == self.failing:
            number = FAILS[kind][self.number % len(FAILS[kind])]
            return OSError(number, os.strerror(number), str(path))

    def hear(self, event, given):
        if self.folder is None or event not in (*AUDITED, "open"):
            return
        path = given[0]
        if event == "open":
            written = bool((given[2] or 0) & (os.O_WRONLY | os.O_RDWR))
            kind = "open to write" if written else "open to read"
        else:
            kind = AUDITED[event]
        inside = kind == "lock" or (isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.folder))
        if inside and (error := self.call(kind, path)):
            raise error

    def writing(self, path):
        return self.folder is not None and str(path).startswith(self.folder)


class HalfWritten(io.FileIO):
    """A file whose write may be cut short by what the disk says."""

    disk = None

    def write(self, data):
        if self.disk.folder is not None and (error := self.disk.call("write", self.name)):
            super().write(bytes(data)[: len(data) // 2])
            raise error
        return super().write(data)


@pytest.fixture(scope="module")
def watched():
    return Disk()


@pytest.fixture
def disk(watched, monkeypatch):
    """The disk, with those calls that no audit hook hears."""
    from elastic_lib.records import packed, tensors

    plain = {"open": io.open, "fsync": os.fsync, "save": tensors.save_file, "table": packed.pq.write_table}

    def opened(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *more):
        if not (set(mode) & set("wax") and isinstance(file, str | os.PathLike) and watched.writing(file)):
            return plain["open"](file, mode, buffering, encoding, errors, newline, *more)
        raw = HalfWritten(file, mode.replace("b", "").replace("t", ""))
        raw.disk = watched
        buffered = io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    def fsync(descriptor):
        if watched.folder is not None and (error := watched.call("fsync", "")):
            raise error
        plain["fsync"](descriptor)

    def save(given, path, about=None):
        if watched.writing(path) and (error := watched.call("weights", path)):
            from safetensors import SafetensorError

            plain["save"](given, path, about)
            os.truncate(path, path.stat().st_size // 2)
            raise SafetensorError(f"Error while serializing: I/O error: x (os error {error.errno})")
        plain["save"](given, path, about)

    def table(given, path, **how):
        if watched.writing(path) and (error := watched.call("table", path)):
            Path(path).write_bytes(b"PAR1 half")
            raise error
        plain["table"](given, path, **how)

    monkeypatch.setattr(io, "open", opened)
    monkeypatch.setattr(builtins, "open", opened)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(tensors, "save_file", save)
    monkeypatch.setattr(packed.pq, "write_table", table)
    yield watched
    watched.folder = None


@pytest.fixture
def here(capsys):
    """A command in this process: exit code and complaints."""
    import warnings

    from elastic_lib import cli

    def here(words):
        capsys.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            code = cli.main([str(word) for word in words])
        return code, capsys.readouterr().err

    return here


def sweep(disk, here, torture, folder, words, whole):
    """Lets each call of a command fail in its turn, or a few of each kind; `whole(folder)` says that all is well."""
    disk.watch(folder)
    assert here(words)[0] == 0
    kinds, chance = disk.calls, random.Random(torture.seed)
    disk.folder = None
    assert whole(folder)
    turns = [(i, i + torture.seed) for i in range(len(kinds))]  # each kind says all that it may, in turn
    if not torture.full:  # one of each kind, at random
        turns = [chance.choice([turn for turn in turns if kinds[turn[0]] == kind]) for kind in sorted(set(kinds))]
    failed = dict.fromkeys(sorted(set(kinds)), 0)
    for turn, number in turns:
        shutil.rmtree(folder)
        disk.watch(folder, turn, number)
        code, said = here(words)
        disk.folder = None
        says = FAILS[kinds[turn]][number % len(FAILS[kinds[turn]])]
        where = f"{kinds[turn]}, call {turn} of {len(kinds)}, {errno.errorcode[says]}: {said}"
        assert "Traceback" not in said, where
        complaints = [line for line in said.splitlines() if line.startswith("elastic: ")]
        if code:
            assert code == 1 and len(complaints) == 1, where
            assert ";" in complaints[0] or ":" in complaints[0].removeprefix("elastic: "), where
        nothing_half_is_called_done(folder)
        code, again = here(words)
        assert code == 0, f"not mended by the next run: {where}{again}"
        assert whole(folder), f"ends otherwise: {where}"
        failed[kinds[turn]] += 1
    return failed


def test_a_run_survives_each_call_of_a_file_that_fails(disk, here, made, tmp_path, torture):
    """Bases, training, checkpoints, tests: one line of ours, nothing half is called done, the next run mends it."""
    expected, folder = contents(made(TINY)), tmp_path / "own"
    failed = sweep(disk, here, torture, folder, command(TINY, folder),
                   lambda folder: contents(Record.of(TINY, folder)) == expected)  # fmt: skip
    for kind, number in failed.items():
        torture.count("calls that failed", f"a run: {kind}", number)


def test_packing_survives_each_call_of_a_file_that_fails(disk, here, made, tmp_path, torture):
    """Over a data set that is there: it is the old one or the new one, never something between."""
    from elastic_lib.records.tables import load

    own, old, target = tmp_path / "own", tmp_path / "old", tmp_path / "watched" / "set"
    for recipe in (TINY, RUNS["sentiment"]):
        shutil.copytree(made(recipe).path, own / "records" / recipe.run_id)
    words = ["pack", "--scale", "smoke", "--results", own, "--to"]
    shutil.copytree(own / "records" / TINY.run_id, tmp_path / "one" / "records" / TINY.run_id)
    assert here(["pack", "--scale", "smoke", "--results", tmp_path / "one", "--to", old])[0] == 0

    def whole(folder):
        return set(load(target)) == {TINY.run_id, RUNS["sentiment"].run_id} and all(
            record.files() for record in load(target).values()
        )

    def look(words):
        """Packs over the first set; whoever reads then finds one of the two whole."""
        folder, disk.folder = disk.folder, None
        if not target.exists():
            shutil.copytree(old, target)
        disk.folder = folder
        code, said = here(words)
        disk.folder = None
        found = load(target)
        assert TINY.run_id in found and all(record.files() for record in found.values()), said
        disk.folder = folder
        return code, said

    failed = sweep(disk, look, torture, target.parent, [*words, target], whole)
    for kind, number in failed.items():
        torture.count("calls that failed", f"pack: {kind}", number)


def test_json_is_whole_or_what_it_was(tmp_path, monkeypatch):
    """Whoever reads meanwhile reads the old one to its end; what ends halfway, or on a full disk, changes nothing."""
    from elastic_lib.records.files import read_json, write_json

    path = tmp_path / "status.json"
    write_json(path, {"status": "running"})
    with path.open() as reader:
        write_json(path, {"status": "done"})
        assert json.load(reader) == {"status": "running"}
    with pytest.raises(TypeError):
        write_json(path, {"status": "failed", "error": object()})
    monkeypatch.setattr(os, "fsync", lambda _: os.close(-1))
    with pytest.raises(OSError):
        write_json(path, {"status": "failed"})
    assert read_json(path) == {"status": "done"} and os.listdir(tmp_path) == ["status.json"]


def test_weights_that_cannot_be_written_say_why(tmp_path):
    from elastic_lib.records.tensors import save_tensors

    with pytest.raises(FileNotFoundError, match=r"gone/lm\.safetensors"):
        save_tensors({"w": torch.zeros(1)}, tmp_path / "gone" / "lm.safetensors")


# ---- several at once


def noted(log):
    """Writes down which records this process begins."""
    plain = Record.start

    def start(self, recipe, env, kept):
        with open(log, "a") as file:
            file.write(f"{self.run_id}\n")
        plain(self, recipe, env, kept)

    Record.start = start


def grind(recipes, results, log):
    """Makes all records, as a notebook does."""
    from elastic_lib.run import run

    noted(log)
    for recipe in recipes:
        run(recipe, results)
    os._exit(0)


def test_processes_at_one_grid_make_each_record_once(made, tmp_path, torture):
    """Each begins elsewhere in the grid, so that they meet; the bases are made among them too."""
    methods = torture.many(["ppo"], ["ppo", "track", "to_init"])
    recipes = [Recipe("sentiment", method, "smoke", seed, **SMALL) for method in methods for seed in range(2)]
    crowd, results, begun = torture.many(3, 8), tmp_path / "own", tmp_path / "begun"
    processes = [SERVER.Process(target=grind, args=(recipes[i % len(recipes):] + recipes[: i % len(recipes)], results,
                                begun)) for i in range(crowd)]  # fmt: skip
    for process in processes:
        process.start()
    assert [finish(process) for process in processes] == [0] * crowd
    assert sorted(begun.read_text().split()) == sorted(recipe.run_id for recipe in recipes)
    assert all(Record.of(recipe, results).done() for recipe in recipes)
    assert not list(results.rglob("*damaged-*"))
    assert contents(Record.of(recipes[0], results)) == contents(made(recipes[0]))
    torture.count("at once", f"{crowd} processes on {len(recipes)} records and their bases", crowd)


# ---- the same again


def test_a_recipe_gives_the_same_bits_wherever_it_runs(made, results, tmp_path, torture):
    """After another run in one process, twice in it, in a process of its own, and as a notebook makes its records."""
    from elastic_lib.notebook import steps
    from elastic_lib.run import run

    expected, log = contents(made(TINY)), tmp_path / "log"
    bases, others = results / "bases", Recipe("sentiment", "ppo", "smoke", 1, **SMALL)
    run(others, results)
    for place in ("first", "second"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "bases").symlink_to(bases)
        assert contents(Record(run(TINY, tmp_path / place))) == expected, place
    assert elastic(command(TINY, tmp_path / "process"), log)[0] == 0, log.read_text()
    assert contents(Record.of(TINY, tmp_path / "process")) == expected
    steps._make([TINY], tmp_path / "notebook")
    assert contents(Record.of(TINY, tmp_path / "notebook")) == expected
    env = Record.of(TINY, tmp_path / "process").env()  # what may change the bits is told
    assert {"torch", "machine", "threads", "device", "python", "commit", "processes"} <= set(env)
    torture.count("the same again", "after another run, twice, another process, a notebook's way", 4, "0 other bits")


@pytest.mark.parametrize(("task", "method"), [("translation", "reinforce"), ("answers", "ppo")])
def test_so_does_one_of_the_other_tasks(task, method, made, results, tmp_path, torture):
    """After another run in this process, and in a process of its own."""
    if task == "answers" and not torture.full:
        pytest.skip("two tasks in make test, all of them in make torture")
    from elastic_lib.run import run

    short = dict(updates=2, exam="none") if task == "answers" else dict(updates=2)
    recipe, log = Recipe(task, "elastic", "smoke", 0, reset_every=1, **short), tmp_path / "log"
    run(Recipe(task, method, "smoke", 0, **short), results)
    assert elastic(command(recipe, results), log)[0] == 0, log.read_text()
    assert contents(Record.of(recipe, results)) == contents(made(recipe))
    torture.count("the same again", f"{task}: after another run, another process", 2, "0 other bits")


def workflow(folder, *targets):
    """Snakemake on one record, in a folder that nobody locks."""
    words = ["-s", Path(__file__).parents[1] / "papermill_runs" / "Snakefile", "-d", folder, "--cores", "1", "--nolock"]
    words += [
        "--rerun-incomplete",
        "--rerun-triggers",
        "mtime",
        "--config",
        "scale=smoke",
        "seeds=1",
        "tasks=sentiment",
    ]
    command = [sys.executable, "-m", "snakemake", *words, "--", *targets]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_two_workflows_and_a_notebook_beside_them_make_each_record_once(made, tmp_path, torture):
    if not torture.full:
        pytest.skip("two Snakemakes at once are tried in make torture")
    from elastic_lib.recipe.grid import grid

    recipes = grid("sentiment", "smoke", 1, False)[:2]
    results = tmp_path / "papermill_runs" / "smoke"
    (tmp_path / "notebooks").symlink_to(Path(__file__).parents[1] / "notebooks")
    targets = [f"papermill_runs/smoke/records/{recipe.run_id}/status.json" for recipe in recipes]
    both = [workflow(tmp_path, *targets) for _ in range(2)]
    beside = SERVER.Process(target=grind, args=(recipes[::-1], results, tmp_path / "begun"))
    beside.start()
    said = [one.communicate(timeout=900)[0] for one in both]
    assert finish(beside) == 0
    for one, words in zip(both, said, strict=True):
        assert one.returncode == 0, words
    for recipe in recipes:
        assert contents(Record.of(recipe, results)) == contents(made(recipe))
    assert not list(results.rglob("*damaged-*"))
    torture.count("at once", "two Snakemakes and a notebook on two records", 3)


# ---- make reproduce, twice at once

ROOT = Path(__file__).parents[1]
ONLY = "tasks=sentiment notebooks=03_pareto_frontiers"


def clone(folder):
    """What git would give somebody, and this environment in the place of one that `make` would build for minutes."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    for name in ("requirements.lock", "pyproject.toml"):
        os.utime(folder / name, (0, 0))  # older than the environment
    return folder


def make(folder, target):
    """`make` in a clone, whose library it finds before the one that the environment leads to."""
    words = ["make", "-C", folder, target, "SCALE=smoke", "SEEDS=1", "CORES=1", f"ONLY={ONLY}"]
    here = {name: value for name, value in os.environ.items() if not name.startswith(("ELASTIC_", "MAKE", "MFLAGS"))}
    return subprocess.Popen([*map(str, words)], env=here | {"PYTHONPATH": str(folder)}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip


def test_make_reproduce_twice_in_one_clone_and_at_once_in_another(tmp_path, torture):
    """In one folder the second leaves it to the first, in one line; two folders share nothing, and end alike."""
    if not torture.full:
        pytest.skip("make reproduce at once is tried in make torture")
    if not (ROOT / ".git").exists() or not (ROOT / ".venv" / "project").exists():
        pytest.skip("a clone of git, and the .venv that make builds, are what is cloned here")
    at_home = sorted((ROOT / "papermill_runs").glob("smoke/*/*"))
    clones = [clone(tmp_path / name) for name in ("one", "other")]
    first, elsewhere = (make(folder, "reproduce") for folder in clones)
    records = clones[0] / "papermill_runs" / "smoke" / "records"
    while first.poll() is None and not any(records.glob("*/curve.csv")):
        time.sleep(0.1)
    late, early = (make(clones[0], target) for target in ("reproduce", "clean"))
    said = late.communicate(timeout=60)[0].splitlines()
    assert late.returncode == 2 and [line for line in said if "***" not in line and "directory" not in line] == [
        "make: another make reproduce is at work in this folder; this one leaves it to it"
    ]
    assert "make: a make reproduce is at work in this folder; nothing is removed" in early.communicate(timeout=60)[0]
    assert early.returncode == 2 and first.poll() is None
    for one in (first, elsewhere):
        words = one.communicate(timeout=1800)[0]
        assert one.returncode == 0 and "Traceback" not in words and "set aside" not in words, words[-3000:]
    made = [{path.name: Record(path) for path in folder.glob("papermill_runs/smoke/records/*-*")} for folder in clones]
    assert set(made[0]) == set(made[1]) and len(made[0]) >= 10
    for name, record in made[0].items():
        assert record.done() and contents(record) == contents(made[1][name]), name
    for folder, other in (clones, clones[::-1]):
        texts = [path for path in folder.glob("papermill_runs/smoke/**/*") if path.suffix in (".json", ".ipynb")]
        assert texts and not any(str(other) in path.read_text() or path.is_symlink() for path in texts)
    again = make(clones[0], "reproduce")
    assert "Nothing to do" in again.communicate(timeout=300)[0] and again.returncode == 0
    assert sorted((ROOT / "papermill_runs").glob("smoke/*/*")) == at_home
    torture.count("at once", "make reproduce twice in a clone, once in another", 3)
