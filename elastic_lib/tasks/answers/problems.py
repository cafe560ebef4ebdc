"""The tasks of the pocket answers world: small functions on a list of numbers or on a string.

A task is one or two steps and an end. It can be said in words, mistaken for another, and run, which gives its tests.
"""

import hashlib
import random
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

CONSTANTS = range(2, 10)
HELD_OUT = 0.15
# Every input is a test; the empty one, both signs, repeats, and every number near a constant.
NUMBERS = (
    [],
    [5],
    [-4, -3, 0, 3, 4],
    [7, 2, 9, 4, 6, 8, 3, 5, 1, 10],
    [12, 20, 15, 18, 27, 14, 35, 16, 21],
    [-9, 30, -8, 25, 1, 24, -6, 2],
    [6, 6, 1, 3, 11, 13, 6],
)
STRINGS = ("", "a", "hello", "banana split", "it is so easy", "Noise", "oasis")


class Form(NamedTuple):
    """One kind of step or end: how it is said, written and done."""

    kind: str  # change, keep, order, text, end
    said: tuple[str, ...]  # each begins with its verb; {all}, {ones} and {it} are what it is done to
    code: str  # of {x} and {k}; of an end on numbers its name or index, if it has one
    does: Callable[[Any, Any], Any]


class Step(NamedTuple):
    """A form with its constant, if it has one."""

    name: str
    k: int | str = ""

    @property
    def form(self) -> Form:
        return FORMS[self.name]

    def code(self, x: str) -> str:
        """The expression on `x`, in brackets where it would bind less than what is done to it."""
        loose = " + " in x or " - " in x
        return self.form.code.format(x=f"( {x} )" if loose and "%" in self.form.code else x, k=self.k)


class Task(NamedTuple):
    """What f does: its steps in order, and what it returns in the end."""

    steps: tuple[Step, ...]
    end: Step

    @property
    def on_text(self) -> bool:
        return self.end.name in ("text", "length", "letter")


FORMS = {
    "add": Form("change", ("add {k} to {all}", "increase {all} by {k}"), "{x} + {k}", lambda x, k: x + k),
    "subtract": Form("change", ("subtract {k} from {all}", "lower {all} by {k}"), "{x} - {k}", lambda x, k: x - k),
    "multiply": Form("change", ("multiply {all} by {k}",), "{x} * {k}", lambda x, k: x * k),
    "square": Form("change", ("square {all}",), "{x} ** 2", lambda x, _: x**2),
    "negate": Form("change", ("negate {all}", "flip the sign of {all}"), "- {x}", lambda x, _: -x),
    "modulo": Form("change", ("take {all} modulo {k}",), "{x} % {k}", lambda x, k: x % k),
    "even": Form("keep", ("keep the even {ones}", "pick the even {ones}"), "{x} % 2 == 0", lambda x, _: x % 2 == 0),
    "odd": Form("keep", ("keep the odd {ones}", "pick the odd {ones}"), "{x} % 2 == 1", lambda x, _: x % 2 == 1),
    "above": Form("keep", ("keep {those} above {k}", "pick {those} above {k}"), "{x} > {k}", lambda x, k: x > k),
    "below": Form("keep", ("keep {those} below {k}", "pick {those} below {k}"), "{x} < {k}", lambda x, k: x < k),
    "multiple": Form(
        "keep", ("keep multiples of {k}", "pick multiples of {k}"), "{x} % {k} == 0", lambda x, k: x % k == 0
    ),
    "sort": Form("order", ("sort {it}", "put {it} in order"), "sorted ( {x} )", lambda xs, _: sorted(xs)),
    "descend": Form(
        "order",
        ("sort {it} with the largest first", "put {it} in falling order"),
        "sorted ( {x} ) [ : : - 1 ]",
        lambda xs, _: sorted(xs)[::-1],
    ),
    "reverse": Form("order", ("reverse {it}", "turn {it} around"), "{x} [ : : - 1 ]", lambda xs, _: xs[::-1]),
    "upper": Form("text", ("turn {it} into upper case",), "{x} . upper ( )", lambda s, _: s.upper()),
    "mirror": Form("text", ("reverse {it}", "turn {it} around"), "{x} [ : : - 1 ]", lambda s, _: s[::-1]),
    "repeat": Form("text", ("repeat {it} {k} times",), "{x} * {k}", lambda s, k: s * k),
    "list": Form("end", ("", "", "return a list"), "", lambda xs, _: xs),
    "sum": Form("end", ("return the sum", "return the total"), "", lambda xs, _: sum(xs)),
    "largest": Form("end", ("return the largest or 0",), "max", lambda xs, _: max(xs, default=0)),
    "smallest": Form("end", ("return the smallest or 0",), "min", lambda xs, _: min(xs, default=0)),
    "count": Form("end", ("return how many", "count them"), "", lambda xs, _: len(xs)),
    "first": Form("end", ("return the first or 0",), "[ 0 ]", lambda xs, _: xs[0] if xs else 0),
    "last": Form("end", ("return the last or 0",), "[ - 1 ]", lambda xs, _: xs[-1] if xs else 0),
    "text": Form("end", ("", "return the result"), "", lambda s, _: s),
    "length": Form("end", ("return the length",), "len ( {x} )", lambda s, _: len(s)),
    "letter": Form("end", ("count the letter {k}",), "{x} . count ( {k} )", lambda s, k: s.count(k[1])),
    # What nobody asks for but some write.
    "at_least": Form("keep", ("keep {those} from {k} up",), "{x} >= {k}", lambda x, k: x >= k),
    "at_most": Form("keep", ("keep {those} up to {k}",), "{x} <= {k}", lambda x, k: x <= k),
}
SPECIAL_NAMES = {("multiply", 2): "double {all}", ("multiply", 3): "triple {all}"}
LETTERS = ("'a'", "'e'", "'i'", "'o'", "'s'")
WITHOUT_CONSTANT = ("square", "negate", "even", "odd", "sort", "descend", "reverse", "upper", "mirror")
FIRST = {"all": ("each number", "every number", "all numbers"), "ones": ("numbers",), "those": ("numbers",)}
LATER = {"all": ("each", "them", "all"), "ones": ("ones",), "those": ("those",), "it": ("them",)}


