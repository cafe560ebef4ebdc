"""What docs/ shows runs: the worked examples, on a tiny model, and the least task of the page on another paper."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ANOTHER_PAPER = (DOCS / "another_paper.md").read_text()
EXAMPLES = DOCS / "examples"
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


def elastic(folder, *words):
    """The command of a copy of the library."""
    command = [sys.executable, "-m", "elastic_lib.cli", *words]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_least_task_runs_resets_and_is_judged(tmp_path):
    shutil.copytree(ROOT / "elastic_lib", tmp_path / "elastic_lib", ignore=shutil.ignore_patterns("__pycache__"))
    files = re.findall(r"`(elastic_lib/tasks/vowels/\w+\.py)`\n```python\n(.*?)```", ANOTHER_PAPER, re.S)
    assert [Path(name).stem for name, _ in files] == ["facts", "claims", "world", "task"]
    for name, code in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code)
    (tmp_path / "elastic_lib/tasks/vowels/__init__.py").touch()
    tasks = tmp_path / "elastic_lib/tasks/__init__.py"
    tasks.write_text(tasks.read_text().replace('"answers")', '"answers", "vowels")'))
    results = str(tmp_path / "results")
    records = {
        method: Path(elastic(tmp_path, "run", "vowels", method, "--scale", "smoke", "--results", results).split()[-1])
        for method in ("ppo", "elastic")
    }
    status = json.loads((records["elastic"] / "status.json").read_text())
    curve = (records["elastic"] / "curve.csv").read_text().splitlines()
    at = curve[0].split(",").index("reset")
    assert status["status"] == "done" and [line.split(",")[at] for line in curve[1:]].count("1") == 2
    judged = elastic(tmp_path, "claims", "--task", "vowels", "--scale", "smoke", "--results", results, "--json")
    (verdict,) = json.loads(judged)
    assert verdict["id"] == "vowels-elastic-drifts-less" and verdict["seeds"] == 1 and verdict["effect"] is not None


def test_what_the_page_names_exists():
    for name in re.findall(r"`(test_\w+\.py)`", ANOTHER_PAPER):
        assert (ROOT / "tests" / name).exists(), name
    for target in re.findall(r"\]\(([^)]+)\)", ANOTHER_PAPER):
        assert (DOCS / target).exists(), target
