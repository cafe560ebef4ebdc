"""A run and its record: killed, resumed, damaged, raced for, refused."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from elastic_lib import cli
from elastic_lib.loops.checks import RunFailed
from elastic_lib.loops.movement import WIDTH, sketch
from elastic_lib.loops.ppo import PPO
from elastic_lib.recipe import Recipe
from elastic_lib.records.files import sealed
from elastic_lib.records.ongoing import states
from elastic_lib.records.record import Record, columns
from elastic_lib.records.tables import load
from elastic_lib.run import run
from elastic_lib.tasks.bases import pretrained

ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def copied(made, results):
    """The record of RECIPE, to do with it what one likes."""
    path = results / "records" / RECIPE.run_id
    shutil.copytree(made(RECIPE).path, path)
    return path


@pytest.fixture
def base(shared, tmp_path):
    """A base of one's own: its folder, under `tmp_path`."""
    pretrained(RECIPE, shared)
    return shutil.copytree(shared / "bases" / RECIPE.base_key, tmp_path / "bases" / RECIPE.base_key)


def command(*words):
    return [sys.executable, "-m", "elastic_lib.cli", *map(str, words)]


@pytest.fixture
def elastic(capsys):
    """What the command says and returns, in this process."""

    def elastic(*words):
        capsys.readouterr()
        code = cli.main([*map(str, words)])
        return code, *capsys.readouterr()

    return elastic


def contents(record):
    """All that must be equal between an interrupted and an uninterrupted run."""
    curve = record.curve()
    timeless = curve[[name for name in curve if not name.startswith("t_")]]
    grown = [(record.path / name).read_bytes() for name in ("samples.jsonl", "path.csv")]
    return timeless.to_csv(), grown, record.status()["fingerprint"], (record.path / "recipe.json").read_bytes()


RECIPE = Recipe("sentiment", "elastic", "smoke", 0)