def _steps(kind: str) -> list[Step]:
    asked = [name for name, form in FORMS.items() if form.kind == kind and not name.startswith("at_")]
    return [Step(name, k) for name in asked for k in (("",) if name in WITHOUT_CONSTANT else CONSTANTS)]


@cache
def tasks() -> dict[str, tuple[Task, ...]]:
    """Every task by family, 'one' or 'two' steps on numbers, or 'text'; only those in which every step tells."""
    changes, keeps, orders = _steps("change"), _steps("keep"), _steps("order")
    keeps.remove(Step("multiple", 2))  # these are the even numbers
    ends = {name: Step(name) for name, form in FORMS.items() if form.kind == "end"}
    one = [Task((s,), ends[end]) for s in changes + keeps for end in ("list", "sum", "largest", "smallest")]
    one += [Task((s,), ends[end]) for s in changes + keeps for end in ("first", "last")]
    one += [Task((s,), ends["count"]) for s in keeps] + [Task((s,), ends["list"]) for s in orders]
    pairs = [(a, b) for change in changes for keep in keeps for a, b in ((change, keep), (keep, change))]
    two = [Task(pair, ends[end]) for pair in pairs for end in ("list", "sum")]
    two += [Task(pair, ends["count"]) for pair in pairs if pair[1].form.kind == "keep"]
    two += [Task((s, order), ends["list"]) for s in changes + keeps for order in orders]
    upper, mirror, repeats = Step("upper"), Step("mirror"), [s for s in _steps("text") if s.name == "repeat"]
    chains = [(upper,), (mirror,), (upper, mirror), *((s,) for s in repeats)]
    chains += [(step, s) for step in (upper, mirror) for s in repeats]
    text = [Task(chain, ends["text"]) for chain in chains] + [Task((s,), ends["length"]) for s in repeats]
    text += [Task(steps, Step("letter", k)) for steps in [(), *((s,) for s in repeats)] for k in LETTERS]
    families = {"one": one, "two": two, "text": text}
    return {name: tuple(task for task in family if _every_step_tells(task)) for name, family in families.items()}


def _every_step_tells(task: Task) -> bool:
    shorter = (task._replace(steps=task.steps[:i] + task.steps[i + 1 :]) for i in range(len(task.steps)))
    varied = len(set(map(repr, results(task)))) > 2  # not the same answer to nearly every input
    return varied and all(results(task) != results(less) for less in shorter)


