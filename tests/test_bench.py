"""The benchmarks' plumbing: nothing here looks at how long anything took."""

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from elastic_lib import cli
from elastic_lib.evidence import Evidence
from elastic_lib.figures import costs
from elastic_lib.machine import bench, rivals, timing
from elastic_lib.machine import cost as bench_cost
from elastic_lib.machine import game as bench_game
from elastic_lib.machine import growth as bench_growth
from elastic_lib.nets.gpt import GPT, Classifier
from elastic_lib.recipe import Recipe
from elastic_lib.records.record import MEASURED, reference_results
from elastic_lib.reset import ElasticReset
from elastic_lib.tasks.bases import pretrained


@pytest.fixture
def trl_trainers():
    """Imported late: transformers takes seconds."""
    from elastic_lib.machine import trl_trainers

    return trl_trainers


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
        monkeypatch.setattr(timing, name, 1)
        if hasattr(bench_game, name):
            monkeypatch.setattr(bench_game, name, 1)
    monkeypatch.setattr(bench_game, "SCALE", "smoke")
    methods = {name: (name, bench_cost.NO_KL) for name in ("ppo", "elastic")}
    monkeypatch.setattr(bench_cost, "METHODS", {"sentiment": methods})
    monkeypatch.setattr(bench_cost, "PAIRS", {"sentiment": 1})
    monkeypatch.setattr(bench_growth, "GROWN", {"batch": ("sentiment", ("batch", "minibatch"), (2, 4))})
    monkeypatch.setattr(bench_growth, "RECORDS", (1, 3))
    monkeypatch.setattr(rivals, "QUICK", 1)
    monkeypatch.setattr(rivals, "PAIRS", 2)
    monkeypatch.setattr(rivals, "SAMPLED", [(dict(vocabulary=50, width=32, layers=1, heads=2, context=40), 2, 1, 3.0)])
    monkeypatch.setattr(timing, "TEXT", timing.TEXT | dict(train_reviews=100, eval_prompts=16, eval_reviews=16))
    monkeypatch.setattr(timing, "RL", timing.RL | dict(length=6, batch=4, minibatch=4, epochs=1))
    monkeypatch.setattr(timing, "WRITTEN", dict(reviews=5, captions=5, answers=5))
    monkeypatch.setattr(timing, "GPT2_SMALL", dict(vocabulary=50, width=32, layers=1, heads=2, context=16))
    monkeypatch.delenv(bench.THREADS, raising=False)


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "elastic-reset" / f"trl-{bench.TRL}"


def test_converted_gpt2_has_the_same_logits(trl_trainers, lm):
    tokens = torch.randint(50, (3, 20))
    model = trl_trainers.to_gpt2(lm)
    torch.testing.assert_close(model(tokens).logits, lm.logits(tokens), rtol=0, atol=1e-4)
    assert trl_trainers.check_agreement(lm, model, tokens) <= 1e-4


def test_another_network_is_no_conversion(trl_trainers, lm):
    model = trl_trainers.to_gpt2(lm)
    with torch.no_grad():
        lm.blocks[1].down.bias[3] += 0.5
    with pytest.raises(RuntimeError, match="logits differ by"):
        trl_trainers.check_agreement(lm, model, torch.randint(50, (3, 20)))


def test_the_reward_is_read_where_trl_reads_it(trl_trainers):
    rm = Classifier(vocabulary=50, width=16, layers=1, heads=2, context=20)
    tokens = torch.randint(1, 50, (3, 20))
    model = trl_trainers._Reward(rm)
    states = getattr(model, model.base_model_prefix)(input_ids=tokens, attention_mask=None).hidden_states[-1]
    positive = torch.sigmoid(rm(tokens))
    torch.testing.assert_close(model.score(states)[:, -1, 0], positive)
    assert states.shape == (3, 20, 1)


