"""Real questions and answers from local files, their failures by name, and the hub by a stand-in."""

import gzip
import json
import os
import re
import sys
import types
from collections import Counter
from itertools import combinations
from pathlib import Path
from statistics import mean

import pytest

from elastic_lib.tasks.answers import real as stack
from elastic_lib.tasks.answers.real import (
    HUMANEVAL,
    QA_FEEDBACK,
    STACK_EXCHANGE,
    humaneval,
    qa_feedback,
    split,
    stack_exchange,
)
from elastic_lib.tasks.answers.world import Answer, Question, pairs, program, reads

ASKED = {
    "site": "s",
    "id": 7,
    "question": "How?\n\nPlease.  \n",
    "answers": [
        {"id": 1, "text": "So:\r\n\r\n\r\n\n```\nif x:\n    y\n```", "score": -2},
        {"id": 2, "text": "Like\u00a0this.", "score": 4},
        {"id": 3, "text": "No.", "score": 0},
    ],
}
COMPARED = {"question": "Why?", **{f"prediction {i}": f"p{i}" for i in (1, 2, 3, 4)}, "preference": [1, 2, 0, 1, 2, 0]}
PROBLEM = {
    "task_id": "T/0",
    "prompt": "def one():\n",
    "canonical_solution": "    return 1\n",
    "test": "def check(f):\n    assert f() == 1\n",
    "entry_point": "one",
}
COMMIT = "c" * 40  # which `main` is, where no other is named
SOURCES = [
    (stack_exchange, STACK_EXCHANGE, ASKED),
    (qa_feedback, QA_FEEDBACK, COMPARED),
    (humaneval, HUMANEVAL, PROBLEM),
]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("ELASTIC_DATA", raising=False)
    monkeypatch.setenv("ELASTIC_MODELS", str(tmp_path / "models"))
    monkeypatch.setitem(sys.modules, "datasets", None)  # importing it fails: local data must do without
    return tmp_path


def lines(*rows):
    return "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows).encode()


def write(root, name, data):
    path = root / name
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return path


# --- what comes back ---


def test_questions_come_back_clean_with_their_oldest_answers(root):
    write(root, STACK_EXCHANGE, gzip.compress(lines(ASKED)))
    first, second = Answer("So:\n\n```\nif x:\n    y\n```", -2), Answer("Like this.", 4)
    assert stack_exchange(root) == [Question("How?\n\nPlease.", (first, second, Answer("No.", 0)))]
    assert stack_exchange(root, most=2) == [Question("How?\n\nPlease.", (first, second))]
    # Votes below zero are as none, so the first and the last tie.
    assert pairs(stack_exchange(root)[0]) == [("Like this.", first.text), ("Like this.", "No.")]
    assert program(first.text) == "if x:\n    y"


def test_ten_answers_are_kept(root):
    write(root, STACK_EXCHANGE, gzip.compress(lines({**ASKED, "answers": ASKED["answers"] * 5})))
    assert [len(question.answers) for question in stack_exchange(root)] == [10]


def test_comparisons_come_back_in_order_without_ties(root):
    write(root, QA_FEEDBACK, gzip.compress(lines(COMPARED)))
    # The six are 1-2, 1-3, 1-4, 2-3, 2-4, 3-4.
    assert qa_feedback(root) == [("Why?", "p1", "p2"), ("Why?", "p3", "p1"), ("Why?", "p2", "p3"), ("Why?", "p4", "p2")]


def test_a_problem_is_a_whole_program_with_its_test(root):
    write(root, HUMANEVAL, gzip.compress(lines(PROBLEM)))
    (problem,) = humaneval(root)
    assert (problem.task_id, problem.question) == ("T/0", "def one():\n")
    names = {}
    exec(problem.solution, names)
    exec(problem.tests, names)
    with pytest.raises(AssertionError):
        exec(problem.tests, {"one": lambda: 2})


@pytest.mark.parametrize("read, name, row", SOURCES)
def test_the_environment_names_the_folder_and_plain_files_will_do(root, monkeypatch, read, name, row):
    write(root, name.removesuffix(".gz"), lines(row))
    monkeypatch.setenv("ELASTIC_DATA", str(root))
    assert read() and read() == read(root)


# --- what fails ---


@pytest.mark.parametrize("read, name, row", SOURCES)
def test_a_missing_file_is_named_and_never_replaced_by_the_hub(root, monkeypatch, read, name, row):
    with pytest.raises(FileNotFoundError, match=re.escape(str(root / name)) + " is missing: copy it there"):
        read(root)
    monkeypatch.setenv("ELASTIC_DATA", str(root))
    with pytest.raises(FileNotFoundError, match="is missing: copy it there"):
        read()
    monkeypatch.setenv("ELASTIC_DATA", str(root / "none"))
    with pytest.raises(FileNotFoundError, match=f"not a folder: set it to a folder that holds {re.escape(name)}"):
        read()


