"""The toy landscape: closed forms, the methods against each other and against ElasticReset, what the notebook says."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from elastic_lib.decay import decay_for
from elastic_lib.figures import landscape_pictures as pictures
from elastic_lib.figures.landscape import GOOD, Landscape, Walk, walk, walks
from elastic_lib.recipe import Recipe
from elastic_lib.reset import ElasticReset

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "01_elastic_reset.ipynb"
TOY, BENT = Landscape(), Landscape(bend=-0.3)


def slope(function, theta):
    """By central differences."""
    steps = 1e-5 * np.eye(2)
    return np.array([(function(theta + h) - function(theta - h)) / 2e-5 for h in steps])


# ---- the landscape


@pytest.mark.parametrize("toy", [TOY, BENT])
@pytest.mark.parametrize("theta", [(0.0, 0.0), (1.3, -0.4), (-2.0, 3.0)])
def test_the_gradients_are_those_of_reward_and_kl(toy, theta):
    theta = np.array(theta)
    assert toy.gradient(theta) == pytest.approx(slope(toy.reward, theta), abs=1e-8)
    kl = Landscape(language_widths=toy.language_widths).drift  # what the drift is where nothing bends
    assert toy.pull(theta) == pytest.approx(slope(kl, theta), abs=1e-8)


def test_the_optimum_lies_outside_good_language_and_the_start_inside():
    for toy in (TOY, BENT):
        goal, start = np.array(toy.goal), np.zeros(2)
        assert toy.reward(goal) == 1 > toy.reward(start)
        assert toy.drift(start) == 0 and toy.drift(goal) > GOOD
    grid = np.stack(np.meshgrid(np.linspace(-5, 5, 41), np.linspace(-5, 5, 41)), -1)
    assert TOY.reward(grid).shape == (41, 41) and TOY.reward(grid).max() <= 1


def test_the_share_of_density_in_good_language_is_what_the_comment_says():
    a, b = TOY.language_widths
    sampled = np.random.default_rng(0).normal(size=(200_000, 2)) * [a, b]
    assert (TOY.drift(sampled) <= GOOD).mean() == pytest.approx(1 - math.exp(-GOOD), abs=0.005)


# ---- the walks


def test_without_noise_sgd_follows_its_closed_form():
    w = walk(TOY, "sgd", steps=50, lr=0.1, noise=0.0)
    rates = 1 - 0.1 / np.square(TOY.reward_widths)
    assert w.theta == pytest.approx(np.array(TOY.goal) * (1 - rates ** np.arange(51)[:, None]), abs=1e-12)


def test_the_average_is_the_weighted_sum_of_all_that_was():
    w = walk(TOY, "ema", steps=40, decay=0.9)
    weights = 0.1 * 0.9 ** np.arange(39, -1, -1)
    assert w.average[-1] == pytest.approx(weights @ w.theta[1:], abs=1e-12)
    assert weights.sum() == pytest.approx(1 - 0.9**40)  # the rest is θ0
    assert w.reward[-1] == TOY.reward(w.average[-1]) and w.drift[-1] == TOY.drift(w.average[-1])


def test_a_reset_puts_theta_at_its_average_and_the_average_at_theta0_exactly():
    w = walk(TOY, "elastic", steps=100, every=30)
    assert w.resets == [30, 60, 90]
    (after,) = np.nonzero(w.reset)
    assert (w.theta[after] == w.average[after - 1]).all() and (w.average[after] == 0).all()
    assert (w.step[after] == w.step[after - 1]).all()


@pytest.mark.parametrize(("method", "theta", "average"), [("to_ema", "average", "average"), ("to_init", None, None)])
def test_where_the_simpler_resets_land(method, theta, average):
    w = walk(TOY, method, steps=70, every=30)
    (after,) = np.nonzero(w.reset)
    before = w.average[after - 1]
    assert (w.theta[after] == (before if theta else 0)).all() and (w.average[after] == (before if average else 0)).all()


def test_no_reset_after_the_last_step_nor_where_the_method_has_none():
    assert walk(TOY, "elastic", steps=60, every=30).resets == [30]
    assert not any(walk(TOY, method, every=30).resets for method in ("sgd", "kl", "ema"))


def test_methods_agree_bit_for_bit_until_the_first_reset():
    sgd, *others = walks(TOY, ("sgd", "ema", "elastic", "to_ema", "to_init"), steps=90, every=40, seed=3)
    for other in others:
        assert (other.theta[:41] == sgd.theta[:41]).all() and (other.average[:41] == sgd.average[:41]).all()
    assert all((w.until(90).theta[-1] != sgd.theta[-1]).any() for w in others[1:])


def test_kl_without_its_coefficient_is_sgd_and_with_it_stays_closer():
    sgd, kl = walk(TOY, "sgd", seed=1), walk(TOY, "kl", beta=0.0, seed=1)
    assert (sgd.theta == kl.theta).all()
    assert walk(TOY, "kl", beta=0.2, seed=1).drift[-1] < sgd.drift[-1]


def test_at_the_ends_of_decay_elastic_is_sgd_and_reset_to_init():
    for decay, other in ((0, "sgd"), (1, "to_init")):
        one, same = walk(TOY, "elastic", decay=decay), walk(TOY, other)
        assert (one.theta[~one.reset] == same.theta[~same.reset]).all()


def test_a_seed_is_a_noise():
    assert (walk(TOY, "sgd", seed=1).theta == walk(TOY, "sgd", seed=1).theta).all()
    assert (walk(TOY, "sgd", seed=1).theta != walk(TOY, "sgd", seed=2).theta)[1:].all()


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
@pytest.mark.parametrize("method", ["elastic", "to_ema", "to_init"])
def test_the_walk_is_that_of_the_real_class(method, dtype, close):
    w = walk(TOY, method, steps=50, decay=0.95, every=20, noise=0.7, seed=4)
    shakes = np.random.default_rng(4).normal(scale=0.7, size=(50, 2))
    theta = torch.zeros(2, dtype=dtype, requires_grad=True)
    real = ElasticReset([theta], decay=0.95, reset_every=20, mode=method)
    seen = [(theta.detach().clone(), real.ema["0"].clone())]
    for shake in shakes:
        with torch.no_grad():
            theta += torch.from_numpy(0.1 * (TOY.gradient(theta.double().numpy()) + shake)).to(dtype)
        real.update()
        seen.append((theta.detach().clone(), real.ema["0"].clone()))
        if real.tick():
            seen.append((theta.detach().clone(), real.ema["0"].clone()))
    assert real.resets == len(w.resets) == 2 and len(seen) == len(w.step)
    for column, ours in enumerate((w.theta, w.average)):
        theirs = torch.stack([row[column] for row in seen]).double().numpy()
        assert np.abs(theirs - ours).max() <= close


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (dict(method="elastik"), "unknown method of the toy 'elastik'; did you mean elastic"),
        (dict(steps=0), "steps must be a whole number, 1 or more; got 0"),
        (dict(lr=0.0), "lr must be a number above 0; got 0.0"),
        (dict(noise=-1.0), "noise must be a number, 0 or more; got -1.0"),
        (dict(beta=-0.1), "beta must be a number, 0 or more; got -0.1"),
        (dict(decay=1.01), "decay must be a number from 0 to 1; got 1.01"),
        (dict(every=0), "every must be a whole number, 1 or more; got 0"),
        (dict(seed=-1), "seed must be a whole number, 0 or more; got -1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(given, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        walk(TOY, **dict(method="elastic") | given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (dict(goal=(1.0,)), "goal must be two numbers, of x and of y; got (1.0,)"),
        (dict(goal=(1.0, math.nan)), "goal must be a number; got nan"),
        (dict(reward_widths=(1.0, 0.0)), "reward_widths must be a number above 0; got 0.0"),
        (dict(language_widths=(-1.0, 1.0)), "language_widths must be a number above 0; got -1.0"),
        (dict(bend="up"), "bend must be a number; got 'up'"),
    ],
)
def test_landscapes_that_mean_nothing_are_refused(given, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        Landscape(**given)


# ---- what is measured on them


def test_area_and_matched_drift_by_hand():
    values = dict(theta=np.zeros((4, 2)), average=np.zeros((4, 2)))
    column = dict(step=np.array([0, 1, 1, 2]), reset=np.array([False, False, True, False]))
    w = Walk("elastic", **column, **values, reward=np.array([0.0, 0.5, 0.4, 0.9]), drift=np.array([0, 1.0, 0.0, 1.5]))
    assert w.area() == pytest.approx((0.5 * 1.0 + 0.4 * 0.5) / GOOD)  # the row right after the reset is not counted
    assert w.drift_at(0.5) == 1.0 and w.drift_at(0.6) == 1.5 and math.isnan(w.drift_at(0.95))
    assert w.until(1).area() == pytest.approx(0.5 * 1.0 / GOOD)


@pytest.mark.parametrize(
    ("task", "scale", "times", "share"),
    [
        ("translation", "paper", 23000, 0.0),
        ("sentiment", "paper", 17, 0.918),
        ("answers", "paper", 4 * 260, 0.0054),
        ("sentiment", "pocket", 4 * 25, 0.495),
        ("translation", "pocket", 140, 0.5),
    ],
)
def test_how_much_of_theta0_is_left_at_a_reset(task, scale, times, share):
    recipe = Recipe(task, "elastic", scale)
    assert recipe.moves_to_reset() == times and recipe.left_at_reset() == pytest.approx(share, abs=5e-4)


def test_a_method_without_resets_is_refused():
    with pytest.raises(ValueError, match="never resets; ask for a method that does"):
        Recipe("sentiment", "ppo").left_at_reset()


def test_the_notebook_says_what_the_toy_does():
    table = pictures.contest(TOY)
    area, drift, reward = (table[c] for c in ("area of the frontier", "drift at the end", "reward at the end"))
    elastic, sgd, kl = "Elastic Reset", "SGD", "KL to initial"
    assert drift.idxmax() == sgd and GOOD < drift[elastic] < drift[sgd] and drift[kl] < GOOD / 2 + 0.1
    assert reward[sgd] - reward[elastic] < 0.02
    assert area[elastic] > area[sgd] + 0.02 and abs(area[elastic] - area[kl]) < 0.01
    assert area["Reset to Init"] >= area[elastic]


@pytest.mark.parametrize(
    ("toy", "settings", "better", "worse"),
    [
        (TOY, dict(noise=0.0), "sgd", "elastic"),
        (TOY, dict(every=10), "sgd", "elastic"),
        (TOY, dict(every=10), "kl", "elastic"),
        (Landscape(bend=0.3), {}, "elastic", "kl"),
        (TOY, dict(beta=1.0), "elastic", "kl"),
        (TOY, dict(beta=0.005), "elastic", "kl"),
    ],
)
def test_the_exercises_end_as_their_answers_say(toy, settings, better, worse):
    areas = {m: np.mean([walk(toy, m, seed=s, **settings).area() for s in range(20)]) for m in (better, worse)}
    assert areas[better] > areas[worse]


def test_without_noise_the_kl_pays_less_drift_for_the_same_reward():
    assert walk(TOY, "kl", noise=0.0).drift_at() < walk(TOY, "elastic", noise=0.0).drift_at()


# ---- the notebook's code


def blocks():
    texts = ["".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"]]
    return [block for text in texts for block in re.findall(r"```python\n(.*?)```", text, re.S)]


def test_the_lines_in_the_notebook_are_the_walk():
    (lines,) = [block for block in blocks() if block.startswith("theta = average = theta0")]
    names = dict(theta0=np.zeros(2), steps=250, every=100, lr=0.1, decay=0.993, gradient=TOY.gradient)
    exec(lines, names)
    w = walk(TOY, "elastic", steps=250, noise=0.0)
    assert (names["theta"] == w.theta[-1]).all() and (names["average"] == w.average[-1]).all()


def test_the_class_as_the_notebook_shows_it_is_the_walk_too(capsys):
    (lines,) = [block for block in blocks() if "ElasticReset(" in block]
    names = {}
    exec(lines, names)
    w = walk(TOY, "elastic", steps=250, noise=0.0, decay=decay_for(left=0.5, moves=100))
    assert names["theta"].detach().numpy() == pytest.approx(w.theta[-1], abs=1e-12)
    assert names["er"].resets == 2 and "Distances(init=" in capsys.readouterr().out
