"""What nobody should give to the project, and what a stranger might: bad settings, states, files, words; no trust.

Each gets an error of ours that says what to do, or correct work: never an error from deep inside another library, never
a wrong result that looks like a right one. A small fixed share in `make test`; `make torture` tries thousands.
"""

import ast
import gzip
import io
import json
import math
import re
import shutil
import subprocess
import sys
import traceback
import warnings
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from elastic_lib import ElasticReset, cli, decay_for
from elastic_lib.notebook import own_run, reading, steps
from elastic_lib.recipe import Recipe
from elastic_lib.recipe.recipe import KNOWN_FIELDS
from elastic_lib.records import archive, checkpoint, packed, tables
from elastic_lib.records.files import DamagedRecord, sealed, sha256, write_json
from elastic_lib.records.record import Record
from elastic_lib.reset import Adaptive, At, Every
from elastic_lib.tasks import SCALES, TASKS, facts, real_text
from elastic_lib.tasks.answers import real as answers_real
from elastic_lib.tasks.translation import real as translation_real

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "elastic_lib"

# ---- what is given

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=4),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from([10**400, -1, 0, "nan", "\0", "../x", "\ud800", "<script>", object(), torch.ones(2), math.inf]),
)  # fmt: skip
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=6,
)  # fmt: skip


def ours(error):
    """Whether an error is one of this project: raised here, in a kind that the command tells in one line."""
    where = traceback.extract_tb(error.__traceback__)[-1].filename
    kind = isinstance(error, ValueError | RuntimeError | OSError) and not isinstance(error, UnicodeError)
    return kind and Path(where).is_relative_to(LIBRARY) and len(str(error)) > 10


def refused(work, *arguments, **named):
    """The result of some work, or None where it was refused as it should be."""
    try:
        return work(*arguments, **named)
    except Exception as error:
        if not ours(error):
            raise
        return None


@pytest.fixture
def tries(torture):
    """Gives a function many inputs, the same ones for the same seed, and counts them."""

    def tries(what, few, many, work, *strategies):
        cases = 0

        def case(values):
            nonlocal cases
            cases += 1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                work(*values)

        phases = (Phase.explicit, Phase.generate, Phase.shrink) if torture.full else (Phase.generate,)
        how = settings(max_examples=torture.many(few, many), deadline=None, database=None, phases=phases,
                       suppress_health_check=list(HealthCheck))  # fmt: skip
        how(seed(torture.seed)(given(st.tuples(*strategies))(case)))()
        torture.count("bad input", what, cases, "0 foreign errors, 0 silently wrong")

    return tries


# ---- settings, schedules, states


def test_recipes(tries):
    names = st.sampled_from([*KNOWN_FIELDS, "reset", "bata", "", "task "])
    methods = st.sampled_from(sorted({method for task in TASKS for method in facts(task).METHODS}))
    one_of_ours = st.tuples(st.sampled_from(TASKS), methods, st.sampled_from(SCALES), st.integers(-1, 9))

    def made(which, changed):
        recipe = refused(Recipe, *which, **changed)
        if recipe is not None:  # then it is what was asked for, and comes back from its own JSON
            stored = recipe.to_dict()
            assert Recipe.from_dict(json.loads(json.dumps(stored))) == recipe
            flat = stored | stored.get("reset", {})
            assert all(value is None or flat[name] == value for name, value in changed.items())
            assert recipe.label() and recipe.command("x")

    tries("recipes", 60, 500, made, st.tuples(JUNK, JUNK, JUNK, JUNK) | one_of_ours,
          st.dictionaries(names, JUNK, max_size=3))  # fmt: skip
    tries("stored recipes", 20, 100, lambda stored: refused(Recipe.from_dict, stored),
          PLAIN | st.fixed_dictionaries({"task": st.sampled_from(TASKS), "method": methods, "scale": PLAIN,
                                         "seed": PLAIN, "reset": PLAIN}))  # fmt: skip


