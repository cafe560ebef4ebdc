"""What a notebook teaches with: lines that are the library's, questions with replies, names that exist."""

import ast
import html
import json
import re
from pathlib import Path

import pytest

from elastic_lib.figures import landscape
from elastic_lib.notebook import lesson, playground, steps
from elastic_lib.recipe import Recipe, parse_setting
from elastic_lib.records.record import reference_results
from elastic_lib.records.tables import opened

ROOT = Path(__file__).parents[1]
BOOKS = {path.stem[:2]: json.loads(path.read_text()) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}


def cells(number, kind):
    """Sources of the cells of a notebook, of one kind."""
    return ["".join(cell["source"]) for cell in BOOKS[number]["cells"] if cell["cell_type"] == kind]


# ---- the library's own lines


def shown(number):
    """What the calls of lesson.source in a notebook show."""
    trees = [ast.parse(text) for text in cells(number, "code") if "lesson.source(" in text]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    calls = [ast.unparse(call) for call in calls]
    return [eval(call, {"lesson": lesson}) for call in calls if call.startswith("lesson.source(")]


@pytest.mark.parametrize("number", ["01", "02", "04", "06"])
def test_what_is_shown_is_in_the_file_where_it_says_and_fits_a_cell(number):
    parts = shown(number)
    assert len(parts) >= 2
    for part in parts:
        there = (ROOT / part.file).read_text().splitlines()[part.first - 1 : part.last]
        assert [line.strip() for line in there] == [line.strip() for line in part.text.splitlines()]
        assert 1 <= len(there) <= 15, part.name
        told = part._repr_mimebundle_()["text/markdown"]
        assert f"{part.file}: {part.name}" in told and f"```python\n{part.text}\n```" in told
    assert number == "01" or any("$$" in text for text in cells(number, "markdown"))


def test_what_executed_notebooks_show_is_still_in_the_library():
    told = 0
    for path in reference_results("pocket").parent.glob("*/notebooks/*.ipynb"):
        outputs = [out for cell in json.loads(path.read_text())["cells"] for out in cell.get("outputs", [])]
        texts = ["".join(out["data"].get("text/markdown", "")) for out in outputs if "data" in out]
        parts = [re.fullmatch(r"<small>(\S+): (\S+)</small>\n```python\n(.*)\n```", text, re.S) for text in texts]
        for file, name, shown_there in (part.groups() for part in parts if part):
            written = [line.strip() for line in (ROOT / file).read_text().splitlines()]
            wanted = [line.strip() for line in shown_there.splitlines()]
            at = [i for i, line in enumerate(written) if line == wanted[0]]
            assert any(written[i : i + len(wanted)] == wanted for i in at), f"{path.name}: {name} was rewritten since"
            told += 1
    assert told > 25


@pytest.mark.parametrize("number", ["02", "04", "06"])
def test_the_update_stands_before_the_first_figure(number):
    texts = ["".join(cell["source"]) for cell in BOOKS[number]["cells"]]
    first = next(i for i, text in enumerate(texts) if "steps.show(" in text or "reading.side_by_side(" in text)
    assert max(i for i, text in enumerate(texts) if "lesson.source(" in text) < first
    assert any(text.startswith("## One update") for text in texts[:first])


def test_a_part_ends_where_it_is_told_and_is_set_flush_left():
    part = lesson.source("loops/ppo.py", "PPO._score", start="rewards = -self.beta", end="losses.gae(")
    assert part.text.startswith("rewards = -self.beta") and part.text.splitlines()[-1].startswith("advantages, returns")
    assert lesson.source("losses.py", "gae").text.startswith("def gae(")
    assert lesson.source("tasks/answers/task.py", "Answers.reward").text.startswith("@torch.no_grad()\ndef reward(")


def test_lines_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=re.escape("unknown definition in losses.py 'gea'; did you mean gae")):
        lesson.source("losses.py", "gea")
    with pytest.raises(ValueError, match=r"no line of losses.py: gae from \d+ to \d+ holds 'nosuch'"):
        lesson.source("losses.py", "gae", start="nosuch")


# ---- questions


def test_a_question_replies_to_each_guess_and_takes_no_script():
    asked = lesson.ask({"one < two": "It is.", "two": "It is not."}, right=1).data
    assert asked.count("<details>") == 2 and "<script" not in asked and " open" not in asked
    assert html.escape("one < two") in asked
    assert asked.index("✓ Right.</b> It is.") < asked.index("✗ No.</b> It is not.")
    with pytest.raises(ValueError, match="right must be one of the 1 choices"):
        lesson.ask({"one": "It is."}, right=0)


QUESTIONS = [text for text in cells("01", "code") if "lesson.ask(" in text]


@pytest.mark.parametrize("text", QUESTIONS, ids=range(1, len(QUESTIONS) + 1))
def test_the_replies_of_notebook_01_are_computed_and_one_is_right(text):
    names = {"lesson": lesson, "landscape": landscape, "toy": landscape.Landscape(), "steps": steps}
    *before, last = ast.parse(text).body
    exec(compile(ast.Module(before, []), "the cell", "exec"), names)
    asked = eval(ast.unparse(last), names).data
    assert asked.count("✓ Right.") == 1 and "nan" not in asked
    assert len(names["choices"]) == asked.count("<summary") >= 2


