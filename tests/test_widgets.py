"""The scrubbers: what a frame shows is what the records say up to its step; the slider and the choices work by hand."""

import json
import math

import numpy as np
import pytest
from browser import Page, needs_browser

from elastic_lib import pareto
from elastic_lib.evidence.evidence import Evidence, on_common_steps
from elastic_lib.evidence.measures import area
from elastic_lib.figures import scrubber as scrubbers
from elastic_lib.figures import style as drawing
from elastic_lib.notebook import widgets
from elastic_lib.records.record import reference_results

SETTINGS = [("ppo", {}), ("nlpo", {}), ("elastic", {}), ("to_init", {}), ("ppo", {"beta": 0.01})]
GRAPH = "document.querySelector('.js-plotly-plot')"


@pytest.fixture(scope="module")
def evidence():
    return Evidence("sentiment", "pocket", [reference_results("pocket")])


@pytest.fixture(scope="module")
def figure(evidence):
    return scrubbers.scrubber(evidence, SETTINGS, "How the frontier grows")


@pytest.fixture(scope="module")
def game():
    found = Evidence("translation", "pocket", [reference_results("pocket")])
    return found, scrubbers.scrubber(found, [("reinforce", {}), ("elastic", {})], "The game")


def dots_of(figure):
    """Label and seed of every trace of dots, and where it stands among the traces."""
    return {(t.customdata[0][0], t.customdata[0][1]): i for i, t in enumerate(figure.data) if t.customdata is not None}


def frame_at(figure, step):
    (frame,) = [frame for frame in figure.frames if frame.name == str(step)]
    return dict(zip(frame.traces, frame.data, strict=True)), [a.text for a in frame.layout.annotations]


def rounded(values):
    return [np.float32(value) for value in values]


# ---- the plain figure


@pytest.mark.parametrize("step", [0, 25, 50, 75])
def test_a_frame_shows_what_was_known_by_then_and_fades_what_is_beaten(evidence, figure, step):
    drawn, _ = frame_at(figure, step)
    for (label, seed), at in dots_of(figure).items():
        curve = evidence.curve(evidence.found[label][seed])
        curve = curve[curve["step"] <= step].reset_index(drop=True)  # all of these steps are common ones
        assert list(drawn[at].x) == rounded(curve["task"])
        assert list(drawn[at].y) == rounded(curve["drift"])
        counted = curve[curve["reset"] == 0]
        best = counted.index[pareto.frontier(counted["task"], counted["drift"], "lower")]
        faded = [reset == 0 and i not in best for i, reset in enumerate(curve["reset"])]
        assert [o < 0.5 for o in drawn[at].marker.opacity] == faded
        line = drawn[at - 1]
        assert list(line.x) == rounded(curve.loc[best, "task"]) and list(line.y) == rounded(curve.loc[best, "drift"])


def test_the_last_frame_is_the_figure_and_its_mean_is_the_frontier_of_the_other_figures(evidence, figure):
    drawn, _ = frame_at(figure, 75)
    for at, change in drawn.items():
        assert list(change.x) == list(figure.data[at].x) and list(change.y) == list(figure.data[at].y)
    for label in evidence.label("elastic"), evidence.label("ppo", beta=0.01):
        other = drawing.frontier_band(evidence, label, "task", "drift").dropna(subset=["mean"])
        mean = figure.data[dots_of(figure)[label, 0] - 2]
        assert list(mean.x) == pytest.approx(list(other.index)) and list(mean.y) == rounded(other["mean"])


def test_rows_after_a_reset_are_stars_that_never_count(figure, evidence):
    at = dots_of(figure)["elastic", 2]
    dots, line = figure.data[at], figure.data[at - 1]
    stars = [i for i, row in enumerate(dots.customdata) if row[3] == 1]
    assert [dots.customdata[i][2] for i in stars] == [25, 50]
    assert [i for i, symbol in enumerate(dots.marker.symbol) if symbol == "star"] == stars
    assert not {(dots.x[i], dots.y[i]) for i in stars} & set(zip(line.x, line.y, strict=True))
    labels = [step.label for step in figure.layout.sliders[0].steps]
    assert [label for label in labels if "↺" in label] == ["25 ↺", "50 ↺"]
    _, told = frame_at(figure, 25)
    assert "reset after 25" in told[-1] and "Elastic Reset" in told[-1] and "PPO" not in told[-1]


def test_a_reset_between_the_common_steps_has_its_own_place_on_the_slider(game):
    _, figure = game
    rows = [tuple(row[2:4]) for row in figure.data[dots_of(figure)["elastic", 0]].customdata]
    assert [step for step, reset in rows if reset] == [140, 280, 420, 560]
    assert (280, 0) in rows and (140, 0) not in rows  # the other methods have no point at 140
    assert {"120", "140 ↺", "160", "280 ↺"} <= {step.label for step in figure.layout.sliders[0].steps}


