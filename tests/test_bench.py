"""The benchmarks' plumbing: nothing here looks at how long anything took."""

import contextlib
import json
from typing import ClassVar

import pytest
import torch

from elastic_lib import cli
from elastic_lib.machine import bench
from elastic_lib.machine import cost as bench_cost
from elastic_lib.machine import game as bench_game
from elastic_lib.machine import timing as bench_parts
from elastic_lib.nets.gpt import GPT, Classifier
from elastic_lib.recipe import Recipe
from elastic_lib.tasks.bases import pretrained


@pytest.fixture
def trl_ppo():
    """Imported late: transformers takes seconds."""
    from elastic_lib.machine import trl_ppo

    return trl_ppo


@pytest.fixture
def lm():
    torch.manual_seed(0)
    lm = GPT(vocabulary=50, width=32, layers=2, heads=4, context=20)
    with torch.no_grad():
        for p in lm.parameters():  # biases and norms start at 0 and 1, which would hide a swap
            p.add_(0.1 * torch.randn_like(p))
    return lm


@pytest.fixture
def quick(monkeypatch):
    for name in ("WARM_UP", "UPDATES", "EVALUATIONS", "AVERAGES", "ROUNDS"):
        monkeypatch.setattr(bench_parts, name, 1)
        if hasattr(bench_game, name):
            monkeypatch.setattr(bench_game, name, 1)
    monkeypatch.setattr(bench_game, "SCALE", "smoke")
    monkeypatch.setattr(bench_cost, "METHODS", {"sentiment": {"ppo": ("ppo", bench_cost.NO_KL)}})
    monkeypatch.setattr(
        bench_parts, "TEXT", bench_parts.TEXT | dict(train_reviews=100, eval_prompts=16, eval_reviews=16)
    )
    monkeypatch.setattr(bench_parts, "WRITTEN", dict(reviews=5, captions=5, answers=5))
    monkeypatch.setattr(bench_parts, "GPT2_SMALL", dict(vocabulary=50, width=32, layers=1, heads=2, context=16))
    monkeypatch.delenv(bench.THREADS, raising=False)


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "elastic-reset" / f"trl-{bench.TRL}"


def test_converted_gpt2_has_the_same_logits(trl_ppo, lm):
    tokens = torch.randint(50, (3, 20))
    model = trl_ppo.to_gpt2(lm)
    torch.testing.assert_close(model(tokens).logits, lm.logits(tokens), rtol=0, atol=1e-4)
    assert trl_ppo.check_agreement(lm, model, tokens) <= 1e-4


def test_another_network_is_no_conversion(trl_ppo, lm):
    model = trl_ppo.to_gpt2(lm)
    with torch.no_grad():
        lm.blocks[1].down.bias[3] += 0.5
    with pytest.raises(RuntimeError, match="logits differ by"):
        trl_ppo.check_agreement(lm, model, torch.randint(50, (3, 20)))


def test_the_reward_is_read_where_trl_reads_it(trl_ppo):
    rm = Classifier(vocabulary=50, width=16, layers=1, heads=2, context=20)
    tokens = torch.randint(1, 50, (3, 20))
    model = trl_ppo._Reward(rm)
    states = getattr(model, model.base_model_prefix)(input_ids=tokens, attention_mask=None).hidden_states[-1]
    positive = torch.sigmoid(rm(tokens))
    torch.testing.assert_close(model.score(states)[:, -1, 0], positive)
    assert states.shape == (3, 20, 1)


def test_banned_words_are_out_of_reach_of_a_sampler_without_a_list(quick, tmp_path):
    task = bench_parts.random_base(bench_parts.recipe_of("ppo"), tmp_path)
    prompts = task.rows("train").prompts[:8]
    probabilities = task.policy().logits(prompts).softmax(-1)
    assert prompts.shape == (8, 13)
    assert probabilities[..., list(task.banned)].max() < 1e-10
    assert probabilities.max() < 0.5


def test_unknown_name_is_refused_with_the_near_miss():
    with pytest.raises(ValueError, match="unknown benchmark 'lop'; did you mean loop"):
        bench.main(only="lop", as_json=True)


def test_threads_must_be_a_number(monkeypatch):
    monkeypatch.setenv(bench.THREADS, "many")
    with pytest.raises(ValueError, match="ELASTIC_BENCH_THREADS must be a whole number, 1 or more; got 'many'"):
        bench.main(only="ema", as_json=True)


def test_loop_prints_json(quick, capsys):
    assert bench.main(only="loop", as_json=True) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["name"] == "loop" and report["command"] == "elastic bench --only loop"
    assert {"machine", "cores", "threads", "torch"} <= set(report) and len(report["load"]["before"]) == 3
    parts = {"sampling", "scoring", "learning", "averaging", "whole update"}
    assert set(report["figures"]) == parts | {"throughput", "evaluation"}
    for figure in report["figures"].values():
        assert set(figure) == {"median", "min", "max", "times", "unit"} and figure["times"] == 1
        assert figure["min"] <= figure["median"] <= figure["max"]
    assert {report["figures"][name]["unit"] for name in parts} == {"s/update"}


