"""The pocket answers world: people ask for a small Python function, others answer and vote.

Answers differ in whether they hold code, whether it is right, and in explanation, courtesy and length. Votes follow a
hidden quality and much chance; as on the real sites, length sells. All text is lower-case words between blanks: `⏎` is
a new line, `⇥` one level of indentation, code stands between two "```". Real questions take the same tuples.
"""

import math
import random
from functools import cache
from itertools import combinations
from string import Formatter
from typing import NamedTuple

from elastic_lib.tasks.answers import problems as tasks_of
from elastic_lib.tasks.answers.problems import Task
from elastic_lib.tasks.answers.programs import CODE_WORDS, FENCE, codes, compiles
from elastic_lib.tasks.answers.programs import plain as plain  # a reader of answers looks for it here
from elastic_lib.tasks.answers.programs import program as program

MOST_WORDS_ASKED, MOST_WORDS_ANSWERED = 24, 48


class Answer(NamedTuple):
    text: str
    votes: int


class Question(NamedTuple):
    text: str
    answers: tuple[Answer, ...]


class Problem(NamedTuple):
    """A question with Python asserts about f, and one correct program."""

    question: str
    tests: str
    solution: str


class Hidden(NamedTuple):
    """What voters see in an answer, beside chance: its kind, its worth in doublings of votes; and the task's tests."""

    kind: str
    quality: float
    tests: str


# --- what people say ---
# {do} and {does} are the task in words, {x} is what f is given, and {list} what that is.

QUESTIONS = (
    "how do i write f ( {x} ) that {does} ?",
    "how can i {do} with f ( {x} ) ?",
    "what is a good f ( {x} ) to {do} ?",
    "i need f ( {x} ) to {do} . how ?",
    "my f ( {x} ) should {do} . any help ?",
    "python : how to {do} ?",
    "is there a short f ( {x} ) that {does} ?",
)
# Of the next two, by the code that they fit.
OPENINGS = {
    "": ("try this :", "this works for me .", "here is what i would write :"),
    "def": ("i had the same problem last week , and this is what i ended up with .",),
    " [ x": ("you can do this with a list comprehension .", "a list comprehension is all you need here ."),
    "n += ": ("a loop is all you need here .",),
    "lambda": ("there are built in functions for that , and they read well .",),
    "sorted": ("the built in sorted does the hard part .",),
    "sum (": ("the built in sum does the hard part .",),
    "[ : : - 1 ]": ("a slice with a negative step goes backwards .",),
}
EXPLANATIONS = {
    "": ("it {does} .", "as you can see , this {does} ."),
    " if x ": ("the condition after if decides what stays .",),
    "% ": ("the percent sign gives the remainder .",),
    "default = 0": ("the default is for the empty list .",),
    "else 0": ("the last part is for the empty list .",),
    "** 2": ("two stars mean power .",),
}
CAVEATS = (
    "note that your own {list} does not change .",
    "this needs python 3 .",
    "it may be slow if your {list} is very long .",
    "be careful when the input is not a {list} .",
)
COURTESIES = (
    "hope this helps !",
    "welcome to the site .",
    "good luck !",
    "happy coding !",
    "let me know if anything is unclear .",
    "thanks for the clear question .",
)
BLATHER = (
    "there are many ways to do it , as always .",
    "i wrote this on my phone , so please excuse typos .",
    "not tested , but it should work .",
    "others will tell you something else , of course .",
    "i have used python for years and still enjoy it .",
)
ADVICE = (
    "write a function that {does} , it takes one line .",
    "you want code that {does} .",
    "go through the {list} once and {do} .",
    "start from an empty result and {do} , one step after the other .",
)
HINTS = (
    "a loop works , a comprehension is shorter .",
    "do not forget to return the result .",
    "test it with an empty {list} first .",
    "the tutorial explains this well , look for the chapter on data structures .",
)
REMARKS = (
    "why do you need this ?",
    "is this your homework ?",
    "i would do that in a spreadsheet .",
    "python is too slow for this , use another language .",
    "this has been asked many times before , please use the search .",
    "i have the same problem , did you ever find a solution ?",
    "at work we had a long talk about exactly this , and in the end we bought software that did it for us .",
    "when i was a student there were no such functions , we wrote everything by hand and learned a lot from it .",
)
REQUESTS = (
    "what have you tried so far ?",
    "please show us your code and the error message .",
    "you should read a good book about programming first .",
)
# How often an answer has the part; it always has a body.
SHARES = {"opening": 0.2, "explanation": 0.25, "caveat": 0.1, "hint": 0.7, "request": 0.7}
SHARES |= {"courtesy": 0.15, "blather": 0.12}