@pytest.mark.parametrize("cut", [0.5, 0.99], ids=["half", "no tail"])
@pytest.mark.parametrize("read, name, row", SOURCES)
def test_a_truncated_file_is_named(root, read, name, row, cut):
    whole = gzip.compress(lines(*({**row, "extra": i * 997} for i in range(500))))
    path = write(root, name, whole[: int(cut * len(whole))])
    with pytest.raises(ValueError, match=re.escape(str(path)) + r".* line \d+.*copy it again"):
        read(root)


@pytest.mark.parametrize("read, name, row", SOURCES)
def test_an_empty_file_is_an_error(root, read, name, row):
    write(root, name, gzip.compress(b""))
    with pytest.raises(ValueError, match="holds no line: copy it again"):
        read(root)


@pytest.mark.parametrize("bad", ['{"cut', "", "[1]", '"text"', "{}", "null", b'{"question": "caf\xe9"}'])
@pytest.mark.parametrize("read, name, row", SOURCES)
def test_a_line_that_is_no_row_is_named(root, read, name, row, bad):
    middle = bad + b"\n" if isinstance(bad, bytes) else lines(bad)
    path = write(root, name, gzip.compress(lines(row) + middle + lines(row)))
    with pytest.raises(ValueError, match=re.escape(f"{path}, line 2: ") + ".*mend or delete that line"):
        read(root)


@pytest.mark.parametrize("read, name, row", SOURCES)
def test_a_row_that_lacks_something_or_holds_something_else_is_named(root, read, name, row):
    path = write(root, name, b"")
    for key in set(row) - {"site", "id"}:
        for bad in ({k: v for k, v in row.items() if k != key}, {**row, key: 3}, {**row, key: " "}):
            path.write_bytes(gzip.compress(lines(row, bad)))
            with pytest.raises(ValueError, match=re.escape(f"{path}, line 2: needs ")):
                read(root)


@pytest.mark.parametrize(
    "answers", [[{"text": "t"}], [{"text": "t", "score": "1"}], [{"text": "t", "score": 1.5}], [{"score": 1}], ["t"]]
)
def test_an_answer_needs_text_and_a_whole_score(root, answers):
    write(root, STACK_EXCHANGE, gzip.compress(lines({**ASKED, "answers": answers})))
    with pytest.raises(ValueError, match=r"line 1: needs .*whole 'score'"):
        stack_exchange(root)


@pytest.mark.parametrize("judged", [[1, 2], [1, 2, 0, 1, 2, 3], [1, 2, 0, 1, 2, "0"], [1, 2, 0, 1, 2, True], 1])
def test_a_preference_is_six_numbers(root, judged):
    write(root, QA_FEEDBACK, gzip.compress(lines({**COMPARED, "preference": judged})))
    with pytest.raises(ValueError, match=r"line 1: needs .*six numbers from 0 to 2"):
        qa_feedback(root)


# --- the hub ---


def stand_in(monkeypatch, load_dataset):
    monkeypatch.setattr("elastic_lib.tasks.hub._silence", lambda: None)
    monkeypatch.setattr("elastic_lib.tasks.hub._main", lambda *_: COMMIT)
    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))


def test_without_local_data_the_hub_gives_pairs(root, monkeypatch):
    def load_dataset(name, data_dir, split, streaming, revision):
        assert (name, data_dir, split, streaming) == ("lvwerra/stack-exchange-paired", "data/reward", "train", True)
        assert revision == COMMIT
        while True:  # too many to be read to the end
            yield {"qid": 1, "question": "How? ", "response_j": "So.", "response_k": "No."}

    stand_in(monkeypatch, load_dataset)
    questions = stack_exchange(hub_pairs=3)
    assert questions == 3 * [Question("How?", (Answer("So.", 1), Answer("No.", 0)))]
    assert pairs(questions[0]) == [("So.", "No.")]


def test_without_local_data_the_hub_gives_problems(root, monkeypatch):
    def load_dataset(name, split, revision):
        assert (name, split, len(revision)) == ("openai/openai_humaneval", "test", 40)
        return [PROBLEM]

    stand_in(monkeypatch, load_dataset)
    found = humaneval()
    write(root, HUMANEVAL, gzip.compress(lines(PROBLEM)))
    assert found == humaneval(root)


