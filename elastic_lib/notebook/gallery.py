"""The gallery: every figure, verdict and sample on one page, which opens from the file system and loads nothing.

All of it is read from executed notebooks and records; `gallery.html` has the marked places that are filled here.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from plotly.offline import get_plotlyjs

from elastic_lib.evidence import Evidence
from elastic_lib.evidence.verdicts import MARKS, Verdict, counted
from elastic_lib.figures import costs, diagrams, tables
from elastic_lib.figures.names import many
from elastic_lib.figures.provenance import details, in_html
from elastic_lib.figures.style import chosen, look, seeds_of
from elastic_lib.notebook.reading import as_table, versions
from elastic_lib.recipe.rules import check_known
from elastic_lib.records.files import ROOT, read_json, whole
from elastic_lib.records.record import MEASURED, own_results, reference_results
from elastic_lib.tasks import SCALES, facts
from elastic_lib.tasks.ledger import HEADLINES, finding, headlines, judged, worlds

PLOTLY = "application/vnd.plotly.v1+json"
FEW = 3  # more claims than these are folded below their counts
MOST = 40  # a section that shows more claims than these shows those of a whole task


class Figure(NamedTuple):
    """A figure of an executed notebook, and the verdicts that its section of the notebook shows (as HTML)."""

    name: str
    heading: str
    title: str
    source: str
    caption: str
    plot: dict
    told: str


class Book(NamedTuple):
    """An executed notebook: which of the tasks it is about, what it says first, its figures."""

    path: Path
    place: str
    title: str
    lead: str
    task: str
    figures: list[Figure]

    @property
    def scale(self) -> str:
        """Of its runs: executed notebooks lie in their scale's folder."""
        return self.path.parents[1].name


# ---- the executed notebooks


def executed(scale: str, reference: bool = False) -> list[Path]:
    """The executed notebooks in the paper's order; each of one's own before that of the reference, or these alone.

    What a scale does not have, the notebook of real language, is shown as the reference has it.
    """
    folders = [reference_results("lab") / "notebooks", reference_results(scale) / "notebooks"]
    folders += [] if reference else [own_results(scale) / "notebooks"]
    found = {path.stem: path for folder in folders for path in folder.glob("[0-9][0-9]_*.ipynb")}
    if not found:
        places = " or ".join(map(str, folders))
        raise FileNotFoundError(f"no executed notebooks in {places}; make reproduce SCALE={scale} makes them")
    return [found[stem] for stem in sorted(found)]


def read(path: Path) -> Book:
    """What the gallery shows of an executed notebook."""
    try:
        return _read(path)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a whole notebook ({error}); remove it, and make reproduce redoes it") from None


def _read(path: Path) -> Book:
    cells = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)["cells"]
    title, lead, task = path.stem, "", ""
    sections: list[tuple[str, list[dict]]] = [("", [])]
    for cell in cells:
        text = re.sub(r"(?m)^\[!\[.*\n+", "", "".join(cell["source"]))  # badges lead to where the reader is
        if cell["cell_type"] == "code":
            sections[-1][1].extend(cell["outputs"])
            task = task or next(iter(re.findall(r'steps\.check\("(\w+)"', text)), "")
        elif heading := re.search(r"^#{2,3} (.+)$", text, re.M):
            sections.append((heading[1], []))
        elif heading := re.search(r"^# (.+)\n*((?:.+\n?)*)", text, re.M):
            title, lead = heading[1], heading[2]
    figures: list[Figure] = []
    for heading, outputs in sections:
        told = "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)
        drawn = [output for output in outputs if PLOTLY in output.get("data", {})]
        figures += [_figure(o, f"{path.stem}_{len(figures) + i}", heading, told) for i, o in enumerate(drawn, 1)]
    return Book(path, f"book-{_slug(path.stem)}", title, lead, task, figures)


