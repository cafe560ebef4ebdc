"""The gallery: one page of every figure, verdict and sample, which loads nothing and works from the file system."""

import base64
import gzip
import json
import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import Page, needs_browser, opened

from elastic_lib.notebook import gallery
from elastic_lib.records import record as records
from elastic_lib.records.record import reference_results
from elastic_lib.tasks import TASKS, facts
from elastic_lib.tasks.ledger import FINDING, finding, headlines, worlds
from elastic_lib.tasks.ledger import verdicts as judged

PAGE = "figures/own/smoke_index.html"
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\"> & 'so' on"


class Elements(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.seen = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The gallery of the committed reference."""
    out = tmp_path_factory.mktemp("gallery") / "figures" / "index.html"
    assert gallery.main("pocket", out, reference=True) == 0
    return out


@pytest.fixture(scope="module")
def text(built):
    return built.read_text()


@pytest.fixture(scope="module")
def ledger():
    return judged("pocket")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A house of its own with a single executed notebook in it, hostile all over, and no records."""
    monkeypatch.setattr(records, "ROOT", tmp_path)
    monkeypatch.setattr(gallery, "ROOT", tmp_path)
    told = [["elastic", 1, 20, 1, HOSTILE, "a second answer"]]
    plot = {
        "data": [{"x": [1], "y": [2], "mode": "markers", "name": HOSTILE, "marker": {"size": 30}, "customdata": told},
                 {"x": [3], "y": [1], "mode": "markers", "name": "other", "marker": {"size": 30}, "customdata": [7]}],
        "layout": {"title": {"text": HOSTILE}, "height": 400, "meta": {"prompts": [HOSTILE, "another?"]},
                   "xaxis": {"range": [0, 4]}, "yaxis": {"range": [0, 3]}},
    }  # fmt: skip
    output = {"data": {gallery.PLOTLY: plot, "text/plain": HOSTILE}, "metadata": {"elastic": {"figure": HOSTILE}}}
    cells = [{"cell_type": "markdown", "source": [f"# {HOSTILE}\n", f"\n{HOSTILE}"]},
             {"cell_type": "code", "source": [], "outputs": [output]}]  # fmt: skip
    folder = records.own_results("smoke") / "notebooks"
    folder.mkdir(parents=True)
    (folder / "02_hostile.ipynb").write_text(json.dumps({"cells": cells}))
    return tmp_path


def outputs_of(path):
    for cell in json.loads(path.read_text())["cells"]:
        yield from (output for output in cell.get("outputs", []) if gallery.PLOTLY in output.get("data", {}))


# ---- the page as it is written


def test_one_file_that_loads_nothing(built, text):
    assert built.stat().st_size <= 12e6
    (zipped,) = re.findall(r'id="plotly">([^<]*)<', text)
    assert re.match(r"/\*\*\n\* plotly\.js v\d", gzip.decompress(base64.b64decode(zipped)).decode())
    assert "{{" + "books}}" not in text
    for tag, attributes in Elements(text).seen:
        loaded = attributes.get("src") or (attributes.get("href") if tag == "link" else "") or ""
        assert loaded in ("", "data:,"), f"{tag} loads {loaded}"
        assert not (attributes.get("href") or "").startswith("http")
    assert "@import" not in text.split("</style>")[0] and "url(" not in text.split("</style>")[0]


def test_every_figure_of_the_executed_notebooks_is_there(text):
    shown = [attributes for tag, attributes in Elements(text).seen if tag == "figure"]
    shown = [card for card in shown if card["id"].startswith("book-")]  # the others are benchmarks'
    executed = sorted((reference_results("pocket") / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    expected = [
        (path.stem, output) for path in gallery.executed("pocket", reference=True) for output in outputs_of(path)
    ]
    assert len(executed) >= 7 and len(shown) == len(expected) > 40
    assert [card["id"].removeprefix("book-").rsplit("-", 1)[0] for card in shown] == [stem for stem, _ in expected]
    stored = [json.loads(part) for part in re.findall(r'<script type="application/json">(.*?)</script>', text)]
    for card, (_, output) in zip(stored, expected, strict=False):
        original = output["data"][gallery.PLOTLY]
        assert card["data"] == original["data"] and card.get("frames") == original.get("frames")


def test_the_page_begins_with_what_was_found_in_a_sentence_a_picture_and_words(text, ledger):
    found = finding(ledger)
    assert found.count(".") == len(FINDING) == 3 and "<h1>" in text
    parts = [escape(found, quote=False), "pocket_glance", "<h3>Drift, in the words themselves</h3>", 'class="found"']
    at = [text.index(part) for part in parts]
    assert text.index("<h1>") < at[0] and at == sorted(at) and at[-1] < text.index('class="book"')
    assert text.count('data-figure="pocket_glance"') == 1
    head, drifted = text[at[2] :].split("</table>")[0].split("after 600 updates without resets")
    assert "<mark>" in drifted.split("</tr>")[0] and "<mark>" not in head


def test_the_claims_are_the_ledger_in_its_order(text, ledger):
    rows = [attributes for tag, attributes in Elements(text).seen if tag == "tr" and "data-verdict" in attributes]
    assert [row["id"] for row in rows] == [f"claim-{verdict.id}" for verdict in ledger]
    assert [row["data-verdict"] for row in rows] == [verdict.verdict for verdict in ledger]


def test_whose_runs_a_headline_rests_on_is_said_where_some_are_one_s_own(text, ledger):
    (v, *_) = headlines(ledger)
    assert v.records == "the reference's" and "records: the reference" in gallery._found(v, True)
    assert "records:" not in gallery._found(v, False) and gallery._found(v, False) in text


def test_a_figure_stands_beside_the_claims_that_name_it(ledger):
    assert gallery.numbers("Section 5, Figures 3c and 12") == {("3", "c"), ("12", "")}
    assert gallery.numbers("Section 6, Figures 5c, 5d, 14 and 15") == {("5", "c"), ("5", "d"), ("14", ""), ("15", "")}
    assert gallery.numbers("pocket_figure_5a") == {("5", "a")} and gallery.numbers("Section 6, Table 2") == set()

    def where(name, told=""):
        return {v.where for v in gallery.about(gallery.Figure(name, "", name, "", "", {}, told), ledger)}

    def ids(name, *names):
        return {v.id for v in gallery.about(gallery.Figure(name, "", name, "", "", {}, ""), ledger, (name, *names))}

    five = {v.id for v in ledger if v.id.startswith("sentiment-five-")}
    assert five and five <= ids("pocket_figure_11") and not five & ids("pocket_figure_11", "pocket_figure_11_five")
    assert ids("pocket_figure_11_five", "pocket_figure_11") == five
    assert "Section 6, Figure 5a" in where("pocket_figure_5a") > {"Section 6, Figures 5a and 11"}
    assert "Section 6, Figures 5c, 5d, 14 and 15" not in where("pocket_figure_5a")
    assert where("pocket_figure_5") >= where("pocket_figure_5a") and where("pocket_figure_1") == set()
    assert where("pocket_frontier") == set()
    one = ledger[0]  # a figure of ours stands beside what its section of the notebook shows
    assert where("pocket_frontier", told=f"{escape(one.statement)} … {escape(one.measure)}") == {one.where}


def test_samples_are_those_of_the_records(text):
    stored = json.loads(re.search(r'id="data-samples">(.*?)</script>', text)[1])
    assert len(json.dumps(stored, ensure_ascii=False).encode()) < 2e6
    assert [task["name"] for task in stored] == [facts(task).TITLE for task in TASKS]
    task = stored[1]
    run = next(run for run in task["runs"] if run["name"] == "Elastic Reset, β = 0.01" and run["seed"] == 1)
    record = worlds("pocket", tasks=["sentiment"])[0].of("elastic")[1]
    rows = record.samples()
    for at, (step, reset) in enumerate(run["steps"]):
        wanted = rows[(rows["step"] == step) & (rows["reset"] == reset)]
        assert [task["texts"][i] for i in run["text"][at]] == list(wanted["text"])
        assert run["reward"][at] == pytest.approx(list(wanted["reward"]), abs=0.0051)
    assert len(run["steps"]) == rows.groupby(["step", "reset"]).ngroups


def keep(name, **figures):
    """A made-up benchmark among those that are kept."""
    report = dict(name=name, machine=HOSTILE, cores=2, threads=1, torch="2.13.0", command=HOSTILE, figures=figures)
    path = records.reference_results("bench") / "benchmarks.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    others = json.loads(path.read_text()) if path.exists() else []
    path.write_text(json.dumps([*others, report | {"load": {"before": [0.25, 0, 0], "after": [0.5, 0, 0]}}]))


def test_without_benchmarks_nothing_is_said_of_them(small):
    assert gallery.main("smoke") == 0
    assert "costs" not in {attributes.get("id") for _, attributes in Elements((small / PAGE).read_text()).seen}
    assert "#costs" not in (small / PAGE).read_text().split("<script>")[2]


def test_benchmarks_say_what_was_met_and_what_was_missed(small):
    costs = [0.5, 1.5, 4.5]
    curve = {"over": HOSTILE, "sizes": [10, 20, 40], "costs": costs, "unit": "s", "beyond": False}
    curve["fitted"] = [[10, 0.5], [20, 1.5], [40, 4.5]]
    one = dict(min=1.0, max=2.0, times=3, unit="x", target=1.1, within="at most")
    keep("growth", **{
        HOSTILE: one | dict(median=1.5, met=False),
        "quick": one | dict(median=1.005, met=True, **{"with": HOSTILE}),
        "reading": dict(median=1.58, min=1.58, max=1.58, times=1, unit="slope", curve=curve),
        "a moment": dict(median=0.0042, min=0.004, max=0.005, times=2, unit="s/update"),
    })  # fmt: skip
    keep("startup", **{"import": one | dict(median=1.0, met=True)})  # none without a target
    keep("loop", **{"scoring": dict(median=1.0, min=1.0, max=1.0, times=1, unit="s")})  # none with one
    assert gallery.main("smoke") == 0
    text = (small / PAGE).read_text()
    (section,) = re.findall(r'<section id="costs">.*?</section>', text, re.S)
    assert "2 of 3 targets are met" in section and 'href="#costs"' in text
    rows = {row.split("</th>")[0]: row for row in re.findall(r'<th scope="row">(.*?)</tr>', section)}
    assert "1.5×" in rows[escape(HOSTILE)] and "at most 1.1×" in rows[escape(HOSTILE)]
    assert rows[escape(HOSTILE)].count(">missed<") == 1 and rows[escape(f"quick ({HOSTILE})")].count(">met<") == 1
    assert "1.005×" in rows[escape(f"quick ({HOSTILE})")]
    assert "4.2 ms" in rows["a moment"] and "4 ms to 5 ms" in rows["a moment"] and "badge" not in rows["a moment"]
    assert "2 more figures" in section and "1 figure<" in section and section.count("<summary>") == 2
    assert section.count(escape(HOSTILE)) >= 4 and "load 0.25 before and 0.50 after" in section
    tags = Elements(section).seen
    assert not [tag for tag, _ in tags if tag == "img"] and [tag for tag, _ in tags].count("script") == 1
    (drawn,) = re.findall(r'<script type="application/json">(.*?)</script>', section)
    assert json.loads(drawn)["data"][0]["x"] == [1, 2, 4] and json.loads(drawn)["data"][0]["y"] == [1, 3, 9]


def test_hostile_text_stays_text(small, capsys):
    assert gallery.main("smoke") == 0
    out = small / PAGE
    assert str(out) in capsys.readouterr().out
    tags = Elements(out.read_text()).seen
    assert not [tag for tag, _ in tags if tag == "img"]
    assert len([tag for tag, _ in tags if tag == "script"]) == 6
    figure = next(attributes for tag, attributes in tags if tag == "figure")
    assert figure["data-figure"] == HOSTILE


def test_one_s_own_notebook_comes_before_the_reference(small):
    reference = records.reference_results("smoke") / "notebooks"
    reference.mkdir(parents=True)
    (reference / "02_hostile.ipynb").write_text("{}")
    (reference / "03_other.ipynb").write_text("{}")
    found = gallery.executed("smoke")
    assert found == [records.own_results("smoke") / "notebooks" / "02_hostile.ipynb", reference / "03_other.ipynb"]


def test_what_is_missing_or_broken_is_said_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "ROOT", tmp_path)
    with pytest.raises(FileNotFoundError, match="make reproduce SCALE=smoke makes them"):
        gallery.main("smoke")
    with pytest.raises(ValueError, match="unknown scale 'poket'; did you mean pocket"):
        gallery.main("poket")
    broken = records.own_results("smoke") / "notebooks" / "02_cut.ipynb"
    broken.parent.mkdir(parents=True)
    for content in ('{"cells": [', "[]", '{"cells": null}', '{"cells": [{"cell_type": "code", "source": [1]}]}'):
        broken.write_text(content)
        with pytest.raises(ValueError, match=re.escape(f"{broken} is not a whole notebook")):
            gallery.main("smoke")
    assert not (tmp_path / "figures").exists()


def test_a_page_that_cannot_be_finished_leaves_the_old_one(small, monkeypatch):
    out = small / PAGE
    out.parent.mkdir(parents=True)
    out.write_text("the old one")

    def full(self, *_, **__):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        gallery.main("smoke")
    assert [path.name for path in out.parent.iterdir()] == [out.name] and out.read_text() == "the old one"


# ---- the page as it is read

PANELS = """[...document.querySelectorAll('#book-02_translation_game-2 .plot .annotation-text')]
    .filter(a => /^\\(.\\)/.test(a.textContent))"""


def draw_all(page):
    """Scrolls to every figure, and waits until it is drawn in the theme that is on."""
    for i in range(page.js("document.querySelectorAll('.card').length")):
        card = f"document.querySelectorAll('.card')[{i}]"
        page.js(f"{card}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        near = f"[{card}, ...document.querySelectorAll('.card[data-near=\"1\"]')]"  # they too move what is below them
        page.until(f"{near}.every(card => card.dataset.drawn === document.documentElement.dataset.theme)")


def fits(page):
    return page.js("document.documentElement.scrollWidth <= innerWidth")


# words of figures beyond their figure's edge; those too faint on the page; those that the tools lie on
BEYOND = """[...document.querySelectorAll('.card')].flatMap(card => {
    const edge = card.querySelector('.plot').getBoundingClientRect();
    return [...card.querySelectorAll('.plot text')].map(t => [t.textContent, t.getBoundingClientRect()])
        .filter(([t, r]) => t.trim() && r.width && (r.left < edge.left - 2 || r.right > edge.right + 2))
        .map(([t]) => `${card.id}: ${t}`) })"""
WORDS = "'.xtick text, .ytick text, .annotation-text, .xtitle, .ytitle, .slider-label, .slider-labels text'"
FAINT = f"""[...document.querySelectorAll('.plot')].flatMap(plot => [...plot.querySelectorAll({WORDS})]).filter(t =>
    t.textContent.trim() && contrast(parsed(getComputedStyle(t).fill), parsed(styled('--card'))) < 4.5)
    .map(t => `${{t.closest('.card').id}}: ${{t.textContent}}`)"""
IN_BARS = """[...document.querySelectorAll('.bartext')].filter(t => t.getBoundingClientRect().width && contrast(
    parsed(getComputedStyle(t).fill), parsed(getComputedStyle(t.parentNode.querySelector('path')).fill)) < 4.5)
    .map(t => t.textContent)"""
COVERED = f"""[...document.querySelectorAll('.card')].flatMap(card => {{
    const tools = card.querySelector('.modebar')?.getBoundingClientRect();
    return !tools?.width ? [] : [...card.querySelectorAll({WORDS})].filter(t => (r => r.width && r.left < tools.right
        && r.right > tools.left && r.top < tools.bottom - 2 && r.bottom > tools.top)(t.getBoundingClientRect()))
        .map(t => `${{card.id}}: ${{t.textContent}}`) }})"""


def show(page, selector, name):
    page.js(f"document.querySelector({selector!r}).scrollIntoView({{block: 'start', behavior: 'instant'}})")
    page.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.picture(name)


@pytest.fixture(scope="module")
def wide(built):
    """The page on a desk, drawn whole; and how many cards, and drawn ones, it had at once."""

    def prepare(page):
        page.at_once = [page.js(f"document.querySelectorAll('.card{which}').length") for which in ("", "[data-drawn]")]
        page.picture("gallery_top")
        draw_all(page)

    with opened(built.as_uri(), prepare, width=1440, height=900, offline=True) as page:
        yield page


@pytest.fixture(scope="module")
def phone(built):
    """The page on a phone, with all of its figures drawn in the dark; and the ink of one before and after."""
    figure = "document.querySelector('#book-02_translation_game-2')"
    ink = f"getComputedStyle({figure}.querySelector('.xtick text')).fill"

    def prepare(page):
        page.js(f"{figure}.scrollIntoView({{behavior: 'instant'}})")
        page.until(f"{figure}.dataset.drawn === 'light'")
        light = page.js(ink)
        page.click(*page.place("#theme"))
        draw_all(page)
        page.ink = light, page.js(ink)

    with opened(built.as_uri(), prepare, width=390, height=844, offline=True) as page:
        yield page


@needs_browser
def test_opens_at_once(wide):
    cards, drawn = wide.at_once
    assert cards > 40 and drawn < 10


@needs_browser
def test_a_desk_shows_panels_side_by_side(wide):
    assert fits(wide)
    assert wide.js(BEYOND) == [] and wide.js(FAINT) == [] and wide.js(COVERED) == [] and wide.js(IN_BARS) == []
    panels = wide.js(f"{PANELS}.map(a => a.getBoundingClientRect().top)")
    assert len(panels) == 3 and max(panels) - min(panels) < 1
    show(wide, "#book-02_translation_game-2", "gallery_three_panels")
    assert wide.errors == []


@needs_browser
def test_the_slider_moves_the_frontier(wide):
    card = "#" + wide.js("document.querySelector('.slider-grip-rect').closest('.card').id")
    curves = f"[...document.querySelectorAll('{card} .scatterlayer path.js-line')].map(p => p.getAttribute('d')).join()"
    slider = f"document.querySelector('{card} .plot').layout.sliders[0]"
    grip = wide.place(f"{card} .slider-grip-rect")
    before, rail = wide.js(curves), wide.js(f"document.querySelector('{card} .slider-rail-rect').getBBox().width")
    wide.drag(grip, (grip[0] - 0.6 * rail, grip[1]))
    wide.until(f"{curves} !== {json.dumps(before)}")
    moved = wide.js(f"{slider}.active")
    assert 0 < moved < wide.js(f"{slider}.steps.length") - 1
    wide.picture("gallery_scrubbed")
    dragged = wide.js(curves)
    wide.js(f"document.querySelector('{card} .plot').focus()")
    wide.send("Input.dispatchKeyEvent", type="keyDown", key="ArrowLeft", windowsVirtualKeyCode=37)
    wide.until(f"{slider}.active === {moved - 1}")
    wide.until(f"{curves} !== {json.dumps(dragged)}")
    assert wide.errors == []


@needs_browser
def test_a_line_of_the_legend_hides_its_curve(wide):
    card = "#book-02_translation_game-2"
    pressed = f"document.querySelector('{card} .legend button').getAttribute('aria-pressed')"
    hidden = f"document.querySelector('{card} .plot').data.filter(trace => trace.visible === 'legendonly').length"
    wide.click(*wide.place(f"{card} .legend button"))
    wide.until(f"{hidden} === 9")  # a line and two edges of its band in each of three panels
    assert wide.js(pressed) == "false"
    wide.click(*wide.place(f"{card} .legend button"))
    wide.until(f"{hidden} === 0")
    assert wide.js(pressed) == "true"


@needs_browser
def test_claims_are_filtered_by_verdict_and_by_words(wide, ledger):
    rows = "[...document.querySelectorAll('#claims tbody tr')].filter(row => row.offsetParent).map(row => row.id)"
    refuted = [f"claim-{verdict.id}" for verdict in ledger if verdict.verdict == "refuted"]
    wide.click(*wide.place("#claims [data-verdict='refuted']"))
    assert wide.js(rows) == refuted and 0 < len(refuted) < len(ledger)
    assert wide.js("document.querySelector('#claims .shown').textContent") == f"{len(refuted)} of {len(ledger)} claims"
    assert wide.js("document.querySelector('#claims button.refuted b').textContent") == str(len(refuted))
    show(wide, "#claims", "gallery_claims")
    wide.click(*wide.place("#claims [type='search']"))
    wide.send("Input.insertText", text="multitask best")
    found = wide.js(rows)
    assert 0 < len(found) < len(refuted) and set(found) < set(refuted)
    wide.js("""(() => { const input = document.querySelector('#claims [type="search"]'); input.value = '';
        input.dispatchEvent(new Event('input')); document.querySelector('#claims .buttons button').click();
        const by = document.querySelector('#claims [data-by="part"]'); by.value = 'Appendix E';
        by.dispatchEvent(new Event('input')) })()""")
    assert wide.js(rows) == [f"claim-{verdict.id}" for verdict in ledger if "Appendix E" in verdict.where]
    wide.js("""(() => { const input = document.querySelector('#claims [type="search"]');
        input.value = 'frontier PPO'; input.dispatchEvent(new Event('input')) })()""")
    said = wide.js("[...document.querySelectorAll('#claims tbody tr')].filter(row => row.offsetParent)"
                   ".map(row => row.textContent)")  # fmt: skip
    assert said and all("PPO" in text for text in said)  # not for their "supported"
    wide.js("""(() => { const input = document.querySelector('#claims [type="search"]'); input.value = '';
        input.dispatchEvent(new Event('input')) })()""")
    wide.js("""(() => { const by = document.querySelector('#claims [data-by="part"]'); by.value = '';
        by.dispatchEvent(new Event('input')) })()""")
    assert len(wide.js(rows)) == len(ledger)


@needs_browser
def test_samples_change_with_the_step(wide):
    words = "[...document.querySelectorAll('.column .words')].map(words => words.textContent.trim())"
    marks = "document.querySelectorAll('.column .words mark').length"
    assert len(wide.js(words)) == 4 and wide.js(marks) > 0
    show(wide, "#samples", "gallery_samples")
    at_the_end, slider = wide.js(words), wide.place("#step")
    left = wide.js("document.querySelector('#step').getBoundingClientRect().left")
    wide.click(left + 4, slider[1])
    wide.until("document.querySelector('#step').value === '0'")
    before = wide.js(words)
    assert before[0] == at_the_end[0] and before != at_the_end
    assert set(before) == {before[0]} and wide.js(marks) == 0  # nobody has learnt anything yet
    wide.js("""(() => { const task = document.querySelector('.choose select'); task.value = '1';
        task.dispatchEvent(new Event('change')) })()""")
    assert "positive" in wide.js("document.querySelector('.columns').textContent")
    assert wide.errors == []


@needs_browser
def test_draws_what_is_scrolled_to(phone):
    assert phone.js("document.querySelectorAll('.card .main-svg').length") >= 40
    assert phone.js("[...document.querySelectorAll('.plot')].every(div => div.querySelector('.plotly .xtick, .xtick'))")
    assert phone.errors == []


@needs_browser
def test_a_phone_scrolls_down_only(phone):
    assert fits(phone) and phone.js(BEYOND) == []
    beyond = phone.js("""[...document.querySelectorAll('main *')].filter(e => !e.closest('.plot'))
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.className || e.tagName)""")
    assert beyond == []
    assert phone.js("document.querySelectorAll('.card.scroll').length") == 0  # every row of panels could be stacked
    panels = phone.js(f"{PANELS}.map(a => [a.textContent, a.getBoundingClientRect().top])")
    assert [text[:3] for text, _ in sorted(panels, key=lambda panel: panel[1])] == ["(a)", "(b)", "(c)"]
    for selector, name in (("main", "top"), ("#book-02_translation_game-2", "panels"), ("#claims", "claims")):
        show(phone, selector, f"gallery_phone_{name}")
    assert phone.errors == []


@needs_browser
def test_dark_redraws_the_figures_and_is_remembered(phone, built):
    assert phone.js("document.documentElement.dataset.theme") == "dark"
    light, dark = (sum(map(int, re.findall(r"\d+", ink)[:3])) for ink in phone.ink)
    assert light < 200 < 500 < dark
    faint = phone.js("""[...document.querySelectorAll('.plot')].flatMap(div => div.data)
        .filter(trace => /lines/.test(trace.mode) && trace.line.width).map(trace => trace.line.color)
        .filter(color => contrast(parsed(color), parsed(styled('--card'))) < 3)""")
    assert faint == [] and phone.js(FAINT) == [] and phone.js(IN_BARS) == []
    show(phone, "#book-03_pareto_frontiers-2", "gallery_dark")
    phone.go(built.as_uri())
    assert phone.js("document.documentElement.dataset.theme") == "dark"
    phone.click(*phone.place("#theme"))
    assert phone.js("document.documentElement.dataset.theme") == "light"
    assert phone.errors == []


@needs_browser
def test_a_click_on_a_point_shows_what_was_said_there(small):
    gallery.main("smoke")
    with Page(1100, 900, offline=True) as page:
        page.go((small / PAGE).as_uri())
        draw_all(page)
        points = page.js("""[...document.querySelectorAll('.points path')].map(p => p.getBoundingClientRect())
            .map(at => [at.left + at.width / 2, at.top + at.height / 2])""")
        for (x, y), over, silent in ((points[1], 3, True), (points[0], 1, False)):  # the second knows no words
            page.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
            page.until(f"document.querySelector('.plot')._hoverdata?.[0].x === {over}")
            page.js("new Promise(done => setTimeout(done, 500))")  # in less, two clicks are one double click
            page.click(x, y)
            page.until(f"document.querySelector('.spoken').hidden === {json.dumps(silent)}")
        said = page.js("[...document.querySelectorAll('.spoken dd')].map(dd => dd.textContent)")
        assert said == [HOSTILE, "a second answer"]
        assert "seed 1 · update 20, right after a reset" in page.js("document.querySelector('.spoken h4').textContent")
        assert page.js("document.title") == "Elastic Reset, the gallery"  # nothing hostile ran
        page.picture("gallery_spoken")
        page.click(*page.place(".spoken .close"))
        assert page.js("document.querySelector('.spoken').hidden") and page.errors == []
