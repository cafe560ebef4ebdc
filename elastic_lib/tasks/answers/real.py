"""Real questions with answers that people judged, and HumanEval: local files first, else the Hugging Face hub.

The paper cleans the text, turns HTML into Markdown (done in the local file) and draws at most ten answers a question.
Votes differ much between sites and years, so they are only ever compared within one question. The hub's
Stack Exchange has pairs instead of votes; here each becomes a question with two answers, of one vote and of none.
"""

import hashlib
import re
from collections.abc import Iterator
from itertools import combinations, starmap
from pathlib import Path
from typing import Any, NamedTuple

from elastic_lib.tasks.answers.world import Answer, Question
from elastic_lib.tasks.hub import pinned, rows_from_the_hub
from elastic_lib.tasks.real_text import MEND, asks_the_hub, is_text, json_lines

STACK_EXCHANGE = "stackexchange/stackexchange.jsonl.gz"
QA_FEEDBACK = "preferences/qa_feedback/dev_feedback.jsonl.gz"
HUMANEVAL = "humaneval/HumanEval.jsonl.gz"
STACK_EXCHANGE_ON_THE_HUB, HUB_PART = "lvwerra/stack-exchange-paired", "data/reward"
HUMANEVAL_ON_THE_HUB = "openai/openai_humaneval@7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544"
LAYOUT = f"{STACK_EXCHANGE} (on each line a 'question' and 'answers', each with a 'text' and a 'score')"
JUDGED = tuple(combinations(range(1, 5), 2))  # the order of the six comparisons of four answers
FIRST_IS_BETTER, SECOND_IS_BETTER = 1, 2  # a comparison is 0 where both are as good


class HumanEval(NamedTuple):
    """The beginning of a program, asserts about it, and one correct whole program."""

    question: str
    tests: str
    solution: str
    task_id: str


def stack_exchange(
    root: Path | None = None, most: int = 10, hub_pairs: int = 100_000, results: Path | None = None
) -> list[Question]:
    """Questions with their oldest `most` answers; from the hub, as many of its pairs, which are in random order."""
    if not asks_the_hub(root):
        return [_question(row, where, most) for row, where in json_lines(root, STACK_EXCHANGE)]
    which = {"data_dir": HUB_PART, "split": "train", "streaming": True}  # the whole is too large to be kept
    made = []
    for row in rows_from_the_hub(on_the_hub(results), most=hub_pairs, mend=_mend(STACK_EXCHANGE), **which):
        better, worse = Answer(_clean(row["response_j"]), 1), Answer(_clean(row["response_k"]), 0)
        made.append(Question(_clean(row["question"]), (better, worse)))
    return made


def on_the_hub(results: Path | None = None) -> str | None:
    """The hub's Stack Exchange at the commit that these results go by; None where local files are read."""
    if not asks_the_hub():
        return None
    return pinned(STACK_EXCHANGE_ON_THE_HUB, results, "data set", _mend(STACK_EXCHANGE))


def qa_feedback(root: Path | None = None) -> list[tuple[str, str, str]]:
    """(question, better, worse) of people's comparisons of a model's answers, ties left out; local files only."""
    return [triple for row, where in json_lines(root, QA_FEEDBACK) for triple in _compared(row, where)]


def by_wins(compared: list[tuple[str, str, str]]) -> list[Question]:
    """Comparisons (question, better, worse) as questions whose answers have a vote for every comparison they won."""
    wins: dict[str, dict[str, int]] = {}
    for question, better, worse in compared:
        answers = wins.setdefault(question, {})
        answers[better] = answers.get(better, 0) + 1
        answers.setdefault(worse, 0)
    return [Question(text, tuple(starmap(Answer, answers.items()))) for text, answers in wins.items()]


def humaneval(root: Path | None = None) -> list[HumanEval]:
    """The problems of HumanEval."""
    if not asks_the_hub(root):
        return [_problem(row, where) for row, where in json_lines(root, HUMANEVAL)]
    rows = rows_from_the_hub(HUMANEVAL_ON_THE_HUB, split="test", mend=_mend(HUMANEVAL))
    return [_problem(row, HUMANEVAL_ON_THE_HUB) for row in rows]


def split(key: int | str) -> str:
    """'train' (90 of 100), 'validation' or 'test' for a question's id or text; the same for ever."""
    place = int.from_bytes(hashlib.sha256(str(key).encode()).digest()[:4], "big") / 2**32
    return "train" if place < 0.9 else "validation" if place < 0.95 else "test"


# --- rows ---


def _question(row: dict[str, Any], where: str, most: int) -> Question:
    answers = row.get("answers")
    if not _texts(row, "question") or not isinstance(answers, list) or not all(map(_is_answer, answers)):
        needs = "a 'question' and 'answers', each with a 'text' and a whole 'score'"
        raise ValueError(f"{where}: needs {needs}: {MEND}")
    kept = tuple(Answer(_clean(answer["text"]), answer["score"]) for answer in answers[:most])
    return Question(_clean(row["question"]), kept)


def _is_answer(answer: Any) -> bool:
    return isinstance(answer, dict) and _texts(answer, "text") and type(answer.get("score")) is int


def _compared(row: dict[str, Any], where: str) -> Iterator[tuple[str, str, str]]:
    names = [f"prediction {number}" for number in range(1, 5)]
    judged = row.get("preference")
    fit = isinstance(judged, list) and len(judged) == len(JUDGED) and all(type(one) is int for one in judged)
    if not _texts(row, "question", *names) or not fit or not set(judged) <= {0, FIRST_IS_BETTER, SECOND_IS_BETTER}:
        needs = "a 'question', 'prediction 1' to 'prediction 4' and a 'preference' of six numbers from 0 to 2"
        raise ValueError(f"{where}: needs {needs}: {MEND}")
    for (first, second), verdict in zip(JUDGED, judged, strict=True):
        better, worse = (first, second) if verdict == FIRST_IS_BETTER else (second, first)
        if verdict:
            yield _clean(row["question"]), _clean(row[f"prediction {better}"]), _clean(row[f"prediction {worse}"])


def _problem(row: dict[str, Any], where: str) -> HumanEval:
    names = ("task_id", "prompt", "canonical_solution", "test", "entry_point")
    if not _texts(row, *names):
        raise ValueError(f"{where}: needs {', '.join(names)}, all of them text: {MEND}")
    tests = f"{row['test']}\ncheck({row['entry_point']})"
    return HumanEval(row["prompt"], tests, row["prompt"] + row["canonical_solution"], row["task_id"])


def _texts(row: dict[str, Any], *names: str) -> bool:
    return all(is_text(row.get(name)) and row[name].strip() for name in names)


def _clean(text: str) -> str:
    """Text with plain blanks, none at a line's end, and at most one empty line at a time; indentation stays."""
    lines = text.replace("\r\n", "\n").replace("\u00a0", " ").split("\n")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in lines)).strip("\n")


def _mend(name: str) -> str:
    return f"set ELASTIC_DATA to a folder that holds {name}"