def _figure(output: dict, otherwise: str, heading: str, told: str) -> Figure:
    plot = output["data"][PLOTLY]
    title = plot.get("layout", {}).get("title") or {}
    title = title if isinstance(title, dict) else {"text": title}
    words = (title.get("text"), (title.get("subtitle") or {}).get("text"))
    text, source = (" ".join(re.sub(r"<[^>]*>", " ", word or "").split()) for word in words)
    name = output.get("metadata", {}).get("elastic", {}).get("figure") or otherwise
    caption = "".join(output["data"].get("text/plain", ""))
    return Figure(name, heading, text or name, source, caption, plot, told)


# ---- the claims that belong to a figure


def kind(name: str) -> str:
    """Which of several figures of one number it is: 'five' of figure_11_five, '' of figure_11."""
    return re.sub(r"^.*figure_\d+[a-d]?_?", "", name) if "figure_" in name else ""


def numbers(text: str) -> set[tuple[str, str]]:
    """The paper's figures that a text or a name speaks of: 'Figures 3c and 12' are ('3', 'c') and ('12', '')."""
    lists = re.findall(r"(?i:figures?)[ _]((?:\d+[a-d]?(?:, and | and |, )?)+)", text)
    return {pair for found in lists for pair in re.findall(r"(\d+)([a-d]?)", found)}


def about(figure: Figure, verdicts: list[Verdict], names: Iterable[str] = ()) -> list[Verdict]:
    """The verdicts on claims that name the figure; for a figure of ours, those that its section shows.

    Of several figures of one number among `names`, figure_11 and figure_11_five, each has what its own name says.
    """
    own = numbers(figure.name) or numbers(figure.title)
    if not own:
        shown = [v for v in verdicts if all(escape(text) in figure.told for text in (v.statement, v.measure))]
        return shown if len(shown) <= MOST else []  # a section that shows them all is no figure's
    kinds = {kind(figure.name), *(kind(name) for name in names if numbers(name) & own)}

    def names_it(v: Verdict) -> bool:
        """A figure and its panels are one: 12 is 12a, but 5a is not 5b."""
        pairs = ((one, other) for one in own for other in numbers(v.where))
        return any(one == other or (one[0] == other[0] and not (one[1] and other[1])) for one, other in pairs)

    def shown_by(v: Verdict) -> set[str]:
        """Which of the figures of this number show it: those that its id names, else the plain one, else all."""
        if said := kinds & set(v.id.split("-")):
            return said
        return {""} if "" in kinds else kinds

    return [v for v in verdicts if names_it(v) and kind(figure.name) in shown_by(v)]


# ---- what was said


def spoken(evidence: Evidence) -> dict[str, Any]:
    """The samples of the core settings; each text and prompt is kept once, and meant by its number."""
    texts: dict[str, int] = {}
    prompts: dict[tuple, int] = {}
    runs = []
    labels = chosen(evidence, evidence.facts.CORE)
    for label in labels:
        for seed, record in sorted(evidence.found[label].items()):
            run: dict[str, Any] = {"name": look(evidence, label, labels).name, "seed": seed, "steps": [], "scores": []}
            scores = evidence.curve(record).set_index(["step", "reset"])
            for moment, rows in record.samples().groupby(["step", "reset"]):
                run["steps"].append([int(part) for part in moment])
                run["scores"].append([_short(scores.loc[moment, name], 3) for name in ("task", "drift")])
                for name in rows.columns.intersection(["text", "german"]):
                    run.setdefault(name, []).append([texts.setdefault(text, len(texts)) for text in rows[name]])
                if "reward" in rows:
                    run.setdefault("reward", []).append([_short(value, 2) for value in rows["reward"]])
            asked = rows.reindex(columns=["prompt", "reference", "german_reference"], fill_value="")
            run["prompts"] = [prompts.setdefault(one, len(prompts)) for one in asked.itertuples(index=False, name=None)]
            runs.append(run)
    axes = evidence.facts.AXES
    return dict(name=evidence.facts.TITLE, steps=axes.steps, measures=[axes.task, axes.drift], prompts=list(prompts),
                texts=list(texts), runs=runs)  # fmt: skip


