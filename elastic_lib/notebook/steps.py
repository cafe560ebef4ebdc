"""What every notebook does: check its parameters, find or make its records, show captioned figures, tell verdicts."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from elastic_lib.evidence import Evidence
from elastic_lib.evidence.evidence import BESIDE
from elastic_lib.evidence.verdicts import Verdict, judge, sections
from elastic_lib.figures import diagrams
from elastic_lib.figures.provenance import details, in_html
from elastic_lib.figures.style import VERDICTS
from elastic_lib.notebook import pictures
from elastic_lib.progress import Progress
from elastic_lib.recipe import Recipe, parse_settings
from elastic_lib.recipe.grid import grid
from elastic_lib.recipe.rules import COUNT, check_known, unknown
from elastic_lib.records.record import own_results, reference_results
from elastic_lib.records.tables import Results, opened
from elastic_lib.tasks import SCALES, TASKS, facts
from elastic_lib.tasks.ledger import HEADLINES, every_claim, found_in, judged
from elastic_lib.tasks.ledger import claims as claims_of
from elastic_lib.tasks.ledger import finding as of_all
from elastic_lib.tasks.ledger import headlines as of_the_abstract

PARAMETERS = ("scale", "seeds", "methods", "records")


def check(task: str, namespace: Mapping[str, Any], *more: str) -> None:
    """Refuses a parameter that papermill would only warn about, and values that mean nothing.

    `more` are parameters that this notebook alone has.
    """
    imported = {name for name, value in namespace.items() if isinstance(value, ModuleType) or callable(value)}
    given = {name for name in namespace if not name.startswith("_")} - imported
    given -= {"In", "Out"}
    *before, now = namespace.get("In") or [""]
    if now not in before:  # run again in one kernel, it finds what the notebook itself has made
        for name in sorted(given - {*PARAMETERS, *more}):
            raise ValueError(unknown("parameter", name, (*PARAMETERS, *more)))
    check_known("scale", namespace["scale"], SCALES)
    COUNT.check("seeds", namespace["seeds"])
    if not isinstance(namespace["methods"], list | tuple | type(None)):
        how = "papermill -y 'methods: [ppo, elastic]'"
        raise ValueError(f"methods must be a list of names ({how}), or None for all; got {namespace['methods']!r}")
    for method in namespace["methods"] or ():
        check_known(f"method of {task}", method, facts(task).METHODS)
    if "settings" in more:
        _given(namespace["settings"])
    where = namespace["records"]
    named = isinstance(where, str | Path) and "\0" not in str(where)
    if where not in ("auto", "own", "reference") and not (named and Path(where).is_dir()):
        raise ValueError(f"records must be auto, own, reference, or a results folder that exists; got {where!r}")


def _given(settings: Iterable[str] | None) -> dict[str, Any]:
    """What `key=value` after `--set` means, of several."""
    if not isinstance(settings, list | tuple | type(None)):
        how = "papermill -y 'settings: [lm_name=…, rm_name=…]'"
        raise ValueError(f"settings must be a list of key=value ({how}), or None; got {settings!r}")
    return parse_settings(settings or ())


def gather(
    task: str,
    scale: str,
    seeds: int,
    methods: list[str] | None,
    records: str,
    full: bool = False,
    settings: Iterable[str] | None = None,
    **only: Any,
) -> Evidence:
    """The records to show; those that are nowhere are made now, in this process, with a progress bar.

    What is made is of the task's core grid, or of the full one, and has the settings in `only`: seeds 0 to `seeds` − 1
    of each setting that no folder has whole. What is there is shown whole.

    `auto` takes your own runs, then the reference, and makes what neither has; `own` makes what you lack; `reference`
    makes nothing; a folder is read, and completed. `settings`, `key=value` as after `--set`, are of all runs that are
    shown or made: another model, another judge.
    """
    given = _given(settings)
    pictures.camera()  # takes its time to start: meanwhile records are read
    folders = _folders(scale, records)
    sources = [opened(folder) for folder in folders]
    if records != "reference":
        wanted = [recipe for recipe in grid(task, scale, seeds, full, given) if not methods or recipe.method in methods]
        wanted = [recipe for recipe in wanted if all(getattr(recipe, n) == value for n, value in only.items())]
        beside = [opened(reference_results(BESIDE))] if records == "auto" and reference_results(BESIDE).is_dir() else []
        if lacking := _lacking(wanted, [*sources, *beside]):
            _make(lacking, folders[0])
            sources[0] = opened(folders[0])
    evidence = Evidence(task, scale, sources, given=given)
    if not evidence.found:
        of = " ".join((f"of scale {scale}", *(settings or ())))
        raise FileNotFoundError(f"no records {of} in {' or '.join(map(str, folders))}; make reproduce makes them")
    return evidence


def _lacking(wanted: Iterable[Recipe], sources: list[Results]) -> list[Recipe]:
    """What the first source, one's own, has to get so that one of them holds each setting with all of its seeds."""
    settings: dict[str, list[Recipe]] = {}
    for recipe in wanted:
        settings.setdefault(recipe.label(), []).append(recipe)
    lacking = []
    for seeds in settings.values():
        if not any(all(recipe.run_id in source.runs for recipe in seeds) for source in sources):
            lacking += [recipe for recipe in seeds if recipe.run_id not in sources[0].runs]
    return lacking