@pytest.mark.parametrize(
    "error, raised, said",
    [
        (ConnectionError("no route"), ConnectionError, "cannot reach the hub for .*no route"),
        (ValueError("gated"), FileNotFoundError, "cannot be had .gated."),
        (ImportError("install torchcodec"), FileNotFoundError, "cannot be had .install torchcodec."),
    ],
)
@pytest.mark.parametrize("read, name", [(stack_exchange, STACK_EXCHANGE), (humaneval, HUMANEVAL)])
def test_a_hub_that_fails_says_what_to_do(root, monkeypatch, read, name, error, raised, said):
    def load_dataset(*_, **__):
        raise error

    stand_in(monkeypatch, load_dataset)
    with pytest.raises(raised, match=said + ".*set ELASTIC_DATA to a folder that holds " + re.escape(name)):
        read()


def test_comparisons_are_local_only(root):
    with pytest.raises(FileNotFoundError, match="ELASTIC_DATA is not set: .*" + re.escape(QA_FEEDBACK)):
        qa_feedback()


# --- splits ---


def test_the_split_is_fixed_by_the_question():
    assert [split(key) for key in (0, "0", 5, "5", 20)] == 2 * ["train"] + 2 * ["validation"] + ["test"]
    shares = Counter(split(key) for key in range(20_000))
    for name, share in (("train", 0.9), ("validation", 0.05), ("test", 0.05)):
        assert shares[name] / 20_000 == pytest.approx(share, abs=0.006)


# --- the real files ---

local = pytest.mark.skipif(not os.environ.get("ELASTIC_DATA"), reason="ELASTIC_DATA names no folder of real data")


def real(name):
    if not (Path(os.environ["ELASTIC_DATA"]) / name).exists():
        pytest.skip(f"{name} is not in ELASTIC_DATA")


@local
def test_real_questions():
    real(STACK_EXCHANGE)
    questions = stack_exchange(most=1_000)
    assert (len(questions), sum(len(question.answers) for question in questions)) == (2_738, 6_463)
    unequal = [
        sorted(two, key=lambda one: -one.votes)
        for question in questions
        for two in combinations(question.answers, 2)
        if two[0].votes != two[1].votes
    ]
    assert len(unequal) == 8_761
    assert mean(len(better.text) > len(worse.text) for better, worse in unequal) == pytest.approx(0.616, abs=0.001)
    # Votes below zero tie with none, and beyond ten answers pairs are not drawn.
    assert sum(len(pairs(question, most=1_000)) for question in questions) == 8_711
    kept = stack_exchange()
    assert max(len(question.answers) for question in kept) == 10
    assert [pairs(question) for question in kept] == [pairs(question) for question in questions]
    assert sum(len(pairs(question)) for question in kept) == 7_430
    shares = Counter(split(question.text) for question in kept)
    assert shares["train"] > 2_400 and min(shares["validation"], shares["test"]) > 100


@local
def test_real_answers_hold_code_that_is_found():
    real(STACK_EXCHANGE)
    coded = [a.text for question in stack_exchange(most=1_000) for a in question.answers if "```" in a.text]
    assert len(coded) > 450
    assert all(program(text) for text in coded)
    assert 0.1 < mean(reads(text)["compiles"] for text in coded) < 0.3  # most is in another language


@local
def test_real_comparisons():
    real(QA_FEEDBACK)
    triples = qa_feedback()
    assert (len({question for question, _, _ in triples}), len(triples)) == (488, 2_616)  # in twelve questions all tie
    beats = {(question, better, worse) for question, better, worse in triples}
    assert not [one for one in beats if (one[0], one[2], one[1]) in beats]
    circles = [1 for q, a, b in beats for other, c, d in beats if q == other and c == b and (q, d, a) in beats]
    assert not circles  # read in any other order, hundreds of them would run in circles


@local
def test_real_problems_are_solved_by_their_solutions():
    real(HUMANEVAL)
    problems = humaneval()
    assert len({problem.task_id for problem in problems}) == 164
    for problem in problems[:40]:
        names = {}
        exec(problem.solution, names)
        exec(problem.tests, names)


def test_importing_it_imports_no_heavy_library():
    program = f"import sys, {stack.__name__}; assert not {{'torch', 'datasets', 'transformers'}} & set(sys.modules)"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", program]) == 0


def test_comparisons_become_votes():
    compared = [("q", "a", "b"), ("q", "a", "c"), ("q", "b", "c"), ("r", "x", "y")]
    first, second = stack.by_wins(compared)
    assert first.text == "q" and dict(first.answers) == {"a": 2, "b": 1, "c": 0}
    assert dict(second.answers) == {"x": 1, "y": 0}
    assert set(pairs(first)) == {("a", "b"), ("a", "c"), ("b", "c")}
