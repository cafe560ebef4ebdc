"""Where the project is not installed: what the first cell of a notebook fetches, and what it leaves alone."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from elastic_lib.notebook import colab

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]


@pytest.fixture
def place(monkeypatch):
    """A machine that has what it is told, and a pip that only notes what it is asked for."""
    has, asked = {}, []

    class Done:
        returncode = 0

    def run(command, **_):
        asked.append([Path(part).read_text() if part.endswith(".txt") else part for part in command[4:]])
        return Done

    monkeypatch.setattr(colab, "installed", has.get)
    monkeypatch.setattr(colab.subprocess, "run", run)
    return has, asked, Done


def test_only_what_is_missing_or_too_old_is_installed_and_never_torch(place, capsys):
    has, asked, _ = place
    has |= {"torch": "2.11.0+cu126", "transformers": "4.57.1", "tokenizers": "0.22.1", "safetensors": "0.6.2"}
    has |= {"numpy": "2.0.2", "pandas": "2.2.2", "plotly": "5.24.1", "ipywidgets": "7.7.1", "pillow": "11.3.0"}
    colab.main()
    (command,) = asked
    wanted, constraint = command[1:-2], command[-1]
    assert {re.match(r"\w+", line).group() for line in wanted} == {
        "transformers", "sacrebleu", "pyarrow", "plotly", "ipywidgets", "anywidget", "kaleido", "papermill"
    }  # fmt: skip
    assert command[0] == "-q" and command[-2] == "--constraint" and constraint == "torch==2.11.0+cu126\n"
    assert "Installing transformers" in capsys.readouterr().out


def test_where_all_is_there_pip_is_not_asked(place, capsys):
    has, asked, _ = place
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["companion"]]
    has |= {re.match(r"\w+", line).group(): "99.0" for line in lines}
    colab.main()
    assert not asked and not capsys.readouterr().out
    colab.main("trl")
    assert [line.split(">")[0] for line in asked[0][1:-2]] == ["trl", "peft", "accelerate", "datasets", "requests"]


def test_without_torch_nothing_brings_one(place, capsys):
    _, asked, _ = place
    colab.main()
    assert not any(part.startswith("torch") for part in asked[0]) and "--constraint" not in asked[0]
    assert "No torch here" in capsys.readouterr().out


def test_a_pip_that_fails_is_said(place):
    _, _, done = place
    done.returncode = 1
    with pytest.raises(SystemExit, match="pip could not install safetensors"):
        colab.main()


def setup_of(path):
    """The lines of a notebook that bring the project where it is not."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    return "".join(cells[1]["source"]).partition("\n\nfrom elastic_lib")[0]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_every_notebook_begins_with_it_and_has_its_badge(path):
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    code, first = setup_of(path), "".join(json.loads(path.read_text())["cells"][0]["source"])
    assert 'if util.find_spec("elastic_lib") is None:' in code and f"!git clone -q --depth 1 {repository}" in code
    extras = {"06_stack_answers": '"trl"', "10_real_language": '"trl", "lab"'}  # adapters; real models
    assert f".main({extras.get(path.stem, '')})" in code
    blob = f"{repository.removeprefix('https://')}/blob/main/notebooks/{path.name}"
    assert f"https://colab.research.google.com/{blob.replace('github.com', 'github')}" in first


@pytest.mark.parametrize("alone", [True, False], ids=["a notebook by itself", "beside its project"])
def test_the_first_cell_works_where_the_project_is_not_installed(alone, tmp_path):
    """As on Colab, with git's clone of this very folder, in an interpreter that cannot import the project."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (tmp_path / ("fetched" if alone else "elastic_lib")).symlink_to(ROOT if alone else ROOT / "elastic_lib")
    if not alone:
        (tmp_path / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    code = setup_of(NOTEBOOKS[0])
    clone = re.search(r"!git clone .*", code).group()
    assert clone.split()[-1] == "elastic-reset"
    code = code.replace(clone, f"import os; os.symlink({str(ROOT)!r}, 'elastic-reset')")
    script = f"""
import sys
sys.path[:] = [p for p in sys.path if p not in ({str(ROOT)!r}, "")]
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", type(f).__module__)]
sys.path_hooks[:] = [h for h in sys.path_hooks if "editable" not in getattr(h, "__module__", "")]
from importlib import util
assert util.find_spec("elastic_lib") is None, util.find_spec("elastic_lib")
from IPython.core.interactiveshell import InteractiveShell
done = InteractiveShell().run_cell({code!r})
done.raise_error()
import elastic_lib.notebook.steps
print("at", __import__("os").getcwd(), elastic_lib.__file__)
"""
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "IPYTHONDIR": str(tmp_path / "ipython")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "elastic_lib/__init__.py" in done.stdout and "torch" not in done.stdout