def test_schedules(tries):
    def run(make, values, measures):
        schedule = refused(make, *values[: 2 if make is Adaptive else 1])
        for step in range(1, 4):
            if schedule is not None and (due := refused(schedule, step, measures)) is not None:
                assert due in (True, False)
        if hasattr(schedule, "load_state_dict"):
            refused(schedule.load_state_dict, measures)

    kinds = st.sampled_from([Every, At, Adaptive, Adaptive])
    tries("schedules", 60, 300, run, kinds, st.lists(JUNK, min_size=1, max_size=2),
          st.dictionaries(st.sampled_from(["kl", "reward", "since_reset", "history"]), JUNK))  # fmt: skip
    tries("decay_for", 20, 60, lambda a, b: refused(decay_for, a, b), JUNK, JUNK)


def weights(values=(1.0, 2.0)):
    return [("a", torch.nn.Parameter(torch.tensor(values))), ("b", torch.nn.Parameter(torch.zeros(3)))]


def test_arguments_of_elastic_reset(tries):
    names = ("decay", "reset_every", "mode", "device", "restore", "restart", "select", "schedule", "ema_reset_every")

    def made(parameters, changed):
        elastic = refused(ElasticReset, parameters, **changed)
        if elastic is not None:
            assert not isinstance(parameters, list) or len(elastic.parameters) == len(parameters) or changed
            before = {name: p.detach().clone() for name, p in elastic.parameters.items()}
            elastic.update()
            elastic.tick()
            elastic.reset()  # nothing has moved, so nothing moves
            assert all(torch.equal(p, before[name]) for name, p in elastic.parameters.items())

    odd = [weights(), weights(), [p for _, p in weights()], dict(weights()), torch.nn.Linear(1, 1), weights() * 2,
           torch.ones(2), [1, 2], [("a", 1)], [*weights(), torch.ones(1)], iter(weights()), [], [("a",)],
           [("a", torch.nn.Parameter(torch.ones(1, device="meta")))]]  # fmt: skip
    devices = st.sampled_from(["cpu", "cuda", "cuda:9", "nonsense", "meta"])
    changed = st.dictionaries(st.sampled_from(names), JUNK, max_size=3) | st.fixed_dictionaries({"device": devices})
    tries("arguments of ElasticReset", 60, 300, made, st.sampled_from(odd) | JUNK, changed)


def test_states_of_elastic_reset(tries):
    def loaded(name, value, inside):
        elastic, other = (ElasticReset(weights(), schedule=Adaptive(kl_budget=1.0)) for _ in range(2))
        elastic.tick(kl=0.5)
        state = elastic.state_dict()
        if inside and isinstance(state.get(name), dict):
            state[name]["a" if name != "schedule" else "history"] = value
        else:
            state[name] = value
        before = other.state_dict()
        try:
            other.load_state_dict(state)
        except Exception as error:
            assert ours(error), error
            after = other.state_dict()  # refused before anything was changed
            assert all(torch.equal(after[part][n], t) for part in ("ema", "initial") for n, t in before[part].items())
            assert {n: after[n] for n in ("step", "resets", "schedule")} == {
                n: before[n] for n in ("step", "resets", "schedule")}  # fmt: skip
        else:
            assert other.tick(kl=0.5) is False

    keys = st.sampled_from(["step", "resets", "last_reset", "schedule", "ema", "initial", "more"])
    tries("states of ElasticReset", 60, 300, loaded, keys, JUNK | PLAIN, st.booleans())
    tries("states that are none", 10, 40, lambda junk: refused(ElasticReset(weights()).load_state_dict, junk), JUNK)


def test_settings_of_the_callback(tries):
    from elastic_lib.callback import ElasticResetCallback

    names = ("decay", "reset_every", "ema_every", "optimizer", "mode", "restore", "restart", "select", "schedule",
             "ema_reset_every", "device", "stop_after", "guard_base")  # fmt: skip
    tries("settings of the callback", 40, 200, lambda changed: refused(ElasticResetCallback, **changed),
          st.dictionaries(st.sampled_from(names), JUNK, max_size=3))  # fmt: skip


