"""Every notebook: runs at smoke, refuses parameters that mean nothing, is stored without outputs in short cells."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Kernel

from elastic_lib.figures import browser
from elastic_lib.notebook import steps
from elastic_lib.recipe import Recipe
from elastic_lib.recipe.grid import grid
from elastic_lib.records.record import Record, reference_results

HERE = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(HERE.glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
TASKS = {name: next((t for t in ("translation", "answers") if t in name), "sentiment") for name in NAMES}
MAKERS = ("04_imdb_sentiment", "07_lstm_translation_game", "06_stack_answers", "02_translation_game")
FIGURES = {"00_start_here": 2}  # at least 3 elsewhere
SCALES = {"10_real_language": "lab"}  # of which it shows the reference; pocket elsewhere


def order(path):
    """First those that make records of different kinds; the others find theirs."""
    return MAKERS.index(path.stem) if path.stem in MAKERS else len(MAKERS)


def cells_of(path):
    return json.loads(path.read_text())["cells"]


def code_of(cell):
    return "".join(cell["source"])


def test_the_notebooks_are_there():
    assert {
        "00_start_here",
        "01_elastic_reset",
        "02_translation_game",
        "03_pareto_frontiers",
        "04_imdb_sentiment",
        "05_ablations",
        "06_stack_answers",
        "08_why_it_works",
        "07_lstm_translation_game",
        "09_beyond_the_paper",
        "10_real_language",
    } <= set(NAMES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_stored_without_outputs_in_short_cells_parameters_first(path):
    code = [cell for cell in cells_of(path) if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert all(len(code_of(cell).splitlines()) <= 15 for cell in code)
    assert code[0]["metadata"]["tags"] == ["parameters"]
    for name in steps.PARAMETERS:
        assert f"{name} = " in code_of(code[0])
    assert re.search(r'steps\.check\("(sentiment|translation|answers)", globals\(\)(, "settings")?\)', code_of(code[1]))
    opening = code_of(cells_of(path)[0]) + code_of(cells_of(path)[1])
    assert "Reproduces" in opening and "What differs from the paper" in opening and "| scale |" in opening
    assert re.search(r"steps\.(verdicts|scoreboard)\(", code_of(code[-1]))


def test_the_executed_copies_are_of_these_notebooks_and_name_no_machine():
    folders = {
        SCALES.get(name, "pocket"): reference_results(SCALES.get(name, "pocket")) / "notebooks" for name in NAMES
    }
    copies = {path.stem: path.read_text() for folder in folders.values() for path in folder.glob("*.ipynb")}
    assert set(copies) == set(NAMES)
    for path in NOTEBOOKS:
        copy = json.loads(copies[path.stem])
        sources = [
            code_of(cell) for cell in copy["cells"] if "injected-parameters" not in cell["metadata"].get("tags", [])
        ]
        beside = [re.sub(r"\]\(\.\./\.\./\w+/notebooks/", "](", source) for source in sources]
        assert beside == [code_of(cell) for cell in cells_of(path)], path.stem
        assert not re.findall(r'"/(?:home|root|work|tmp|Users)/[^"]*', copies[path.stem]), path.stem


def test_the_executed_copies_lead_to_each_other():
    for path in reference_results("pocket").parent.glob("*/notebooks/*.ipynb"):
        for to in re.findall(r"\]\((?!https?:)([^)#]+\.ipynb)", "".join(map(code_of, cells_of(path)))):
            assert (path.parent / to).is_file(), (path.stem, to)


def with_parameters(path, **parameters):
    """A notebook as papermill executes it."""
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    return parameterize_notebook(load_notebook_node(str(path)), parameters)


@pytest.mark.parametrize(
    "how", sorted({*re.findall(r"steps\.gather\((.*?)\)", "".join(p.read_text() for p in NOTEBOOKS))})
)
def test_where_the_reference_is_no_notebook_trains(how, monkeypatch, tmp_path):
    """What is made beside the grid would be made by one process, one after the other."""
    monkeypatch.setattr(steps, "_make", lambda recipes, folder: pytest.fail(f"{len(recipes)}: {recipes[0].label()}"))
    monkeypatch.setattr(steps, "own_results", lambda scale: tmp_path)
    monkeypatch.setattr(steps.pictures, "camera", lambda: None)
    names = dict(steps=steps, scale="pocket", seeds=5, methods=None, records="auto", settings=None)
    assert eval(f"steps.gather({how.replace(chr(92), '')})", names).found


def test_more_seeds_than_the_reference_has_are_made_together(monkeypatch, tmp_path):
    """A setting is shown from one folder: one's own is to hold all of them."""
    made = []
    monkeypatch.setattr(steps, "_make", lambda recipes, folder: made.extend(recipes))
    monkeypatch.setattr(steps, "own_results", lambda scale: tmp_path)
    monkeypatch.setattr(steps.pictures, "camera", lambda: None)
    steps.gather("sentiment", "pocket", 6, ["elastic"], "auto", beta=0.01)
    assert [(recipe.label(), recipe.seed) for recipe in made] == [("elastic", seed) for seed in range(6)]