def test_a_record_holds_what_the_design_says(made, shared):
    path = made(RECIPE).path
    assert path == shared / "records" / RECIPE.run_id
    assert {"recipe.json", "env.json", "curve.csv", "samples.jsonl", "status.json", "checkpoint"} <= set(
        os.listdir(path)
    )
    record = Record(path)
    assert Recipe.from_dict(record.recipe()) == RECIPE
    curve = record.curve()
    assert tuple(curve.columns) == columns("sentiment")
    assert curve["step"].tolist() == [0, 1, 2, 2, 3, 4, 4, 5, 6]
    assert curve["reset"].tolist() == [0, 0, 0, 1, 0, 0, 1, 0, 0]
    assert curve["iteration"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert curve["task"].between(0, 1).all() and (curve["drift"] > 1).all()
    assert curve["dist_init"].iloc[0] == 0 and (curve["dist_init"].iloc[1:] > 0).all()
    after = curve[curve["reset"] == 1]
    assert (after["dist_ema"].to_numpy() == after["dist_init"].to_numpy()).all()  # θ̄ is θ0 again
    moves = record.moves()
    assert moves["whose"].tolist() == ["policy", "average"] * len(curve)
    assert moves["step"].tolist() == curve["step"].repeat(2).tolist()
    policy, average = (moves[moves["whose"] == whose].iloc[:, 3:].to_numpy(float) for whose in ("policy", "average"))
    assert not average[(curve["reset"] == 1).to_numpy()].any() and not policy[0].any()
    assert np.linalg.norm(policy, axis=1) == pytest.approx(curve["dist_init"].to_numpy(), rel=0.35)
    assert np.linalg.norm(policy - average, axis=1) == pytest.approx(curve["dist_ema"].to_numpy(), rel=0.35)
    samples = record.samples()
    assert len(samples) == 4 * len(curve)
    assert samples.groupby("id")["prompt"].nunique().eq(1).all()
    status = record.status()
    assert status["status"] == "done" and set(status["test"]) == {"task", "drift", "forward_kl", "reverse_kl"}
    assert {"torch", "commit", "machine", "threads", "command"} <= set(record.env())


def test_a_finished_record_is_left_alone(copied, results):
    before = {file.name: file.stat().st_mtime_ns for file in copied.iterdir()}
    assert run(RECIPE, results) == copied
    assert {file.name: file.stat().st_mtime_ns for file in copied.iterdir()} == before


def test_what_a_killed_process_left_beside_a_finished_record_goes(copied, results):
    left = [
        copied / ".status.json.1",
        copied / "checkpoint" / ".checkpoint.json.1",
        copied / "checkpoint" / "state-6.safetensors",
    ]
    for path in left:
        path.write_text("half")
    run(RECIPE, results)
    assert not any(path.exists() for path in left) and Record(copied).done()


def test_what_jupyter_leaves_in_a_record_is_no_draft(copied, results):
    (copied / ".ipynb_checkpoints").mkdir()
    run(RECIPE, results)
    assert (copied / ".ipynb_checkpoints").is_dir() and Record(copied).done()


def test_a_record_under_another_name_is_not_taken_for_that_run(copied, results):
    other = Recipe("sentiment", "elastic", "smoke", 2)
    shutil.copytree(copied, copied.with_name(other.run_id))
    with pytest.warns(UserWarning, match=f"holds the record of {RECIPE.run_id}; set aside as"):
        path = run(other, results)
    assert Record(path).recipe()["seed"] == 2


@pytest.fixture
def halfway(made, results, monkeypatch):
    """The record of RECIPE, killed in its fourth update."""
    from elastic_lib import run as module

    monkeypatch.setattr(PPO, "update", lambda self: _until(self, 3))
    with pytest.raises(KeyboardInterrupt):
        run(RECIPE, results)
    monkeypatch.undo()
    made(RECIPE)
    return module, Record.of(RECIPE, results)


UPDATE = PPO.update


def _until(loop, last):
    if loop.step == last:
        raise KeyboardInterrupt
    return UPDATE(loop)


def test_a_run_that_other_code_goes_on_with_says_so_in_its_record(halfway, made, results, monkeypatch):
    module, record = halfway
    begun = record.env()
    now = {name: "other" for name in ("commit", "code")}
    monkeypatch.setattr(module, "conditions", lambda task: begun | now)
    with pytest.warns(UserWarning, match=r"goes on after 3 updates by something else than before: \{'commit': 'other'"):
        run(RECIPE, results)
    assert record.env() == begun | {"resumed": [{"after": 3, "by": now}]} and record.done()
    assert record.status()["fingerprint"] == made(RECIPE).status()["fingerprint"]


def test_a_run_of_other_pretrained_models_begins_anew(halfway, made, results, monkeypatch):
    module, record = halfway
    other = record.env() | {"pretrained": {"lm": {"loss": 9.0}}}
    monkeypatch.setattr(module, "conditions", lambda task: other)
    with pytest.warns(UserWarning, match="was begun with other pretrained models than those here; set aside as"):
        run(RECIPE, results)
    assert record.env() == other and contents(record) == contents(made(RECIPE))


@pytest.mark.parametrize("damage", ["lost", "cut"])
def test_a_run_whose_environment_was_lost_underway_is_not_lost(halfway, made, results, damage):
    _, record = halfway
    path = record.path / "env.json"
    path.unlink() if damage == "lost" else path.write_bytes(path.read_bytes()[:40])
    run(RECIPE, results)
    assert record.env()["resumed"] == [{"after": 3, "before": "unknown"}] and record.done()
    assert contents(record) == contents(made(RECIPE))


def test_without_git_a_run_names_its_code(monkeypatch):
    from elastic_lib.records.environment import code, environment

    monkeypatch.setenv("PATH", "/nowhere")
    found = environment(torch.device("cpu"))
    assert found["commit"] == "unknown" and found["code"] == code() and len(code()) == 12


def test_others_may_read_the_weights(made):
    mask = os.umask(0o022)
    os.umask(mask)
    weights = made(RECIPE).path / "checkpoint" / "policy.safetensors"
    assert weights.stat().st_mode & 0o777 == 0o666 & ~mask


def test_two_runs_of_a_recipe_are_equal_and_two_seeds_are_not(made, results):
    first = made(RECIPE)
    assert contents(first) == contents(Record(run(RECIPE, results)))
    third = Record(run(Recipe("sentiment", "elastic", "smoke", 2), results))
    assert third.status()["fingerprint"] != first.status()["fingerprint"]


# ---- what another run has in common with it


@pytest.mark.parametrize(
    ("recipe", "leading", "updates"),
    [
        (RECIPE, "track", 1),  # resets come after every second update
        (Recipe("sentiment", "to_init", "smoke"), "track", 1),
        (Recipe("sentiment", "ppo", "smoke", beta=0.01), "track", 6),
        (Recipe("translation", "reinforce", "smoke"), "to_ema", 1),
        (Recipe("answers", "ppo", "smoke"), "track", 6),
        (Recipe("answers", "elastic", "smoke"), "track", 1),
    ],
    ids=lambda value: value.run_id[:-12] if isinstance(value, Recipe) else None,
)
def test_a_run_takes_over_what_another_began_and_ends_as_it_would_alone(made, results, recipe, leading, updates):
    (other, step) = recipe.begins_as()
    assert (other.method, step) == (leading, updates)
    (results / "alone").mkdir()
    (results / "alone" / "bases").symlink_to(results / "bases")
    alone = Record(run(recipe, results / "alone"))
    shutil.copytree(made(other).path, results / "records" / other.run_id)
    record = Record(run(recipe, results))
    assert record.status()["began"] == {"as": other.run_id, "updates": updates} and "began" not in alone.status()
    assert contents(record) == contents(alone)
    assert all(
        (record.path / name).read_bytes() == (alone.path / name).read_bytes()
        for name in ("samples.jsonl", "path.csv", "checkpoint/policy.safetensors")
    )
    own = {"command", "seal", "files", "began"}
    (took, had) = ({n: v for n, v in r.status().items() if n not in own} for r in (record, alone))
    assert took == had


@pytest.mark.parametrize("why", ["damaged", "other code", "never kept", "other rows"])
def test_a_run_takes_over_nothing_that_is_not_its_own(made, results, why):
    recipe = Recipe("sentiment", "ppo", "smoke", beta=0.01)
    other, step = recipe.begins_as()
    path = shutil.copytree(made(other).path, results / "records" / other.run_id)
    kept = path / "checkpoint" / f"after-{step}.json"
    if why == "damaged":
        kept.with_suffix(".safetensors").write_bytes(b"")
    elif why == "other code":
        content = json.loads(kept.read_text())
        content["plain"]["aside"]["made_by"]["commit"] = "another"
        kept.write_text(json.dumps(sealed({name: value for name, value in content.items() if name != "seal"})))
    elif why == "never kept":
        kept.unlink()
    else:
        (path / "samples.jsonl").write_text("{}\n")
    record = Record(run(recipe, results))
    assert "began" not in record.status() and record.status()["fingerprint"] == made(recipe).status()["fingerprint"]
    assert path.exists()


def test_only_what_does_not_differ_before_a_reset_begins_alike():
    def began(method, **changed):
        begun = Recipe("sentiment", method, "pocket", **changed).begins_as()
        return begun and (begun[0].run_id, begun[1])

    watched = Recipe("sentiment", "track", "pocket")
    assert watched.kept() == [20, 75] and watched.begins_as() is None
    until_a_reset = (watched.run_id, 20)
    assert began("elastic") == began("to_ema") == began("elastic", restore=0.5, optimizer="clear") == until_a_reset
    assert began("ppo", beta=0.01) == (watched.run_id, 75)
    for changed in ({"beta": 0.001}, {"decay": 0.9}, {"kl_anchor": "ema"}):
        assert began("elastic", **changed)[0] != watched.run_id
    assert began("elastic", ema_reset_every=5) is None and began("line") is None and began("best_of_n") is None
    assert began("elastic", reset_every=None, kl_budget=3.0) is None and began("track", gold_labels=12) is None
    assert began("ppo", beta=0.01, gold_labels=12)[0] != watched.run_id
    assert Recipe("translation", "frozen").begins_as() is None and Recipe("translation", "sil").begins_as() is None
    assert Recipe("translation", "elastic").kept() == []


ANYWHERE = [(where, step) for where in ("update", "save") for step in range(6)]


SOMEWHERE = [("update", 3), ("save", 4)]
WHEN_DUE = dict(reset_every=None, kl_budget=0.1, min_interval=2)


@pytest.mark.parametrize(
    ("method", "changed", "deaths"),
    [
        ("elastic", {}, ANYWHERE),
        ("elastic", WHEN_DUE, SOMEWHERE),
        ("ppo", {"gold_labels": 20}, SOMEWHERE),
        *((name, {}, SOMEWHERE) for name in ("nlpo", "track", "elastic_reference")),
    ],
    ids=["elastic", "elastic when due", "ppo by a proxy", "nlpo", "track", "elastic_reference"],
)
def test_a_run_killed_anywhere_ends_as_if_it_never_was(made, results, method, changed, deaths, monkeypatch):
    """One method dies in each update and between each row and its checkpoint, the others in one of each."""
    from elastic_lib import run as module

    recipe, deaths = Recipe("sentiment", method, "smoke", 0, **changed), set(deaths)
    expected = contents(made(recipe))
    plain_update, plain_save = PPO.update, module.checkpoint.save

    def die(where, step):
        if (where, step) in deaths:
            deaths.remove((where, step))
            raise KeyboardInterrupt

    def update(self):
        measures = plain_update(self)
        die("update", self.step - 1)
        return measures

    def save(record, step, state, before):
        die("save", step)
        plain_save(record, step, state, before)

    monkeypatch.setattr(PPO, "update", update)
    monkeypatch.setattr(module.checkpoint, "save", save)
    while deaths:
        with pytest.raises(KeyboardInterrupt):
            run(recipe, results)
            deaths.clear()  # not reached while a death is left
            raise AssertionError("the run ended although it was to die again")
    assert contents(Record(run(recipe, results))) == expected


def test_a_real_kill_is_survived_and_two_processes_at_one_record_make_it_once(made, results, elastic):
    """One process dies, a second goes on from there, and a third, this one, waits for it."""
    recipe = Recipe("sentiment", "elastic", "smoke", 0, updates=20, eval_every=2)
    record = Record.of(recipe, results)
    words = ["run", "sentiment", "elastic", "--scale", "smoke", "--results", results]
    words += ["--set", "updates=20", "--set", "eval_every=2"]
    process = subprocess.Popen(command(*words), stderr=subprocess.DEVNULL, env=ENV)
    curve, deadline = record.path / "curve.csv", time.monotonic() + 60
    while not (curve.exists() and len(curve.read_text().splitlines()) > 6) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert record.status()["status"] == "running"

    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process, deadline = subprocess.Popen(command(*words), env=ENV, **pipes), time.monotonic() + 60
    while states(results)[recipe.run_id] != "going" and time.monotonic() < deadline:
        time.sleep(0.01)
    code, said, errors = elastic(*words)
    its_words, its_errors = process.communicate(timeout=120)
    assert code == process.returncode == 0, errors + its_errors
    assert said.splitlines()[-1] == its_words.splitlines()[-1] == str(record.path)
    assert f"process {process.pid} on {socket.gethostname()} is at it; waiting" in errors
    assert "20/20" in its_errors and "20/20" not in errors
    assert contents(record) == contents(made(recipe))


def test_a_sketch_keeps_lengths_and_angles():
    weights = torch.Generator().manual_seed(3)
    start = {name: torch.randn(shape, generator=weights) for name, shape in (("a", (300, 200)), ("b", (77,)))}
    one, other = ({name: torch.randn(t.shape, generator=weights) for name, t in start.items()} for _ in range(2))
    both = {name: one[name] + other[name] for name in start}
    a, b, c = (sketch({n: start[n] + moved[n] for n in start}, start) for moved in (one, other, both))
    assert torch.allclose(a + b, c, atol=1e-3) and not sketch(start, start).any()  # linear, and θ0 is the origin
    length = sum(float(t.double().square().sum()) for t in one.values()) ** 0.5
    assert float(a.norm()) == pytest.approx(length, rel=3 / WIDTH**0.5)
    assert abs(float(a @ b)) < 4 * length**2 / WIDTH**0.5  # which are at right angles


def test_a_record_of_before_paths_is_read(copied):
    (copied / "path.csv").unlink()
    assert Record(copied).moves().empty and list(Record(copied).moves().columns[:3]) == ["step", "reset", "whose"]


@pytest.mark.parametrize(
    "damage", ["curve cut", "status cut", "checkpoint cut", "tensors flipped", "curve of a checkpoint cut"]
)
def test_what_is_damaged_is_named_set_aside_and_redone(copied, results, damage, monkeypatch):
    path = copied
    expected = contents(Record(path))
    if "checkpoint" in damage or "tensors" in damage:
        shutil.rmtree(path)
        plain = PPO.update
        monkeypatch.setattr(PPO, "update", lambda self: plain(self) if self.step < 4 else _die())
        with pytest.raises(KeyboardInterrupt):
            run(RECIPE, results)
        monkeypatch.setattr(PPO, "update", plain)
    file = {
        "curve cut": path / "curve.csv",
        "status cut": path / "status.json",
        "checkpoint cut": path / "checkpoint" / "checkpoint.json",
        "tensors flipped": next((path / "checkpoint").glob("*.safetensors")),
        "curve of a checkpoint cut": path / "curve.csv",
    }[damage]
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] + (b"x" * (len(whole) - len(whole) // 2) if "flipped" in damage else b""))
    with pytest.warns(UserWarning, match=rf"{file.name}.*set aside as {RECIPE.run_id}.damaged-1"):
        run(RECIPE, results)
    assert contents(Record(path)) == expected
    assert (results / "records" / f"{RECIPE.run_id}.damaged-1").is_dir()
    assert list(load(results)) == [RECIPE.run_id]


def _die():
    raise KeyboardInterrupt


def test_readers_leave_a_damaged_record_out_and_say_so(copied, results):
    (copied / "curve.csv").write_text("step\n")
    with pytest.warns(UserWarning, match=r"left out: .*curve.csv is damaged"):
        assert load(results) == {}


def test_a_damaged_base_is_trained_again(base, tmp_path):
    whole = (base / "lm.safetensors").read_bytes()
    (base / "lm.safetensors").write_bytes(whole[:-10])
    with pytest.warns(UserWarning, match="lm.safetensors is damaged or missing; set aside"):
        pretrained(RECIPE, tmp_path)
    assert (base / "lm.safetensors").read_bytes() == whole


def test_a_base_of_other_text_is_not_used(base, tmp_path):
    meta = base / "rm.json"
    meta.write_text(json.dumps(sealed({**json.loads(meta.read_text()), "text": "0" * 16})))
    with pytest.warns(UserWarning, match="trained on other text"):
        pretrained(RECIPE, tmp_path)


def test_a_failed_run_says_so_in_its_record(results, monkeypatch):
    from elastic_lib.tasks.sentiment.task import Sentiment

    plain = Sentiment.reward
    calls = []

    def reward(self, tokens):
        calls.append(1)
        values = plain(self, tokens)
        return values * float("nan") if len(calls) > 4 else values

    monkeypatch.setattr(Sentiment, "reward", reward)
    with pytest.raises(RunFailed, match=r"sentiment-ppo-s0-.*the reward is nan at update \d for the sample '"):
        run(Recipe("sentiment", "ppo", "smoke"), results)
    status = Record.of(Recipe("sentiment", "ppo", "smoke"), results).status()
    assert status["status"] == "failed" and "the reward is nan" in status["error"]
    monkeypatch.setattr(Sentiment, "reward", plain)
    assert Record(run(Recipe("sentiment", "ppo", "smoke"), results)).status()["status"] == "done"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "sentimnt", "ppo"], "unknown task 'sentimnt'; did you mean sentiment?"),
        (["run", "sentiment", "elastik"], "unknown method of sentiment 'elastik'; did you mean elastic"),
        (["run", "sentiment", "ppo", "--scale", "poket"], "unknown scale 'poket'; did you mean pocket"),
        (["run", "sentiment", "ppo", "--set", "bata=1"], "unknown key 'bata'; did you mean beta"),
        (["run", "sentiment", "ppo", "--set", "beta=-1"], "beta must be a number, 0 or more"),
        (["run", "sentiment", "elastic", "--set", "decay=1.5"], "decay must be a number from 0 to 1"),
        (["run", "sentiment", "elastic", "--set", "reset_every=0"], "reset_every must be a whole number, 1 or more"),
        (["claims", "--scale", "smok"], "unknown scale 'smok'; did you mean smoke"),
        (["claims", "--scale", "smoke", "--results", "/nowhere"], "/nowhere holds no records"),
    ],
)
def test_the_command_line_refuses_in_one_line(elastic, words, says):
    code, _, errors = elastic(*words)
    assert code == 1
    assert len(errors.splitlines()) == 1 and errors.startswith("elastic: ")
    assert says in errors


