"""Where the time of `make reproduce` went: what Snakemake noted of each job, by stage.

{results}/.seconds/base/{base}-{part}.tsv · run/{run_id}.tsv · notebook/{name}.tsv
{results}/.told/{task}-s{seed}      what a task's runs said of the paper when a seed of it had ended
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from elastic_lib.records.files import ROOT

WORKFLOW = Path("papermill_runs", "Snakefile")
FOLDER, TOLD = ".seconds", ".told"
STAGES = {"base": "pretraining", "run": "runs", "notebook": "notebooks"}


class Job(NamedTuple):
    """A job's seconds, when it ended (seconds since the epoch), and the stage that it is of."""

    stage: str
    seconds: float
    ended: float


def reproduce_sentiment(cores: int, results: Path) -> None:
    """All of sentiment's first seed from nothing, by so many processes at once: models, runs, verdicts, a notebook."""
    if not (ROOT / WORKFLOW).is_file():
        raise FileNotFoundError(f"{WORKFLOW} is not here: this is measured in a clone of the project")
    config = ("scale=pocket", "seeds=1", "tasks=sentiment", "notebooks=04_imdb_sentiment")
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-s",
        WORKFLOW,
        "--cores",
        str(cores),
        "--nolock",
        "--config",
        *config,
    ]
    alone = os.environ | {"ELASTIC_RESULTS": str(results), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True)
    if ran.returncode:
        raise RuntimeError(f"with {cores} cores the workflow failed: {ran.stderr.strip()[-500:]}")


def jobs(results: Path) -> list[Job]:
    """All that were noted under a results folder."""
    found = []
    for path in sorted(Path(results, FOLDER).glob("*/*.tsv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        kind = path.parent.name
        stage = STAGES[kind] if kind == "notebook" else f"{STAGES[kind]}, {path.stem.partition('-')[0]}"
        found += [Job(stage, float(row["s"]), path.stat().st_mtime) for row in rows]
    if not found:
        raise FileNotFoundError(f"{results} does not say what its jobs took; `make reproduce` notes it there")
    return found


def seconds(found: list[Job]) -> dict[str, list[float]]:
    """Seconds of each job by stage, in the order that the stages ended first."""
    stages = defaultdict(list)
    for job in sorted(found, key=lambda job: job.ended):
        stages[job.stage].append(job.seconds)
    return dict(stages)


def span(found: list[Job]) -> tuple[float, float]:
    """When the first job began and the last one ended, in seconds since the epoch."""
    return min(job.ended - job.seconds for job in found), max(job.ended for job in found)


def told(results: Path) -> dict[str, float]:
    """When the verdicts of each seed of each task were there, the first of them first, in seconds since the epoch."""
    paths = sorted(Path(results, TOLD).glob("*-s*"), key=lambda path: path.stat().st_mtime)
    return {path.name.replace("-s", ", seed "): path.stat().st_mtime for path in paths}