def _short(value: float, digits: int) -> float | None:
    return None if math.isnan(value) else round(float(value), digits)


# ---- the page


def page(scale: str, folder: Path, reference: bool = False) -> str:
    """The whole page, of the reference alone if asked; its links lead from `folder` to the notebooks."""
    books = [read(path) for path in executed(scale, reference)]
    every = worlds(scale, reference_results(scale) if reference else None)
    verdicts = {evidence.task: judged(evidence) for evidence in every}
    templates: list[dict] = []
    beside = [verdicts.get(book.task, []) if book.scale == scale else [] for book in books]
    cards = [_cards(book, of_it, templates) for book, of_it in zip(books, beside, strict=True)]
    first = books[0].figures[:1]
    glance = cards[0].pop(0) if first and first[0].name.endswith("_glance") else ""  # the page begins with it
    sections = [_book(book, of_it, folder) for book, of_it in zip(books, cards, strict=True)]
    samples = [said for evidence in every if (said := spoken(evidence))["runs"]]
    ledger = [verdict for of_task in verdicts.values() for verdict in of_task]
    mixed = any("yours" in verdict.records for verdict in ledger)
    contents = [f'<li><a href="#{b.place}"><span>{b.path.stem[:2]}</span> {escape(b.title)}</a></li>' for b in books]
    parts = {
        "scale": escape(scale),
        "origin": _origin(every, books),
        "counts": _counts(counted(ledger)),
        "finding": escape(finding(ledger), quote=False),
        "glance": glance,
        "sentence": "".join(_sentence(versions(evidence)) for evidence in every if evidence.task == "translation"),
        "found": "".join(_found(v, mixed) for v in headlines(ledger)),
        "first_content": contents[0],
        "contents": "".join(contents[1:]),
        "first": sections[0],  # the scoreboard, before what the method is
        "books": "\n".join(sections[1:]),
        "method": diagrams.html(diagrams.method()),
        "pipelines": diagrams.html(*diagrams.pipelines()),
        "tables": "".join(_table(*one) for one in _numbered(every)),
        "claims": "".join(_row(v, facts(task).TITLE) for task, of_task in verdicts.items() for v in of_task),
        "costs": _costs(templates),
        "costs_link": '<li><a href="#costs"><span>≤</span> What it costs</a></li>' * bool(_kept()),
        "samples": data(samples),
        "templates": data(templates),
        "plotly": base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode(),
    }
    template = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], template)  # one pass: what is put in is never searched


def data(content: Any) -> str:
    """JSON that cannot end the script element that holds it."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _numbered(every: list[Evidence]) -> list[tuple[int, Evidence]]:
    """The paper's tables in its order, each with the task that it is about; those alone that we have runs for."""
    pairs = [(number, evidence) for evidence in every for number in evidence.facts.TABLES]
    return sorted((pair for pair in pairs if len(tables.paper(*pair[::-1]))), key=lambda pair: pair[0])


def _table(number: int, evidence: Evidence) -> str:
    """One of the paper's tables, its numbers in columns of their own beside ours."""
    rows = tables.paper(evidence, number)
    heads = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in ("", *rows.columns))
    lines = []
    for name, row in rows.iterrows():
        cells = "".join(_number(head, str(value)) for head, value in row.items())
        lines.append(f'<tr><th scope="row">{in_html(str(name))}</th>{cells}</tr>')
    table = f'<table class="numbers"><thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
    return (
        f'<div class="sheet" id="table-{number}"><header><p class="heading">Table {number}</p>'
        f'<h3>{escape(evidence.facts.TABLES[number].title)}</h3></header><div class="scrolled">{table}</div></div>'
    )