def test_a_refusal_is_the_whole_process_s():
    done = subprocess.run(command("run", "sentimnt", "ppo"), capture_output=True, text=True, env=ENV, check=False)
    assert done.returncode == 1 and not done.stdout
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("elastic: unknown task")


def test_a_folder_that_cannot_be_written_is_one_line(elastic, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, errors = elastic("run", "sentiment", "ppo", "--scale", "smoke", "--results", tmp_path / "file")
    assert code == 1 and len(errors.splitlines()) == 1
    assert "Not a directory" in errors and "--results" in errors


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 6 MB, where this machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk takes root")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_space(made, base, small_disk, elastic):
    shutil.copytree(base.parent, small_disk / "bases")
    words = ["run", "sentiment", "elastic", "--scale", "smoke", "--results", small_disk]
    filler = small_disk / "filler"
    free = shutil.disk_usage(small_disk).free
    for left in (0, 600_000, 1_500_000):  # full at the first file, at the first checkpoint, at the second
        filler.write_bytes(b"x" * max(0, free - left))
        code, _, errors = elastic(*words)
        assert code == 1, left
        assert errors.splitlines()[-1].startswith("elastic: No space left on device"), errors
        assert "Traceback" not in errors and "free some space" in errors
        filler.unlink()
    code, _, errors = elastic(*words)
    assert code == 0, errors
    assert contents(Record.of(RECIPE, small_disk)) == contents(made(RECIPE))


def test_track_equals_ppo_and_elastic_equals_to_ema_until_the_second_reset(made):
    """Runs that are equal by construction are equal in their records."""
    common = ["step", "task", "drift", "reward", "kl", "beta"]
    ppo = made(Recipe("sentiment", "ppo", "smoke", 0, beta=0.01)).curve()
    track = made(Recipe("sentiment", "track", "smoke", 0)).curve()
    assert ppo[common].equals(track[common])
    assert (track["ema_drift"].iloc[1:] != track["drift"].iloc[1:]).any()
    both, first = (made(Recipe("sentiment", method, "smoke", 0)).curve() for method in ("elastic", "to_ema"))
    same = (both[common].fillna(0).to_numpy() == first[common].fillna(0).to_numpy()).all(1)
    second_reset = both.index[both["reset"] == 1][1]
    assert same[:second_reset].all() and not same[second_reset:].any()


def test_the_reward_model_as_the_value_of_every_beginning(results):
    loop = pretrained(Recipe("sentiment", "ppo", "smoke", 0, value_net="reward"), results).loop()
    tokens = loop._sample().tokens[:3]
    values = loop.value(tokens[:, :-1], 12)
    expected = [[float(loop.reward(tokens[row : row + 1, :end])) for end in range(13, 37)] for row in range(3)]
    torch.testing.assert_close(values, torch.tensor(expected))
    assert not loop.value_learns


def test_another_version_of_a_package_is_not_called_a_missing_one(elastic, monkeypatch):
    def lacking(_):
        from json import a_name_of_the_next_version  # noqa: F401

    monkeypatch.setattr(cli, "_models", lacking)
    code, _, said = elastic("models")
    assert code == 1 and "cannot import name" in said and "not installed" not in said