def test_parameters_of_papermill(tries):
    def checked(task, changed):
        refused(steps.check, task, {"scale": "smoke", "seeds": 1, "methods": None, "records": "reference"} | changed)

    names = st.sampled_from([*steps.PARAMETERS, "sceds"])
    tries("papermill parameters", 40, 200, checked, st.sampled_from(TASKS), st.dictionaries(names, JUNK, max_size=2))


MENDED = {  # each was taken once, or ended in an error from deep inside
    "a plan that is a dict": (lambda: Recipe("sentiment", "elastic", reset={"decay": 0.5}), "must be a ResetPlan"),
    "a seed too long": (lambda: Recipe("sentiment", "ppo", seed=10**10), "from 0 to 999999999"),
    "a number that no float holds": (lambda: Recipe("sentiment", "ppo", beta=10**400), "beta must be a number"),
    "a stored recipe of nobody": (lambda: Recipe.from_dict({"method": "ppo"}), "this one has no task, scale, seed"),
    "one name twice": (lambda: ElasticReset([*weights(), *weights()]), "two parameters have one name"),
    "a module": (lambda: ElasticReset(torch.nn.Linear(1, 1)), "pass model.parameters()"),
    "a dict": (lambda: ElasticReset(dict(weights())), "pass model.parameters()"),
    "weights that are not loaded": (
        lambda: ElasticReset(torch.nn.Linear(1, 1, device="meta").parameters()),
        "no value",
    ),
    "a device that is not here": (lambda: ElasticReset(weights(), device="nonsense"), "cannot lie on device nonsense"),
    "a schedule that is none": (lambda: ElasticReset(weights(), schedule=5), "schedule must be Every"),
    "a choice that is none": (lambda: ElasticReset(weights(), select="a"), "select must be a function"),
    "steps that are none": (lambda: At("12"), "At takes a list of steps"),
    "a slope that is no number": (lambda: Adaptive(min_slope=math.nan), "min_slope must be a number"),
    "a KL that is no number": (lambda: Adaptive(kl_budget=1.0)(1, {"kl": "1.5"}), "kl of tick must be a number"),
    "no number of bases": (lambda: Recipe("sentiment", "ppo", bases=None), "bases must be a whole number"),
    "methods as one word": (lambda: check(methods="ppo"), "methods must be a list of names"),
    "records as a number": (lambda: check(records=5), "records must be auto, own"),
}


def check(**changed):
    steps.check("sentiment", {"scale": "smoke", "seeds": 1, "methods": None, "records": "own"} | changed)


@pytest.mark.parametrize("what", MENDED)
def test_what_was_found_stays_mended(what):
    work, says = MENDED[what]
    with pytest.raises(ValueError, match=says):
        work()


def test_a_state_is_refused_before_anything_is_changed():
    elastic = ElasticReset(weights(), schedule=Adaptive(kl_budget=1.0))
    other = ElasticReset(weights((5.0, 5.0)), schedule=Every(3)).state_dict()
    with pytest.raises(ValueError, match="is another schedule's"):
        elastic.load_state_dict(other)
    assert elastic.ema["a"].tolist() == [1.0, 2.0]