# --- what is asked, and how people vote ---

FAMILIES = {"one": 0.4, "two": 0.5, "text": 0.1}
KINDS = {"right": 0.455, "wrong": 0.175, "helpful": 0.18, "misled": 0.07, "beside": 0.12}
CODED = ("right", "wrong")
SLIPS = {"task": 0.6, "return": 0.2, "guard": 0.2}  # what is wrong with the code
SHORTEST = 0.8  # of the programs are in the shortest style, the others in any
# In doublings of votes.
WORTH = {"right": 2.15, "wrong": 1.55, "helpful": 1.45, "misled": 1.1, "beside": 0.8}
WORTH_OF_PART = {"explanation": 0.3, "courtesy": 0.1}
WORTH_OF_WORD = 0.008
POPULARITY, CHANCE = 0.95, 0.61  # standard deviations, of a question and of an answer


def score(votes: int) -> float:
    """log2(1 + votes), votes below zero as none."""
    return math.log2(1 + max(0, votes))


def pairs(question: Question, most: int = 10) -> list[tuple[str, str]]:
    """(better, worse) texts among the first `most` answers; ties are left out."""
    ordered = (sorted(two, key=lambda one: -score(one.votes)) for two in combinations(question.answers[:most], 2))
    return [(better.text, worse.text) for better, worse in ordered if score(better.votes) > score(worse.votes)]


def generate(count: int, seed: int) -> list[Question]:
    """Questions with their answers, never about a task that `exam` asks for; a shorter list begins a longer one."""
    return [question for question, _ in revealed(count, seed)]


def revealed(count: int, seed: int) -> list[tuple[Question, tuple[Hidden, ...]]]:
    """What `generate` gives, and beside each question what is hidden behind its answers."""
    _refuse_odd(count)
    rng = random.Random(f"answers {seed}")  # as a string: the integers 1 and -1 would seed the same stream
    return [_thread(rng, rng.choice(_asked(_drawn(rng, FAMILIES), exam=False))) for _ in range(count)]


def exam(count: int, seed: int) -> list[Problem]:
    """Problems on different tasks that `generate` never asks for; an error beyond the number of tasks held out."""
    _refuse_odd(count)
    rng = random.Random(f"exam {seed}")
    decks = {family: rng.sample(held, len(held)) for family in FAMILIES if (held := _asked(family, exam=True))}
    most = sum(map(len, decks.values()))
    if count > most:
        raise ValueError(f"count must be at most {most} (the tasks that are held out for exams), got {count}")
    problems: list[Problem] = []
    while len(problems) < count:
        if deck := decks[_drawn(rng, FAMILIES)]:
            task = deck.pop()
            solution = program(f"{FENCE} {codes(task)[0]} {FENCE}")
            problems.append(Problem(_question(rng, task), tasks_of.tests(task), solution))
    return problems


@cache
def _asked(family: str, exam: bool) -> tuple[Task, ...]:
    return tuple(task for task in tasks_of.tasks()[family] if tasks_of.held_out(task) == exam)


def _drawn(rng: random.Random, shares: dict[str, float]) -> str:
    return rng.choices(tuple(shares), tuple(shares.values()))[0]


