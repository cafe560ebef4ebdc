"""The page on another paper: its least task runs and is judged as it stands there, and what it names exists."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "another_paper.md").read_text()


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
    files = re.findall(r"`(elastic_lib/tasks/vowels/\w+\.py)`\n```python\n(.*?)```", PAGE, re.S)
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
    for name in re.findall(r"`(test_\w+\.py)`", PAGE):
        assert (ROOT / "tests" / name).exists(), name
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