def _number(head: str, value: str) -> str:
    """A cell, with its column's head for a phone, where rows stand by themselves."""
    whose = ' class="theirs"' if head.startswith("paper") else ""
    return f'<td data-head="{escape(head)}"{whose}>{_signed(value)}</td>'


# ---- what it costs


def _kept() -> list[dict[str, Any]]:
    """The benchmarks that were kept, as `elastic bench --keep` leaves them."""
    path = reference_results("bench") / MEASURED
    return costs.in_order(read_json(path)) if path.exists() else []


def _costs(templates: list[dict]) -> str:
    """A table a benchmark, and the curves of what grows; nothing where none was kept."""
    if not (reports := _kept()):
        return ""
    met = [row.met for report in reports for row in costs.rows(report) if row.met is not None]
    told = f"{sum(met)} of {len(met)} targets are met. " if met else ""
    return (
        f'<section id="costs"><header><h2>What it costs</h2><p class="lead">{told}Whatever stands beside another was '
        "measured in turn with it; the number is a median, the span goes from the least to the greatest.</p></header>"
        f"{''.join(_benchmark(report, templates) for report in reports)}</section>"
    )


def _benchmark(report: dict[str, Any], templates: list[dict]) -> str:
    """What was to be reached, and folded below it what else was measured."""
    title, rows = costs.title(report), costs.rows(report)
    aimed, rest = ([row for row in rows if (row.met is None) == aside] for aside in (False, True))
    drawn = costs.growth(report)
    name = f"cost-{_slug(report['name'])}"
    card = "" if drawn is None else _card(_of_benchmark(drawn, title, report), f"{name}-curves", [], templates)
    head = title if drawn is None else "The slopes of the lines"
    folded = many(len(rest), "more figure" if aimed else "figure")
    more = f"<details><summary>{folded}</summary>{_measured(rest)}</details>" if rest else ""
    return (
        f'{card}<div class="sheet" id="{name}"><header><h3>{escape(head)}</h3></header>{_measured(aimed)}{more}'
        f'<p class="heading">{escape(costs.where(report))} <code>{escape(report["command"])}</code></p></div>'
    )


def _measured(rows: list[costs.Row]) -> str:
    """Figures as a table, with the columns of targets where they have one; nothing without figures."""
    if not rows:
        return ""
    heads = ["measured", "least to greatest", "target", ""][: 4 if rows[0].met is not None else 2]
    lines = []
    for row in rows:
        cells = [escape(text) for text in (row.measured, row.span, row.target)] + [_reached(row.met)]
        cells = "".join(f'<td data-head="{head}">{cell}</td>' for head, cell in zip(heads, cells, strict=False))
        lines.append(f'<tr><th scope="row">{escape(row.name)}</th>{cells}</tr>')
    head = "".join(f'<th scope="col">{head}</th>' for head in ("", *heads))
    table = f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
    return f'<div class="scrolled">{table}</div>'


def _reached(met: bool | None) -> str:
    if met is None:
        return ""
    return f'<span class="badge {"supported" if met else "refuted"}">{"met" if met else "missed"}</span>'


def _of_benchmark(drawn: Any, title: str, report: dict[str, Any]) -> Figure:
    """A picture of a benchmark in the shape of a notebook's."""
    plot = json.loads(drawn.to_json())
    caption = (
        "Each line is one thing of which there is more and more while all else stays. The dotted line is in proportion."
    )
    return Figure(f"bench_{report['name']}", "", title, plot["layout"]["title"]["subtitle"]["text"], caption, plot, "")