def test_a_notebook_may_be_run_again_in_its_kernel():
    names = dict(scale="smoke", seeds=1, methods=None, records="auto", evidence=1)
    with pytest.raises(ValueError, match="unknown parameter 'evidence'"):
        steps.check("sentiment", names | {"In": ["", "steps.check(…)"]})
    steps.check("sentiment", names | {"In": ["", "steps.check(…)", "evidence = 1", "steps.check(…)"]})
    with pytest.raises(
        ValueError, match=r"methods must be a list of names \(papermill -y 'methods: \[ppo, elastic\]'\)"
    ):
        steps.check("sentiment", dict(scale="smoke", seeds=1, methods="ppo", records="auto"))


def test_the_settings_of_a_notebook_are_said_as_after_set():
    names = dict(scale="smoke", seeds=1, methods=None, records="auto")
    steps.check("sentiment", names | {"settings": ["lm_name=mine", "lora_layers=none"]}, "settings")
    for settings, says in (("lm_name=mine", "must be a list of key=value"), (["lm_nam=mine"], "did you mean lm_name")):
        with pytest.raises(ValueError, match=says):
            steps.check("sentiment", names | {"settings": settings}, "settings")
    with pytest.raises(ValueError, match="unknown parameter 'settings'"):  # of a notebook that has none
        steps.check("sentiment", names | {"settings": None})


@pytest.mark.parametrize("path", sorted(NOTEBOOKS, key=order), ids=lambda path: path.stem)
def test_runs_at_smoke_and_makes_its_records_itself(path, kernel, shared):
    done = kernel.execute(with_parameters(path, scale="smoke", seeds=1, records=str(shared)))
    outputs = [output for cell in done["cells"] if cell["cell_type"] == "code" for output in cell["outputs"]]
    shown = [output["data"] for output in outputs if "data" in output]
    figures = [data for data in shown if "application/vnd.plotly.v1+json" in data]
    assert len(figures) >= FIGURES.get(path.stem, 3)
    assert any("95% interval" in "".join(data.get("text/html", "")) for data in shown)
    task, lstm = TASKS[path.stem], {"net": "lstm"} if "lstm" in path.stem else {}
    runs = [r for r in grid(task, "smoke", 1, bool(lstm)) if all(getattr(r, n) == v for n, v in lstm.items())]
    assert len(runs) >= 3 and all((shared / "records" / run.run_id / "status.json").exists() for run in runs)


def test_a_notebook_makes_the_records_of_the_command_line(kernel, results):
    """In a kernel that has run other things, and by `elastic run` in a process of its own: the same bits."""
    import nbformat

    cell = "from elastic_lib.notebook.steps import gather\n"
    cell += f"gather('sentiment', 'smoke', 1, ['elastic'], {str(results)!r}, beta=0.01)"
    kernel.execute(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)]))
    (here,) = (results / "records").glob("sentiment-elastic-*")
    (elsewhere := results / "elsewhere").mkdir()
    (elsewhere / "bases").symlink_to(results / "bases")
    run = Recipe.from_dict(Record(here).recipe()).command(str(elsewhere))
    subprocess.run([sys.executable, "-m", "elastic_lib.cli", *run[1:]], check=True, capture_output=True)
    there = Record(elsewhere / "records" / here.name)
    assert Record(here).status()["fingerprint"] == there.status()["fingerprint"]
    for name in ("recipe.json", "samples.jsonl", "path.csv"):
        assert (here / name).read_bytes() == (there.path / name).read_bytes()


