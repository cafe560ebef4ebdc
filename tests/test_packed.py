"""Records as tables: what a stranger reads, what comes back byte for byte, what is refused, and what is named."""

import hashlib
import json
import shutil
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elastic_lib.cli import main
from elastic_lib.evidence import Evidence
from elastic_lib.recipe import Recipe
from elastic_lib.recipe.recipe import KNOWN_FIELDS
from elastic_lib.records import packed, record, tables
from elastic_lib.records.files import DamagedRecord, lock, read_json, sealed, sha256, write_json
from elastic_lib.records.packed import unpack
from elastic_lib.records.record import Record, columns, reference_results
from elastic_lib.records.tables import SUMS, TABLES, Tables, load
from elastic_lib.tasks.ledger import against_reference, worlds

HOSTILE = 'zwei\nZeilen, "q" \\ \t\r \x00\x1b\x7f\x85\u2028 é 🎉 θ̄ <b>|</b>'
CODE = "use a list :\n\n    def first(xs):\n        return xs[0]\n"
NUMBERS = (0.1, 1 / 3, -0.0, 5e-324, 1e22, 1.7976931348623157e308, 2.0, float("inf"))


def make(results, task, method, seed=0, text=HOSTILE, moves=True, resets=(2,), env=None, **ended):
    """A finished record with a row of awkward numbers for each of its evaluations, and empty cells in between."""
    recipe = Recipe(task, method, "smoke", seed)
    made = Record.of(recipe, results)
    made.start(recipe, {"torch": "2.13.0", "commit": "abc", "device": "cpu", "cores": 4} | (env or {}), kept=None)
    said = {"id": 0, "prompt": "un chien", "text": text}
    said |= (
        dict(reference="", german="ein Hund", german_reference="Hund") if task == "translation" else {"reward": 1 / 7}
    )
    for step in range(4):
        for reset in (0, 1) if step in resets else (0,):
            row = {
                "step": step,
                "iteration": reset,
                "reset": reset,
                "task": step / 7 + seed / 10,
                "drift": 2.0 + step / 9,
            }
            row |= {"t_eval": NUMBERS[step], "kl": float("nan"), "beta": NUMBERS[step + 4]}
            row |= {columns(task)[-1]: np.float64(step / 3)} if step else {}
            whose = {"policy": [0.0, step / 3, 1234567.0, -1e-9], "average": [np.float64(step)] * 4} if moves else {}
            made.add(row, [said, said | {"id": 1}], whose)
    test = {"task": 1.0, "drift": 2.5 + seed}
    made.finish(step=3, fingerprint="f" * 16, test_before={"task": 0.25, "drift": 2.0}, test=test, **ended)
    return made


def older(made):
    """As records were before there was a path.csv."""
    (made.path / "path.csv").unlink()
    status = made.status()
    del status["files"]["path.csv"]
    write_json(made.path / "status.json", sealed(status))
    return made


def seal(made):
    """Makes a record that was changed whole again."""
    status = made.status()
    status["files"] = {name: sha256(made.path / name) for name in status["files"]}
    write_json(made.path / "status.json", sealed(status))


@pytest.fixture
def made(tmp_path):
    """A record of every kind."""
    results = tmp_path / "own"
    where = {"before": {"prompt": 2.0}, "end": {"prompt": 2.5}}
    make(results, "sentiment", "elastic", where=where, averaged={"parameters": 7}, test_after_reset={"task": 0.5})
    make(results, "sentiment", "track", test_ema={"task": 1.5, "drift": 2.25}, text="")
    make(results, "sentiment", "ppo", moves=False, resets=())
    older(make(results, "sentiment", "ppo", seed=1))
    make(results, "translation", "elastic", env={"pretrained": {"speaker": {"bleu": 70.5}}, "processes": 1})
    make(results, "translation", "sil", moves=False)
    make(results, "answers", "to_ema", text=CODE, test_after_reset={"pass_at_1": 0.5, "task": 1.0})
    return results