def _refuse_odd(count: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ValueError(f"count must be a whole number, 0 or more; got {count!r}")


# --- the writer ---


def _fill(rng: random.Random, form: str, task: Task) -> str:
    slots = {"x": "s", "list": "string"} if task.on_text else {"x": "xs", "list": "list"}
    said = tasks_of.say(task, rng, third="{does}" in form) if "{do" in form else ""
    return form.format(do=said, does=said, **slots)


def _question(rng: random.Random, task: Task) -> str:
    while True:
        text = _fill(rng, rng.choice(QUESTIONS), task)
        if len(text.split()) <= MOST_WORDS_ASKED:
            return text


def _thread(rng: random.Random, task: Task) -> tuple[Question, tuple[Hidden, ...]]:
    """A question about a task with two to five different answers and their votes."""
    text, popularity = _question(rng, task), rng.gauss(0, POPULARITY)
    told: dict[str, tuple[int, Hidden]] = {}
    wanted = rng.choices((2, 3, 4, 5), (4, 3, 2, 1))[0]
    while len(told) < wanted:
        kind = _drawn(rng, KINDS)
        parts = _parts(rng, task, kind)
        answer = " ".join(parts.values())
        quality = WORTH[kind] + sum(WORTH_OF_PART.get(part, 0) for part in parts)
        quality += WORTH_OF_WORD * len(answer.split())
        votes = max(0, round(2 ** (popularity + quality + rng.gauss(0, CHANCE)) - 1))
        told.setdefault(answer, (votes, Hidden(kind, quality, tasks_of.tests(task))))
    answers = tuple(Answer(answer, votes) for answer, (votes, _) in told.items())
    return Question(text, answers), tuple(hidden for _, hidden in told.values())


def _parts(rng: random.Random, task: Task, kind: str) -> dict[str, str]:
    """The parts of an answer of this kind, in their order; some are left out where it would be too long."""
    if kind in CODED:
        code = _code(rng, task, kind == "right")
        forms = {"opening": _fitting(OPENINGS, code), "body": (f"{FENCE} {code} {FENCE}",)}
        forms |= {"explanation": _fitting(EXPLANATIONS, code), "caveat": CAVEATS}
    elif kind == "beside":
        forms = {"body": REMARKS, "request": REQUESTS}
    else:
        task = rng.choice(tasks_of.mistaken(task)) if kind == "misled" else task
        forms = {"body": ADVICE, "hint": HINTS}
    forms |= {"courtesy": COURTESIES, "blather": BLATHER}
    chosen = {name: rng.choice(some) for name, some in forms.items() if rng.random() < SHARES.get(name, 1)}
    parts = {name: _fill(rng, form, task) for name, form in chosen.items()}
    spare = rng.sample(sorted(parts.keys() - {"body"}), len(parts) - 1)
    while sum(len(part.split()) for part in parts.values()) > MOST_WORDS_ANSWERED:
        del parts[spare.pop()]
    return parts


def _fitting(sentences: dict[str, tuple[str, ...]], code: str) -> list[str]:
    """The sentences whose mark occurs in the code."""
    return [sentence for mark, some in sentences.items() if mark in code for sentence in some]


def _code(rng: random.Random, task: Task, right: bool) -> str:
    """A program in one of the styles, with one plausible mistake if it is not right."""
    slip = "" if right else _drawn(rng, SLIPS)
    if slip == "task":
        task = rng.choice(tasks_of.mistaken(task))
    styles = codes(task)
    code = styles[0] if rng.random() < SHORTEST else rng.choice(styles)
    guards = [guard for guard in (" , default = 0", " if ys else 0", " if xs else 0") if guard in code]
    if slip == "guard" and guards:
        return code.replace(guards[0], "")
    if slip in ("guard", "return"):
        before, _, after = code.rpartition("return ")
        return before + after
    return code


# --- the reader ---


def reads(text: str) -> dict[str, float]:
    """What drift shows in: words, code, whether it compiles, courtesies."""
    return {
        "words": float(len(text.split())),
        "has_code": float(FENCE in text),
        "compiles": float(compiles(program(text))),
        "courtesy": float(sum(text.count(phrase) for phrase in COURTESIES)),
    }


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word that generated text can hold, sorted; read off the forms."""
    forms = [*QUESTIONS, *CAVEATS, *COURTESIES, *BLATHER, *ADVICE, *HINTS, *REMARKS, *REQUESTS]
    forms += [form for some in (*OPENINGS.values(), *EXPLANATIONS.values()) for form in some]
    literals = [literal for form in forms for literal, _, _, _ in Formatter().parse(form)]
    return tuple(sorted({word for literal in literals for word in literal.split()} | CODE_WORDS | tasks_of.words()))
