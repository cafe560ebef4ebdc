"""Lets a notebook run from a copy of this project that is not installed, as on Colab or Binder.

Installs what is missing, or too old, and nothing else: never torch, since such places have one that fits their GPU.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
# What such places have of their own, or no use for.
THEIR_OWN = {
    "torch",
    "jupyterlab",
    "snakemake",
    "snakemake-executor-plugin-slurm",
}


def main(*extras: str) -> None:
    """Installs what the notebooks import (the extra `companion`), and what further extras do, such as `trl`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [project["optional-dependencies"][name] for name in ("companion", *extras)]
    needed = [line for lines in (project["dependencies"], *asked) for line in lines]
    wanted = lacking(line for line in needed if not line.startswith(project["name"]))
    if wanted:
        print(f"Installing {', '.join(wanted)} …", flush=True)
        install(wanted)
    if installed("torch") is None:
        print("No torch here: figures and records can be read; `pip install torch` to make new records.")


def lacking(requirements: Iterable[str]) -> list[str]:
    """Those that are not installed, or not in a version that will do; never torch, nor what such places have."""
    names = {line: Requirement(line).name for line in requirements}
    found = {line: installed(name) for line, name in names.items() if name not in THEIR_OWN}
    return [line for line, has in found.items() if has is None or not Requirement(line).specifier.contains(has, True)]


def installed(name: str) -> str | None:
    """The version of a package here, None where there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def install(wanted: list[str]) -> None:
    """Runs pip, which may move anything but torch."""
    command = [sys.executable, "-m", "pip", "install", "-q", *wanted]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as kept:
        if found := installed("torch"):
            kept.write(f"torch=={found}\n")
            kept.flush()
            command += ["--constraint", kept.name]
        if subprocess.run(command).returncode:
            raise SystemExit(f"pip could not install {', '.join(wanted)}: its words are above")
