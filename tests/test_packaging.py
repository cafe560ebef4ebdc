"""What stands around the library: the lock and its copies, make's targets, and the workflow itself."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from elastic_lib.machine import stages
from elastic_lib.recipe import Recipe
from elastic_lib.recipe.grid import grid
from elastic_lib.records.record import own_results
from elastic_lib.tasks import TASKS
from elastic_lib.tasks.bases import pretrained

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text().splitlines()
PINS = {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in LOCK}


def test_every_line_of_the_lock_is_an_exact_pin_and_none_is_twice():
    loose = [line for line in LOCK if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==[0-9][0-9a-z.]*", line)]
    assert not loose
    assert len(PINS) == len(LOCK)
    assert PINS["torch"] == "2.13.0"


def test_the_conda_environment_holds_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == "elastic-reset"
    *conda, below = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    assert below["pip"] == LOCK  # without `-e .`: pip under conda resolves it from another folder


def test_the_lock_holds_what_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    del extras["site"]  # an environment of its own
    del extras["deepspeed"]  # what the package index has of it is built by whoever installs it
    asked = [*project["dependencies"], *(line for extra in extras.values() for line in extra)]
    for requirement in map(Requirement, (line for line in asked if not line.startswith(project["name"]))):
        assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)]), requirement


def test_what_is_installed_asks_for_nothing_outside_the_lock():
    from importlib.metadata import PackageNotFoundError, requires

    missing = set()
    for name in PINS:
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue
        for requirement in map(Requirement, lines):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                needed = canonicalize_name(requirement.name)
                if needed not in PINS and not needed.startswith(("nvidia-", "cuda-", "triton")):
                    missing.add((name, needed))
    assert not missing


def test_help_names_every_target():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", text, re.M)[1].split()) - {"help"}
    assert targets >= set(re.findall(r"^([a-z]+):", text, re.M)) - {"help"}
    told = subprocess.run(["make", "-s", "-C", ROOT], capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in told.splitlines() if line.startswith("make ")} == targets


@pytest.mark.parametrize("scale", ["", "reference", "../elastic_lib", "pocket lab"])
@pytest.mark.parametrize("target", ["clean", "reproduce"])
def test_make_refuses_what_is_no_scale(target, scale):
    refused = subprocess.run(["make", "-n", "-C", ROOT, target, f"SCALE={scale}"], capture_output=True, text=True)
    assert refused.returncode != 0 and "SCALE is one of smoke pocket lab paper" in refused.stderr
    assert "rm -rf papermill_runs" not in refused.stdout


def test_git_keeps_the_reference_and_leaves_out_what_only_training_needs():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git repository")
    paths = {
        "papermill_runs/pocket/records/a/curve.csv": True,
        "papermill_runs/reference/pocket/runs.parquet": False,
        "papermill_runs/reference/pocket/README.md": False,
        "papermill_runs/reference/pocket/records/a/curve.csv": True,
        "papermill_runs/reference/pocket/.pack/runs.parquet": True,
        "papermill_runs/reference/pocket/records/a/checkpoint/policy.safetensors": True,
        "papermill_runs/reference/pocket/bases/b/lm.safetensors": True,
        "papermill_runs/reference/pocket/notebooks/03_pareto_frontiers.ipynb": False,
        "papermill_runs/pocket/notebooks/03_pareto_frontiers.ipynb": True,
        "papermill_runs/profiles/slurm/config.yaml": False,
        "figures/pocket_figure_8.png": False,
        "figures/own/pocket_figure_8.png": True,
    }
    command = ["git", "-C", ROOT, "check-ignore", "--no-index", *paths]
    ignored = subprocess.run(command, capture_output=True, text=True).stdout.split()
    assert ignored == [path for path, expected in paths.items() if expected]


# ---- the workflow


@pytest.fixture
def elsewhere(tmp_path):
    """A folder where nothing has been made yet."""
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    return tmp_path


def asked_of_snakemake(folder: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "snakemake", "-s", ROOT / "papermill_runs" / "Snakefile", "-d", folder]
    command += ["--cores", "2", "--rerun-triggers", "mtime", "--config", "scale=smoke", "seeds=1", *arguments]
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    return ran.returncode, ran.stdout + ran.stderr


def snakemake(folder: Path, *arguments: str) -> str:
    code, said = asked_of_snakemake(folder, *arguments)
    assert code == 0, said
    return said


RUN, OTHER = grid("sentiment", "smoke", 1, False)[:2]
STATUS = f"papermill_runs/smoke/records/{RUN.run_id}/status.json"


@pytest.fixture
def died(elsewhere):
    """The status of a run that died."""
    status = elsewhere / STATUS
    status.parent.mkdir(parents=True)
    status.write_text('{"status": "running"}')
    return status


def test_the_workflow_plans_every_base_run_and_notebook_and_a_plan_touches_nothing(elsewhere, died):
    plan = snakemake(elsewhere, "--dry-run", "--quiet", "rules")
    assert died.read_text() == '{"status": "running"}'
    planned = dict(re.findall(r"^(all|base|run|notebook|gallery) +(\d+)$", plan, re.M))
    runs = [recipe for task in TASKS for recipe in grid(task, "smoke", 1, False)]
    expected = {
        "all": 1,
        "base": len({(recipe.base_key, part) for recipe in runs for part in recipe.parts}),
        "run": len(runs),
        "notebook": len(list((ROOT / "notebooks").glob("0[0-9]_*.ipynb"))),  # the one of real language is lab's
        "gallery": 1,
    }
    assert {rule: int(count) for rule, count in planned.items()} == expected


@pytest.mark.parametrize("asked, says", [
    ("task=sentiment", "unknown setting of --config 'task'; did you mean tasks?"),
    ("scale=labb", "unknown scale 'labb'"),
])  # fmt: skip
def test_what_is_asked_of_the_workflow_is_known_or_refused(elsewhere, asked, says):
    code, said = asked_of_snakemake(elsewhere, asked, "--dry-run")
    assert code == 1 and says in said


def test_another_model_goes_to_every_run_and_to_the_notebook_which_lies_apart(elsewhere):
    asked = ("scale=lab", "tasks=sentiment", "set=lm_name=~/my/model lora_layers=none")
    plan = snakemake(elsewhere, *asked, "notebooks=10_real_language", "--dry-run", "--printshellcmds")
    trained = re.findall(r"elastic run .*", plan)
    assert len(trained) == 2 and all("--set 'lm_name=~/my/model' --set lora_layers=None" in run for run in trained)
    shown = re.search(r"papermill notebooks/10_real_language.ipynb (\S+) .*", plan)
    assert re.fullmatch(r"papermill_runs/lab/notebooks/[0-9a-f]{8}/10_real_language.ipynb", shown[1])
    assert """-y 'settings: ["lm_name=~/my/model", "lora_layers=none"]'""" in shown[0]
    told = re.search(r"elastic claims .*", plan)[0]
    assert "--set 'lm_name=~/my/model' --set lora_layers=none > papermill_runs/lab/.told/" in told
    code, said = asked_of_snakemake(elsewhere, *asked, "notebooks=04_imdb_sentiment", "--dry-run")
    assert code == 1 and "set=… is of notebooks=10_real_language" in said


def test_results_may_lie_on_another_disk(elsewhere, monkeypatch):
    monkeypatch.setenv("ELASTIC_RESULTS", str(there := elsewhere / "a disk"))
    assert own_results("smoke") == there / "smoke"
    book = there / "smoke" / "notebooks" / "06_stack_answers.ipynb"
    plan = snakemake(elsewhere, "--dry-run", "--printshellcmds", "--", book)
    made = re.findall(r"output: (\S.*)/(?:bases|records|notebooks)/", plan)
    assert len(made) > 5 and set(made) == {str(there / "smoke")}
    assert f"papermill notebooks/06_stack_answers.ipynb '{book}' -p" in plan


def test_what_a_run_takes_over_is_made_before_it(elsewhere):
    taking = Recipe("sentiment", "ppo", "smoke", beta=0.01)
    plan = snakemake(elsewhere, "--dry-run", "--", f"papermill_runs/smoke/records/{taking.run_id}/status.json")
    made = re.findall(r"output: papermill_runs/smoke/records/([\w-]+)/status.json", plan)
    assert made == [taking.begins_as()[0].run_id, taking.run_id]


def test_a_seed_is_whole_before_the_next_begins_and_a_notebook_waits_for_the_runs_that_it_shows(elsewhere):
    plan = snakemake(elsewhere, "seeds=2", "--dry-run", "--printshellcmds")
    jobs = {}
    job = r"output: papermill_runs/smoke/(\S+)(?: \(update\))?\n(?:.+\n)*? +priority: (-?\d+)"
    for output, priority in re.findall(job, plan):
        jobs[output] = int(priority)
    for task in TASKS:
        urgencies = {0: [], 1: []}
        for recipe in reversed(grid(task, "smoke", 2, False)):  # a base belongs to the first seed that it is for
            urgencies[recipe.seed].append(jobs[f"records/{recipe.run_id}/status.json"])
            of = 0 if recipe.base_key in {r.base_key for r in grid(task, "smoke", 1, False)} else 1
            urgencies[of] += [jobs[f"bases/{recipe.base_key}/{part}.json"] for part in recipe.parts]
        assert min(urgencies[0]) > max(urgencies[1])

    inputs = dict(re.findall(r"input: (.+)\n +output: papermill_runs/smoke/notebooks/(\w+)\.ipynb", plan))
    shown = {name: {task for task in TASKS if f"records/{task}-" in files} for files, name in inputs.items()}
    assert shown["01_elastic_reset"] == {"sentiment"} and shown["07_lstm_translation_game"] == {"translation"}
    assert shown["00_start_here"] == shown["09_beyond_the_paper"] == set(TASKS)
    (page,) = re.findall(r"input: (.+)\n +output: papermill_runs/smoke/\.told/translation-page", plan)
    assert page == ", ".join(
        f"papermill_runs/smoke/{made}"
        for made in (
            ".told/translation-s1",
            *(f"notebooks/{name}.ipynb" for name in sorted(shown) if shown[name] == {"translation"}),
        )
    )
    # not the reference's, which `elastic claims` shows where one's own are fewer than three seeds
    told = re.findall(r"elastic claims .*", plan)
    assert len(told) == 2 * len(TASKS) and all("--results papermill_runs/smoke " in command for command in told)


def test_a_run_that_died_is_made_a_finished_one_is_left_alone_a_damaged_one_put_aside(elsewhere, died, shared):
    """With the base that it lacks: one of its two models is there, the other is trained by its rule."""
    there = elsewhere / "papermill_runs" / "smoke" / "bases" / RUN.base_key
    there.mkdir(parents=True)
    for file in (pretrained(RUN, shared).base / name for name in ("lm.safetensors", "lm.json")):
        shutil.copy(file, there)
    snakemake(elsewhere, "--", STATUS)
    assert json.loads(died.read_text())["status"] == "done" and (there / "rm.safetensors").exists()
    took = stages.seconds(jobs := stages.jobs(elsewhere / "papermill_runs" / "smoke"))
    assert list(took) == ["pretraining, sentiment", "runs, sentiment"]
    (told_of := elsewhere / "papermill_runs" / "smoke" / ".told").mkdir()
    for seed in (1, 0):
        (told_of / f"sentiment-s{seed}").touch()
        os.utime(told_of / f"sentiment-s{seed}", (9e9, 9e9 - seed))
    assert list(stages.told(told_of.parent)) == ["sentiment, seed 1", "sentiment, seed 0"]  # as they came
    (start, end), (model, run) = stages.span(jobs), (sum(each) for each in took.values())
    assert max(model, run) <= end - start and end == max(job.ended for job in jobs)
    made, damaged = died.stat().st_mtime_ns, died.parent.with_name(OTHER.run_id)

    for base in there.glob("*.json"):
        base.touch()
    shutil.copytree(died.parent, damaged)
    (damaged / "curve.csv").write_text("step\n")
    told = snakemake(elsewhere, "--", STATUS)
    assert "Nothing to be done" in told and died.stat().st_mtime_ns == made
    assert "curve.csv is damaged" in told and "set aside" in told and not damaged.exists()


@pytest.mark.parametrize("name", ["slurm", "slurm_gpu"])
def test_a_cluster_s_profile_gives_time_and_memory_to_rules_that_there_are(name):
    profile = yaml.safe_load((ROOT / "papermill_runs" / "profiles" / name / "config.yaml").read_text())
    rules = set(re.findall(r"^rule (\w+):", (ROOT / "papermill_runs" / "Snakefile").read_text(), re.M))
    assert profile["executor"] == "slurm" and profile["slurm-requeue"] and profile["retries"] >= 1
    assert {"slurm_partition", "slurm_account", "mem_mb", "runtime"} <= set(profile["default-resources"])
    assert set(profile["set-resources"]) <= rules
    assert ("gres" in profile["set-resources"]["run"]) == (name == "slurm_gpu")