# ---- files: records, tables, archives, weights


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished record of some rows, and one that is underway with its checkpoint."""
    results = tmp_path_factory.mktemp("whole")
    for number, method in enumerate(("elastic", "ppo")):
        record = Record.of(recipe := Recipe("sentiment", method, "smoke", 0), results)
        record.start(recipe, {"torch": "2", "cores": 2}, kept=None)
        for step in range(3):
            row = {"step": step, "iteration": 0, "reset": 0, "task": step / 7, "drift": 2.0 + step, "t_eval": 0.1}
            record.add(row, [{"id": 0, "prompt": "it", "text": "was é", "reward": 1 / 7}], {"policy": [0.5, 1.0]})
        state = {"step": 2, "random": [1, 2, 3], "model": {"w": torch.arange(6.0)}}
        (record.path / "checkpoint").mkdir()
        checkpoint.save(record, 2, state, {"before": {"task": 0.5, "drift": 2.0}, "after_reset": {}})
        if number == 0:
            (record.path / "checkpoint" / "checkpoint.json").unlink()
            record.finish(step=2, fingerprint="f" * 16, test_before={"task": 0.0, "drift": 2.0},
                          test={"task": 0.25, "drift": 3.0})  # fmt: skip
    return results


def damage(data):
    """Bytes that are cut, flipped in a bit, doubled, of another file, or gone."""
    kind = data.draw(st.sampled_from(["cut", "flip", "put", "other", "empty"]))

    def of(content):
        if kind == "empty" or not content:
            return b""
        at = data.draw(st.integers(0, len(content) - 1))
        if kind == "cut":
            return content[:at]
        if kind == "flip":
            return content[:at] + bytes([content[at] ^ 1 << data.draw(st.integers(0, 7))]) + content[at + 1 :]
        return content[:at] + data.draw(st.binary(min_size=1, max_size=9)) + content[at:] if kind == "put" else (
            json.dumps(data.draw(PLAIN)).encode()
        )  # fmt: skip

    return of


def seen(record):
    """All that a reader takes from a record."""
    return (record.curve().to_csv(), record.samples().to_csv(), record.moves().to_csv(), record.recipe(), record.env(),
            record.status(), sorted(record.files()))  # fmt: skip


DONE = Recipe("sentiment", "elastic", "smoke", 0).run_id
BEGUN = Recipe("sentiment", "ppo", "smoke", 0)


def test_damaged_records(tries, whole, tmp_path):
    expected = seen(tables.load(whole)[DONE])

    def read(data):
        shutil.rmtree(tmp_path / "own", ignore_errors=True)
        shutil.copytree(whole, tmp_path / "own")
        path = data.draw(st.sampled_from(sorted((tmp_path / "own/records" / DONE).glob("*.*"))))
        before = path.read_bytes()
        path.write_bytes(damage(data)(before))
        found = tables.load(tmp_path / "own")
        assert set(found) <= {DONE} and (not found or seen(found[DONE]) == expected)
        refused(packed._whole, tmp_path / "own")

    tries("damaged records", 30, 200, read, st.data())


def test_damaged_checkpoints(tries, whole, tmp_path):
    record = Record.of(BEGUN, whole)
    expected = str(checkpoint.load(record))

    def read(data):
        shutil.rmtree(tmp_path / "own", ignore_errors=True)
        shutil.copytree(whole, tmp_path / "own")
        mine = Record.of(BEGUN, tmp_path / "own")
        path = data.draw(st.sampled_from([p for p in sorted(mine.path.rglob("*")) if p.is_file()]))
        path.write_bytes(damage(data)(path.read_bytes()))
        found = checkpoint.load(mine)
        assert found is None or str(found) == expected
        assert found is not None or (not mine.path.exists() and list(mine.path.parent.glob("*.damaged-1")))

    tries("damaged checkpoints", 30, 200, read, st.data())


@pytest.fixture(scope="module")
def data_set(whole, tmp_path_factory):
    own = tmp_path_factory.mktemp("finished")
    shutil.copytree(whole / "records" / DONE, own / "records" / DONE)
    packed.pack(own, own / "set", lambda stored: "elastic", {})
    return own / "set"


def reseal(folder):
    sums = (f"{sha256(folder / f'{table}.parquet')}  {table}.parquet\n" for table in tables.TABLES)
    (folder / tables.SUMS).write_text("".join(sums))


def test_damaged_tables(tries, data_set, tmp_path):
    expected = seen(tables.load(data_set)[DONE])

    def read(data):
        folder = tmp_path / "set"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(data_set, folder)
        path = data.draw(st.sampled_from([p for p in sorted(folder.iterdir()) if p.is_file()]))
        path.write_bytes(damage(data)(path.read_bytes()))
        if data.draw(st.booleans()):
            reseal(folder)  # somebody made the digests agree
        for record in tables.load(folder).values():
            result = refused(seen, record)
            assert result is None or result == expected or path.name == "README.md" or record.run_id == DONE
            if (files := refused(record.files)) is not None:
                assert refused(packed.unpack, folder, record.run_id, tmp_path / "back") is not None or files
            shutil.rmtree(tmp_path / "back", ignore_errors=True)

    tries("damaged tables", 25, 150, read, st.data())


def test_tables_of_another_hand(tries, data_set, tmp_path):
    """Whole Parquet with digests that agree, but other columns, types and values."""

    def read(name, column, values):
        folder = tmp_path / "set"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(data_set, folder)
        table = pq.read_table(folder / f"{name}.parquet")
        column = table.column_names[column % table.num_columns]
        values = [values] * len(table)
        try:
            table = table.set_column(table.column_names.index(column), column, pa.array(values))
            pq.write_table(table, folder / f"{name}.parquet")
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            return  # Parquet itself cannot hold that
        reseal(folder)
        for run_id, record in tables.load(folder).items():
            refused(seen, record)
            refused(record.files)
            refused(packed.unpack, folder, run_id, tmp_path / "deep" / "er" / "back")
        left = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
        assert left <= {"set", "deep"} and set((tmp_path / "deep").glob("*/*")) <= {tmp_path / "deep" / "er" / "back"}
        shutil.rmtree(tmp_path / "deep", ignore_errors=True)

    tries(
        "tables of another hand",
        40,
        200,
        read,
        st.sampled_from(tables.TABLES),
        st.integers(0, 200),
        PLAIN | st.sampled_from(["../../x", "/tmp/x", "a-b-s0-0/../../../x", '{"files": {"../x": "0"}}', "[" * 5000]),
    )


def test_names_stay_in_their_folder(data_set, whole, tmp_path):
    shutil.copytree(data_set, tmp_path / "set")
    runs = pq.read_table(tmp_path / "set" / "runs.parquet")
    runs = runs.set_column(runs.column_names.index("run_id"), "run_id", pa.array(["a/../../x"] * len(runs)))
    pq.write_table(runs, tmp_path / "set" / "runs.parquet")
    reseal(tmp_path / "set")
    with pytest.warns(UserWarning, match="leads out of its folder"):
        assert tables.load(tmp_path / "set") == {}
    with pytest.raises(ValueError, match="has no packed run"):
        packed.unpack(tmp_path / "set", "a/../../x", tmp_path / "deep" / "back")
    (tmp_path / "secret").write_text("4711")
    mine = Record(shutil.copytree(whole / "records" / DONE, tmp_path / "records" / DONE))
    files = {**mine.status()["files"], "../../secret": sha256(tmp_path / "secret")}
    write_json(mine.path / "status.json", sealed(mine.status() | {"files": files}))
    with pytest.raises(DamagedRecord, match="which is no file of this folder"):
        mine.done()


def test_a_score_or_a_random_state_that_was_changed_is_noticed(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "own")
    done, begun = Record(tmp_path / "own" / "records" / DONE), Record.of(BEGUN, tmp_path / "own")
    for path, old, new in ((done.path / "status.json", "0.25", "0.95"),
                           (begun.path / "checkpoint" / "checkpoint.json", "2,", "7,")):  # fmt: skip
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
    with pytest.raises(DamagedRecord, match=r"status.json is damaged"):
        done.done()
    with pytest.warns(UserWarning, match=r"checkpoint.json is damaged; set aside"):
        assert checkpoint.load(begun) is None


def test_archives(tries, data_set, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "others_results", lambda name, scale: tmp_path / "from" / name / scale)
    content = archive.export(data_set, tmp_path / "good.zip").read_bytes()
    expected = seen(tables.load(data_set)[DONE])

    def taken(data):
        bad = tmp_path / "bad.zip"
        if data.draw(st.booleans()):
            bad.write_bytes(damage(data)(content))
        else:
            names = st.sampled_from([*archive.NAMES, "../x", "/tmp/x", "a/../../x", "C:\\x"])
            with zipfile.ZipFile(bad, "w") as file:
                for name in data.draw(st.lists(names, max_size=7)):
                    file.writestr(name, data.draw(st.binary(max_size=9)))
        shutil.rmtree(tmp_path / "from", ignore_errors=True)
        folder = refused(archive.take_in, bad, "other", "smoke")
        assert folder is None or seen(tables.load(folder)[DONE]) == expected
        assert {path.name for path in tmp_path.iterdir()} <= {"good.zip", "bad.zip", "from"}

    tries("archives", 25, 120, taken, st.data())


def test_weights_and_their_words(tries, tmp_path, shared):
    """The models that a run starts from: damaged, they are set aside, and none is loaded."""
    from elastic_lib.records.tensors import save_tensors
    from elastic_lib.tasks.bases import _whole

    class Task:
        base = tmp_path / "base"
        text_digest = staticmethod(lambda: "text")

    def read(data):
        shutil.rmtree(Task.base, ignore_errors=True)
        Task.base.mkdir()
        save_tensors({"w": torch.arange(9.0)}, Task.base / "lm.safetensors")
        meta = {"loss": 0.5, "text": "text", "sha256": sha256(Task.base / "lm.safetensors"), "env": {}}
        write_json(Task.base / "lm.json", sealed(meta))
        before = (Task.base / "lm.safetensors").read_bytes()
        path = data.draw(st.sampled_from(sorted(Task.base.iterdir())))
        path.write_bytes(damage(data)(path.read_bytes()))
        if _whole(Task, "lm", {}):
            after = json.loads((Task.base / "lm.json").read_text())
            assert {name: after[name] for name in meta} == meta  # all but what the seal itself is called
            assert (Task.base / "lm.safetensors").read_bytes() == before

    tries("model files", 30, 150, read, st.data())


# ---- text


TEXTS = st.text(max_size=9) | st.just("\ud800")
LINES = st.one_of(
    st.binary(max_size=30), PLAIN.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([b"", b"\0", b"\r", b"\xff\xfe", b"x" * 10**6, b"[" * 10**5, b"9" * 5000, b"\xef\xbb\xbf{}"]),
    st.fixed_dictionaries({"text": TEXTS | JUNK, "label": st.sampled_from([0, 1, 2, True, "1", None])})
    .map(lambda row: json.dumps(row, default=str).encode()),
)  # fmt: skip


def test_corpora(tries, tmp_path):
    (tmp_path / "imdb").mkdir()
    files = ("multi30k/train.fr", "multi30k/train.en", "multi30k/train.de")
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)

    def spelled(text):
        text.encode()  # half a character is refused where it is read, not where it is tokenised
        return text

    def reviews(lines, ending, zipped, cut):
        path = tmp_path / "imdb/train.jsonl.gz"
        content = ending.join(lines) + ending
        content = gzip.compress(content) if zipped else content
        path.write_bytes(content[: len(content) - cut])
        for review in refused(real_text.imdb, "train", tmp_path) or ():
            assert spelled(review.text) == " ".join(review.text.split()) and review.label in (0, 1)

    endings = st.sampled_from([b"\n", b"\r\n", b"\r", b"\0"])
    tries("corpora: reviews", 40, 200, reviews, st.lists(LINES, max_size=3), endings, st.booleans(), st.integers(0, 9))

    def sides(contents, ending):
        for name, lines in zip(files, contents, strict=True):
            (tmp_path / name).write_bytes(ending.join(lines) + ending if lines is not None else b"")
        read = refused(translation_real.multi30k, "train", root=tmp_path)
        if read is not None:
            assert len({len(side) for side in read.values()}) == 1 and all(
                spelled(line) is line for side in read.values() for line in side
            )

    sentences = st.lists(
        st.text(max_size=5).map(lambda text: text.encode("utf-8", "surrogatepass")) | LINES, max_size=3
    )
    tries("corpora: sentences", 30, 150, sides, st.tuples(sentences, sentences, sentences), endings)

    def questions(lines, ending):
        path = tmp_path / answers_real.STACK_EXCHANGE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(ending.join(lines)) if path.suffix == ".gz" else ending.join(lines))
        for question in refused(answers_real.stack_exchange, tmp_path) or ():
            spelled(question.text)

    rows = st.fixed_dictionaries(
        {
            "question": TEXTS | JUNK,
            "answers": st.lists(
                st.fixed_dictionaries({"text": TEXTS | JUNK, "score": st.integers() | JUNK}), max_size=2
            ),
        }
    )
    asked = rows.map(lambda row: json.dumps(row, default=str).encode())
    tries("corpora: questions", 30, 150, questions, st.lists(LINES | asked, max_size=3), endings)


def test_logs_of_other_trainers(tries, tmp_path):
    def read(kind, content):
        path = tmp_path / f"log.{kind}"
        path.write_bytes(content)
        log = refused(own_run.read, path)
        if log is not None:
            assert refused(own_run.said, log) is not None

    cells = st.floats() | st.integers() | st.text(max_size=3) | st.none()
    lines = st.lists(st.fixed_dictionaries({"step": cells, "reward": cells, "kl": cells}), min_size=9, max_size=12)
    state = lines.map(lambda rows: json.dumps({"log_history": rows}).encode())
    csv = lines.map(lambda rows: "\n".join(["step,reward,kl"] + [",".join(map(str, r.values())) for r in rows])
                    .encode("utf-8", "surrogatepass"))  # fmt: skip
    odd = PLAIN.map(lambda value: json.dumps({"log_history": value}).encode()) | st.binary(max_size=40)
    tries("logs of trainers", 40, 200, read, st.sampled_from(["json", "csv"]), state | csv | odd)


# ---- the command line

WORDS = """run pretrain claims watch pack unpack export import read --scale --seed --set --results --to --from --as
--task --once --json --search --verdict --fewer sentiment elastic smoke paper 0 -1 99999999999999999999 beta=x = beta=
reset=1 seed=3 /nowhere . -- ../../x <b> é nan 1e999 lm updates=0""".split()
COMMANDS = WORDS[:9]
ODD = st.sampled_from([*WORDS, "", "\0"])


def test_command_lines(tries, tmp_path, monkeypatch, capsys):
    from elastic_lib import run as runs
    from elastic_lib.records import record as records
    from elastic_lib.tasks import bases

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(records, "ROOT", tmp_path)
    monkeypatch.setattr(runs, "run", lambda recipe, results: Path("made"))
    monkeypatch.setattr(bases, "pretrained", lambda *_: bases)
    monkeypatch.setattr(bases, "base", Path("made"), raising=False)

    def said(words):
        capsys.readouterr()
        try:
            code = cli.main(words)
        except SystemExit as refusal:  # argparse's own
            code = refusal.code
        told = capsys.readouterr()
        assert code in (0, 1, 2) and "Traceback" not in told.err
        assert code != 1 or len([line for line in told.err.splitlines() if line.startswith("elastic: ")]) >= 1

    lines = st.tuples(st.sampled_from(COMMANDS), st.lists(ODD, max_size=6)).map(lambda both: [both[0], *both[1]])
    tries("command lines", 60, 400, said, lines)


# ---- no trust

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>"


def test_nothing_unpickles_and_nothing_evaluates():
    """Outside the sandbox, whose own modules travel as code that this library wrote, nothing can run what it reads."""
    never = {"pickle", "cPickle", "dill", "joblib", "shelve", "cloudpickle", "marshal"}
    calls = {"eval", "exec", "__import__"}
    found = []
    for path in [*LIBRARY.rglob("*.py"), *(ROOT / "docs").rglob("*.py")]:
        if path.parent.name == "sandbox":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name.split(".")[0] for alias in node.names} | {
                    (getattr(node, "module", "") or "").split(".")[0]
                }
                found += [where] * bool(names & never)
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                owner = getattr(getattr(node.func, "value", None), "id", "")
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                found += [where] * (isinstance(node.func, ast.Name) and name in calls)
                found += [where] * (owner == "torch" and name in ("load", "save"))
                found += [where] * (name == "read_pickle" or given.get("allow_pickle") == "True")
                found += [where] * (given.get("trust_remote_code") == "True" or given.get("shell") == "True")
    assert not found


def test_what_a_model_says_stays_text():
    """In a bar, a notebook's table of what was said, the widget's table, the gallery's page."""
    from elastic_lib.notebook import gallery, widgets
    from elastic_lib.progress import Progress

    said = pd.DataFrame({"id": [0], "prompt": [SCRIPT], "text": [SCRIPT], "reward": [0.5]})
    with Progress(SCRIPT, 1, stream=io.StringIO()) as bar:
        shown = [bar.markup(), reading.marked(["it"], SCRIPT.split()), widgets.beside(said, said, SCRIPT)]
    assert all("alert(1)" in one and not re.search(r"<script|<img", one) for one in shown)
    assert "<" not in gallery.data({"text": SCRIPT})


