"""The house: arrows point down only, the reading wing never imports torch, the training wing imports little."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1] / "elastic_lib"
FLOORS = [
    {
        "cli",
        "widgets",
        "gallery",
        "monitor",
        "stills",
        "playground",
        "notebook",
        "bench",
        "bench_cost",
        "bench_game",
        "bench_parts",
        "bench_trl",
        "doctor",
    },
    {
        "run",
        "claims",
        "claims_ablations",
        "claims_answers",
        "claims_sentiment",
        "claims_translation",
        "figures",
        "scrubbers",
        "scenery",
        "overview",
        "drawing",
        "tables",
    },
    {
        "tasks",
        "loops",
        "records",
        "cells",
        "effects",
        "verdicts",
        "checkpoint",
        "callback",
        "callback_files",
        "underway",
    },
    {
        "text",
        "nets",
        "sandbox",
        "sandbox_inside",
        "sandbox_judge",
        "sandbox_plain",
        "sandbox_program",
        "scores",
        "plan",
        "recipe",
        "losses",
        "reset",
        "pareto",
        "settings",
        "scales",
        "grids",
        "progress",
        "colab",
        "landscape",
        "sparks",
    },
]
FLOOR = {name: i for i, names in enumerate(FLOORS) for name in names}
READING = ("claims", "effects", "verdicts", "figures", "drawing", "tables", "notebook", "cells", "pareto")
READING += ("records", "recipe", "grids", "scrubbers", "widgets", "gallery", "monitor", "underway", "colab")
READING += ("landscape", "scenery", "playground", "overview")
TRAINING = ("run", "tasks", "loops", "nets", "text")
MAY_IMPORT = {"torch", "transformers", "tokenizers", "safetensors", "sacrebleu", "numpy", "pandas", "elastic_lib"}


def files():
    return sorted(path for path in LIBRARY.rglob("*.py") if path.name != "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def imports(path: Path, top_only: bool):
    """Full module names that a file imports; `top_only` leaves out what is imported inside functions."""
    tree = ast.parse(path.read_text())
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside |= {id(below) for below in ast.walk(node)} - {id(node)}
    package = ["elastic_lib", *path.relative_to(LIBRARY).parts[:-1]]
    for node in ast.walk(tree):
        if top_only and id(node) in inside:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            stem = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (stem, node.module) if part)
            yield module
            if module == "elastic_lib":
                yield from (f"elastic_lib.{alias.name}" for alias in node.names)


def rooms_imported(path: Path):
    return {name.split(".")[1] for name in imports(path, top_only=False) if name.startswith("elastic_lib.")}


def test_every_file_has_its_floor():
    assert {room(path) for path in files()} <= set(FLOOR)


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(LIBRARY)))
def test_arrows_point_down(path):
    own = room(path)
    upward = {other for other in rooms_imported(path) if FLOOR[other] < FLOOR[own]}
    assert not upward, f"{own} imports from a floor above it: {upward}"


def test_the_test_sees_an_upward_arrow(tmp_path):
    assert FLOOR["run"] < FLOOR["records"]
    assert "run" in rooms_imported(LIBRARY / "cli.py")
    assert {"losses", "nets", "recipe"} <= rooms_imported(LIBRARY / "loops" / "ppo.py")


def test_the_method_imports_torch_alone():
    outside = {name.split(".")[0] for name in imports(LIBRARY / "reset.py", top_only=False)}
    assert outside - set(sys.stdlib_module_names) == {"torch"}
    outside = {name.split(".")[0] for name in imports(LIBRARY / "pareto.py", top_only=False)}
    assert outside - set(sys.stdlib_module_names) == {"numpy"}


@pytest.mark.parametrize("path", [p for p in files() if room(p) in TRAINING], ids=lambda p: str(p.relative_to(LIBRARY)))
def test_the_training_wing_imports_little(path):
    outside = {name.split(".")[0] for name in imports(path, top_only=True)} - set(sys.stdlib_module_names)
    assert outside <= MAY_IMPORT, f"imported at the top: {outside - MAY_IMPORT}"


def modules_after(statement: str) -> set[str]:
    """What a fresh interpreter has loaded after a statement."""
    code = f"{statement}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_reading_wing_never_imports_torch():
    present = [name for name in READING if (LIBRARY / f"{name}.py").exists()]
    assert {"claims", "figures", "pareto", "records"} <= set(present)
    loaded = modules_after("; ".join(f"import elastic_lib.{name}" for name in present))
    assert "torch" not in loaded
    assert "pandas" in loaded


def test_the_training_wing_needs_no_notebook_or_trainer_packages():
    loaded = modules_after("import elastic_lib.run")
    assert "torch" in loaded
    assert not loaded & {"trl", "peft", "datasets", "accelerate", "plotly", "IPython", "papermill", "ipywidgets"}