@pytest.fixture(scope="session")
def reader(tmp_path_factory):
    """A kernel without torch, and without a browser: pictures are not what is tested."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "torch.py").write_text("raise ImportError('reading needs no torch')")
    kernel = Kernel({"PYTHONPATH": str(folder), "PATH": str(folder)})
    with kernel.running:
        yield kernel


# What is ours is imported anew, so that no notebook lives on what another one has imported.
ANEW = """import sys
for _name in [_name for _name in sys.modules if _name.partition(".")[0] == "elastic_lib"]:
    del sys.modules[_name]"""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_the_reference_is_read_without_training_and_without_torch(path, reader):
    done = reader.execute(with_parameters(path, records="reference"), f"{Kernel.FORGET}\n{ANEW}")
    outputs = [output for cell in done["cells"] if cell["cell_type"] == "code" for output in cell["outputs"]]
    figures = [output for output in outputs if "application/vnd.plotly.v1+json" in output.get("data", {})]
    assert len(figures) >= FIGURES.get(path.stem, 3)
    scale = SCALES.get(path.stem, "pocket")
    assert all(output["metadata"]["elastic"]["figure"].startswith(f"{scale}_") for output in figures)
    said = json.dumps(figures, ensure_ascii=False)
    assert "the reference" in said and "no records of this" not in said


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"nosuch": 1}, "unknown parameter 'nosuch'; known: scale, seeds, methods, records"),
        ({"sceds": 1}, "unknown parameter 'sceds'; did you mean seeds"),
        ({"scale": "smok"}, "unknown scale 'smok'; did you mean smoke"),
        ({"seeds": 0}, "seeds must be a whole number, 1 or more; got 0"),
        ({"methods": ["elastik"]}, "unknown method of sentiment 'elastik'; did you mean elastic"),
        ({"records": "refrence"}, "records must be auto, own, reference, or a results folder"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(parameters, says):
    namespace = {
        "scale": "smoke",
        "seeds": 2,
        "methods": None,
        "records": "auto",
        "_hidden": 1,
        "In": [],
        "steps": steps,
    }
    steps.check("sentiment", namespace)
    with pytest.raises(ValueError, match=says):
        steps.check("sentiment", namespace | parameters)


def papermill(path, out, **parameters):
    from papermill import execute_notebook

    return execute_notebook(
        str(path), str(out), parameters=parameters, cwd=str(HERE), progress_bar=False,
        request_save_on_cell_execute=False,
    )  # fmt: skip


def test_papermill_fails_on_a_parameter_that_it_would_only_warn_about(tmp_path):
    from papermill.exceptions import PapermillExecutionError

    with pytest.raises(PapermillExecutionError, match="unknown parameter 'nosuch'"):
        papermill(NOTEBOOKS[-1], tmp_path / "out.ipynb", scale="smoke", seeds=2, nosuch=1)


def test_papermill_executes_one_whose_figures_have_still_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("ELASTIC_FIGURES", str(tmp_path / "figures"))
    done = papermill(NOTEBOOKS[0], tmp_path / "out.ipynb", records="reference")
    assert "95% interval" in json.dumps(done) and (tmp_path / "out.ipynb").exists()
    if browser():
        outputs = [output for cell in done["cells"] if cell["cell_type"] == "code" for output in cell["outputs"]]
        shown = [output["data"] for output in outputs if "application/vnd.plotly.v1+json" in output.get("data", {})]
        assert len(shown) == len(list((tmp_path / "figures").glob("*.png"))) == FIGURES[NOTEBOOKS[0].stem]
        assert all(data.get("image/png") for data in shown)


def test_a_progress_bar_in_a_notebook_redraws_one_display(kernel):
    import nbformat

    code = "from elastic_lib.progress import Progress\nwith Progress('x', 3) as bar:\n"
    code += "    for i in range(3):\n        bar.update(i + 1, reward=0.5)"
    book = kernel.execute(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]))
    (output,) = book.cells[0].outputs
    assert output["output_type"] == "display_data" and "3/3 · reward 0.5" in output["data"]["text/plain"]