def test_every_download_names_what_it_takes():
    """The package index by digest, the hub by commit; whatever has none in the source, SECURITY.md says so."""
    from elastic_lib.tasks import real_models

    for model in real_models.MODELS.values():
        assert re.search(r"[0-9a-f]{64}", repr(model)), model
    corpora = [vars(module) for module in (real_text, answers_real, translation_real)]
    hub = {value for names in corpora for name, value in names.items() if name.endswith("_ON_THE_HUB")}
    hub |= {settings.get(name) for task in TASKS for settings in facts(task).SCALES.values()
            for name in ("lm_name", "rm_name", "lm_adapter")} - {None, *real_models.MODELS}  # fmt: skip
    said = dict(
        re.findall(r"^- \*\*(At a commit|At the first use)\.\*\* (.*)$", (ROOT / "SECURITY.md").read_text(), re.M)
    )
    assert len(hub) == 8
    for one in hub:
        name, _, commit = one.partition("@")
        assert re.fullmatch(r"([0-9a-f]{40})?", commit), one
        assert f"`{name}`" in said["At a commit" if commit else "At the first use"], one


def test_no_package_of_the_lock_has_a_hole_that_is_known(tmp_path, torture):
    """As pip-audit asks PyPI, in an environment that goes with the test; of one package first, to see if it answers."""
    if not torture.full:
        pytest.skip("what is known of the lock's packages is asked in make torture alone")
    lock, python = (ROOT / "requirements.lock").read_text().splitlines(), tmp_path / "environment" / "bin" / "python"
    for command in (
        [sys.executable, "-m", "venv", python.parents[1]],
        [python, "-m", "pip", "install", "-q", "pip-audit"],
    ):
        if subprocess.run([*map(str, command)], capture_output=True).returncode:
            pytest.skip("pip-audit cannot be installed from the package index of this machine")

    def asked(pins):
        """What it says of those that PyPI knows; it also ends well where it could ask about none."""
        pinned, said = tmp_path / "pins.txt", tmp_path / "said.json"
        pinned.write_text("\n".join(pins))
        said.unlink(missing_ok=True)
        words = [
            "--no-deps",
            "--disable-pip",
            "--progress-spinner",
            "off",
            "-f",
            "json",
            "-o",
            str(said),
            "-r",
            str(pinned),
        ]
        subprocess.run([str(python), "-m", "pip_audit", *words], capture_output=True, timeout=1800)
        told = json.loads(said.read_text() or "{}") if said.exists() else {}
        return [package for package in told.get("dependencies", []) if "vulns" in package]

    if not asked([line for line in lock if line.startswith("torch==")]):
        pytest.skip("PyPI does not say on this machine what is known of a package, so pip-audit was not asked")
    found = asked(lock)
    holes = {f"{one['name']} {one['version']}": [hole["id"] for hole in one["vulns"]] for one in found if one["vulns"]}
    assert found and not holes
    torture.count("packages", f"the {len(lock)} of requirements.lock, by pip-audit", len(found), "0 with a known hole")