def test_banned_words_are_out_of_reach_of_a_sampler_without_a_list(quick, tmp_path):
    task = timing.random_base(timing.recipe_of("ppo"), tmp_path)
    prompts = task.reviews.rows("train").prompts[:8]
    probabilities = task.policy().logits(prompts).softmax(-1)
    assert prompts.shape == (8, 13)
    assert probabilities[..., list(task.reviews.banned)].max() < 1e-10
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
    monkeypatch.setattr(bench, "fresh", lambda *words: "0.01")  # as this does
    monkeypatch.setattr(rivals, "bring", nothing_to_be_had)
    monkeypatch.setattr(bench, "_Trl", PretendedTrl)

    def there(folder):
        pretrained(Recipe("translation", "reinforce", "smoke"), shared)
        (folder / "bases").symlink_to(shared / "bases")
        return 1.0

    monkeypatch.setattr(bench_game, "pretrain", there)
    monkeypatch.setattr(bench.stages, "reproduce_sentiment", lambda cores, results: None)  # which trains ten runs
    assert bench.main(only=None, as_json=False) == 0
    told = capsys.readouterr()
    assert "ppo_vs_trl is left out" in told.err and not no_cache.exists()
    assert "timm==1.0.31" in told.err and "left out; could not build it" in told.err
    assert "elastic bench --only loop" in told.out and "LoRA: a loop of mul_ and add_ / ours" in told.out
    assert "sentiment: with Elastic Reset / without" in told.out and "parameters: ours / generate" in told.out
    assert "s/update: " in told.out and " at 2, " in told.out and "records: seconds" in told.out
    assert "elastic --help" in told.out and "at most 0.3" in told.out
    assert "first figure" in told.out and "ours / TRL GRPO" in told.out
    assert "sentiment, one seed, 1 at once" in told.out
    assert "5 captions" in told.out and "5 answers" in told.out
    assert "pretraining, both on a thread each" in told.out and "elastic: whole update" in told.out


def nothing_to_be_had(what, *_):
    raise RuntimeError("could not build it, which takes the network")


def test_others_keep_the_average_that_ours_does(tmp_path):
    model = rivals.lora()
    theirs = rivals.others(model, tmp_path)
    assert {"torch's AveragedModel", "a loop of mul_ and add_"} <= set(theirs)
    elastic = ElasticReset(model.parameters(), decay=rivals.DECAY)
    rivals.check_same(elastic, theirs)
    theirs["a loop of mul_ and add_"].weights[3].add_(0.01)
    with pytest.raises(RuntimeError, match="a loop of mul_ and add_ keeps another average than ours: they differ by"):
        rivals.check_same(elastic, theirs)


def test_a_slope_is_the_exponent():
    sizes = [16, 32, 64]
    slope = bench_growth.slope("words", sizes, [[2, 4, 8], [3, 12, 48], [1, 1, 1]], "s")
    assert [slope[name] for name in ("median", "min", "max")] == pytest.approx([1, 0, 2])
    assert slope["met"] and slope["within"] == "at most" and slope["curve"]["costs"] == [2, 4, 8]
    # of a process that holds 100 MB whatever it does, only what it holds more than at the least counts
    square = bench_growth.slope("words", sizes, [[100 + (size - 16) ** 2 for size in sizes]], "MB", beyond=1.0)
    assert square["median"] == pytest.approx(2) and not square["met"]
    assert square["curve"]["beyond"] and square["curve"]["fitted"] == [(16, 256), (48, 2304)]
    still = bench_growth.slope("words", sizes, [[100, 100.9, 99]], "MB", beyond=1.0)
    assert still["median"] == 0 and still["met"]


def test_records_are_as_many_as_they_are_said_to_be(tmp_path):
    one = bench_growth._packed(tmp_path / "one")
    evidence = Evidence("sentiment", "smoke", [bench_growth._repeated(one, 3, tmp_path / "three")])
    runs = [(seed, record) for by_seed in evidence.found.values() for seed, record in by_seed.items()]
    assert sorted(seed for seed, _ in runs) == [0, 1, 2] and len({record.run_id for _, record in runs}) == 3
    assert all(len(evidence.curve(record)) == len(one.curves.table) > 1 for _, record in runs)


def test_a_fresh_interpreter_times_itself():
    assert bench.fresh("-c", "print('no Chromium here, so no pictures'); print(2)") == "2"
    assert float(bench.fresh("-c", bench.IMPORTED.replace("import torch\n", "").replace("ElasticReset", "cli"))) > 0