def run(task: Task, value: Any) -> Any:
    """What the task makes of an input."""
    for step in task.steps:
        form = step.form
        if form.kind == "change":
            value = [form.does(x, step.k) for x in value]
        elif form.kind == "keep":
            value = [x for x in value if form.does(x, step.k)]
        else:
            value = form.does(value, step.k)
    return task.end.form.does(value, task.end.k)


@cache
def results(task: Task) -> tuple:
    """What the task makes of every test input."""
    return tuple(run(task, value) for value in (STRINGS if task.on_text else NUMBERS))


def tests(task: Task) -> str:
    """Python asserts about f."""
    inputs = STRINGS if task.on_text else NUMBERS
    return "".join(f"assert f({x!r}) == {y!r}\n" for x, y in zip(inputs, results(task), strict=True))


@cache
def held_out(task: Task) -> bool:
    """Whether the task is kept for exams; decided by what it does, so that no other way to ask for it is seen."""
    digest = hashlib.sha256(repr((task.on_text, results(task))).encode()).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT * 2**32


# ---- in words


def say(task: Task, rng: random.Random, third: bool = False) -> str:
    """The task in words, 'double each number and return the sum'; 'doubles …' in the third person."""
    parts = [_said(step, rng, bool(i), task.on_text) for i, step in enumerate(task.steps)]
    end = rng.choice(task.end.form.said).format(k=task.end.k)
    if end:
        parts.append(end + " in a string" if not parts else end)
    if third:
        parts = [third_person(part) for part in parts]
    if len(parts) == 1:
        return parts[0]
    comma = " , " if len(parts) > 2 else " and "
    first = rng.choice((comma, comma, " , then "))
    return first.join((parts[0], " and ".join(parts[1:])))


def third_person(phrase: str) -> str:
    """'double them' → 'doubles them'."""
    verb, _, rest = phrase.partition(" ")
    return " ".join(filter(None, (verb[:-1] + "ies" if verb == "multiply" else verb + "s", rest)))


def _said(step: Step, rng: random.Random, later: bool, on_text: bool) -> str:
    said = SPECIAL_NAMES.get((step.name, step.k)) or rng.choice(step.form.said)
    slots = LATER if later else FIRST | {"it": ("a string",) if on_text else ("a list",)}
    if later and on_text:
        slots = {"it": ("it",)}
    return said.format(k=step.k, **{name: rng.choice(fillers) for name, fillers in slots.items()})


@cache
def words() -> frozenset[str]:
    """Every word that `say` can use."""
    said = [phrase for form in FORMS.values() for phrase in form.said if phrase] + list(SPECIAL_NAMES.values())
    said += [third_person(phrase) for phrase in said]
    fillers = [filler for slots in (FIRST, LATER) for some in slots.values() for filler in some]
    seen = {word for phrase in said + fillers for word in phrase.split() if "{" not in word}
    return frozenset(seen | {"a", "list", "string", "it", "in", ",", "then", "and", *LETTERS, *map(str, CONSTANTS)})


# ---- mistakes

TWINS = (("above", "below"), ("even", "odd"), ("sort", "descend"), ("largest", "smallest"), ("first", "last"))
TWINS += (("above", "at_least"), ("below", "at_most"), ("add", "subtract"), ("sort", "reverse"), ("upper", "mirror"))
TWINS += (("sum", "count"), ("sum", "list"), ("first", "list"))
SLIPS_OF_CONSTANT = (-2, -1, 1, 2)


@cache
def mistaken(task: Task) -> tuple[Task, ...]:
    """The tasks that one solves by mistake; none gives the right results, none is kept for exams."""
    found = []
    if len(task.steps) == 2:
        found += [task._replace(steps=task.steps[::-1])]
        found += [task._replace(steps=(step,)) for step in task.steps]
    parts = (*task.steps, task.end)
    for i, step in enumerate(parts):
        others = [Step(b if step.name == a else a, step.k) for a, b in TWINS if step.name in (a, b)]
        if isinstance(step.k, int):
            others += [Step(step.name, step.k + slip) for slip in SLIPS_OF_CONSTANT if step.k + slip in CONSTANTS]
        if step.name == "letter":
            others += [Step("letter", letter) for letter in LETTERS]
        changed = [(*parts[:i], other, *parts[i + 1 :]) for other in others]
        found += [Task(tuple(steps), end) for *steps, end in changed]
    if any(step.form.kind == "order" for step in task.steps):  # code has it last, on a whole list
        found = [other for other in found if other.end == task.end and other.steps != task.steps[::-1]]
    return tuple(other for other in found if results(other) != results(task) and not held_out(other))