def test_the_numbers_that_question_4_and_8_rest_on():
    toy = landscape.Landscape()
    one, other = (landscape.walk(toy, method) for method in ("elastic", "to_ema"))
    apart = one.step[(one.theta != other.theta).any(axis=1)][0]
    assert one.resets[1] == apart  # the row right after the second reset
    replies = "".join(ast.unparse(ast.parse(text)) for text in QUESTIONS)
    assert "bit for bit: {same}" in replies and "differs first in step {first}" in replies


def test_there_are_ten_questions_and_nothing_stands_open():
    asking = [cell for cell in BOOKS["01"]["cells"] if "lesson.ask(" in "".join(cell["source"])]
    assert all(cell["metadata"]["jupyter"]["source_hidden"] for cell in asking)  # its code holds the replies
    asked = [int(number) for text in cells("01", "markdown") for number in re.findall(r"(?m)^\*\*(\d+)\. ", text)]
    assert asked == list(range(1, 11)) and len(QUESTIONS) == 9  # the tenth has its answer folded beside it
    after = cells("01", "code")[cells("01", "code").index(QUESTIONS[0]) :]
    tables = [text for text in after if "contest(" in text]
    assert len(tables) == 4 and all("steps.folded(" in text for text in tables)


# ---- a lesson


def test_the_plan_adds_up():
    (plan,) = [text for text in cells("01", "markdown") if "| part | 45 minutes | 90 minutes |" in text]
    rows = re.findall(r"(?m)^\| .*\| (\d*|at home) ?\| (\d+) \|$", plan)
    assert len(rows) == 8
    assert sum(int(short) for short, _ in rows if short.isdigit()) == 45
    assert sum(int(long) for _, long in rows) == 90


def test_the_exercise_begins_unsolved_and_its_solution_is_right():
    (cell,) = [text for text in cells("01", "code") if "playground.check_reset(" in text]
    names = {"playground": playground}
    exec(cell.replace("print(", "told = ("), names)
    assert names["told"].startswith("✗ Not yet: nothing has changed")
    (solved,) = [text for text in cells("01", "markdown") if "two lines that are right" in text]
    exec(re.search(r"```python\n(.*?)```", solved, re.S)[1], names)
    assert playground.check_reset(names["reset"]).startswith("✓ Right")


# ---- symbols, and the paper piece by piece


def exists(place):
    """Whether `file.py: Name.part` is a definition of the library, or what one of its classes holds."""
    file, _, name = place.partition(": ")
    owner, _, part = name.rpartition(".")
    try:
        lesson.source(file, name)
    except ValueError:
        if not owner:
            return False
        held = lesson.source(file, owner).text
        return bool(re.search(rf"(?m)(self\.{part}\b.*=|^\s+{part}: )", held))
    return True


def test_the_test_sees_what_does_not_exist():
    assert exists("reset.py: ElasticReset.ema") and exists("loops/ppo.py: PPOSettings.beta")
    assert not exists("reset.py: ElasticReset.emma") and not exists("losses.py: gea")


def rows_of(heading):
    (text,) = [text for text in cells("00", "markdown") if text.startswith(f"## {heading}")]
    rows = [re.split(r" \| ", line.strip("| ")) for line in text.splitlines() if line.startswith("| ")]
    return rows[1:]


def test_every_symbol_lives_where_the_table_says():
    rows = rows_of("The symbols")
    assert {"θ", "θ̄", "θ0", "η", "n", "β", "r", "A"} <= {row[0] for row in rows}
    for symbol, _, code in rows:
        for place in re.findall(r"`([^`]+)`", code):
            assert exists(place), (symbol, place)


def test_every_piece_of_the_paper_has_a_section_a_function_and_a_run():
    rows, made = rows_of("From the paper to code and runs"), opened(reference_results("pocket")).runs
    named = " ".join(row[0] for row in rows)
    known = {name for names in re.findall(r"(Figure|Table|Equation)s? ([\d a-d,]+)", named)
             for number in re.findall(r"\d+", names[1]) for name in [f"{names[0]} {number}"]}  # fmt: skip
    pieces = {"Figure": 21, "Table": 6, "Equation": 1}
    assert known == {f"{kind} {number}" for kind, count in pieces.items() for number in range(1, count + 1)}
    for piece, section, place, command in rows:
        number, stem, heading = re.fullmatch(r"\[(\d\d)\]\((\w+)\.ipynb\): (.+)", section).groups()
        assert (ROOT / "notebooks" / f"{stem}.ipynb").exists() and stem.startswith(number)
        assert any(f"## {heading}" in text.splitlines() for text in cells(number, "markdown")), (piece, heading)
        assert exists(place.strip("`")), (piece, place)
        if command != "none":
            task, method, *settings = command.strip("`").removeprefix("elastic run ").split()
            changed = dict(parse_setting(setting) for setting in settings if setting != "--set")
            assert Recipe(task, method, "pocket", **changed).run_id in made, (piece, command)