def pack(results, target, fewer=False):
    settings = {name: field.metadata["doc"] for name, field in KNOWN_FIELDS.items()}
    return packed.pack(results, target, lambda stored: Recipe.from_dict(stored).label(), settings, fewer)


def left(folder):
    """Every file of a folder with its bytes."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def reseal(target, name, table):
    """Puts another table in the place of one, and its digest with it."""
    pq.write_table(table, target / f"{name}.parquet")
    sums = [f"{sha256(target / f'{table}.parquet')}  {table}.parquet\n" for table in TABLES]
    (target / SUMS).write_text("".join(sums))


# ---- there and back


def test_every_file_comes_back_byte_for_byte(made, tmp_path):
    pack(made, tmp_path / "set")
    for path in sorted((made / "records").glob("*-*")):
        back = unpack(tmp_path / "set", path.name, tmp_path / "back")
        assert left(back) == left(path) and Record(back).done()
    assert len(list((tmp_path / "back" / "records").glob("*-*"))) == 7


def test_readers_see_the_same_in_tables_as_in_folders(made, tmp_path):
    pack(made, tmp_path / "set")
    loose, found = load(made), load(tmp_path / "set")
    assert list(loose) == list(found)
    for run_id, one in loose.items():
        other = found[run_id]
        assert (one.run_id, one.recipe(), one.env(), one.status(), one.files()) == (
            other.run_id, other.recipe(), other.env(), other.status(), other.files())  # fmt: skip
        for look in ("curve", "samples", "moves"):
            pd.testing.assert_frame_equal(getattr(one, look)(), getattr(other, look)(), check_exact=True)
    assert any(one.moves().empty for one in found.values()) and any(len(one.moves()) for one in found.values())


def test_a_stranger_reads_tidy_tables(made, tmp_path):
    target = tmp_path / "set"
    pack(made, target)
    runs, curves, samples, paths = (pd.read_parquet(target / f"{name}.parquet") for name in TABLES)
    assert len(runs) == runs["run_id"].nunique() == 7
    elastic = runs.set_index("label").query("task == 'sentiment'").loc["elastic"]
    recipe = Recipe("sentiment", "elastic", "smoke", 0)
    assert (elastic["decay"], elastic["reset_every"], elastic["beta"]) == (0.84, 2, recipe.beta)
    assert (elastic["test_drift"], elastic["where_end_prompt"], elastic["commit"], elastic["ran_on"]) == (
        2.5, 2.5, "abc", "cpu")  # fmt: skip
    assert elastic["whiten"] is True or elastic["whiten"] == True  # noqa: E712
    assert runs.set_index("method").loc["ppo", "decay"].isna().all()
    schema = pq.read_schema(target / "curves.parquet")
    assert schema.field("step").type == pa.int64() and schema.field("task").type == pa.float64()
    mine = pq.read_table(target / "curves.parquet").filter(pa.compute.field("run_id") == recipe.run_id)
    assert mine["kl"].null_count == len(mine) and mine["judge_1"].null_count == len(mine)
    assert mine["t_eval"].to_pylist()[:2] == [0.1, 1 / 3]
    assert set(samples.columns) >= {"run_id", "step", "reset", "id", "prompt", "text", "reward", "german"}
    assert samples["text"].str.contains("🎉").any() and paths["point"].map(len).eq(4).all()
    tuned = curves.merge(runs[["run_id", "label", "seed"]], on="run_id")
    assert len(tuned) == len(curves)


def test_the_card_says_what_every_column_is(made, tmp_path):
    pack(made, tmp_path / "set")
    card = (tmp_path / "set" / "README.md").read_text()
    for name in TABLES:
        section = card.split(f"## {name}.parquet")[1].split("## ")[0]
        rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
        told = {column for row in rows for column in row[0].replace("`", "").split(", ")}
        assert told == set(pq.read_schema(tmp_path / "set" / f"{name}.parquet").names)
        assert all(len(row) == 3 and row[2].strip(" |") for row in rows)
    assert "7 finished runs" in card and "abc (7)" in card


def test_the_same_records_give_the_same_files(made, tmp_path):
    told = pack(made, tmp_path / "set")
    first = left(tmp_path / "set")
    assert "7 runs" in told and "7 new" in told
    assert "0 new, 0 other" in pack(tmp_path / "set", tmp_path / "set")  # from its own tables
    assert left(tmp_path / "set") == first == left(tmp_path / "set") and pack(made, tmp_path / "other")
    assert {name: content for name, content in left(tmp_path / "other").items() if name != "README.md"} == {
        name: content for name, content in first.items() if name != "README.md"
    }


@pytest.mark.parametrize("name", ["pocket", "tuning"])
def test_every_run_of_the_reference_comes_back(name):
    found, wrong = tables.packed(reference_results(name))
    assert not wrong and len(found) > 60
    for one in found.values():
        one.files()  # compares with the digests that the run itself left


# ---- what is refused


REFUSED = {  # what would not come back: the file, what stands there, what is put there, what is said
    "digits": ("curve.csv", "0.1,", "0.10,", "line 2 of curve.csv"),
    "a whole number among numbers": ("curve.csv", "2.0", "2", "line 2 of curve.csv"),
    "no whole number": ("curve.csv", "\n1,0,", "\n1.0,0,", "invalid literal"),
    "a column of another version": ("curve.csv", "t_eval", "t_other", "without a word in the glossary.*t_other"),
    "no end of the last line": ("samples.jsonl", None, None, "samples.jsonl"),
    "other spaces": ("samples.jsonl", '"id": 0', '"id":0', "line 1 of samples.jsonl"),
    "other escapes": ("samples.jsonl", "é", "\\u00e9", "line 1 of samples.jsonl"),
    "half a character": ("samples.jsonl", "é", "\\ud800", "surrogates not allowed"),
    "another key": ("samples.jsonl", '"id": 0', '"id": 0, "mood": "good"', "line 1 of samples.jsonl.*mood"),
    "null": ("samples.jsonl", '"id": 0', '"id": null', "line 1 of samples.jsonl"),
    "a whole reward": ("samples.jsonl", "0.14285714285714285", "1", "line 1 of samples.jsonl"),
    "more digits": ("path.csv", "0.3333", "0.33333", "line 3 of path.csv"),
    "no JSON": ("recipe.json", "{", "", "JSONDecodeError"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_come_back_is_refused_by_name(tmp_path, name):
    file, old, new, said = REFUSED[name]
    one = make(tmp_path / "own", "sentiment", "elastic")
    text = (one.path / file).read_bytes().decode()
    (one.path / file).write_bytes((text[:-1] if old is None else text.replace(old, new, 1)).encode())
    seal(one)
    with pytest.raises(ValueError, match=rf"(?s){one.run_id} cannot be packed.*{said}"):
        pack(tmp_path / "own", tmp_path / "set")
    assert left(tmp_path / "set") == {} and not (tmp_path / "set" / ".pack").exists()


def test_records_that_are_not_whole_are_named_and_nothing_is_packed(made, tmp_path, capsys):
    recipe = Recipe("answers", "ppo", "smoke", 3)
    Record.of(recipe, made).start(recipe, {}, kept=None)
    damaged = Record.of(Recipe("sentiment", "track", "smoke", 0), made)
    (damaged.path / "samples.jsonl").write_text("")
    unlisted = Record.of(Recipe("sentiment", "ppo", "smoke", 1), made)
    (unlisted.path / "path.csv").write_text("0,0,policy,1\n")
    (made / "records" / "sentiment-ppo-s9-00000000.damaged-1").mkdir()
    assert main(["pack", "--scale", "smoke", "--results", str(made), "--to", str(tmp_path / "set")]) == 1
    said = capsys.readouterr().err
    assert f"{damaged.path / 'samples.jsonl'} is damaged" in said
    assert f"{unlisted.run_id}/path.csv is not among" in said and "damaged-1" not in said and said.count("\n") == 1
    assert left(tmp_path / "set") == {}
    shutil.rmtree(damaged.path)
    (unlisted.path / "path.csv").unlink()
    assert main(["pack", "--scale", "smoke", "--results", str(made), "--to", str(tmp_path / "set")]) == 0
    assert f"left out, since they are not done: {recipe.run_id}" in capsys.readouterr().out


def test_a_run_that_lies_in_another_folder_is_pointed_at(made, tmp_path):
    pack(made, tmp_path / "sets" / "one")
    few = make(tmp_path / "few", "sentiment", "elastic", seed=5)
    pack(tmp_path / "few", tmp_path / "sets" / "other")
    with pytest.raises(ValueError, match=rf"has one, so --from {tmp_path / 'sets' / 'other'}"):
        unpack(tmp_path / "sets" / "one", few.run_id, tmp_path / "back")
    with pytest.raises(ValueError, match=f"did you mean {few.run_id}"):
        unpack(tmp_path / "sets" / "other", few.run_id.replace("s5", "s6"), tmp_path / "back")


def test_a_data_set_loses_no_run_unless_told_to(made, tmp_path):
    target = tmp_path / "set"
    pack(made, target)
    before = left(target)
    gone = make(tmp_path / "few", "sentiment", "elastic", seed=5)
    with pytest.raises(ValueError, match=r"holds 7 runs that are not among the 1 to pack .*--fewer"):
        pack(tmp_path / "few", target)
    assert left(target) == before
    shutil.copytree(tmp_path / "few" / "records", target / "records")  # laid beside the tables, it is one more
    assert "8 runs" in pack(target, target) and gone.run_id in load(target)
    assert "1 runs" in pack(tmp_path / "few", target, fewer=True)
    (target / "runs.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"runs.parquet is damaged.*--fewer writes over it"):
        pack(made, target)
    assert "7 runs" in pack(made, target, fewer=True)


def test_a_full_disk_leaves_the_tables_as_they_were(made, tmp_path, monkeypatch):
    target = tmp_path / "set"
    pack(made, target)
    before = left(target)
    make(made, "sentiment", "elastic", seed=5)

    def full(table, path, **how):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(packed.pq, "write_table", full)
        pack(made, target)
    assert left(target) == before and sorted(path.name for path in target.iterdir() if path.is_dir()) == [".locks"]


def test_two_that_pack_wait_for_each_other(made, tmp_path, capsys):
    target = tmp_path / "set"
    with lock(target / ".locks" / "pack"):
        other = threading.Thread(target=pack, args=(made, target))
        other.start()
        said = ""
        while "waiting for it to end" not in said:
            said += capsys.readouterr().err
            time.sleep(0.01)
        assert left(target) == {}
    other.join(30)
    assert len(load(target)) == 7


def test_unpacking_says_what_there_is_and_overwrites_nothing(made, tmp_path, capsys):
    target, back = tmp_path / "set", tmp_path / "back"
    pack(made, target)
    words = ["--from", str(target), "--results", str(back)]
    run_ids = list(load(target))
    assert main(["unpack", *run_ids[:2], *words]) == 0
    assert [Path(line).name for line in capsys.readouterr().out.splitlines()] == run_ids[:2]
    assert main(["unpack", run_ids[0], *words]) == 0  # it is there already, and the same
    (back / "records" / run_ids[0] / "curve.csv").write_text("mine")
    assert main(["unpack", run_ids[0], *words]) == 1
    assert "is there and differs" in capsys.readouterr().err
    assert (back / "records" / run_ids[0] / "curve.csv").read_text() == "mine"
    assert main(["unpack", "sentiment-ppo-s0-00000000", *words]) == 1
    assert "no packed run sentiment-ppo-s0-00000000: did you mean sentiment-ppo-s0-" in capsys.readouterr().err
    assert main(["unpack", "sentiment-ppo-s0-00000000", "--from", str(made)]) == 1
    assert "it holds none" in capsys.readouterr().err


# ---- what is damaged, missing, or another version's


@pytest.mark.parametrize("name", ["runs", "curves"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "missing", "no digests"])
def test_a_damaged_table_is_named_and_folders_are_read_all_the_same(made, tmp_path, name, damage):
    target = tmp_path / "set"
    pack(made, target)
    loose = make(target, "sentiment", "elastic", seed=5)
    path = target / (SUMS if damage == "no digests" else f"{name}.parquet")
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.unlink()
    with pytest.warns(UserWarning, match=r"left out: .*\.parquet is (damaged|missing).*`git checkout`"):
        assert list(load(target)) == [loose.run_id]


@pytest.mark.parametrize("name, look", [("samples", "samples"), ("paths", "moves")])
def test_damage_to_one_table_leaves_the_others_readable(made, tmp_path, name, look):
    target = tmp_path / "set"
    pack(made, target)
    (target / f"{name}.parquet").write_bytes((target / f"{name}.parquet").read_bytes()[:-1])
    one = load(target)[Recipe("sentiment", "elastic", "smoke", 0).run_id]
    assert len(one.curve()) == 5 and one.status()["test"]["task"] == 1.0
    with pytest.raises(DamagedRecord, match=f"{name}.parquet is damaged"):
        getattr(one, look)()
    with pytest.raises(DamagedRecord, match=f"{name}.parquet is damaged"):
        unpack(target, one.run_id, tmp_path / "back")


def test_a_missing_column_costs_the_runs_that_have_it(made, tmp_path):
    target = tmp_path / "set"
    pack(made, target)
    curves = pq.read_table(target / "curves.parquet")
    reseal(target, "curves", curves.drop_columns(["listener_loss", "judge_1"]))
    with pytest.warns(UserWarning) as said:
        found = load(target)
    assert {name.split("-")[0] for name in found} == {"sentiment"} and len(found) == 4
    lines = sorted(str(warning.message) for warning in said)
    assert len(lines) == 2 and all(
        "curves.parquet has no column" in line and "`git checkout`" in line for line in lines
    )
    assert "2 of 7 runs, translation-" in lines[1] and "listener_loss" in lines[1]
    reseal(target, "runs", pq.read_table(target / "runs.parquet").drop_columns("status.json"))
    with pytest.warns(UserWarning, match="runs.parquet has no column status.json: another version"):
        assert load(target) == {}


def test_values_that_were_changed_are_not_unpacked(made, tmp_path):
    """Even where the digests of the tables were made to agree: those of the run itself do not."""
    target = tmp_path / "set"
    pack(made, target)
    curves = pq.read_table(target / "curves.parquet")
    better = pa.array([None if value is None else value + 1 for value in curves["task"].to_pylist()], pa.float64())
    reseal(target, "curves", curves.set_column(curves.column_names.index("task"), "task", better))
    with pytest.raises(DamagedRecord, match=r"curve.csv of .* does not come back"):
        unpack(target, min(load(target)), tmp_path / "back")


def test_a_record_of_another_version_is_packed_named_by_readers_and_given_back(made, tmp_path):
    other = Record.of(Recipe("sentiment", "elastic", "smoke", 0), made)
    write_json(other.path / "recipe.json", other.recipe() | {"warp": 9})
    seal(other)
    with pytest.warns(UserWarning, match=f"{other.run_id} was made by another version .*warp"):
        pack(made, tmp_path / "set")
    for source in (made, tmp_path / "set"):
        with pytest.warns(UserWarning, match=f"left out: {other.run_id} of {source} was made by another version"):
            assert set(Evidence("sentiment", "smoke", [source]).found) == {"track", "ppo"}
    assert left(unpack(tmp_path / "set", other.run_id, tmp_path / "back")) == left(other.path)
    assert pd.read_parquet(tmp_path / "set" / "runs.parquet").set_index("run_id")["warp"].count() == 1


# ---- one thing, wherever it lies


def test_folders_lie_over_tables(made, tmp_path):
    target = tmp_path / "set"
    pack(made, target)
    run_id = Recipe("sentiment", "ppo", "smoke", 0).run_id
    mine = make(target, "sentiment", "ppo", moves=False, resets=(), text="mine")
    assert set(load(target)[run_id].samples()["text"]) == {"mine"} and len(load(target)) == 7
    (mine.path / "curve.csv").write_text("step\n")
    with pytest.warns(UserWarning, match="left out: .*curve.csv is damaged"):
        assert set(load(target)[run_id].samples()["text"]) == {HOSTILE}  # that of the tables is whole
    write_json(mine.path / "status.json", {"status": "running"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(load(target)[run_id].samples()["text"]) == {HOSTILE}


def test_claims_open_each_folder_once_and_read_each_curve_once(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "ROOT", tmp_path)
    own, reference = record.own_results("smoke"), record.reference_results("smoke")
    pack(made, reference)
    shutil.copytree(made, own)
    opened, hashed, read, parsed = [], [], [], []
    counted = {
        (tables, "load"): (opened, lambda results: results),
        (tables.Tables, "read"): (read, lambda self, name, needed: name),
        (Record, "done"): (hashed, lambda self: self.run_id),
        (Record, "curve"): (parsed, lambda self: self.run_id),
    }
    for (owner, name), (seen, what) in counted.items():
        plain = getattr(owner, name)

        def watched(*arguments, plain=plain, seen=seen, what=what):
            seen.append(what(*arguments))
            return plain(*arguments)

        monkeypatch.setattr(owner, name, watched)
    assert main(["claims", "--scale", "smoke"]) == 0
    assert "7 of 7 records are equal bit for bit" in capsys.readouterr().out
    assert opened == [own, reference] and sorted(read) == ["curves", "runs"]
    assert len(hashed) == len(set(hashed)) == 7 and len(parsed) == len(set(parsed)) > 0
    assert len(Evidence("sentiment", "smoke", [own, reference]).reference.found["elastic"]) == 1


def test_records_that_are_not_the_references_say_what_was_otherwise(made, tmp_path, monkeypatch):
    """Another machine or version rounds otherwise; where nothing was otherwise, that is said too."""
    monkeypatch.setattr(record, "ROOT", tmp_path)
    own, reference = record.own_results("smoke"), record.reference_results("smoke")
    pack(made, reference)
    shutil.copytree(made, own)
    mine = next(Record(path) for path in sorted((own / "records").glob("sentiment-*")))
    same = "The others were made by the same code, versions and threads on such a machine: that should not be."
    other = "The others were made otherwise: commit def here, abc there; torch 9 here, 2.13.0 there."
    for changed, said in ({}, same), ({"torch": "9", "commit": "def", "cores": 3, "command": "x"}, other):
        write_json(mine.path / "env.json", mine.env() | changed)
        write_json(mine.path / "status.json", sealed(mine.status() | {"fingerprint": "0" * 16}))
        seal(mine)
        told = against_reference(worlds("smoke", None, ["sentiment"])).splitlines()
        assert "6 of 7 records are equal bit for bit" in told[0]
        assert told[1:] == [f"  {said}", "  Every verdict reached here is the reference's."]


def test_verdicts_from_tables_are_those_from_folders(made, tmp_path, capsys):
    pack(made, tmp_path / "set")
    told = []
    for results in (made, tmp_path / "set"):
        assert main(["claims", "--scale", "smoke", "--results", str(results), "--json"]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1] and any(verdict["effect"] is not None for verdict in told[0])
    assert main(["claims", "--scale", "smoke", "--results", str(tmp_path)]) == 1
    assert f"{tmp_path} holds no records" in capsys.readouterr().err


def test_digests_are_those_of_the_files(made, tmp_path):
    target = tmp_path / "set"
    pack(made, target)
    for line in (target / SUMS).read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((target / name).read_bytes()).hexdigest() == digest
    seals = pd.read_parquet(target / "runs.parquet").set_index("run_id")["sha256"]
    for path in (made / "records").glob("*-*"):
        assert seals[path.name] == sha256(path / "status.json")
        assert set(read_json(path / "status.json")["files"]) <= set(left(path))
    assert Tables(target).there() and not Tables(made).there()
