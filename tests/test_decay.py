"""The one place where the share of θ0 that stays in an average is turned into η."""

import pytest

import elastic_lib
from elastic_lib.decay import decay_for
from elastic_lib.recipe import Recipe
from elastic_lib.tasks import TASKS


@pytest.mark.parametrize(("left", "moves"), [(0.5, 100), (0.1, 160), (0.9, 1), (1.0, 7), (0.0, 7), (0.25, 1e6)])
def test_so_much_is_left_after_so_many_moves(left, moves):
    assert decay_for(left, moves) ** moves == pytest.approx(left, rel=1e-9)


def test_known_answers():
    assert decay_for(left=0.5, moves=1) == 0.5 and decay_for(left=0.25, moves=2) == 0.5
    assert elastic_lib.decay_for is decay_for


@pytest.mark.parametrize(
    "wrong", [{"left": -0.1}, {"left": 1.1}, {"left": True}, {"left": "half"}, {"moves": 0}, {"moves": float("inf")}]
)
def test_what_means_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="must be a"):
        decay_for(**{"left": 0.5, "moves": 100} | wrong)


@pytest.mark.parametrize("task", TASKS)
def test_the_pocket_scale_leaves_what_the_text_says(task):
    assert Recipe(task, "elastic").left_at_reset() == pytest.approx({"answers": 0.1}.get(task, 0.5), abs=0.005)
