"""Verdicts from records made up so that the answer is known; and that the ledger can say each of the four words."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from elastic_lib import pareto
from elastic_lib.cli import main
from elastic_lib.evidence.evidence import Evidence, on_common_steps
from elastic_lib.evidence.measures import area, resets
from elastic_lib.recipe import Recipe
from elastic_lib.records.record import Record, columns
from elastic_lib.tasks import facts
from elastic_lib.tasks import ledger as claims

STEPS = range(0, 7)
SENTIMENT = facts("sentiment").YARDSTICK


def make(results, method, seed, task, drift, resets=(), test=None, **settings):
    """A finished smoke record with the given curve; `resets` are (step, task, drift) right after a reset."""
    recipe = Recipe("sentiment", method, "smoke", seed, **settings)
    record = Record.of(recipe, results)
    record.path.mkdir(parents=True)
    record.start(recipe, {"torch": "none"}, kept=None)
    iteration = 0
    after = {step: (t, d) for step, t, d in resets}
    for step in STEPS:
        row = {"step": step, "iteration": iteration, "reset": 0, "task": task[step], "drift": drift[step]}
        record.add({**row, "ema_task": task[step], "ema_drift": drift[step] - 0.1 * step}, [])
        if step in after:
            iteration += 1
            record.add(
                {"step": step, "iteration": iteration, "reset": 1, "task": after[step][0], "drift": after[step][1]}, []
            )
    last = {"task": task[-1], "drift": drift[-1]}
    record.finish(test=test or last, test_before={"task": task[0], "drift": drift[0]})
    return record


def line(start, end):
    return list(np.linspace(start, end, 7))


@pytest.fixture
def world(tmp_path):
    """Elastic pays half of what PPO pays; PPO β=0 ends at 8 times the perplexity; NLPO is PPO; to_ema is noise."""
    rng = np.random.default_rng(0)
    for seed in range(5):
        jitter = 0.01 * rng.standard_normal()
        for beta in (0.1, 0.01):
            make(tmp_path, "ppo", seed, line(0.5, 0.95), line(2.0, 3.0 + jitter), beta=beta)
        make(tmp_path, "ppo", seed, line(0.5, 1.0), line(2.0, 16.0), beta=0.0)
        make(tmp_path, "nlpo", seed, line(0.5, 0.95), line(2.0, 3.0 + jitter + 0.001 * seed))
        elastic = line(0.5, 0.95), line(2.0, 2.5 + jitter)
        make(tmp_path, "elastic", seed, *elastic, resets=[(2, 0.62, 2.04), (4, 0.75, 2.08)])
        make(tmp_path, "to_ema", seed, elastic[0], line(2.0, 2.5 + 0.3 * (-1) ** seed))
        make(tmp_path, "track", seed, line(0.5, 0.95), line(2.0, 3.0 + jitter))
    return tmp_path


def verdicts(results):
    return {v.id: v for v in claims.verdicts("smoke", results)}


def test_known_worlds_get_known_verdicts(world):
    ledger = verdicts(world)
    said = {name: ledger[f"sentiment-{name}"].verdict for name in (
        "ppo-gains-reward", "ppo-drifts", "no-kl-explodes", "nlpo-like-ppo", "elastic-area-over-ppo",
        "elastic-cheaper-at-80", "reset-undoes-drift", "elastic-over-to-ema", "elastic-over-to-init",
        "larger-beta-better-frontier", "average-beats-online", "elastic-over-average")}  # fmt: skip
    assert said == {
        "ppo-gains-reward": "supported",
        "ppo-drifts": "supported",
        "no-kl-explodes": "supported",
        "nlpo-like-ppo": "supported",
        "elastic-area-over-ppo": "supported",
        "elastic-cheaper-at-80": "supported",
        "reset-undoes-drift": "supported",
        "elastic-over-to-ema": "inconclusive",
        "elastic-over-to-init": "not run",
        "larger-beta-better-frontier": "inconclusive",  # both are the same here: 0 is no support
        "average-beats-online": "supported",
        "elastic-over-average": "refuted",  # the made-up average pays .1 less a step than PPO, more than Elastic saves
    }
    drifts = ledger["sentiment-ppo-drifts"]
    assert (
        drifts.effect == pytest.approx(1.0, abs=0.02)
        and drifts.low <= drifts.effect <= drifts.high
        and drifts.seeds == 5
    )
    assert ledger["sentiment-no-kl-explodes"].effect == pytest.approx(8.0)
    # .65, 2.1667 → .62, 2.04 undoes .76 of the drift; .8, 2.333 → .75, 2.08 undoes .76
    shares = [(reset.undone, reset.given_up) for reset in resets(Evidence("sentiment", "smoke", [world]), "elastic")[0]]
    drift_end = Evidence("sentiment", "smoke", [world]).of("elastic")[0].curve()["drift"].iloc[-1]
    step = (drift_end - 2) / 6
    assert shares[0] == pytest.approx(((2 * step - 0.04) / (2 * step), 0.03 / 0.15))
    assert shares[1] == pytest.approx(((4 * step - 0.08) / (4 * step), 0.05 / 0.30))


def test_the_opposite_world_is_refuted(tmp_path):
    for seed in range(3):
        make(tmp_path, "ppo", seed, line(0.5, 0.95), line(2.0, 2.2 + 0.01 * seed), beta=0.1)
        make(tmp_path, "elastic", seed, line(0.5, 0.95), line(2.0, 3.0), resets=[(2, 0.5, 2.9), (4, 0.5, 2.9)])
        make(tmp_path, "nlpo", seed, line(0.5, 0.6), line(2.0, 3.0))
    ledger = verdicts(tmp_path)
    for name in (
        "elastic-area-over-ppo",
        "elastic-cheaper-at-80",
        "nlpo-like-ppo",
        "final-drift",
        "reset-undoes-drift",
    ):
        assert ledger[f"sentiment-{name}"].verdict == "refuted", name


def test_two_seeds_decide_nothing_and_no_records_are_not_run(tmp_path):
    for seed in range(2):
        make(tmp_path, "ppo", seed, line(0.5, 0.95), line(2.0, 3.0), beta=0.1)
    ledger = verdicts(tmp_path)
    assert ledger["sentiment-ppo-drifts"].verdict == "inconclusive" and ledger["sentiment-ppo-drifts"].seeds == 2
    assert ledger["sentiment-no-kl-explodes"].verdict == "not run" and ledger["sentiment-no-kl-explodes"].effect is None


def test_a_level_that_is_not_reached_decides_nothing(tmp_path):
    for seed in range(3):
        make(tmp_path, "ppo", seed, line(0.5, 0.7), line(2.0, 3.0), beta=0.1)
        make(tmp_path, "elastic", seed, line(0.5, 0.95), line(2.0, 2.5))
    verdict = verdicts(tmp_path)["sentiment-elastic-cheaper-at-80"]
    assert verdict.verdict == "inconclusive" and "never reach" in verdict.note


def test_claims_are_paired_by_seed(tmp_path):
    # perplexities that differ wildly between seeds but by exactly .1 within each
    for seed in range(4):
        base = 2.0 + seed
        make(tmp_path, "ppo", seed, line(0.5, 0.95), line(base, base + 1.0), beta=0.1)
        make(tmp_path, "elastic", seed, line(0.5, 0.95), line(base, base + 0.9))
    verdict = verdicts(tmp_path)["sentiment-final-drift"]
    assert verdict.verdict == "supported"
    assert (verdict.low, verdict.effect, verdict.high) == pytest.approx((0.1, 0.1, 0.1))


def test_rows_right_after_a_reset_never_count_for_a_frontier(tmp_path):
    for seed in range(3):
        make(tmp_path, "elastic", seed, line(0.5, 0.6), line(2.0, 3.0), resets=[(2, 1.0, 1.0)])
    found = Evidence("sentiment", "smoke", [tmp_path])
    curve = on_common_steps(found.curve(found.of("elastic")[0]), 1)
    assert len(curve) == 7 and curve["task"].max() == pytest.approx(0.6)
    assert len(on_common_steps(found.curve(found.of("elastic")[0]), 3)) == 3


def test_the_table_shows_the_average_of_track_and_the_start(tmp_path):
    from elastic_lib.figures import tables

    test = {"task": 0.9, "drift": 3.0}
    for seed in range(2):
        record = make(tmp_path, "track", seed, line(0.5, 0.95), line(2.0, 3.0), test=test)
        status = record.status()
        record.finish(test=test, test_before=status["test_before"], test_ema={"task": 0.8, "drift": 2.5 + 0.2 * seed})
    found = Evidence("sentiment", "smoke", [tmp_path])
    table = tables.final_scores(found, found.settings())
    assert table.loc["Zero-shot", "↓ perplexity"] == "2.000 ± 0.000"
    row = table.loc["PPO, its EMA read out, β = 0.01"]
    assert (row["↑ sentiment"], row["↓ perplexity"], row["seeds"]) == ("0.800 ± 0.000", "2.600 ± 0.100", 2)
    online = area(found.curve(found.of("track")[0]), found.facts.YARDSTICK)
    assert float(row["↑ hypervolume"].split()[0]) > online


def test_area_is_a_share_of_the_ideal():
    rows = pd.DataFrame({"task": [0.5, 1.0], "drift": [2.0, 2.0]})
    assert area(rows, SENTIMENT) == pytest.approx(1.0)
    assert area(pd.DataFrame({"task": [0.5, 0.75], "drift": [2.0, 2.5]}), SENTIMENT) == pytest.approx(0.25)
    assert area(pd.DataFrame({"task": [0.5, 1.0], "drift": [2.0, 9.0]}), SENTIMENT) == 0


def test_interval_with_three_values_spans_them_and_narrows_with_more():
    assert pareto.interval([1.0, 2.0, 6.0]) == pytest.approx((1.0, 6.0))
    assert all(math.isnan(bound) for bound in pareto.interval([1.0]))
    assert pareto.interval([2.0] * 5) == pytest.approx((2.0, 2.0))


@pytest.mark.parametrize("n", [3, 5, 8])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(n):
    rng = np.random.default_rng(n)
    trials = 300
    hits = 0
    for _ in range(trials):
        low, high = pareto.interval(rng.standard_normal(n)) if n <= 5 else _light(rng.standard_normal(n))
        hits += low <= 0 <= high
    # 3 values cannot span the truth more often than 1 − 2·½³ = .75, and that is why 3 seeds say "about"
    assert hits / trials >= {3: 0.68, 5: 0.88, 8: 0.9}[n]
    assert hits / trials < 1


def _light(values):
    return pareto.interval(values)


def test_settings_are_never_mixed_between_folders(world, tmp_path_factory):
    own = tmp_path_factory.mktemp("own")
    for seed in range(3):
        make(own, "ppo", seed, line(0.5, 0.95), line(2.0, 9.0), beta=0.1)
    make(own, "nlpo", 0, line(0.5, 0.95), line(2.0, 9.0))
    found = Evidence("sentiment", "smoke", [own, world])
    assert sorted(found.of("ppo")) == [0, 1, 2] and found.source[found.label("ppo")] == own
    assert sorted(found.of("nlpo")) == [0, 1, 2, 3, 4] and found.source[found.label("nlpo")] == world


def test_the_json_of_the_command_line(world, capsys):
    assert main(["claims", "--scale", "smoke", "--results", str(world), "--json"]) == 0
    ledger = json.loads(capsys.readouterr().out)
    assert {"id", "statement", "where", "scale", "verdict", "effect", "low", "high", "seeds"} <= set(ledger[0])
    assert len({claim["id"] for claim in ledger}) == len(ledger) == len(claims.every_claim())
    assert {claim["verdict"] for claim in ledger} <= {"supported", "refuted", "inconclusive", "not run"}
    assert all(claim["scale"] == "smoke" for claim in ledger)
    main(["claims", "--scale", "smoke", "--results", str(world)])
    printed = capsys.readouterr().out
    assert all(claim["id"] in printed for claim in ledger)


def test_every_logged_column_is_in_the_glossary(world):
    record = Evidence("sentiment", "smoke", [world]).of("ppo")[0]
    assert tuple(record.curve().columns) == columns("sentiment")
    with pytest.raises(ValueError, match="without a word in the glossary"):
        record.add({"step": 1, "reset": 0, "mystery": 1.0}, [])
