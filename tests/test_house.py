"""The house as the README draws it: few boxes, arrows that point down only, no circle, a reading wing without torch."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "elastic_lib"
FLOORS = [  # from the top down; boxes of one floor do not know each other
    {"cli"},
    {"notebook", "machine"},
    {"figures", "run"},
    {"tasks"},
    {"evidence", "loops", "callback", "sandbox"},
    {"records", "recipe", "nets"},
    {"facts", "reset", "losses", "progress"},
    {"decay", "pareto"},
]
FLOOR = {box: i for i, boxes in enumerate(FLOORS) for box in boxes}
READING = (
    "evidence",
    "figures",
    "notebook",
    "records/record.py",
    "records/packed.py",
    "records/ongoing.py",
    "records/watch.py",
)
READING += ("recipe", "tasks/*/facts.py", "tasks/*/claims*.py", "tasks/translation/measures.py", "tasks/ledger.py")
TRAINING = ("run.py", "tasks", "loops", "nets")
MAY_IMPORT = {"torch", "transformers", "tokenizers", "safetensors", "sacrebleu", "numpy", "pandas", "pyarrow"}


def files(*places: str):
    """Files of the library, those of some places or all."""
    found = {path for place in places or ("*",) for path in LIBRARY.glob(place)}
    inside = {path for one in found for path in (one.rglob("*.py") if one.is_dir() else [one])}
    inside = {path for path in inside if path.suffix == ".py"}
    return sorted(inside)


def box(path: Path) -> str:
    """Where a file lies: a room, a file of the front, or the facts of the tasks, which lie on a floor of their own."""
    parts = path.relative_to(LIBRARY).with_suffix("").parts
    if parts[0] == "tasks" and (
        parts[-1] in ("facts", "axes") or parts[1:] == ("__init__",) or parts[2:] == ("__init__",)
    ):
        return "facts"
    return parts[0]


def imports(path: Path, top_only: bool = False):
    """Full module names that a file imports; `top_only` leaves out what is imported inside functions."""
    tree = ast.parse(path.read_text())
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside |= {id(below) for below in ast.walk(node)} - {id(node)}
    for node in ast.walk(tree):
        if top_only and id(node) in inside:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports by dots: say from where"
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            inside_it = [name for name in named if file_of(name)]
            yield from inside_it
            if len(inside_it) < len(named):
                yield node.module


def file_of(module: str) -> Path | None:
    """The file behind a module's name, if it is one of ours."""
    path = ROOT / module.replace(".", "/")
    if path.is_dir() and (path / "__init__.py").exists():
        return path / "__init__.py"
    return path.with_suffix(".py") if path.with_suffix(".py").exists() else None


@cache
def arrows() -> list[tuple[Path, Path]]:
    """From file to file, as imports say; a package that only leads on to its files is passed through."""
    found = []
    for path in files():
        if path.name == "__init__.py" and path.parent == LIBRARY:
            continue
        for module in imports(path):
            target = file_of(module) if module.startswith("elastic_lib.") else None
            if target is not None and target != path:
                found.append((path, target))
    return found


def test_a_newcomer_can_draw_it():
    boxes = [path for path in LIBRARY.iterdir() if path.name not in ("__pycache__", "__init__.py")]
    assert len(boxes) <= 20, sorted(path.name for path in boxes)
    assert {box(path) for path in files()} - {"__init__"} == set(FLOOR)
    drawn = {(box(a), box(b)) for a, b in arrows() if box(a) != box(b)}
    assert len(drawn) <= 60, len(drawn)


def test_arrows_point_down():
    upward = {
        (str(a.relative_to(LIBRARY)), str(b.relative_to(LIBRARY)))
        for a, b in arrows()
        if box(a) != box(b) and FLOOR[box(b)] <= FLOOR[box(a)]
    }
    assert not upward


def test_no_circle_of_files():
    graph = {}
    for a, b in arrows():
        graph.setdefault(a, set()).add(b)
    list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_the_test_sees_arrows():
    seen = {(str(a.relative_to(LIBRARY)), str(b.relative_to(LIBRARY))) for a, b in arrows()}
    assert ("cli.py", "run.py") in seen and ("loops/ppo.py", "losses.py") in seen
    assert ("tasks/sentiment/reviews.py", "tasks/sentiment/world.py") in seen


def outside(path: Path, top_only: bool = False) -> set[str]:
    """Packages that are neither Python's nor ours."""
    return {name.split(".")[0] for name in imports(path, top_only)} - set(sys.stdlib_module_names) - {"elastic_lib"}


def test_the_front_imports_as_little_as_it_says():
    assert outside(LIBRARY / "reset.py") == outside(LIBRARY / "losses.py") == {"torch"}
    assert outside(LIBRARY / "pareto.py") == {"numpy"} and not outside(LIBRARY / "decay.py")
    assert outside(LIBRARY / "callback.py") == {"torch", "transformers", "safetensors"}


def test_loops_know_no_task_and_no_recipe():
    known = {box(b) for a, b in arrows() if box(a) == "loops"} - {"loops"}
    assert known <= {"nets", "losses", "reset", "progress", "decay"}


@pytest.mark.parametrize("path", files(*TRAINING), ids=lambda p: str(p.relative_to(LIBRARY)))
def test_the_training_wing_imports_little(path):
    assert outside(path, top_only=True) <= MAY_IMPORT


def modules_after(statement: str, *more: str) -> list[set[str]]:
    """What a fresh interpreter has loaded after a statement, and after others that follow."""
    code = "\n".join(f"{one}\nimport sys; print(*sys.modules)" for one in (statement, *more))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [set(line.split()) for line in done.stdout.splitlines()]


def named(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_the_reading_wing_never_imports_torch():
    (loaded,) = modules_after("; ".join(f"import {named(path)}" for path in files(*READING)))
    assert "torch" not in loaded and {"pandas", "elastic_lib.tasks.answers.claims"} <= loaded


PLAYED = """import sys, types
class Played(types.ModuleType):
    Trainer = TrainerCallback = has_length = object
sys.modules |= {name: Played(name) for name in ("transformers", "transformers.trainer_utils")}
import elastic_lib.callback"""  # transformers takes seconds, and what it loads is not asked


def test_what_one_takes_home_loads_nothing_else_and_the_training_wing_no_notebook_or_trainer_packages():
    loaded = modules_after("from elastic_lib import ElasticReset", PLAYED, "import elastic_lib.run")
    plain, callback = ({name for name in names if name.startswith("elastic_lib")} for names in loaded[:2])
    assert plain == {"elastic_lib", "elastic_lib.reset", "elastic_lib.decay"}
    beside = ("records", "records.files", "records.tensors")  # what it leaves beside a checkpoint
    assert callback - plain == {f"elastic_lib.{name}" for name in ("callback", *beside)}
    training = {name.split(".")[0] for name in loaded[2]}
    assert "torch" in training
    assert not training & {"trl", "peft", "datasets", "accelerate", "plotly", "IPython", "papermill", "ipywidgets"}
