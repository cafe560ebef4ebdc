"""The league on records made up so that the standings are known, and that what is chosen is what was best in tuning."""

import pytest
from test_claims import line, make

from elastic_lib.evidence.evidence import Evidence
from elastic_lib.evidence.league import costs, league, tried
from elastic_lib.evidence.measures import AVERAGE, ELASTIC, Line, mean
from elastic_lib.figures.league import league_figure, league_table, tuning_table
from elastic_lib.records.record import reference_results
from elastic_lib.tasks.sentiment.facts import TRIED

PPO, NLPO, TO_EMA = Line("ppo"), Line("nlpo"), Line("to_ema")
LINES = [PPO, NLPO, ELASTIC, TO_EMA, Line("reference")]


@pytest.fixture
def evidence(tmp_path):
    """Elastic pays half of what PPO pays and ends half as far; to_ema is elastic give or take; NLPO pays double."""
    for seed in range(5):
        make(tmp_path, "ppo", seed, line(0.5, 0.9), line(2.0, 2.4 + 0.01 * seed))
        make(tmp_path, "nlpo", seed, line(0.5, 0.9), line(2.0, 2.8 + 0.01 * seed))
        make(tmp_path, "elastic", seed, line(0.5, 0.7), line(2.0, 2.1 + 0.01 * seed))
        make(tmp_path, "to_ema", seed, line(0.5, 0.7), line(2.0, 2.1 + 0.01 * seed + 0.02 * (-1) ** seed))
    return Evidence("sentiment", "smoke", [tmp_path])


def test_methods_stand_where_they_are_put_and_ties_share_a_place(evidence):
    standings = league(evidence, LINES, PPO)
    assert {one.line.method: one.place for one in standings} == {"elastic": 1, "to_ema": 1, "ppo": 3, "nlpo": 4}
    assert [one.place for one in standings] == [1, 1, 3, 4]
    table = league_table(evidence, LINES, PPO)
    assert list(table["place"]) == ["=1", "=1", "3", "4"] and list(table["seeds"]) == [5] * 4
    assert len(league_figure(evidence, LINES, PPO, "league").data) == 8


def test_nobody_is_paid_for_levels_that_another_never_reaches(evidence):
    by_line = {one.line.method: one for one in league(evidence, LINES, PPO)}
    assert mean(by_line["ppo"].whole) > mean(by_line["elastic"].whole)
    assert mean(by_line["ppo"].area) < mean(by_line["elastic"].area)
    # half of the way to 0.7 is 0.6, which PPO's curve has passed at its second step: a third of 0.4 over its start
    assert by_line["ppo"].drifts[0.5][0] == pytest.approx(2.0 + 0.4 * 2 / 6)
    assert by_line["elastic"].drifts[0.5][0] == pytest.approx(2.05)


def test_time_is_counted_in_gradient_steps(evidence):
    for method, sampling in (("ppo", 1.0), ("nlpo", 3.0)):
        curves = evidence.common(evidence.label(method))
        for seed, slow in enumerate((1.0, 5.0)):  # the same on a machine that is busy
            curves[seed] = curves[seed].assign(t_sample=sampling * slow, t_score=slow, t_update=2 * slow, t_ema=0.0)
        found = costs(evidence, Line(method))
        assert found[0] == found[1] == (sampling + 3) / 2


def test_nothing_there_is_an_empty_table(tmp_path):
    make(tmp_path, "ppo", 0, line(0.5, 0.9), line(2.0, 2.4))
    assert league_table(Evidence("sentiment", "smoke", [tmp_path]), [ELASTIC, AVERAGE], PPO).empty


def test_each_method_has_the_setting_that_was_best_in_tuning():
    evidence = Evidence("sentiment", "pocket", [reference_results("tuning")])
    for method, settings in TRIED.items():
        found = tried(evidence, settings)
        if len(found) == len(settings):
            assert len(settings) <= 4 and set(found[0][1]) == {100, 101}
            best = found[0][0]
            expected = Line("ppo", {"beta": 0.03}) if method == "ppo" else Line(method)
            assert evidence.label(best.method, **best.changed) == evidence.label(expected.method, **expected.changed)
    assert list(tuning_table(evidence, TRIED)["chosen"]).count("chosen") >= 2