def _origin(every: list[Evidence], books: list[Book]) -> str:
    """Where all of it comes from: runs, seeds, commits, and whose notebooks."""
    settings = [by_seed for evidence in every for by_seed in evidence.found.values()]
    runs = [record for one in settings for record in one.values()]
    commits = Counter(str(record.env().get("commit", "unknown")) for record in runs)
    own = sum("reference" not in book.path.parts for book in books)
    whose = {0: "the committed reference", len(books): "your own runs"}.get(own, f"{own} of them your own runs")
    told = [f"{len(books)} executed notebooks, {whose}."]
    if runs:
        made = " ".join(f"<code>{escape(name)}</code>&nbsp;({count})" for name, count in commits.most_common())
        span = seeds_of((evidence, evidence.found) for evidence in every)
        told.append(f"{len(runs)} runs of {len(settings)} settings, {span} each.")
        told.append(f"<details><summary>The {len(commits)} commits that made the runs</summary><p>{made}</p></details>")
    return " ".join(told)


def _counts(verdicts: list[Verdict]) -> str:
    counts = Counter(verdict.verdict for verdict in verdicts)
    shown = [(name, counts[name], _slug(name)) for name in MARKS if counts[name]]
    return "".join(f'<li class="{slug}" style="--share:{n}"><b>{n}</b> {name}</li>' for name, n, slug in shown)


def _sentence(said: list[tuple[str, str]]) -> str:
    """One sentence of the game at several times, with a mark on every word that was not there before training."""
    if not said:
        return ""
    return (
        '<div class="sheet"><header><p class="heading">The Translation Game, seed 0, the sentence that it translated '
        f"best before training</p><h3>Drift, in the words themselves</h3></header>{as_table(said)}</div>"
    )


def _cards(book: Book, verdicts: list[Verdict], templates: list[dict]) -> list[str]:
    """The figures of a notebook, each beside the claims that belong to it."""
    names = [figure.name for figure in book.figures]
    told = [(figure, about(figure, verdicts, names)) for figure in book.figures]
    return [_card(figure, f"{book.place}-{i}", beside, templates) for i, (figure, beside) in enumerate(told, 1)]


def _book(book: Book, cards: list[str], folder: Path) -> str:
    paths = {"the notebook": ROOT / "notebooks" / book.path.name, "as it was executed": book.path}
    links = [f'<a href="{escape(os.path.relpath(path, folder))}">{name}</a>' for name, path in paths.items()]
    return (
        f'<section class="book" id="{book.place}"><header><p class="number">{book.path.stem[:2]}</p>'
        f'<h2>{escape(book.title)}</h2><p class="lead">{_prose(book.lead)}</p>'
        f'<p class="links">{" · ".join(links)}</p></header>{"".join(cards)}</section>'
    )


def _card(figure: Figure, place: str, verdicts: list[Verdict], templates: list[dict]) -> str:
    plot = {key: figure.plot[key] for key in ("data", "layout", "frames") if key in figure.plot}
    layout = dict(plot.get("layout", {}))
    template = layout.pop("template", {})
    if template not in templates:
        templates.append(template)  # all figures of a run share one: it is kept once
    meta = layout.get("meta") or {}
    layout["meta"] = {name: told for name, told in meta.items() if name not in ("runs", "finding")}  # they stand below
    plot |= {"layout": layout, "template": templates.index(template)}
    panels = sum(bool(re.fullmatch(r"xaxis\d*", name)) for name in layout)
    kind = "wide" if panels > 1 else "single"
    return (
        f'<figure class="card {kind}" id="{place}" data-figure="{escape(figure.name)}" data-panels="{panels}" '
        f'data-height="{int(layout.get("height") or 470)}"><header><p class="heading">{escape(figure.heading)}</p>'
        f'<h3>{escape(figure.title)}</h3><p class="source">{escape(figure.source)}</p></header>'
        f'<div class="drawing"><div class="legend" role="group" aria-label="Lines of this figure"></div>'
        f'<div class="plot" aria-label="{escape(figure.title)}"></div>'
        f'<div class="spoken" aria-live="polite" hidden></div></div>'
        f'<figcaption><p class="caption">{in_html(figure.caption)}</p>{_beside(verdicts)}{_from(figure)}</figcaption>'
        f'<script type="application/json">{data(plot)}</script></figure>'
    )


