"""What a method keeps is counted exactly; times and peaks are taken by the real code, and nobody looks at how large."""

import json
import subprocess
import sys

import pytest
import torch

from elastic_lib.loops.distill import Distillation
from elastic_lib.machine import bench, timing
from elastic_lib.machine import cost as bench_cost
from elastic_lib.machine import game as bench_game
from elastic_lib.machine.cost import loop_of
from elastic_lib.tasks import training

COPIES = {  # worked out by hand, in copies of the policy
    "sentiment": {"ppo": 0, "ppo + kl": 1, "nlpo + kl": 2, "elastic": 2, "elastic + kl": 2},
    "translation": {"reinforce": 0, "kl": 1, "multitask": 0, "elastic": 2, "elastic + kl": 2},
}
OF_ADAPTERS = {"ppo": 0, "ppo + kl": 1, "elastic": 2, "elastic + kl": 2}  # in copies of what is trained


@pytest.fixture(scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WARM_UP", "UPDATES", "AVERAGES", "ROUNDS"):
            patch.setattr(timing, name, 1)
        patch.setattr(timing, "TEXT", timing.TEXT | dict(train_reviews=100, eval_prompts=16, eval_reviews=16))
        patch.setattr(timing, "LM", dict(lm_width=16, lm_layers=1, lm_heads=2))
        patch.setattr(timing, "RM", dict(rm_width=16, rm_layers=1, rm_heads=2))
        patch.setattr(timing, "RL", timing.RL | dict(length=6, batch=4, minibatch=4, epochs=1))
        patch.setattr(timing, "GPT2_SMALL", dict(vocabulary=50, width=32, layers=1, heads=2, context=16))
        patch.setattr(bench_game, "SCALE", "smoke")
        patch.setattr(bench_cost, "TRANSLATORS", bench_cost.TRANSLATORS | dict(mt_steps=20, lm_steps=2, eval_pairs=4))
        yield patch


@pytest.fixture(scope="module")
def models(small, tmp_path_factory):
    return {task: bench_cost.models(task, tmp_path_factory.mktemp(task)) for task in bench_cost.METHODS}


def kept(models, task, method):
    """Copies of the policy that a loop keeps beyond the plain one."""
    loop, plain = (
        loop_of(bench_cost.recipe_of(task, name), models[task]) for name in (method, bench_cost._plain(task))
    )
    size = sum(p.nbytes for p in bench_cost._policy(plain).parameters())
    return (bench_cost.held(loop) - bench_cost.held(plain)) / size


@pytest.mark.parametrize("task, method", [(task, method) for task, found in COPIES.items() for method in found])
def test_state_in_copies_of_the_policy(models, task, method):
    assert kept(models, task, method) == COPIES[task][method]


@pytest.mark.parametrize("method", OF_ADAPTERS)
def test_state_in_copies_of_the_adapters(models, method):
    policy = loop_of(bench_cost.recipe_of("answers", "ppo"), models["answers"]).policy
    sizes = {name: p.nbytes for name, p in policy.named_parameters()}
    adapters = sum(size for name, size in sizes.items() if "lora_" in name)
    assert 0 < adapters < sum(sizes.values()) / 3
    assert kept(models, "answers", method) == OF_ADAPTERS[method] * adapters / sum(sizes.values())


def test_students_and_a_language_model_are_as_large_as_they_are(models):
    game = training("translation")(bench_cost.recipe_of("translation", "sil"), models["translation"])
    size = {part: sum(p.nbytes for p in getattr(game, part)().parameters()) for part in ("speaker", "listener")}
    assert kept(models, "translation", "sil") == 1 + size["listener"] / size["speaker"]
    lm = sum(p.nbytes for p in game.english_lm().parameters())
    assert kept(models, "translation", "kl_lm") == lm / size["speaker"]


def test_every_tensor_counts_once_wherever_it_hangs(models):
    loop = loop_of(bench_cost.recipe_of("sentiment", "ppo"), models["sentiment"])
    before = bench_cost.held(loop)
    loop.again = {"in a list": [loop.policy.state_dict(), loop.policy]}
    assert bench_cost.held(loop) == before
    loop.more = {"deep": (torch.zeros(10, dtype=torch.float64),)}
    assert bench_cost.held(loop) == before + 80


def test_the_plain_loop_and_elastic_reset_without_a_kl_measure_none(models):
    for task, method in (("sentiment", "ppo"), ("sentiment", "elastic"), ("translation", "elastic")):
        loop = loop_of(bench_cost.recipe_of(task, method), models[task])
        assert loop.resetting.anchor is None and torch.tensor(loop.update()["kl"]).isnan()
    loop = loop_of(bench_cost.recipe_of("sentiment", "elastic + kl"), models["sentiment"])
    assert loop.resetting.anchor.weights is loop.resetting.elastic.initial and loop.update()["kl"] == pytest.approx(
        0, abs=1e-4
    )


def test_always_is_a_restart_after_every_update(models):
    for task, method in (("sentiment", "elastic"), ("translation", "elastic + kl"), ("translation", "sil")):
        loop = loop_of(bench_cost.recipe_of(task, method, always=True), models[task])
        loop.update()
        assert loop.tick() and loop.tick() and loop.iteration == 2
        assert len(bench_cost.restarting(task, method, models[task])) == 1
    assert isinstance(loop, Distillation)
    assert bench_cost.restarting("translation", "kl", models["translation"]) == [0.0]


def test_all_methods_play_the_same_game(models):
    loops = [loop_of(bench_cost.recipe_of("translation", name), models["translation"])
             for name in ("reinforce", "kl", "elastic + kl")]  # fmt: skip
    lengths = [[loop.update()["length"] for _ in range(3)] for loop in loops]
    assert lengths[0] == lengths[1] == lengths[2]


@pytest.mark.parametrize("task, method, said", [
    ("sentiment", "sil", "unknown method of sentiment in this benchmark 'sil'"),
    ("translation", "multitsk", "did you mean multitask"),
    ("summaries", "ppo", "unknown task 'summaries'"),
])  # fmt: skip
def test_unknown_names_are_refused(task, method, said):
    with pytest.raises(ValueError, match=said):
        bench_cost.recipe_of(task, method)


def test_of_task_with_a_process_of_its_own(small, models, monkeypatch, tmp_path):
    highest = bench_cost.peak(bench_cost.recipe_of("sentiment", "elastic + kl", always=True), models["sentiment"])
    assert highest / 2**20 > 100  # torch alone is more
    monkeypatch.setattr(bench_cost, "peak", lambda recipe, base: highest)
    two = {name: bench_cost.METHODS["sentiment"][name] for name in ("ppo", "elastic + kl")}
    monkeypatch.setitem(bench_cost.METHODS, "sentiment", two)
    figures = bench_cost.of_task("sentiment", tmp_path)
    names = {"time", "state", "peak"}
    assert set(figures) == {f"sentiment: {name}" for name in ("plain update", "plain peak", "policy")} | {
        f"sentiment {method}: {name}" for method in ("ppo", "elastic + kl") for name in names
    } | {"sentiment elastic + kl: restart", "sentiment elastic + kl: EMA and resets"}  # fmt: skip
    assert figures["sentiment ppo: time"]["median"] == 1 and figures["sentiment ppo: peak"]["median"] == 0
    assert figures["sentiment elastic + kl: state"]["median"] == 2
    assert figures["sentiment: plain peak"]["median"] == highest / bench_cost.MB
    assert 0 < figures["sentiment elastic + kl: EMA and resets"]["median"] < 100
    json.dumps(figures, allow_nan=False)


def test_the_peak_is_its_own_and_not_the_parent_s():
    # a parent that held 300 MB at some time: what exec leaves in ru_maxrss, VmHWM forgets
    held = f"x = bytearray(300 * 2**20); import subprocess; subprocess.run([{sys.executable!r}, '-c', {OWN_PEAK!r}])"
    said = subprocess.run([sys.executable, "-c", held], capture_output=True, text=True, check=True).stdout
    assert 1 < int(said) / 2**20 < 250
    grown = OWN_PEAK.replace("print", "x = bytearray(300 * 2**20); del x; print")
    said = subprocess.run([sys.executable, "-c", grown], capture_output=True, text=True, check=True).stdout
    assert int(said) / 2**20 > 300


# without torch, whose own memory would hide either: the function alone
OWN_PEAK = f"""
import ast, re, resource
from pathlib import Path
tree = ast.parse(Path({bench_cost.__file__!r}).read_text())
tree.body = [part for part in tree.body if getattr(part, 'name', '') == '_highest']
exec(compile(tree, 'highest', 'exec'))
print(_highest())
"""


def test_a_process_that_fails_is_one_line(models, tmp_path):
    with pytest.raises(RuntimeError, match=r"^no peak of 'ppo .*', its process failed: .*lm.safetensors") as refused:
        bench_cost.peak(bench_cost.recipe_of("sentiment", "ppo"), tmp_path)
    assert "\n" not in str(refused.value)


def test_large_counts_two_copies(small):
    figures = bench_cost.large()
    assert figures["GPT-2 small: state"]["median"] == pytest.approx(2 * figures["GPT-2 small: weights"]["median"])
    assert set(figures) == {f"GPT-2 small: {name}" for name in
                            ("update", "reset", "gradients of 8x16 tokens", "weights", "state")}  # fmt: skip


def test_table_by_hand(monkeypatch):
    monkeypatch.setattr(bench_cost, "METHODS", {"sentiment": {"ppo": None, "elastic": None}})
    values = {"ppo": ([1.0], [0.0], [0.0, 0.5, -0.25]), "elastic": ([1.25, 0.875, 1.0], [2.0], [-1.0, 3.0, 1.5])}
    figures = {
        f"sentiment {method}: {name}": timing.figure(measured, "")
        for method, columns in values.items()
        for name, measured in zip(("time", "state", "peak"), columns, strict=True)
    }
    assert bench_cost.table(figures).splitlines() == [
        "| method | time an update over the plain loop | extra state, copies of the policy | extra peak memory, MB |",
        "|---|---|---|---|",
        "| sentiment: ppo | 1.000 | 0.00 | +0.0 [-0.2, +0.5] |",
        "| sentiment: elastic | 1.000 [0.875, 1.250] | 2.00 | +1.5 [-1.0, +3.0] |",
    ]


def test_it_is_one_of_the_benchmarks(monkeypatch, capsys):
    figure = {"translation elastic: time": timing.figure([1.5], "x")}
    monkeypatch.setattr(bench_cost, "measure", lambda: figure)
    assert bench.main(only="cost", as_json=True) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["command"] == "elastic bench --only cost" and report["figures"] == figure