def _folders(scale: str, records: str) -> list[Path]:
    own, reference = own_results(scale), reference_results(scale)
    return {"auto": [own, reference], "own": [own], "reference": [reference]}.get(records, [Path(records)])


def _make(recipes: list[Recipe], folder: Path) -> None:
    from elastic_lib.run import run

    with Progress(f"making {len(recipes)} records in {folder.name}", len(recipes)) as bar:
        for i, recipe in enumerate(recipes):
            run(recipe, folder)
            bar.update(i + 1)


def show(figure: go.Figure, name: str, how_to_read: str = "") -> None:
    """Displays a figure, what it shows, and where it comes from; a still picture follows as soon as it is taken.

    What it shows is told by its records (`captions`); `how_to_read` says what they cannot.
    """
    from IPython.display import HTML, display

    finding = (figure.layout.meta or {}).get("finding") or ""
    caption = ("\n" if "\n" in finding else " ").join(filter(None, [finding, how_to_read]))
    drawn = _as_float32(json.loads(figure.to_json()))
    bundle = {"application/vnd.plotly.v1+json": drawn, "text/plain": caption}
    how = dict(raw=True, metadata={"elastic": {"figure": name}})  # by which the gallery finds it
    shown = display(bundle, display_id=True, **how)
    runs = (figure.layout.meta or {}).get("runs", [])
    display(HTML(f"<p>{in_html(caption)}</p>{details(runs)}"))

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


def claimed(prefix: str, scale: str = "pocket") -> list[str]:
    """The ids of the claims at a scale that begin so."""
    return [claim.id for claim in every_claim(scale) if claim.id.startswith(prefix)]


def verdicts(evidence: Evidence, *ids: str) -> Any:
    """The verdicts of these claims, of all of the task where none is named, as a table."""
    from IPython.display import HTML

    known = {claim.id: claim for claim in claims_of(evidence.task, evidence.scale)}
    for name in ids:
        if name not in known:
            raise ValueError(unknown("claim", name, known))
    chosen = [known[name] for name in ids] if ids else list(known.values())
    table = _table("".join(_row(judge(claim, evidence)) for claim in chosen))
    pictures.develop(wait=True)  # every notebook ends with verdicts
    return HTML(table)


REACHED = {  # by a pretrained model, on held-out text
    "perplexity": "perplexity",
    "accuracy": "right on pairs",
    "longer": "right if it took the longer of a pair",
    "accuracy_whole": "right on whole texts",
    "accuracy_scored": "right on beginnings, which it is asked about",
    "bleu": "BLEU on what it learned from",
    "bleu_captions": "BLEU on the game's captions",
}
LEARNED = {"lm": "language model", "rm": "judge", "rm_1": "second judge", "rm_2": "third judge"}


def standing(evidence: Evidence) -> pd.DataFrame:
    """How good the pretrained models of a task are, and where every run of it begins: a column a base."""
    known, bases = evidence.facts.COLUMNS, {}
    for by_seed in evidence.found.values():
        for record in by_seed.values():
            told = {
                f"{LEARNED.get(part, part)}: {REACHED[name]}": value
                for part, reached in record.env().get("pretrained", {}).items()
                for name, value in reached.items()
                if name in REACHED
            }
            for name, value in record.status()["test_before"].items():
                what = known.get(name, f"perplexity {name.replace('_', ' ')}").split(";")[0]
                told[f"before training: {what.replace('`task`', 'the same')}"] = value
            bases[f"base {record.recipe()['base']}"] = told
    return pd.DataFrame(bases).sort_index(axis=1).round(3) + 0.0  # and no −0