def script(folder, *lines):
    path = folder / "python"
    path.write_text("\n".join(["#!/bin/sh", *lines]))
    path.chmod(0o755)
    return path


def test_both_translators_are_pretrained_side_by_side(tmp_path, monkeypatch):
    said = tmp_path / "said"
    monkeypatch.setattr(bench_game.sys, "executable", script(tmp_path, f'echo "$@" >> {said}'))
    assert bench_game.pretrain(tmp_path) > 0
    for words in said.read_text().splitlines():
        assert words.startswith("-m elastic_lib.cli pretrain translation ")
        told = cli._parser().parse_args(words.split()[2:])
        assert (told.scale, told.results) == (bench_game.SCALE, tmp_path)
        said.with_name(told.part).touch()
    assert all((tmp_path / part).exists() for part in ("speaker", "listener"))
    script(tmp_path, "exit 3")
    with pytest.raises(RuntimeError, match="the translators could not be pretrained"):
        bench_game.pretrain(tmp_path)


def test_all_of_them_leave_out_what_would_install(quick, no_cache, shared, monkeypatch, capsys):
    monkeypatch.setattr(bench_cost, "peak", lambda recipe, base: 2**20)  # which takes a process each

    def there(folder):
        pretrained(Recipe("translation", "reinforce", "smoke"), shared)
        (folder / "bases").symlink_to(shared / "bases")
        return 1.0

    monkeypatch.setattr(bench_game, "pretrain", there)
    assert bench.main(only=None, as_json=False) == 0
    told = capsys.readouterr()
    assert "ppo_vs_trl is left out" in told.err and not no_cache.exists()
    assert "elastic bench --only loop" in told.out and "plain loop / ours" in told.out
    assert "5 captions" in told.out and "5 answers" in told.out
    assert "pretraining, both on a thread each" in told.out and "elastic: whole update" in told.out


class PretendedTrl:
    told: ClassVar = {"logit_gap": 0.0, "with": "trl 0"}
    process = contextlib.nullcontext()

    def __init__(self, python, folder, updates, defuse):
        self.seconds = 64 / (160 if defuse else 50)

    def update(self):
        return self.seconds


def test_targets_are_told_plainly(quick, monkeypatch, capsys):
    # ours at 200 samples a second beside 50 and 160: 4 meets 3.5, and 1.25 misses 1.6
    monkeypatch.setattr(bench, "_trl_python", lambda: None)
    monkeypatch.setattr(bench, "_Trl", PretendedTrl)
    monkeypatch.setattr(bench_parts, "seconds", lambda step: 64 / 200)
    assert bench.main(only="ppo_vs_trl", as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("as shipped" in line and "4 x" in line and line.endswith("target 3.5: met") for line in lines)
    assert any("without" in line and "1.25 x" in line and line.endswith("target 1.6: MISSED") for line in lines)


def test_updates_are_made_in_turn(tmp_path):
    python = script(tmp_path, """echo '{"logit_gap": 0.5}'""", """while read go; do echo '{"seconds": 2}'; done""")
    trl = bench._Trl(python, tmp_path, 2, defuse=False)
    with trl.process:
        assert trl.told == {"logit_gap": 0.5} and [trl.update(), trl.update()] == [2, 2]
    assert trl.process.returncode == 0
    assert (tmp_path / "elastic_lib" / "machine" / "trl_ppo.py").exists()  # what the other interpreter runs


@pytest.mark.parametrize("lines", [(), ("""echo '{"logit_gap": 0}'""", "read go")])
def test_a_trl_that_dies_is_one_line(tmp_path, lines):
    python = script(tmp_path, *lines, "echo 'Traceback:' >&2", "echo 'ValueError: no such thing' >&2", "exit 3")
    with pytest.raises(RuntimeError, match=r"^TRL's run failed: ValueError: no such thing$"):
        trl = bench._Trl(python, tmp_path, 2, defuse=True)
        with trl.process:
            trl.update()


def test_an_environment_that_cannot_be_built_is_one_line(no_cache, monkeypatch):
    monkeypatch.setattr(bench, "PINS", ("no_such_package==0",))
    monkeypatch.setattr(bench.sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="could not build the environment of ppo_vs_trl") as refused:
        bench._trl_python()
    assert "\n" not in str(refused.value) and not bench._trl_is_built()


@pytest.mark.parametrize("left", ["", '["torch==0"]', "[cut"])
def test_a_half_built_environment_does_not_count(no_cache, left):
    (no_cache / "bin").mkdir(parents=True)
    (no_cache / "bin" / "python").touch()
    assert not bench._trl_is_built()
    (no_cache / "ready.json").write_text(left)
    assert not bench._trl_is_built()
    (no_cache / "ready.json").write_text(json.dumps(list(bench.PINS)))
    assert bench._trl_is_built()