def _beside(verdicts: list[Verdict]) -> str:
    """Claims, those that show a statement again too, beside what was measured here."""
    if not verdicts:
        return ""
    items = "".join(
        f'<li>{_badge(v)} <a href="#claim-{_slug(v.id)}">{escape(v.statement)}</a><dl><div><dt>claimed</dt>'
        f"<dd>{_signed(v.claimed())}</dd></div><div><dt>ours</dt><dd>{_signed(v.numbers())}</dd></div></dl></li>"
        for v in verdicts
    )
    return (
        f"<details{' open' * (len(verdicts) <= FEW)}><summary>"
        f"{many(len(verdicts), 'row')} of claims beside what was found"
        f'<ul class="tally">{_counts(verdicts)}</ul></summary><ul class="beside">{items}</ul></details>'
    )


def _from(figure: Figure) -> str:
    """The runs behind a figure; nothing for one that was executed before figures said so."""
    runs = (figure.plot.get("layout", {}).get("meta") or {}).get("runs")
    return "" if runs is None else details(runs)


def _row(v: Verdict, task: str) -> str:
    statement, where, how = map(escape, (v.statement, v.where, v.how()))
    claim = f'<p>{statement}</p><span class="measure">{how}</span>'
    cells = (claim, where, _badge(v), _signed(v.numbers()), _signed(v.claimed()), v.seeds)
    parts = "|".join(re.findall(r"Section \d+|Appendix [A-Z]", v.where))
    place = f'id="claim-{_slug(v.id)}" data-verdict="{v.verdict}" data-task="{task}" data-part="{parts}"'
    return f"<tr {place}>{''.join(f'<td>{content}</td>' for content in cells)}</tr>\n"


def _found(v: Verdict, mixed: bool) -> str:
    """A sentence of the abstract, and what became of it; in whose runs, where some are the reader's own."""
    told = "not run" if v.effect is None else f"{v.numbers()}, claimed: {v.claimed()}; seeds: {v.seeds}"
    told += f"; records: {v.records}" if mixed and v.effect is not None else ""
    sentence = f'<a href="#claim-{_slug(v.id)}">{escape(HEADLINES[v.id])}</a>'
    return f"<li>{_badge(v)} {sentence}<small>{_signed(told)}</small></li>"


def _badge(v: Verdict) -> str:
    return f'<span class="badge {_slug(v.verdict)}">{v.verdict}</span>'


def _signed(text: str) -> str:
    return escape(text).replace("-", "−")


def _slug(text: str) -> str:
    return re.sub(r"[^\w-]+", "-", text)


def _prose(markdown: str) -> str:
    """A paragraph of a notebook: bold, italics and code as such, links as their words."""
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", escape(" ".join(markdown.split()), quote=False))
    for mark, tag in ((r"\*\*(.+?)\*\*", "strong"), (r"\*(.+?)\*", "em"), (r"`(.+?)`", "code")):
        text = re.sub(mark, rf"<{tag}>\1</{tag}>", text)
    return text


def main(scale: str = "pocket", out: Path | None = None, reference: bool = False) -> int:
    """Writes the page, whole or not at all: with one's own runs, or the committed page of the reference."""
    check_known("scale", scale, SCALES)
    if reference and scale != "pocket" and out is None:
        raise ValueError(
            f"figures/index.html is the reference's page of pocket: name another file for {scale} by --out"
        )
    out = out or ROOT / "figures" / ("index.html" if reference else f"own/{scale}_index.html")
    content = page(scale, out.parent, reference)
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole(out) as draft:
        draft.write_text(content, encoding="utf-8")
    for name, drawn in (diagrams.files() if reference else {}).items():
        (out.parent / name).write_text(drawn, encoding="utf-8")
    print(f"{out}  {out.stat().st_size / 1e6:.1f} MB: open it in any browser, it needs no server")
    return 0
