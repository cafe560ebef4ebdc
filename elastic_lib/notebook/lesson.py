"""What a lesson is made of: the library's own lines beside their formula, and questions that reply to a guess."""

from __future__ import annotations

import ast
import html
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from elastic_lib.recipe.rules import check_known

LIBRARY = Path(__file__).parents[1]


class Lines(NamedTuple):
    """Lines of a file of the library, shown as they stand there."""

    file: str
    name: str
    first: int
    last: int
    text: str

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        head = f"{self.file}: {self.name}"
        return {
            "text/markdown": f"<small>{html.escape(head)}</small>\n```python\n{self.text}\n```",
            "text/plain": f"# {head}\n{self.text}",
        }


def source(file: str, name: str, start: str = "", end: str = "") -> Lines:
    """A function or class of the library, `source("losses.py", "gae")`, or a part of it.

    The part goes from the first line that holds `start` to the next one that holds `end`. The file is read and not
    imported: reading needs no torch.
    """
    written = (LIBRARY / file).read_text(encoding="utf-8")
    lines, (first, last) = written.splitlines(), _place(written, file, name)
    if start:
        first = _holding(start, lines, first, last, f"{file}: {name}")
    if end:
        last = _holding(end, lines, first, last, f"{file}: {name}")
    return Lines(f"elastic_lib/{file}", name, first, last, textwrap.dedent("\n".join(lines[first - 1 : last])))


def _place(written: str, file: str, name: str) -> tuple[int, int]:
    """First and last line of a definition in what a file holds; its parts are joined by dots."""
    node: Any = ast.parse(written)
    for part in name.split("."):
        known = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        check_known(f"definition in {file}", part, known)
        node = known[part]
    return min(n.lineno for n in (node, *node.decorator_list)), node.end_lineno


def _holding(words: str, lines: list[str], first: int, last: int, where: str) -> int:
    for number in range(first, last + 1):
        if words in lines[number - 1]:
            return number
    raise ValueError(f"no line of {where} from {first} to {last} holds {words!r}; it may have been rewritten")


def ask(choices: Mapping[str, str], right: int) -> Any:
    """Answers to choose from; a click on one opens its reply, in any viewer, without kernel or script.

    `choices` gives each answer its reply; `right` says which one is right, counted from 1.
    """
    from IPython.display import HTML

    if not 1 <= right <= len(choices):
        raise ValueError(f"right must be one of the {len(choices)} choices, counted from 1; got {right!r}")
    parts = []
    for number, (choice, reply) in enumerate(choices.items(), 1):
        sign = "✓ Right." if number == right else "✗ No."
        parts.append(
            f"<details><summary style='cursor:pointer'>{html.escape(choice)}</summary>"
            f"<p style='margin:2px 0 8px 1.2em'><b>{sign}</b> {html.escape(reply)}</p></details>"
        )
    return HTML(f"<div>{''.join(parts)}</div>")
