"""What settings are called and how they look: in words, by one name everywhere, and no two alike in a figure."""

import itertools

import pytest

from elastic_lib.evidence import Evidence
from elastic_lib.figures.names import METHODS, name_of
from elastic_lib.figures.style import COLORS, chosen, look
from elastic_lib.recipe import Recipe
from elastic_lib.records.record import reference_results
from elastic_lib.tasks import TASKS, facts
from elastic_lib.tasks.sentiment.facts import ABLATIONS, FIVE, left


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
