"""The ablations' claims on records made up so that the answer is known."""

import copy

import numpy as np
import pandas as pd
import pytest
from test_claims import line, make, verdicts

from elastic_lib.evidence.evidence import Evidence, Missing
from elastic_lib.evidence.verdicts import judge
from elastic_lib.figures import panels as figures
from elastic_lib.figures import tables
from elastic_lib.recipe.grid import grid
from elastic_lib.records.record import reference_results
from elastic_lib.records.tables import PackedRecord
from elastic_lib.tasks.ledger import claims
from elastic_lib.tasks.sentiment import claims_ablations
from elastic_lib.tasks.sentiment.facts import ABLATIONS

SWEPT = {"ppo": (2.2, 2.9), "nlpo": (2.2, 2.9), "elastic": (2.3, 2.4)}  # the best and the worst final perplexity


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Over β, PPO and NLPO spread widely and Elastic Reset hardly; a cleared value costs, a cleared Adam does not."""
    tmp_path = tmp_path_factory.mktemp("world")
    for seed in range(3):
        jitter = 0.003 * seed
        for name, (best, worst) in SWEPT.items():
            settings = ABLATIONS[name]
            for i, (method, changed) in enumerate(settings):
                end = best + (worst - best) * i / (len(settings) - 1) + jitter
                make(tmp_path, method, seed, line(0.5, 0.95), line(2.0, end), **changed)
        make(tmp_path, "elastic", seed, line(0.5, 0.95), line(2.0, 2.3 + jitter), optimizer="clear")
        make(tmp_path, "elastic", seed, line(0.5, 0.95), line(2.0, 2.9 + jitter), value="clear")
        make(tmp_path, "elastic", seed, line(0.5, 0.95), line(2.0, 2.9 + jitter), beta=0.0)
    return tmp_path


def test_known_worlds_get_known_verdicts(world):
    ledger = verdicts(world)
    said = {
        name: ledger[f"sentiment-{name}"].verdict
        for name in (
            "steadier-than-ppo", "steadier-than-nlpo", "kl-and-reset-best", "optimiser-does-not-matter",
            "kept-value-matters", "anchor-does-not-matter",
        )
    }  # fmt: skip
    assert said == {
        "steadier-than-ppo": "supported",
        "steadier-than-nlpo": "supported",
        "kl-and-reset-best": "supported",
        "optimiser-does-not-matter": "supported",
        "kept-value-matters": "supported",
        "anchor-does-not-matter": "not run",
    }


def test_a_spread_is_the_best_minus_the_worst_area_on_a_seed(world):
    evidence = Evidence("sentiment", "smoke", [world])
    wide, narrow = (claims_ablations.spread(evidence, ABLATIONS[name]) for name in ("ppo", "elastic"))
    assert set(wide) == {0, 1, 2} and all(wide[seed] > 3 * narrow[seed] > 0 for seed in wide)
    table = tables.robustness(evidence, {name: ABLATIONS[name] for name in ("ppo", "elastic", "decay")})
    assert list(table.index) == ["ppo", "elastic"]  # of the third nothing was run
    assert float(table.loc["ppo", "best"]) > float(table.loc["ppo", "worst"])


def test_a_sweep_goes_from_pale_to_dark_in_its_order(world):
    evidence = Evidence("sentiment", "smoke", [world])
    drawn = figures.frontier(evidence, ABLATIONS["ppo"], "PPO")
    lines = [trace for trace in drawn.data if trace.name]
    assert [trace.name for trace in lines] == [f"PPO, β = {beta:g}" for beta in (0.01, 0.03, 0.1, 0.3, 1.0)]
    light = [sum(int(trace.line.color[i : i + 2], 16) for i in (1, 3, 5)) for trace in lines]
    assert light == sorted(light, reverse=True) and len(set(light)) == 5


def reference():
    return Evidence("sentiment", "pocket", [reference_results("pocket")])


def test_the_way_through_weight_space_is_drawn_as_it_was_walked():
    evidence = reference()
    settings = [("track", {}), ("elastic", {}), ("to_init", {})]
    figure = figures.paths(evidence, settings, "ways")
    drawn = [t for t in figure.data if t.name and t.name.startswith("Elastic Reset") and t.mode == "lines+markers"]
    assert len(drawn) == 3 and [t.xaxis for t in drawn] == ["x", "x2", "x3"]
    moves = evidence.of("elastic")[0].moves()
    policy = moves[moves["whose"] == "policy"]
    way = np.array([drawn[0].x, drawn[0].y]).T
    assert len(way) == len(policy) + 2 and np.isnan(way).any(1).sum() == 2  # a gap at each reset
    lengths = np.linalg.norm(policy.iloc[:, 3:].to_numpy(float), axis=1)
    kept = np.linalg.norm(way[~np.isnan(way).any(1)], axis=1)
    assert (kept <= lengths + 1e-9).all() and kept.sum() > 0.6 * lengths.sum()  # a projection, of most of it
    before = figures.paths(evidence, [("ppo", {})], "no ways kept")
    assert not before.data and "no records" in before.layout.annotations[-1].text


def test_turns_are_the_angles_between_iterations(monkeypatch):
    steps = [0, 25, 25, 50, 50, 75]
    ways = {"x": [0, 4, 1, 5, 2, 6], "y": [0, 0, 0, 4, 0, 0], "z": 0.0}  # on, at an angle of 45°, on again
    rows = pd.DataFrame({"step": steps, "reset": [0, 0, 1, 0, 1, 0], "whose": "policy", **ways})
    monkeypatch.setattr(PackedRecord, "moves", lambda _: rows)
    table = tables.turns(reference(), [("elastic", {})])
    assert table.iloc[0].tolist() == ["0.71 ± 0.00", "1.00 ± 0.00"]


def test_minibatches_that_a_scale_cannot_have_are_not_run(tmp_path):
    assert not any("minibatch" in run.changes() for run in grid("sentiment", "smoke", 1, full=True))
    assert sum("minibatch" in run.changes() for run in grid("sentiment", "pocket", 1, full=True)) == 2
    with pytest.raises(Missing, match=r"minibatch=32.* at scale smoke"):
        Evidence("sentiment", "smoke", [tmp_path]).label("elastic", minibatch=32)


def test_runs_on_pretrained_models_of_two_machines_are_told_and_no_check_is_made_on_them():
    evidence = reference()
    for label in map(evidence.label, ("elastic", "to_ema", "to_init")):
        evidence.found[label] = {seed: copy.copy(run) for seed, run in evidence.found[label].items()}
    elsewhere = evidence.found[evidence.label("to_ema")][3]
    env = elsewhere.env()
    env["pretrained"]["rm"]["loss"] += 1e-9
    elsewhere.env = lambda: env
    known = {claim.id: claim for claim in claims("sentiment", "pocket")}
    over_ema, over_init, check = (
        judge(known[f"sentiment-{name}"], evidence)
        for name in ("elastic-over-to-ema", "elastic-over-to-init", "one-reset-is-to-ema")
    )
    note = "pretrained models of two machines, which differ in their last digits"
    assert over_ema.note == note
    assert over_init.note == ""
    assert (check.verdict, check.note) == ("not run", note)
