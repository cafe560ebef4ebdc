"""The ablations' claims on records made up so that the answer is known."""

import pytest
from test_claims import line, make, verdicts

from elastic_lib import claims_ablations, figures, tables
from elastic_lib.cells import Cells
from elastic_lib.grids import ABLATIONS

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
        name: ledger[f"imdb-{name}"].verdict
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
    cells = Cells("sentiment", "smoke", [world])
    wide, narrow = (claims_ablations.spread(cells, ABLATIONS[name]) for name in ("ppo", "elastic"))
    assert set(wide) == {0, 1, 2} and all(wide[seed] > 3 * narrow[seed] > 0 for seed in wide)
    table = tables.robustness(cells, {name: ABLATIONS[name] for name in ("ppo", "elastic", "decay")})
    assert list(table.index) == ["ppo", "elastic"]  # of the third nothing was run
    assert float(table.loc["ppo", "best"]) > float(table.loc["ppo", "worst"])


def test_a_sweep_goes_from_pale_to_dark_in_its_order(world):
    cells = Cells("sentiment", "smoke", [world])
    drawn = figures.frontier(cells, ABLATIONS["ppo"], "PPO", sweep=True)
    lines = [trace for trace in drawn.data if trace.name]
    assert [trace.name for trace in lines] == [f"PPO β={beta:g}" for beta in (0.01, 0.03, 0.1, 0.3, 1.0)]
    light = [sum(int(trace.line.color[i : i + 2], 16) for i in (1, 3, 5)) for trace in lines]
    assert light == sorted(light, reverse=True) and len(set(light)) == 5