@pytest.mark.parametrize("step", [25, 50, 75])
def test_readings_are_those_of_the_records(evidence, figure, step):
    labels = drawing.chosen(evidence, SETTINGS)
    curves = {
        label: [
            c[c["step"] <= step]
            for c in (on_common_steps(evidence.curve(r), 5) for r in evidence.found[label].values())
        ]
        for label in labels
    }
    whole = [on_common_steps(evidence.curve(r), 5)["task"].max() for x in labels for r in evidence.found[x].values()]
    level = math.floor(min(whole) * 100) / 100
    _, told = frame_at(figure, step)
    assert f"reward ≥ {level:g}" in told[3]
    areas = [np.mean([area(curve, evidence.facts.YARDSTICK) for curve in curves[label]]) for label in labels]
    drifts = [np.mean([c["drift"][c["task"] >= level].min() for c in curves[label]]) for label in labels]
    assert told[2].split("<br>")[2:] == [f"{value:.3g}" for value in areas]
    cheapest = [
        "–" if any((c["task"] < level).all() for c in curves[label]) else f"{drift:.3g}"
        for label, drift in zip(labels, drifts, strict=True)
    ]
    assert told[3].split("<br>")[2:] == cheapest


def test_where_one_setting_never_gains_the_level_is_one_that_most_reach(evidence):
    labels = [evidence.label("ppo"), evidence.label("elastic"), evidence.label("nlpo")]
    runs = {label: scrubbers.checkpoints(evidence, label) for label in labels}
    assert scrubbers.matched_level(evidence, runs) < 0.8
    runs[labels[2]] = {seed: points[points["step"] == 0] for seed, points in runs[labels[2]].items()}
    most = min(points["task"].max() for points in runs[labels[0]].values())
    assert scrubbers.matched_level(evidence, runs) == math.floor(most * 100) / 100


def test_every_text_is_the_records_own(evidence, figure, game):
    for found, drawn in ((evidence, figure), game):
        for (label, seed), at in dots_of(drawn).items():
            samples = found.found[label][seed].samples().set_index(["step", "reset", "id"])["text"]
            for _, _, step, reset, *texts in drawn.data[at].customdata:
                assert texts == [samples[step, reset, i] for i in range(3)]
    meta = game[1].layout.meta
    first = game[0].found["elastic"][0].samples().head(3)
    assert meta["prompts"] == list(first["prompt"]) and meta["references"] == list(first["reference"])
    assert meta["germans"] == list(first["german_reference"])
    assert "references" not in figure.layout.meta and len(figure.layout.meta["prompts"]) == 3


def test_it_is_small(figure, game):
    assert len(figure.to_json()) < 700_000
    assert len(game[1].to_json()) < 700_000


def test_a_frame_carries_no_texts(figure):
    for frame in figure.frames:
        for change in frame.data:
            assert set(change.to_plotly_json()) <= {"type", "x", "y", "marker"}


def test_the_track_is_read_out_of_its_average(evidence):
    drawn = scrubbers.scrubber(evidence, [("track", {})], "The average")
    curve = evidence.curve(evidence.of("track")[0])
    dots = drawn.data[dots_of(drawn)["track", 0]]
    assert list(dots.y) == rounded(curve["ema_drift"].dropna())
    assert not any(text for row in dots.customdata for text in row[4:])  # what the policy says is not what it says


def test_without_records_it_says_how_to_make_them(evidence):
    empty = scrubbers.scrubber(evidence, [("elastic", {"beta": 7.0})], "Nothing")
    assert "make reproduce SCALE=pocket" in empty.layout.annotations[0].text
    assert "make reproduce SCALE=pocket" in widgets.scrub(evidence, [("elastic", {"beta": 7.0})], "Nothing").value


# ---- with a kernel


@pytest.fixture
def scrub(evidence):
    made = widgets.scrub(evidence, [("ppo", {}), ("elastic", {})], "The frontier so far")
    made.open()
    return made


def trace_of(scrub, label, kind, seed=None):
    (trace,) = [
        t
        for p, t in zip(scrub.parts, scrub.figure.data, strict=True)
        if (p.label, p.kind, p.seed) == (label, kind, seed)
    ]
    return trace


def test_the_figure_is_made_when_somebody_looks(evidence):
    scrub = widgets.scrub(evidence, [("ppo", {})], "The frontier so far")
    assert "figure" not in vars(scrub) and "PPO" in scrub.readings.value
    scrub.at(20)
    eye = scrub.box.children[-2]
    eye._handle_custom_msg("seen", [])  # what the page sends once it has drawn the box
    assert scrub.box.children[-2] is scrub.figure
    assert len(trace_of(scrub, "ppo", "dots", 0).x) == len((0, 5, 10, 15, 20))