def noted(folder, jobs):
    """What Snakemake notes of jobs: seconds, and when they ended."""
    for name, (seconds, ended) in jobs.items():
        (path := folder / ".seconds" / name).parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\n{seconds}\t-\n")
        os.utime(path, (1e9 + ended,) * 2)


def test_where_the_time_of_make_lab_went(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "own_results", lambda scale: tmp_path / scale)
    noted(tmp_path / "lab", {"base/sentiment-a-rm.tsv": (500, 500), "run/sentiment-a-s0.tsv": (1000, 1500)})
    with pytest.raises(ValueError, match="holds 1 runs that were timed, and not the two of SEEDS=1"):
        bench.make_lab()
    noted(tmp_path / "lab", {"run/sentiment-b-s0.tsv": (1200, 1700), "notebook/10.tsv": (20, 1720)})
    figures = bench.make_lab()
    whole = figures["from start to end"]
    assert (whole["median"], whole["target"], whole["met"]) == (1720, 2700, True)
    assert "met" not in figures["cores at work, on average"]


def test_what_a_second_core_is_worth(tmp_path, monkeypatch):
    """The whole again with a stand-in for the workflow: 8 s by one at a time, 5 s by two, so 0.8 of what two could."""
    now, asked = [0.0], []

    def workflow(command, *, cwd, env, **_):
        asked.append((command[command.index("--cores") + 1], env["OMP_NUM_THREADS"], Path(env["ELASTIC_RESULTS"])))
        assert (cwd / command[command.index("-s") + 1]).is_file() and not any(asked[-1][2].iterdir())
        now[0] += {"1": 8, "2": 5}[asked[-1][0]]
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(bench.stages.subprocess, "run", workflow)
    monkeypatch.setattr(bench.timing, "perf_counter", lambda: now[0])
    monkeypatch.setattr(bench.os, "cpu_count", lambda: 2)
    figures = bench.cores()
    assert [figure["median"] for figure in figures.values()] == [8, 5, 0.8]
    assert [figure.get("met") for figure in figures.values()] == [None, None, False]
    assert [(cores, threads) for cores, threads, _ in asked] == [("1", "1"), ("2", "1")]
    monkeypatch.setattr(
        bench.stages.subprocess, "run", lambda *a, **_: subprocess.CompletedProcess(a, 1, "", "no disk\n")
    )
    with pytest.raises(RuntimeError, match="with 1 cores the workflow failed: no disk"):
        bench.cores()


def test_where_the_time_of_reproduce_went(tmp_path, monkeypatch):
    """Two jobs side by side, 100 and 200 s, then a notebook of 50 s; the first verdicts 20 s after the second."""
    jobs = {"base/sentiment-a-lm.tsv": (100, 100), "run/sentiment-a-s0.tsv": (200, 200), "notebook/00.tsv": (50, 250)}
    noted(tmp_path, jobs)
    (told := tmp_path / ".told" / "sentiment-s0").parent.mkdir()
    told.touch()
    os.utime(told, (1e9 + 220,) * 2)
    monkeypatch.setattr(bench, "_own", lambda: tmp_path)
    monkeypatch.setattr(bench.os, "cpu_count", lambda: 2)
    figures = bench.reproduce()
    assert {name: figure["median"] for name, figure in figures.items()} == {
        "pretraining, sentiment, 1 jobs": 100, "runs, sentiment, 1 jobs": 200, "notebooks, 1 jobs": 50, "all jobs": 350,
        "until the verdicts of sentiment, seed 0": 220, "from start to the first verdicts": 220,
        "from start to end": 250, "cores at work, on average": 350 / 250,
    }  # fmt: skip
    assert [figure.get("met") for figure in figures.values()] == [None] * 5 + [True, True, False]


@pytest.mark.parametrize("value, unit, said", [
    (2809, "s", "2,809 s"), (313, "s", "313 s"), (0.0009531, "s", "953 µs"), (0.9999, "s", "1,000 ms"),
    (2.6216, "x", "2.622×"), (12.345, "x", "12.3×"), (1234.5, "words/s", "1,234 words/s"),
    (1.984, "cores", "1.98 cores"),
])  # fmt: skip
def test_an_amount_is_said_as_one_would(value, unit, said):
    assert costs.amount(value, unit) == said


