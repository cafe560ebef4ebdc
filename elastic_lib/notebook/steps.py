"""What every notebook does: check its parameters, find or make its records, show captioned figures, tell verdicts."""

from __future__ import annotations

import ast
import base64
import difflib
import html
import json
import textwrap
from collections.abc import Mapping
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from elastic_lib.evidence import Evidence
from elastic_lib.evidence.verdicts import Verdict, judge, sections
from elastic_lib.figures.provenance import details
from elastic_lib.figures.style import VERDICTS
from elastic_lib.notebook import pictures
from elastic_lib.progress import Progress
from elastic_lib.recipe import Recipe
from elastic_lib.recipe.grid import grid
from elastic_lib.recipe.rules import COUNT, check_known, unknown
from elastic_lib.records.record import own_results, reference_results
from elastic_lib.records.tables import opened
from elastic_lib.tasks import SCALES, TASKS, facts
from elastic_lib.tasks.ledger import claims as claims_of
from elastic_lib.tasks.ledger import every_claim, judged

PARAMETERS = ("scale", "seeds", "methods", "records")


def check(task: str, namespace: Mapping[str, Any]) -> None:
    """Refuses a parameter that papermill would only warn about, and values that mean nothing."""
    imported = {name for name, value in namespace.items() if isinstance(value, ModuleType) or callable(value)}
    given = {name for name in namespace if not name.startswith("_")} - imported
    given -= {"In", "Out"}
    for name in sorted(given - set(PARAMETERS)):
        raise ValueError(unknown("parameter", name, PARAMETERS))
    check_known("scale", namespace["scale"], SCALES)
    COUNT.check("seeds", namespace["seeds"])
    for method in namespace["methods"] or ():
        check_known(f"method of {task}", method, facts(task).METHODS)
    where = namespace["records"]
    if where not in ("auto", "own", "reference") and not Path(where).is_dir():
        raise ValueError(f"records must be auto, own, reference, or a results folder that exists; got {where!r}")


def gather(
    task: str, scale: str, seeds: int, methods: list[str] | None, records: str, full: bool = False, **only: Any
) -> Evidence:
    """The records to show; those that are nowhere are made now, in this process, with a progress bar.

    What is made is of the task's core grid, or of the full one, and has the settings in `only`.

    `auto` takes your own runs, then the reference, and makes what neither has; `own` makes what you lack; `reference`
    makes nothing; a folder is read, and completed.
    """
    pictures.camera()  # takes its time to start: meanwhile records are read
    folders = _folders(scale, records)
    sources = [opened(folder) for folder in folders]
    if records != "reference":
        wanted = [recipe for recipe in grid(task, scale, seeds, full) if not methods or recipe.method in methods]
        wanted = [recipe for recipe in wanted if all(getattr(recipe, n) == value for n, value in only.items())]
        lacking = [recipe for recipe in wanted if not any(recipe.run_id in results.runs for results in sources)]
        if lacking:
            _make(lacking, folders[0])
            sources[0] = opened(folders[0])
    evidence = Evidence(task, scale, sources)
    if not evidence.found:
        raise FileNotFoundError(
            f"no records of scale {scale} in {' or '.join(map(str, folders))}; make reproduce makes them"
        )
    return evidence


def _folders(scale: str, records: str) -> list[Path]:
    own, reference = own_results(scale), reference_results(scale)
    return {"auto": [own, reference], "own": [own], "reference": [reference]}.get(records, [Path(records)])


def _make(recipes: list[Recipe], folder: Path) -> None:
    from elastic_lib.run import run

    with Progress(f"making {len(recipes)} records in {folder.name}", len(recipes)) as bar:
        for i, recipe in enumerate(recipes):
            run(recipe, folder)
            bar.update(i + 1)


