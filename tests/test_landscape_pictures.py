"""The toy landscape drawn: frames, sliders, and the playground, with a kernel and without."""

import re
import subprocess
import sys

import numpy as np
import pytest
from browser import Page, needs_browser

from elastic_lib.figures import landscape_pictures as pictures
from elastic_lib.figures.landscape import GOOD, METHODS, Landscape, walk, walks
from elastic_lib.notebook import playground
from elastic_lib.recipe import Recipe
from elastic_lib.tasks import TASKS

TOY, BENT = Landscape(), Landscape(bend=-0.3)


def test_every_frame_of_the_film_is_the_walk_so_far():
    drawn = walks(TOY, ("sgd", "elastic"), steps=50, every=20)
    film = pictures.film(TOY, drawn, "film", stride=15)
    assert [frame.name for frame in film.frames] == ["0", "15", "30", "45", "50"]
    assert [step.args[0][0] for step in film.layout.sliders[0].steps] == [frame.name for frame in film.frames]
    for frame in film.frames:
        assert list(frame.traces) == list(range(3, len(film.data))) and len(frame.data) == len(film.data) - 3
        for i, w in enumerate(drawn):
            head = frame.data[5 * i + 2]
            at = w.until(int(frame.name)).shown[-1]
            assert (float(head.x[0]), float(head.y[0])) == pytest.approx(tuple(at), abs=1e-6)
    paths = [np.isnan(frame.data[5].x).sum() for frame in film.frames]
    jumps = [len(frame.data[6].x) // 3 for frame in film.frames]
    assert paths == jumps == [0, 0, 1, 2, 2]  # a gap in the path, a dotted jump in its place


def test_a_frontier_never_counts_what_another_point_beats():
    frontier = pictures.traces(walk(TOY, "elastic"))[4]
    assert (np.diff(frontier.x) >= 0).all() and (np.diff(frontier.y) >= 0).all() and frontier.y[0] == 0


def test_a_slider_over_decay_walks_anew():
    figure = pictures.over_decay(TOY, ["sgd", "elastic"], [0.0, 0.99, 1.0], "η", every=50, steps=120)
    assert [step.label for step in figure.layout.sliders[0].steps] == ["0 (0%)", "0.99 (61%)", "1 (100%)"]
    ends = [[(float(frame.data[i].x[0]), float(frame.data[i].y[0])) for i in (2, 7)] for frame in figure.frames]
    assert ends[0][0] == ends[0][1] and len({end[0] for end in ends}) == 1 and len({end[1] for end in ends}) == 3


def test_the_green_region_ends_where_the_drift_says():
    for toy in (TOY, BENT):
        region = pictures.ground(toy)[1]
        assert toy.drift(np.column_stack([region.x, region.y])) == pytest.approx(GOOD)


def test_the_sawtooth_and_the_fading_show_what_they_are_called():
    w = walk(TOY, "elastic", steps=50, every=20)
    init, ema = pictures.sawtooth([w], "saw").data
    (after,) = np.nonzero(w.reset)
    assert (init.y[after] == ema.y[after]).all() and (init.y[after] < init.y[after - 1]).all()
    recipes = [Recipe(task, "elastic", scale) for scale in ("paper", "pocket") for task in TASKS]
    curves = {trace.name.split(":")[0]: trace for trace in pictures.fading(recipes, "left").data}
    assert (
        len(curves) == 6
        and curves["IMDB sentiment, paper"].y[-1] == Recipe("sentiment", "elastic", "paper").left_at_reset()
    )


@needs_browser
def test_the_film_plays_in_a_browser_without_a_kernel(tmp_path):
    drawn = walks(TOY, ("sgd", "elastic"), steps=60, every=20)
    path = tmp_path / "film.html"
    pictures.film(TOY, drawn, "film", stride=20).write_html(path, include_plotlyjs=True, auto_play=False)
    with Page(1050, 800, offline=True) as page:
        page.go(path.as_uri())
        page.until("!!document.querySelector('.slider-rail-touch-rect')")
        length = "document.querySelector('.js-plotly-plot')._fullData[8].x.length"
        assert page.js(length) == 65  # 61 steps; a row and a gap for each reset
        page.click(*page.place(".slider-rail-touch-rect"))
        page.until("document.querySelector('.slider-label').textContent.endsWith('40')")
        page.until(f"{length} == 45")
        page.until("document.querySelectorAll('.contourlevel path').length >= 5")
        assert page.js("document.querySelectorAll('.scatterlayer .point').length") >= 2 * 3 + 2  # two diamonds
        page.picture("toy_film")
        assert not page.errors


# ---- the playground


def test_a_slider_walks_again_and_redraws():
    ground = playground.Playground(noise=0.0)
    end = ground.figure.data[3 + 5 * METHODS.index("elastic") + 2]
    before = (float(end.x[0]), float(end.y[0]), ground.readings.value)
    ground.sliders["every"].value = 40
    w = walk(TOY, "elastic", noise=0.0, every=40)
    assert (float(end.x[0]), float(end.y[0])) == pytest.approx(tuple(w.theta[-1]), abs=1e-6)
    assert (float(end.x[0]), float(end.y[0]), ground.readings.value) != before
    assert f"{w.reward[-1]:.3f}" in ground.readings.value and f"{w.area():.3f}" in ground.readings.value
    ground.sliders["bend"].value = 0.3
    region = ground.figure.data[1]
    assert Landscape(bend=0.3).drift(np.column_stack([region.x, region.y])) == pytest.approx(GOOD)


def test_boxes_hide_and_play_goes_step_by_step():
    ground = playground.Playground()
    of = {m: ground.figure.data[3 + 5 * i : 8 + 5 * i] for i, m in enumerate(METHODS)}
    assert "Reset to Init" not in ground.readings.value and not of["to_init"][0].visible
    ground.ticks["to_init"].value = True
    assert "Reset to Init" in ground.readings.value and all(trace.visible for trace in of["to_init"])
    ground.player.value = 120
    assert ground.until.value == 120 and len(of["sgd"][0].x) == 121
    assert list(of["elastic"][1].marker.size) == [0, 10, 0]  # one reset so far
    walked = ground.walks
    ground.until.value = 20
    assert ground.walks is walked and len(of["sgd"][0].x) == 21


def test_what_is_left_of_theta0_stands_beside_the_sliders_that_decide_it():
    ground = playground.Playground()
    assert "<b>50%</b> of θ0" in ground.left.value
    ground.sliders["every"].value = 50
    assert "<b>70%</b> of θ0" in ground.left.value  # 0.993 ** 50
    column, drawn = ground.box.children
    assert list(column.children[:3]) == [ground.sliders["decay"], ground.sliders["every"], ground.left]
    assert drawn.children == (ground.figure, ground.readings)


def test_the_playground_opens_when_it_is_seen_and_refuses_what_it_does_not_have():
    door = playground.play(decay=0.95)
    (eye,) = door.children
    assert type(eye).__name__ == "Eye"  # an executed notebook stores no figure
    eye._handle_custom_msg("seen", [])
    column, drawn = door.children[0].children
    assert column.children[0].value == 0.95 and type(drawn.children[0]).__name__ == "FigureWidget"
    with pytest.raises(ValueError, match="unknown slider 'deacy'; did you mean decay"):
        playground.play(deacy=0.95)
    with pytest.raises(ValueError, match=re.escape("decay must lie from 0.9 to 1; got 0.5")):
        playground.play(decay=0.5)


def test_a_contest_says_where_a_level_was_not_reached_by_all():
    table = pictures.contest(TOY, ["sgd", "elastic"], seeds=3, every=10)
    assert table["drift at reward 0.85"]["Elastic Reset"] == "–" and table["got there"]["Elastic Reset"] == "0 of 3"
    assert float(table["drift at reward 0.85"]["SGD"]) > 0 and not table.isna().any().any()


# ---- a reset to write oneself


def right(model):
    model.theta[:] = model.average
    model.average[:] = model.theta0


def swapped(model):
    model.average[:] = model.theta0
    model.theta[:] = model.average


def to_ema(model):
    model.theta[:] = model.average


def average_alone(model):
    model.average[:] = model.theta0


def nothing(model):
    """Its two lines are still to be written."""


def second_names(model):
    theta, average = model.theta, model.average
    theta = average
    average = model.theta0
    return theta, average


def reference_to_the_average(model):
    model.theta = model.average
    model.average[:] = model.theta0


def reference_to_theta0(model):
    model.theta[:] = model.average
    model.average = model.theta0


def new_arrays(model):
    model.theta = model.average.copy()
    model.average = model.theta0.copy()


def to_init(model):
    model.theta[:] = model.theta0


def changed_places(model):
    old = model.theta.copy()
    model.theta[:] = model.average
    model.average[:] = old


def the_other_way_round(model):
    model.average[:] = model.theta


def clears_the_optimiser(model):
    right(model)
    model.momentum[:] = 0


def moves_theta0(model):
    right(model)
    model.theta0[:] = model.theta


def half_way(model):
    model.theta[:] = (model.theta + model.average) / 2
    model.average[:] = model.theta0


def by_heart(model):
    model.theta[:] = 2, 0.5
    model.average[:] = 1, 0.25


def misspelt(model):
    model.theta[:] = model.ema


def test_the_right_reset_is_right():
    assert playground.check_reset(right).startswith("✓ Right")


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (nothing, "nothing has changed"),
        (second_names, "nothing has changed: `x = y` gives an array a second name"),
        (to_ema, "the second line is missing"),
        (average_alone, "the first line is missing"),
        (swapped, "the order is swapped"),
        (to_init, "θ went to θ0, and θ̄ stayed"),
        (changed_places, "have changed places"),
        (the_other_way_round, "it is the other way round"),
        (reference_to_the_average, "θ and θ̄ are one array now"),
        (reference_to_theta0, "θ̄ and θ0 are one array now"),
        (new_arrays, "θ is a new array, and training goes on with the old one"),
        (clears_the_optimiser, "momentum was touched"),
        (moves_theta0, "θ0 has moved"),
        (half_way, "θ is [2.5  0.75] and θ̄ [1.   0.25]; they should be (2.0, 0.5) and (1.0, 0.25)"),
        (by_heart, "on the toy it goes astray in step 100"),
        (misspelt, "stops with AttributeError"),
        (None, "wants the function itself"),
    ],
)
def test_a_wrong_reset_is_told_what_is_wrong(written, says):
    told = playground.check_reset(written)
    assert told.startswith("✗") and says in told and "\n" not in told


def test_nobody_needs_torch_to_look_at_it():
    code = "import elastic_lib.notebook.playground, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