def test_readings_follow_step_seeds_and_level(evidence, scrub):
    scrub.at(50)
    scrub.show(seeds=[1, 3])
    scrub.level.value = 0.9
    curves = [on_common_steps(evidence.curve(evidence.of("elastic")[seed]), 5) for seed in (1, 3)]
    curves = [curve[curve["step"] <= 50] for curve in curves]
    reading = np.mean([area(curve, evidence.facts.YARDSTICK) for curve in curves])
    drift = np.mean([curve["drift"][curve["task"] >= 0.9].min() for curve in curves])
    said = scrub.readings.value
    assert f"{reading:.4g}" in said and f"{drift:.4g}" in said and "reward ≥ 0.9" in said and "2 seeds" in said
    assert trace_of(scrub, "elastic", "dots", 1).visible and not trace_of(scrub, "elastic", "dots", 0).visible
    mean, runs = trace_of(scrub, "elastic", "mean"), scrubbers.checkpoints(evidence, "elastic")
    levels, expected, _ = scrubbers.mean_frontier(evidence, {seed: runs[seed] for seed in (1, 3)}, 50)
    assert list(mean.x) == rounded(levels) and list(mean.y) == rounded(expected)


def test_methods_and_views_are_switched(scrub):
    scrub.show(methods=["elastic"])
    assert "PPO" not in scrub.readings.value
    assert not any(
        trace.visible for part, trace in zip(scrub.parts, scrub.figure.data, strict=True) if part.label == "ppo"
    )
    assert trace_of(scrub, "elastic", "mean").visible and not trace_of(scrub, "elastic", "line", 0).visible
    scrub.view.value = "single seeds"
    assert not trace_of(scrub, "elastic", "band").visible and trace_of(scrub, "elastic", "line", 0).visible
    scrub.show(methods=[])
    assert not any(trace.visible for trace in scrub.figure.data)


def test_a_click_shows_what_the_model_says_there(evidence, scrub):
    dots = trace_of(scrub, "elastic", "dots", 1)
    at = [list(row[2:4]) for row in dots.customdata].index([50, 1])
    from plotly.callbacks import InputDeviceState, Points

    dots._dispatch_on_click(Points([at], [dots.x[at]], [dots.y[at]]), InputDeviceState())
    samples = evidence.of("elastic")[1].samples()
    before = samples[(samples["step"] == 0)]["text"]
    now = samples[(samples["step"] == 50) & (samples["reset"] == 1)]
    plain = scrub.said.value.replace("<mark>", "").replace("</mark>", "")
    assert len(now) == 4 and all(text in plain for text in [*before, *now["text"], *now["prompt"]])
    assert "seed 1" in plain and "right after the reset at update 50" in plain
    assert scrub.said.value.count("<mark>") >= 1
    scrub.click("elastic", 1, 0)
    assert "<mark>" not in scrub.said.value.rpartition("<small>")[0]


def test_what_is_unknown_is_refused_by_name(scrub):
    for call, says in [
        (lambda: scrub.at(51), "unknown step 51; did you mean"),
        (lambda: scrub.show(methods=["elastik"]), "unknown setting 'elastik'; did you mean elastic"),
        (lambda: scrub.show(seeds=[9]), "unknown seed 9; known: 0, 1, 2, 3, 4"),
        (lambda: scrub.click("ppo", 0, 50, 1), "unknown reset at step 50; known: none"),
        (lambda: scrub.click("elastic", 9, 50), "unknown seed 9"),
    ]:
        with pytest.raises(ValueError, match=says):
            call()


def test_without_ipywidgets_the_command_is_named(evidence, monkeypatch):
    monkeypatch.setattr(widgets, "ipywidgets", None)
    with pytest.raises(ImportError, match="pip install ipywidgets anywidget"):
        widgets.scrub(evidence, SETTINGS, "The frontier so far")


# ---- in a browser