def show(figure: go.Figure, name: str, caption: str) -> None:
    """Displays a figure, what to see, and where it comes from; a still picture follows as soon as it is taken."""
    from IPython.display import HTML, display

    drawn = _as_float32(json.loads(figure.to_json()))
    bundle = {"application/vnd.plotly.v1+json": drawn, "text/plain": caption}
    how = dict(raw=True, metadata={"elastic": {"figure": name}})  # by which the gallery finds it
    shown = display(bundle, display_id=True, **how)
    runs = (figure.layout.meta or {}).get("runs", [])
    display(HTML(f"<p><b>What to see.</b> {html.escape(caption)}</p>{details(runs)}"))

    def complete(picture: bytes) -> None:
        shown.update(bundle | {"image/png": base64.b64encode(picture).decode()}, **how)

    pictures.take(figure, name, complete)
    pictures.develop()


def _as_float32(drawn: Any) -> Any:
    """A figure's numbers with seven digits, more than a screen shows, in half of the bytes."""
    if isinstance(drawn, list):
        return [_as_float32(part) for part in drawn]
    if not isinstance(drawn, dict):
        return drawn
    if drawn.get("dtype") == "f8":
        numbers = np.frombuffer(base64.b64decode(drawn["bdata"]), "<f8").astype("<f4")
        return drawn | {"dtype": "f4", "bdata": base64.b64encode(numbers.tobytes()).decode()}
    return {name: _as_float32(part) for name, part in drawn.items()}