def test_what_was_measured_is_kept(quick, tmp_path, capsys):
    assert bench.main(only="text", as_json=True, to=tmp_path / "kept") == 0
    (report,) = json.loads(capsys.readouterr().out)
    path = tmp_path / "kept" / MEASURED
    assert json.loads(path.read_text()) == [report]
    path.write_text(json.dumps([report | {"figures": {}}, report | {"name": "another"}]))
    assert bench.main(only="text", as_json=True, to=tmp_path / "kept") == 0
    held = json.loads(path.read_text())
    assert [one["name"] for one in held] == ["another", "text"] and held[1]["figures"]
    assert {"name", "machine", "cores", "threads", "torch", "transformers", "load", "command"} <= set(report)


@pytest.mark.parametrize("words, folder", [
    (["--keep"], reference_results("bench")), (["--to", "there"], "there"), (["--keep", "--to", "there"], "there"),
    ([], None),
])  # fmt: skip
def test_where_it_is_kept(monkeypatch, words, folder):
    monkeypatch.setattr(bench, "main", lambda only, as_json, to: to)
    assert (told := cli.main(["bench", *words])) == folder or str(told) == folder


class PretendedTrl:
    told: ClassVar = {"logit_gap": 0.0, "with": "trl 0"}
    process = contextlib.nullcontext()

    def __init__(self, python, folder, updates, kind, defuse):
        self.seconds = 64 / (160 if defuse else 50)

    def update(self):
        return self.seconds


def test_targets_are_told_plainly(quick, monkeypatch, capsys):
    # ours at 200 samples a second beside 50 and 160: 4 meets 4, and 1.25 misses 2
    monkeypatch.setattr(bench, "_trl_python", lambda: None)
    monkeypatch.setattr(bench, "_Trl", PretendedTrl)
    monkeypatch.setattr(timing, "seconds", lambda step: 64 / 200)
    assert bench.main(only="ppo_vs_trl", as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("as shipped" in line and "4 x" in line and line.endswith("at least 4: met") for line in lines)
    assert any("without" in line and "1.25 x" in line and line.endswith("at least 2: MISSED") for line in lines)


@pytest.mark.parametrize("kind", ["RLOO", "GRPO"])
def test_what_has_no_critic_learns_from_as_many_samples_as_often(kind, trl_trainers, tmp_path):
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        made = 0

        def on_step_end(self, *_, **__):
            Steps.made += 1

    recipe = timing.recipe_of("ppo", beta=0.1, batch=8, minibatch=8, epochs=2, train_reviews=40, eval_reviews=8)
    timing.random_base(recipe, tmp_path)
    trainer, gap = trl_trainers.trainer_of(kind, tmp_path, 2, Steps())
    trainer.train()  # a reward of samples that differ in length would fail
    assert Steps.made == 4 and gap < 1e-4
    assert trainer.num_generations == trl_trainers.GROUP and trainer.ref_model is not None


def test_updates_are_made_in_turn(tmp_path):
    python = script(tmp_path, """echo '{"logit_gap": 0.5}'""", """while read go; do echo '{"seconds": 2}'; done""")
    trl = bench._Trl(python, tmp_path, 2, "PPO", defuse=False)
    with trl.process:
        assert trl.told == {"logit_gap": 0.5} and [trl.update(), trl.update()] == [2, 2]
    assert trl.process.returncode == 0
    assert (tmp_path / "elastic_lib" / "machine" / "trl_trainers.py").exists()  # what the other interpreter runs


@pytest.mark.parametrize("lines", [(), ("""echo '{"logit_gap": 0}'""", "read go")])
def test_a_trl_that_dies_is_one_line(tmp_path, lines):
    python = script(tmp_path, *lines, "echo 'Traceback:' >&2", "echo 'ValueError: no such thing' >&2", "exit 3")
    with pytest.raises(RuntimeError, match=r"^TRL's run failed: ValueError: no such thing$"):
        trl = bench._Trl(python, tmp_path, 2, "PPO", defuse=True)
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
