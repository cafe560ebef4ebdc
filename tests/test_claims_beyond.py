"""The claims on what came since, on records made up so that the answer is known."""

import pytest
from test_claims import line, make, verdicts

from elastic_lib.evidence.evidence import Evidence
from elastic_lib.evidence.measures import Line
from elastic_lib.evidence.verdicts import OURS, sections
from elastic_lib.recipe import Recipe
from elastic_lib.records import record
from elastic_lib.tasks.ledger import verdicts as judged
from elastic_lib.tasks.sentiment.claims_beyond import CLAIMS, fixed
from elastic_lib.tasks.sentiment.facts import BETAS


@pytest.fixture
def world(tmp_path):
    """Reference Resets end where PPO with a third of their β does, at half of its price on the way."""
    for seed in range(5):
        for beta in BETAS["ppo"]:
            make(tmp_path, "ppo", seed, line(0.5, 0.9), line(2.0, 2.8), beta=beta)
        bent = [2.0, 2.0, 2.0, 2.0, 2.1, 2.4, 2.8]
        make(tmp_path, "reference", seed, line(0.5, 0.9 + 0.002 * seed), bent)
        make(tmp_path, "elastic", seed, line(0.5, 0.9), line(2.0, 2.6))
        make(tmp_path, "elastic_reference", seed, line(0.5, 0.9), line(2.0, 2.0))
    return tmp_path


def test_known_rivals_get_known_verdicts(world):
    found = {claim.id.removeprefix("sentiment-"): verdicts(world)[claim.id] for claim in CLAIMS}
    assert {name: v.verdict for name, v in found.items()} == {
        "reference-resets-equal-a-smaller-beta-in-reward": "supported",
        "reference-resets-equal-a-smaller-beta-in-drift": "supported",
        "reference-resets-over-smaller-beta": "supported",
        "elastic-over-reference-resets": "refuted",
        "both-over-elastic": "supported",
        "both-over-reference-resets": "supported",
        "elastic-over-ema-pg": "not run",
        "average-over-reference-resets": "not run",
    }
    assert all(v.apart == OURS and not v.counts() for v in found.values())
    assert "Beyond the paper" in sections(list(found.values()))


def test_a_reward_that_is_not_that_of_the_smaller_beta_refutes_the_theory(tmp_path):
    for seed in range(5):
        make(tmp_path, "ppo", seed, line(0.5, 0.9), line(2.0, 2.8), beta=0.03)
        make(tmp_path, "reference", seed, line(0.5, 0.8), line(2.0, 2.4))
    found = {v.id: v.verdict for v in judged("smoke", tmp_path, ["sentiment"])}
    assert found["sentiment-reference-resets-equal-a-smaller-beta-in-reward"] == "refuted"
    assert found["sentiment-reference-resets-equal-a-smaller-beta-in-drift"] == "refuted"


@pytest.mark.parametrize("scale", ["smoke", "pocket", "paper"])
def test_two_moves_make_three_optimisations(scale, tmp_path):
    moved = Recipe("sentiment", "reference", scale)
    assert [step for step in range(1, moved.updates) if step % moved.reference_every == 0] == [
        moved.reference_every,
        2 * moved.reference_every,
    ]
    assert fixed(Evidence("sentiment", scale, [tmp_path])) == Line("ppo", {"beta": 0.03})


def test_what_is_compared_comes_from_one_folder_where_one_holds_it(tmp_path, monkeypatch):
    """One's own PPO is another than the one that was made beside the rival."""
    monkeypatch.setattr(record, "ROOT", tmp_path)
    own, beside = record.own_results("smoke"), record.reference_results("beyond")
    for seed in range(3):
        make(own, "ppo", seed, line(0.5, 0.9), line(2.0, 9.9), beta=0.03)
        make(beside, "ppo", seed, line(0.6, 0.9), line(2.0, 2.8), beta=0.03)
        make(beside, "reference", seed, line(0.6, 0.9), line(2.0, 2.4))
    evidence = Evidence("sentiment", "smoke", [own, record.reference_results("smoke")])
    ppo, rival = Line("ppo", {"beta": 0.03}), Line("reference")

    def start(found):
        return found.common(found.label("ppo", beta=0.03))[0]["task"].iat[0]

    assert start(evidence.together([ppo])) == 0.5 and evidence.whose() == "yours"
    assert start(evidence.together([ppo, rival])) == 0.6 and evidence.whose() == "the reference's"
    assert evidence.together([ppo, Line("elastic")]) is evidence