def source(module: str, *names: str) -> Any:
    """The library's own lines of functions, "Class.method" for instance; read, not imported, since loops need torch."""
    from IPython.display import Code

    text = Path(util.find_spec(module).origin).read_text()
    parts = []
    for name in names:
        node = ast.parse(text)
        for word in name.split("."):
            node = next(inner for inner in node.body if getattr(inner, "name", None) == word)
        parts.append(textwrap.dedent("\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno])))
    return Code("\n\n".join(parts), language="python")


def claimed(prefix: str) -> list[str]:
    """The ids of the claims that begin so."""
    return [claim.id for claim in every_claim() if claim.id.startswith(prefix)]


def verdicts(evidence: Evidence, *ids: str) -> Any:
    """The verdicts of these claims, of all of the task where none is named, as a table."""
    from IPython.display import HTML

    known = {claim.id: claim for claim in claims_of(evidence.task)}
    for name in ids:
        if name not in known:
            raise ValueError(unknown("claim", name, known))
    chosen = [known[name] for name in ids] if ids else list(known.values())
    table = _table("".join(_row(judge(claim, evidence)) for claim in chosen))
    pictures.develop(wait=True)  # every notebook ends with verdicts
    return HTML(table)


def _row(v: Verdict, classes: str = "") -> str:
    how = html.escape(f"{v.where}; {v.how()}")
    return (
        f"<tr class='{classes}'><td style='text-align:left'>{html.escape(v.statement)}<br><small>{how}</small></td>"
        f"<td style='color:{VERDICTS[v.verdict]}'><b>{v.verdict}</b></td>"
        f"<td style='white-space:nowrap'>{v.numbers()}</td><td>{v.claimed()}</td><td>{v.seeds}</td></tr>"
    )


def _table(body: str) -> str:
    heads = ("claim of the paper, and how it is measured here", "verdict", "effect [95% interval]", "claimed", "seeds")
    head = "".join(f"<th style='text-align:left'>{name}</th>" for name in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def worlds(scale: str, records: str) -> dict[str, Evidence]:
    """The records of every task that there are; nothing is made."""
    sources = [opened(folder) for folder in _folders(scale, records)]
    return {task: Evidence(task, scale, sources) for task in TASKS}


def ledger(worlds: Mapping[str, Evidence]) -> list[Verdict]:
    """The verdict on every claim, in the paper's order."""
    return [verdict for evidence in worlds.values() for verdict in judged(evidence)]


def scoreboard(rows: list[Verdict]) -> Any:
    """Every claim's verdict, with buttons by verdict and by section that need neither kernel nor script."""
    from IPython.display import HTML

    buttons, rules = [], ["#board label {padding: 2px 8px} #board td {text-align: left; vertical-align: top}"]
    for group, known in (("verdict", VERDICTS), ("section", sections(rows))):
        for words in (f"every {group}", *known):
            name = _class(words) if words in known else "all"
            count = sum(name in ("all", _class(v.verdict), _class(v.section())) for v in rows)
            button = f"board-{group}-{name}"
            buttons.append(
                f"<input type='radio' name='board-{group}' id='{button}' {'checked' * (name == 'all')}>"
                f"<label for='{button}'>{html.escape(words)} ({count})</label>"
            )
            if name != "all":
                rules.append(f"#{button}:checked ~ table tbody tr:not(.{name}) {{display: none}}")
        buttons.append("<br>")
    body = "".join(_row(v, f"{_class(v.verdict)} {_class(v.section())}") for v in rows)
    style = f"<style>{' '.join(rules)}</style>"
    return HTML(f"{style}<div id='board'>{''.join(buttons)}{_table(body)}</div>")


def _class(words: str) -> str:
    return words.lower().replace(" ", "-")


def reading(evidence: Evidence, settings: Mapping[str, tuple[str, dict]], seed: int, sentences: int = 3) -> Any:
    """The same sentences side by side: before, and at the end of each setting; words that changed are marked.

    `settings` names a line and says whose it is; a method that resets gets one more, right after its last reset.
    """
    from IPython.display import HTML

    lines = {"said before": None}
    for name, (method, changed) in settings.items():
        every = evidence.of(method, **changed)[seed].samples()
        trained, resets = every[every["reset"] == 0], every[every["reset"] == 1]
        lines["said before"] = trained[trained["step"] == 0].set_index("id")
        if len(resets):
            lines[f"{name}, after its last reset"] = resets[resets["step"] == resets["step"].max()].set_index("id")
        lines[name] = trained[trained["step"] == trained["step"].max()].set_index("id")
    parts = [_sentence(lines, i) for i in range(sentences)]
    return HTML(f"<div>{''.join(parts)}<p><mark>marked</mark>: what was not said before training.</p></div>")


def _sentence(lines: dict[str, pd.DataFrame], i: int) -> str:
    before = lines["said before"].loc[i]
    rows = [("French", before["prompt"], ""), ("true English", before["reference"], before["german_reference"])]
    for name, table in lines.items():
        said = marked(before["text"].split(), table.loc[i, "text"].split())
        rows.append((name, said, html.escape(table.loc[i, "german"])))
    heads = "".join(f"<th style='text-align:left'>{head}</th>" for head in ("", "English", "German made of it"))
    cell = "<td style='text-align:left;vertical-align:top'>"
    body = "".join(f"<tr>{''.join(f'{cell}{part}</td>' for part in row)}</tr>" for row in rows)
    return f"<table style='width:100%'><tr>{heads}</tr>{body}</table><br>"


def marked(before: list[str], now: list[str]) -> str:
    """What is said now, with a mark on what was put in since."""
    parts = []
    for change, _, _, start, end in difflib.SequenceMatcher(None, before, now, autojunk=False).get_opcodes():
        words = html.escape(" ".join(now[start:end]))
        parts += [f"<mark>{words}</mark>" if change in ("insert", "replace") else words] if words else []
    return " ".join(parts)


def said(evidence: Evidence, method: str, seed: int, prompt: int = 0, **settings: Any) -> pd.DataFrame:
    """What a method made of one prompt over training."""
    samples = evidence.of(method, **settings)[seed].samples()
    samples = samples[samples["id"] == prompt]
    table = samples.assign(reset=samples["reset"].map({0: "", 1: "after the reset"}))
    return table[["step", "reset", "reward", "prompt", "text"]].set_index("step").round({"reward": 2})
