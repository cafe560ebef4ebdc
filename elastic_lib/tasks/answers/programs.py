"""Programs as words between blanks: written for a task in several styles, and found in a text and read again.

`⏎` is a new line, `⇥` one level of indentation; in a text, code stands between two "```".
"""

import re
import warnings
from functools import cache
from textwrap import dedent

from elastic_lib.tasks.answers.problems import Task

FENCE, NEW_LINE, INDENT = "```", "⏎", "⇥"
CODE_WORDS = frozenset(
    "def f ( xs s ) : return [ ] for x in if ys t n y = += 0 1 2 + - * ** % == > < >= <= , . else default max min sum "
    "len sorted list map filter lambda append upper count ⏎ ⇥ ```".split()
)

# ---- writing


@cache
def codes(task: Task) -> tuple[str, ...]:
    """Correct programs for the task in different styles, the shortest style first."""
    if task.on_text:
        bodies = _text_bodies(task)
    elif task.end.name == "list":
        bodies = _list_bodies(task)
    elif task.end.name in ("sum", "count"):
        bodies = _total_bodies(task)
    else:
        bodies = _one_of_bodies(task)
    head = f"def f ( {'s' if task.on_text else 'xs'} ) :"
    return tuple(" ⏎ ".join([head, *("⇥ " + line for line in body)]) for body in bodies)


def _parts(task: Task, x: str = "x") -> tuple[str, str, str]:
    """What becomes of an element, the condition that keeps it, and both as a comprehension."""
    condition = ""
    for step in task.steps:
        if step.form.kind == "change":
            x = step.code(x)
        elif step.form.kind == "keep":
            condition = step.code(x)
    return x, condition, f"{x} for x in xs" + (f" if {condition}" if condition else "")


def _list_bodies(task: Task) -> list[list[str]]:
    x, condition, comprehension = _parts(task)
    order = task.steps[-1] if task.steps[-1].form.kind == "order" else None
    if order:
        before = "xs" if len(task.steps) == 1 else f"[ {comprehension} ]"
        return [[f"return {order.code(before)}"], [f"ys = {before}", f"return {order.code('ys')}"]]
    bodies = [[f"return [ {comprehension} ]"]]
    if len(task.steps) == 1:
        helper, body = ("filter", condition) if condition else ("map", x)
        bodies.append([f"return list ( {helper} ( lambda x : {body} , xs ) )"])
        inner = [f"⇥ if {condition} :", "⇥ ⇥ ys . append ( x )"] if condition else [f"⇥ ys . append ( {x} )"]
        bodies.append(["ys = [ ]", "for x in xs :", *inner, "return ys"])
    else:
        first, second = (_parts(Task((step,), task.end))[2] for step in task.steps)
        bodies.append([f"xs = [ {first} ]", f"return [ {second} ]"])
    return bodies


def _total_bodies(task: Task) -> list[list[str]]:
    x, condition, comprehension = _parts(task)
    if task.end.name == "count":
        ones = "1 for x in xs" + (f" if {condition}" if condition else "")
        bodies = [[f"return len ( [ {comprehension} ] )"], [f"return sum ( {ones} )"]]
    else:
        bodies = [[f"return sum ( {comprehension} )"], [f"ys = [ {comprehension} ]", "return sum ( ys )"]]
    if len(task.steps) == 1:
        added = "1" if task.end.name == "count" else x
        inner = [f"⇥ if {condition} :", f"⇥ ⇥ n += {added}"] if condition else [f"⇥ n += {added}"]
        bodies.append(["n = 0", "for x in xs :", *inner, "return n"])
    return bodies


def _one_of_bodies(task: Task) -> list[list[str]]:
    x, condition, comprehension = _parts(task)
    name, code = task.end.name, task.end.form.code
    if name in ("largest", "smallest"):
        bodies = [[f"return {code} ( [ {comprehension} ] , default = 0 )"]]
        return [*bodies, [f"ys = [ {comprehension} ]", f"return {code} ( ys ) if ys else 0"]]
    named = [f"ys = [ {comprehension} ]", f"return ys {code} if ys else 0"]
    if not condition:
        return [[f"return {_parts(task, f'xs {code}')[0]} if xs else 0"], named]
    if name == "first":
        return [["for x in xs :", f"⇥ if {condition} :", f"⇥ ⇥ return {x}", "return 0"], named]
    return [named, ["y = 0", "for x in xs :", f"⇥ if {condition} :", f"⇥ ⇥ y = {x}", "return y"]]


def _text_bodies(task: Task) -> list[list[str]]:
    whole = "s"
    for step in task.steps:
        whole = step.code(whole)
    if not task.steps:
        return [[f"return {task.end.code('s')}"], [f"n = {task.end.code('s')}", "return n"]]
    if task.end.name == "text":
        rest = task.steps[1].code("t") if len(task.steps) == 2 else "t"
        return [[f"return {whole}"], [f"t = {task.steps[0].code('s')}", f"return {rest}"]]
    # What is counted in a repeated string is as many times as often there.
    direct = f"return {task.end.code('s')} * {task.steps[0].k}"
    return [[direct], [f"t = {whole}", f"return {task.end.code('t')}"]]


# ---- reading


def program(text: str) -> str:
    """The Python source of an answer's first block of code, up to the text's end if it never closes; "" without one."""
    block = re.search(rf"{FENCE}(?:\w*(?=\n))?(.*?)(?:{FENCE}|\Z)", text, re.DOTALL)
    if block is None:
        return ""
    if NEW_LINE not in block[1] and "\n" in block[1]:  # real text
        return dedent(block[1]).strip("\n")
    lines = []
    for line in block[1].split(NEW_LINE):
        words = line.split()
        depth = next((i for i, word in enumerate(words) if word != INDENT), len(words))
        lines.append("    " * depth + " ".join(words[depth:]))
    return "\n".join(lines).strip("\n")


def plain(text: str) -> str:
    """Readable text: real new lines and indentation, and no blanks where none belong."""
    shown = []
    for i, part in enumerate(text.split(FENCE)):
        if i % 2:
            code = "\n".join(_tidy(ATTRIBUTE.sub(".", line)) for line in program(f"{FENCE} {part}").split("\n"))
            shown.append(f"{FENCE}\n{code}\n{FENCE}")
        elif part.strip():
            words = part.replace(NEW_LINE, "\n").replace(INDENT, "    ")
            shown.append("\n".join(_tidy(line.strip()) for line in words.strip().split("\n")))
    return "\n".join(shown)


ATTRIBUTE = re.compile(r" \. (?=\w)")
TOO_MANY_BLANKS = re.compile(r"(?<=[(\[]) | (?=[)\],.:?!])")
BEFORE_BRACKET = re.compile(r"(\b(?!(?:return|in|if|else)\b)\w+|[)\]]) (?=[(\[])")
AFTER_MINUS = re.compile(r"((?<=[(\[])|(?<=[=:,] )|(?<=return )|(?<=if ))- (?=\w)")


def _tidy(line: str) -> str:
    """A line without the blanks that nobody writes."""
    line = TOO_MANY_BLANKS.sub("", line.replace("[ : : - 1 ]", "[::-1]"))
    return AFTER_MINUS.sub("-", BEFORE_BRACKET.sub(r"\1", line))


def compiles(source: str) -> bool:
    """Whether there is a program and Python can read it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of odd but whole programs
        try:
            compile(source, "<answer>", "exec")
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two by deep nesting
            return False
    return bool(source.strip())
