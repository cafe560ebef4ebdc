"""What was said, side by side: before training and after it, with a mark on every word that is new."""

from __future__ import annotations

import difflib
import html
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from elastic_lib.evidence import Evidence
from elastic_lib.evidence.measures import Setting
from elastic_lib.figures.style import chosen

LAYOUT = re.compile(r"( ?(?:⏎|⇥|```) ?)")
LEFT = "style='text-align:left;vertical-align:top;white-space:pre-wrap;overflow-wrap:normal;word-break:normal'"


def one_sentence(game: Evidence) -> Any:
    """What becomes of a sentence of the Translation Game, with a mark on every word that is new."""
    from IPython.display import HTML

    said = versions(game)
    return HTML(as_table(said) if said else "no records of this")


def versions(game: Evidence) -> list[tuple[str, str]]:
    """A French sentence and its English: before training, without resets, after the last reset, in the game of seed 0.

    Of the sentences that are kept, the one that was translated best before training. None without these records.
    """
    runs = [game.of(method).get(0) for method in ("reinforce", "elastic") if chosen(game, [(method, {})])]
    if len(runs) < 2 or None in runs:
        return []
    unreset, elastic = (run.samples() for run in runs)
    first = unreset[unreset["step"] == 0].set_index("id")
    best = max(first.index, key=lambda i: _alike(first.loc[i, "text"], first.loc[i, "reference"]))
    drifted, after = unreset[unreset["id"] == best].iloc[-1], elastic.query(f"id == {best} and reset == 1")
    return [
        ("French", drifted["prompt"]),
        ("the true English", drifted["reference"]),
        ("before training", first.loc[best, "text"]),
        (f"after {drifted['step']} updates without resets", drifted["text"]),
        *(("Elastic Reset, after its last reset", text) for text in after["text"][-1:]),
    ]


def as_table(said: list[tuple[str, str]]) -> str:
    """The versions of a sentence, with a mark on every word that was not said before training."""
    before = dict(said)["before training"].split()
    rows = []
    for i, (who, text) in enumerate(said):
        words = html.escape(text) if i < 2 else marked(before, text.split())
        rows.append(f"<tr><th scope='row' style='text-align:left'>{html.escape(who)}</th>")
        rows.append(f"<td style='text-align:left'>{words}</td></tr>")
    return f"<table class='told'><tbody>{''.join(rows)}</tbody></table>"


def _alike(one: str, other: str) -> float:
    """How many of the words of two sentences are the same, in the same order, from 0 to 1."""
    return difflib.SequenceMatcher(None, one.split(), other.split(), autojunk=False).ratio()


def side_by_side(
    evidence: Evidence,
    settings: Mapping[str, Setting],
    seed: int,
    prompts: Iterable[int] = range(3),
    every: int | None = None,
    plain: Callable[[str], str] = str,
) -> Any:
    """What was said to the same prompts side by side: before training, and by each setting; new words are marked.

    `settings` names a line and says whose it is, and is left out where there are no records of it: right after its
    last reset and at the end, or, with `every`, after so many updates each and after each reset. `plain` makes of
    marked text what a reader should see.
    """
    from IPython.display import HTML

    lines: dict[str, pd.DataFrame] = {}
    for name, (method, changed) in settings.items():
        if not chosen(evidence, [(method, changed)]):
            continue  # no records of it at this scale
        samples = evidence.of(method, **changed)[seed].samples()
        moments = {moment: rows.set_index("id") for moment, rows in samples.groupby(["step", "reset"])}
        lines.setdefault("before training", moments.pop((0, 0)))
        end, last = max(step for step, _ in moments), max((step for step, reset in moments if reset), default=None)
        for (step, reset), rows in moments.items():
            shown_last = last if reset else end
            if step == shown_last:
                lines[f"{name}, {'right after its last reset' if reset else 'at the end'}"] = rows
            elif every and (reset or step % every == 0):
                lines[f"{name}, {'right after the reset at' if reset else 'after'} {step} updates"] = rows
    parts = [_asked(lines, i, plain) for i in prompts] if lines else ["no records of this"]
    return HTML(f"<div>{''.join(parts)}<p><mark>marked</mark>: what was not said before training.</p></div>")


def _asked(lines: dict[str, pd.DataFrame], i: int, plain: Callable[[str], str]) -> str:
    """A table of all that was said to a prompt; who says the same shares a row."""
    first = lines["before training"].loc[i]
    heads = {"text": "said", "german": "German made of it", "reward": "reward"}
    heads = {column: head for column, head in heads.items() if column in first}
    rows: dict[tuple, list[str]] = {}
    for name, table in lines.items():
        said = table.loc[i]
        cells = [_cell(column, said[column], first["text"], plain) for column in heads]
        rows.setdefault(tuple(cells), []).append(name)
    known = {"prompt": "prompt", "reference": "true English", "german_reference": "the German that is wanted"}
    asked = "".join(
        f"<b>{head}</b> {plain(html.escape(first[column]))}<br>" for column, head in known.items() if column in first
    )
    cells = ((html.escape("; ".join(names)), *said) for said, names in rows.items())
    return f"<p>{asked}</p>{tabled(('', *heads.values()), cells, LEFT)}"


def tabled(heads: Iterable[str], rows: Iterable[Iterable[str]], style: str) -> str:
    """Cells of HTML, all of one style, as a table as wide as the page."""
    head = "".join(f"<th {style}>{text}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td {style}>{cell}</td>' for cell in cells)}</tr>" for cells in rows)
    return f"<table style='width:100%'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(column: str, value: Any, before: str, plain: Callable[[str], str]) -> str:
    if column == "text":
        return plain(marked(before.split(), value.split()))
    return f"{value:.2f}" if column == "reward" else html.escape(value)


def marked(before: list[str], now: list[str]) -> str:
    """What is said now, with a mark on what was put in since."""
    parts = []
    for change, _, _, start, end in difflib.SequenceMatcher(None, before, now, autojunk=False).get_opcodes():
        words = html.escape(" ".join(now[start:end]))
        if change in ("insert", "replace"):
            pieces = LAYOUT.split(words)  # every other one is a sign of layout, which is no word
            words = "".join(f"<mark>{p}</mark>" if p and i % 2 == 0 else p for i, p in enumerate(pieces))
        parts += [words] if words else []
    return " ".join(parts)