def beside(small: Evidence, real: Evidence, *ids: str) -> Any:
    """The verdicts of claims at two scales, those that could be judged at the second, as a table."""
    from IPython.display import HTML

    known = {claim.id: claim for claim in claims_of(small.task, small.scale)}
    rows = []
    for name in ids or known:
        both = [judge(known[name], evidence) for evidence in (small, real)]
        if both[1].verdict != "not run":
            told = "".join(
                f"<td><b style='color:{VERDICTS[v.verdict]}'>{v.verdict}</b><br>{v.numbers()}, seeds: {v.seeds}</td>"
                for v in both
            )
            claim = f"<td style='text-align:left'>{html.escape(both[0].statement)}</td><td>{both[1].claimed()}</td>"
            rows.append(f"<tr>{claim}{told}</tr>")
    pictures.develop(wait=True)
    return HTML(_table("".join(rows), ("claim", "claimed", small.scale, real.scale)))


def _row(v: Verdict, classes: str = "") -> str:
    how = html.escape(f"{v.where}; {v.how()}")
    return (
        f"<tr class='{classes}'><td style='text-align:left'>{html.escape(v.statement)}<br><small>{how}</small></td>"
        f"<td style='color:{VERDICTS[v.verdict]}'><b>{v.verdict}</b></td>"
        f"<td>{v.numbers()}</td><td>{v.claimed()}</td><td>{v.seeds}</td></tr>"
    )


HEADS = ("claim, and how it is measured here", "verdict", "effect [95% interval]", "claimed", "seeds")


def _table(body: str, heads: Iterable[str] = HEADS) -> str:
    head = "".join(f"<th style='text-align:left'>{name}</th>" for name in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def worlds(scale: str, records: str, settings: Iterable[str] | None = None) -> dict[str, Evidence]:
    """The records of every task that there are, those with all of these settings; nothing is made."""
    sources = [opened(folder) for folder in _folders(scale, records)]
    return {task: Evidence(task, scale, sources, given=_given(settings)) for task in TASKS}


def with_a_real_model(small: dict[str, Evidence], records: str) -> dict[str, Evidence]:
    """Before the small worlds the real language model, if there are records of it."""
    real = worlds("lab", records)["sentiment"]
    return {"real": real} | small if real.found else small


def ledger(worlds: Mapping[str, Evidence]) -> list[Verdict]:
    """The verdict on every claim, in the paper's order."""
    return [verdict for evidence in worlds.values() for verdict in judged(evidence)]


def finding(found: list[Verdict] | Evidence, notebook: str = "00") -> Any:
    """What was found, in those sentences of a notebook that the verdicts bear out."""
    from IPython.display import HTML

    said = found_in(found, notebook) if isinstance(found, Evidence) else of_all(found)
    said = said or "No sentence of this notebook's finding is borne out by these runs: its verdicts stand below."
    return HTML(f"<p style='font-size:1.25em'><b>{html.escape(said, quote=False)}</b></p>")


def headlines(rows: list[Verdict]) -> Any:
    """What became of the abstract's statements, in its own words, as a table."""
    from IPython.display import HTML

    told = [replace(verdict, statement=HEADLINES[verdict.id]) for verdict in of_the_abstract(rows)]
    pictures.develop(wait=True)
    return HTML(_table("".join(_row(verdict) for verdict in told)))


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
    pictures.develop(wait=True)  # notebook 00 ends with it
    return HTML(f"{style}<div id='board'>{''.join(buttons)}{_table(body)}</div>")


def _class(words: str) -> str:
    return words.lower().replace(" ", "-")


def diagram(name: str) -> Any:
    """One of the paper's diagrams: method, pipelines."""
    from IPython.display import SVG

    drawn = {file.removesuffix(".svg"): svg for file, svg in diagrams.files().items()}
    check_known("diagram", name, drawn)
    return SVG(drawn[name])


def folded(summary: str, table: pd.DataFrame) -> Any:
    """A table behind a line that opens it."""
    from IPython.display import HTML

    return HTML(f"<details><summary>{html.escape(summary)}</summary>{table.to_html()}</details>")