@pytest.fixture(scope="module")
def page_of(figure, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "scrubber.html"
    page = figure.to_html(include_plotlyjs=True, auto_play=False, config={"responsive": True})
    path.write_text(page.replace("<head>", '<head><meta name="viewport" content="width=device-width">', 1))
    return path.as_uri()


def opened(page, address):
    page.go(address)
    page.until("document.querySelectorAll('.slider-group .slider-grip-rect').length == 1")


def complaints(page):
    """What the page complains of, but for plotly's empty rejection where a step or ❚❚ interrupts an animation."""
    return [error for error in page.errors if error != "Uncaught (in promise)"]


def lines(page):
    """The paths that are drawn, as one text."""
    return page.js("[...document.querySelectorAll('.scatterlayer path.js-line')].map(p => p.getAttribute('d')).join()")


def drawn(page, what):
    return page.js(f"document.querySelectorAll('.scatterlayer {what}').length")


def press(page, words):
    """Presses the button or the entry of a list that is called so."""
    item = f"[...document.querySelectorAll('.updatemenu-item-text')].find(t => t.textContent == {json.dumps(words)})"
    page.until(f"!!{item}")
    box = page.js(f"(r => [r.left + r.width / 2, r.top + r.height / 2])({item}.getBoundingClientRect())")
    page.click(*box)


def pick(page, words):
    page.click(*page.place(".updatemenu-header"))
    press(page, words)


@needs_browser
def test_in_a_browser_slider_choices_and_legend_work_together(page_of):
    with Page(1050, 950, offline=True) as page:
        opened(page, page_of)
        whole, points = lines(page), drawn(page, "path.point")
        rail = page.js("(r => [r.left, r.right, r.top + r.height / 2])"
                       "(document.querySelector('.slider-rail-touch-rect').getBoundingClientRect())")  # fmt: skip
        page.drag(page.place(".slider-grip-rect"), (rail[0] + (rail[1] - rail[0]) / 3, rail[2]))
        page.until(f"{GRAPH}._fullLayout._currentFrame == '25'")
        page.until(f"document.querySelectorAll('.scatterlayer path.point').length < {points}")
        assert lines(page) != whole
        told = page.js("document.querySelector('.annotation-text-g') && document.body.textContent")
        assert "reset after 25: Elastic Reset" in told
        page.picture("scrubber_1050_step_25")

        page.click(*page.place(".legendtoggle"))  # PPO goes, after the wait that might bring a second click
        page.until(f"{GRAPH}._fullData.filter(t => t.visible === 'legendonly').length == 13")
        hidden = drawn(page, "path.point")
        pick(page, "seed 1")
        page.until(f"document.querySelectorAll('.scatterlayer path.point').length < {hidden} / 3")
        assert page.js(f"{GRAPH}._fullData.filter(t => t.visible === 'legendonly').length") == 13  # PPO is still away
        one = drawn(page, "path.point")
        page.drag(page.place(".slider-grip-rect"), (rail[1], rail[2]))
        page.until(f"document.querySelectorAll('.scatterlayer path.point').length > {one}")
        assert page.js(f"{GRAPH}._fullData.filter(t => t.visible === 'legendonly').length") == 13
        pick(page, "every seed")
        page.until(f"document.querySelectorAll('.scatterlayer path.point').length > 4 * {one}")
        page.picture("scrubber_1050_every_seed")
        assert complaints(page) == []


@needs_browser
def test_in_a_browser_it_plays_stops_and_may_be_switched_meanwhile(page_of):
    frame = f"{GRAPH}._fullLayout._currentFrame"
    with Page(1050, 950, offline=True) as page:
        opened(page, page_of)
        press(page, "▶")
        page.until(f"+{frame} >= 5 && +{frame} < 75")
        pick(page, "seed 0")
        at = page.js(f"+{frame}")
        page.until(f"+{frame} > {at}")
        press(page, "❚❚")
        shown = f"{GRAPH}._fullData.filter(t => t.mode == 'markers' && t.visible)"
        last = f"Math.max(...{shown}.map(t => t.customdata[t.x.length - 1][2]))"
        page.until(f"{GRAPH}._transitionData._frameQueue.length == 0 && {last} == +{frame}")  # stopped, and all drawn
        assert page.js(f"+{frame}") < 75
        assert page.js(f"[...new Set({shown}.map(t => t.customdata[0][1]))]") == [0]
        assert complaints(page) == []


@needs_browser
def test_on_a_phone_nothing_is_wider_than_the_screen(page_of):
    with Page(390, 844, offline=True) as page:
        opened(page, page_of)
        page.until(f"{GRAPH}._fullLayout.width <= 390")
        page.picture("scrubber_390", whole=True)
        assert page.js("document.documentElement.scrollWidth") <= 390
        words = "[...document.querySelectorAll('.annotation-text-g, .legend, .g-gtitle, .xtitle, .slider-group, " \
                ".updatemenu-header-group, .updatemenu-button')]"  # fmt: skip
        boxes = page.js(f"{words}.map(e => e.getBoundingClientRect()).map(r => [r.left, r.right, r.top, r.bottom])")
        assert len(boxes) >= 9 and all(left >= 0 and right <= 390 for left, right, _, _ in boxes)
        low = page.js("document.querySelector('.xtitle').getBoundingClientRect().bottom")
        menus = page.js("[...document.querySelectorAll('.updatemenu-header-group, .updatemenu-button, .slider-group')]"
                        ".map(e => e.getBoundingClientRect().top)")  # fmt: skip
        assert min(menus) >= low
        assert complaints(page) == []
