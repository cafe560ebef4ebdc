"""The worked examples run as they stand, on a tiny model, and print resets that move the policy back."""

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
NAMES = ["accelerate_loop", "dpo", "grpo_lora", "plain_loop", "rloo_full", "sft_forgetting"]


def test_none_is_left_out_and_none_is_long():
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted([*NAMES, "forgetting", "start"])
    assert all(len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= 40 for name in NAMES)
    assert len((EXAMPLES / "forgetting.py").read_text().splitlines()) <= 60


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_and_its_resets_move_the_policy_back(name, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(sys, "argv", [name])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    if name.endswith("_loop"):
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
        far = [(float(re.search(r"\|θ-θ0\| ([\d.]+)", line)[1]), line.endswith("reset")) for line in lines]
    else:
        told = capsys.readouterr().out.partition("step  reset")[2].splitlines()[1:]
        rows = [line.split() for line in told if re.match(r" *\d", line)]
        far = [(float(row[3]), row[1] == "1") for row in rows]
    at = [i for i, (_, reset) in enumerate(far) if reset]
    assert len(at) == 2 and all(0 < far[i][0] < far[i - 1][0] for i in at)


def test_what_the_page_says_of_a_real_model_and_of_forgetting_is_what_was_run():
    import generating

    for mark, found in generating.TOLD.items():
        assert generating.on_the_page(mark) == found(), mark
    _, plain, average, elastic = generating.matched().values()
    assert all(average < elastic) and all(elastic < plain)  # which the page says in words
    runs = generating.kept()
    assert {*NAMES, *(f"forgetting, seed {seed}" for seed in range(5))} == runs.keys()
    assert runs["accelerate_loop"]["processes"] == 2
    assert all(sum(run["log"]["reset"]) >= 1 for run in runs.values() if "log" in run)
