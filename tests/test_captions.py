"""The words of figures: names of their lines, findings from their records, words at the mouse, tables, diagrams."""

import itertools
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from elastic_lib import pareto
from elastic_lib.evidence import Evidence
from elastic_lib.figures import captions, diagrams, panels, scrubber, tables
from elastic_lib.figures.names import METHODS, name_of
from elastic_lib.figures.style import COLORS, chosen, look
from elastic_lib.notebook import steps
from elastic_lib.recipe import Recipe
from elastic_lib.records.record import reference_results
from elastic_lib.tasks import TASKS, facts
from elastic_lib.tasks.sentiment.facts import ABLATIONS, FIVE, left

ELASTIC, PPO, SMALL_KL = ("elastic", {}), ("ppo", {}), ("ppo", {"beta": 0.01})
FIGURES = Path(__file__).parents[1] / "figures"


@pytest.fixture(scope="module")
def evidence():
    return Evidence("sentiment", "pocket", [reference_results("pocket")])


@pytest.fixture(scope="module")
def figure(evidence):
    return panels.three_panels(evidence, [PPO, ELASTIC], "two methods")


def finding(figure):
    return figure.layout.meta["finding"]


# ---- findings


def test_a_finding_says_what_the_records_say(evidence, figure):
    level = float(re.search(r"At reward (\S+), which all reach: ", finding(figure))[1])
    for method, name in (("elastic", "Elastic Reset, β = 0.01"), ("ppo", "PPO, β = 0.1")):
        curves = evidence.common(evidence.label(method)).values()
        assert all(curve["task"].max() >= level for curve in curves)
        paid = np.mean([pareto.drift_at(curve["task"], curve["drift"], level, "lower") for curve in curves])
        assert re.search(rf"{name} at (?:perplexity )?{paid:.2f}", finding(figure))
    assert "(Means of 5 seeds.)" in finding(figure)


def test_other_records_get_another_caption(evidence):
    class OneSeed(Evidence):
        def common(self, label):
            return dict(list(super().common(label).items())[:1])

    alone = OneSeed("sentiment", "pocket", [reference_results("pocket")])
    alone.found = {label: dict(list(by_seed.items())[:1]) for label, by_seed in alone.found.items()}
    told = finding(panels.frontier(alone, [PPO, ELASTIC], "one seed"))
    assert told != finding(panels.frontier(evidence, [PPO, ELASTIC], "five")) and "Means" not in told


def test_who_does_not_get_there_is_named(evidence):
    curves = {name: [curve[["task", "drift"]] for curve in evidence.common(evidence.label(setting[0])).values()]
              for name, setting in (("far", ELASTIC), ("farther", ("to_ema",)))}  # fmt: skip
    curves["stuck"] = [curve.iloc[:1] for curve in curves["far"]]
    told = captions.trade(evidence, curves)
    assert "Not every seed of stuck gets there." in told and "which all reach" not in told


def test_what_a_reset_does_is_told(evidence):
    told = finding(panels.iterations(evidence, "iterations"))
    undone = float(re.search(r"A reset undoes (\d+)% of the drift", told)[1])
    rows = []
    for record in evidence.of("elastic").values():
        curve = evidence.curve(record)
        after = curve[curve["reset"] == 1].set_index("step")["drift"]
        before = curve[curve["reset"] == 0].set_index("step")["drift"]
        rows.append(((before[after.index] - after) / (before[after.index] - before.iloc[0])).mean())
    assert undone == round(100 * np.mean(rows))


def test_every_figure_of_records_has_a_finding(evidence):
    for drawn in (
        panels.frontier(evidence, ABLATIONS["ppo"], "x"),
        panels.fewer_resets(evidence, [ELASTIC, *ABLATIONS["five resets"][:1]], "x"),
        panels.hypervolumes(evidence, [PPO, ELASTIC], "x"),
        panels.measures(evidence, [ELASTIC], {"dist_init": "|θ−θ0|"}, "x"),
        panels.paths(evidence, [("track", {}), ELASTIC], "x"),
        scrubber.scrubber(evidence, [PPO, ELASTIC], "x"),
    ):
        assert re.search(r"\d", finding(drawn))


# ---- at the mouse


def test_a_point_is_told_in_words_with_units(evidence, figure):
    dots = [t for t in scrubber.scrubber(evidence, [PPO], "x").data if t.customdata is not None]
    assert dots[0].hovertemplate.startswith(
        "PPO, β = 0.1, seed 0 · after %{customdata[2]} updates<br>reward %{x:.3f} · perplexity %{y:.2f}<br>"
    )
    told = {trace.hovertemplate for trace in figure.data if trace.hovertemplate}
    assert "PPO, β = 0.1 · mean of 5 seeds<br>after %{x} updates · perplexity %{y:.2f}<extra></extra>" in told
    assert all(trace.hovertemplate or trace.hoverinfo == "skip" for trace in figure.data)


def test_what_squashes_the_rest_gets_a_logarithmic_axis(evidence):
    wild = panels.three_panels(evidence, [PPO, ("ppo", {"beta": 0.0})], "x")
    assert wild.layout.yaxis.type == "log" and wild.layout.yaxis2.type is None
    assert panels.three_panels(evidence, [PPO, ELASTIC], "x").layout.yaxis.type is None


def test_a_frontier_begins_where_training_begins():
    game = Evidence("translation", "pocket", [reference_results("pocket")])
    failed, other = [("kl_lm", {"beta": 0.2})], [("kl_lm", {"beta": 0.005})]
    lines = [trace for trace in panels.three_panels(game, failed + other, "x").data if trace.hovertemplate]
    start = min(curve["task"].iloc[0] for curve in game.common(game.label("kl_lm", beta=0.005)).values())
    assert all(min(trace.x, default=start) >= start - 0.5 for trace in lines if trace.yaxis == "y3")


# ---- the paper's tables


@pytest.mark.parametrize("task", TASKS)
def test_the_papers_numbers_stand_beside_ours(task):
    found = Evidence(task, "pocket", [reference_results("pocket")])
    for number, known in found.facts.TABLES.items():
        table = tables.paper(found, number).astype(str)
        for row in known.published.values():
            assert any(set(row) <= set(table.loc[name]) for name in table.index), (number, row)


# ---- diagrams


@pytest.mark.parametrize("name", ["method.svg", "pipelines.svg"])
def test_the_committed_diagrams_are_what_the_code_draws(name):
    drawn = diagrams.files()[name]
    assert (FIGURES / name).read_text() == drawn
    ElementTree.fromstring(drawn)
    assert "prefers-color-scheme: dark" in drawn and steps.diagram(name.removesuffix(".svg")).data


def test_a_diagram_takes_the_ink_of_its_page_and_says_what_it_shows():
    for drawn in (diagrams.method(), *diagrams.pipelines()):
        root = ElementTree.fromstring(drawn)
        inks = {text.get("fill") for text in root.iter("{http://www.w3.org/2000/svg}text")}
        assert inks == {"currentColor"} and root.get("role") == "img" and root.get("aria-label")
    assert "θ ← θ̄" in diagrams.method() and "θ̄ ← θ0" in diagrams.method()
    with pytest.raises(ValueError, match="unknown diagram 'methd'; did you mean method"):
        steps.diagram("methd")


# ---- what settings are called and how they look: by one name everywhere, and no two alike in a figure


def elastic(**changed):
    return Recipe("sentiment", "elastic", **changed)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, "Elastic Reset, β = 0.01"),
        ({"beta": 0.0}, "Elastic Reset, no KL"),
        ({"decay": left(0.1)}, "Elastic Reset, β = 0.01, 10% of θ0 left"),
        (FIVE, "Elastic Reset, β = 0.01, a reset every 13 updates"),
        ({"reset_every": 13}, "Elastic Reset, β = 0.01, 69% of θ0 left, a reset every 13 updates"),
        ({"value": "clear"}, "Elastic Reset, β = 0.01, critic cleared"),
        ({"lr": 1e-3, "gamma": 0.9}, "Elastic Reset, β = 0.01, learning rate 0.001, gamma 0.9"),
    ],
)
def test_what_differs_is_said_in_words(changed, says):
    assert name_of(elastic(**changed)) == says


def test_in_a_figure_what_differs_is_said_by_all_and_what_is_shared_by_none():
    shares = [elastic(decay=left(share)) for share in (0.1, 0.5)]
    assert [name_of(one, shares) for one in shares] == [
        "Elastic Reset, 10% of θ0 left",
        "Elastic Reset, 50% of θ0 left",
    ]
    five = [Recipe("sentiment", method, **FIVE) for method in ("elastic", "to_ema")]
    assert [name_of(one, five) for one in five] == ["Elastic Reset, β = 0.01", "Reset to EMA, β = 0.01"]


def test_every_method_of_every_task_has_a_name_and_a_colour_of_its_own():
    for task in TASKS:
        methods = facts(task).METHODS
        assert (
            len({COLORS[method][0] for method in methods})
            == len({METHODS[method] for method in methods})
            == len(methods)
        )


@pytest.mark.parametrize("task", TASKS)
def test_no_two_settings_of_the_reference_have_one_name_or_one_look(task):
    evidence = Evidence(task, "pocket", [reference_results("pocket")])
    known = evidence.facts
    sweeps = ABLATIONS.values() if task == "sentiment" else ()
    for settings in (known.CORE, known.GLANCE, *([("elastic", {}), *settings] for settings in sweeps)):
        labels = chosen(evidence, settings)
        seen = [look(evidence, label, labels) for label in labels]
        for one, other in itertools.combinations(seen, 2):
            assert one.name != other.name and one.color != other.color
            assert (one.dash, one.sign) != (other.dash, other.sign) or one.sign is other.sign is None


def test_a_legend_goes_by_the_coefficient_whatever_order_is_asked_for():
    evidence = Evidence("sentiment", "pocket", [reference_results("pocket")])
    asked = [("ppo", {"beta": beta}) for beta in (1.0, 0.01, 0.3)]
    labels = chosen(evidence, [asked[0], ("elastic", {}), *asked[1:]])
    assert [evidence.recipes[label].beta for label in labels] == [0.01, 0.3, 1.0, 0.01]
    assert [look(evidence, label, labels).dash for label in labels[:3]] == ["solid", "dash", "dot"]
