"""Known answers for `ElasticReset`: every number is worked out by hand or by a plain re-computation in float64."""

import math

import numpy as np
import pytest
import torch

import elastic_lib
from elastic_lib.decay import decay_for, starting_point
from elastic_lib.recipe import Recipe
from elastic_lib.reset import Adaptive, At, ElasticReset, Every
from elastic_lib.tasks import TASKS


def parameters(*shapes, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(*shape, generator=generator).to(dtype)) for shape in shapes]


def drift(params, step):
    with torch.no_grad():
        for i, p in enumerate(params):
            p.add_(torch.sin(torch.arange(p.numel(), dtype=torch.float32).view_as(p) + step + i).to(p.dtype) * 0.1)


def test_k_updates_equal_the_closed_form():
    # with θ fixed at θ1, θ̄_k = η^k θ0 + (1−η^k) θ1
    (p,) = params = parameters((5, 3), dtype=torch.float64)
    start = p.detach().clone()
    elastic = ElasticReset(params, decay=0.9)
    with torch.no_grad():
        p.add_(1.0)
    for _ in range(7):
        elastic.update()
    expected = 0.9**7 * start + (1 - 0.9**7) * (start + 1)
    torch.testing.assert_close(elastic.ema["0"], expected, rtol=0, atol=1e-14)


def test_two_updates_by_hand():
    p = torch.nn.Parameter(torch.tensor([0.0]))
    elastic = ElasticReset([p], decay=0.75)
    for value, average in ((4.0, 1.0), (9.0, 3.0)):  # 0.25·4; 0.75·1 + 0.25·9
        p.data.fill_(value)
        elastic.update()
        assert elastic.ema["0"].item() == average
    elastic.reset()
    assert (p.item(), elastic.ema["0"].item(), elastic.initial["0"].item()) == (3.0, 0.0, 0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_initial_weights_come_back_bit_for_bit(dtype):
    params = parameters((4, 4), (3,), dtype=dtype)
    start = [p.detach().clone() for p in params]
    elastic = ElasticReset(params, decay=0.5, mode="to_init")
    for step in range(5):
        drift(params, step)
        elastic.update()
    assert not any(torch.equal(p, s) for p, s in zip(params, start, strict=True))
    elastic.reset()
    assert all(torch.equal(p, s) for p, s in zip(params, start, strict=True))
    assert all(torch.equal(e.to(dtype), s) for e, s in zip(elastic.ema.values(), start, strict=True))


@pytest.mark.parametrize("mode", ["elastic", "to_ema", "to_init", "track"])
def test_modes_against_a_plain_recomputation(mode):
    params = parameters((6,), (2, 2), dtype=torch.float64)
    elastic = ElasticReset(params, decay=0.8, reset_every=3, mode=mode)
    initial = [p.detach().clone() for p in params]
    online, average = [p.clone() for p in initial], [p.clone() for p in initial]
    for step in range(1, 11):
        drift(params, step)
        elastic.update()
        was_reset = elastic.tick()
        for i, o in enumerate(online):
            o += torch.sin(torch.arange(o.numel(), dtype=torch.float32).view_as(o) + step + i).double() * 0.1
            average[i] = 0.8 * average[i] + 0.2 * o
            if step % 3 == 0 and mode != "track":
                online[i].copy_(initial[i] if mode == "to_init" else average[i])
                if mode != "to_ema":
                    average[i] = initial[i].clone()
        assert was_reset == (step % 3 == 0 and mode != "track")
        for p, e, o, a in zip(params, elastic.ema.values(), online, average, strict=True):
            torch.testing.assert_close(p.detach(), o, rtol=0, atol=1e-12)
            torch.testing.assert_close(e, a, rtol=0, atol=1e-12)
    assert elastic.resets == (0 if mode == "track" else 3)


def test_elastic_and_to_ema_are_equal_until_the_second_reset():
    ends = {}
    for mode in ("elastic", "to_ema"):
        params = parameters((8,))
        elastic = ElasticReset(params, decay=0.9, reset_every=4, mode=mode)
        trace = []
        for step in range(9):
            drift(params, step)
            elastic.update()
            elastic.tick()
            trace.append(params[0].detach().clone())
        ends[mode] = trace
    same = [torch.equal(a, b) for a, b in zip(ends["elastic"], ends["to_ema"], strict=True)]
    assert same == [True] * 7 + [False] * 2


def test_partial_restore_and_restart():
    p = torch.nn.Parameter(torch.tensor([0.0]))
    elastic = ElasticReset([p], decay=0.5, restore=0.25, restart=0.75)
    p.data.fill_(8.0)
    elastic.update()  # θ̄ = 4
    elastic.reset()  # θ = 0.75·8 + 0.25·4 = 7; θ̄ = 0.25·4 + 0.75·0 = 1
    assert (p.item(), elastic.ema["0"].item()) == (7.0, 1.0)


def test_the_two_resets_on_their_own_clocks():
    p = torch.nn.Parameter(torch.tensor([0.0]))
    elastic = ElasticReset([p], decay=0.5, reset_every=2, ema_reset_every=3)
    seen = []
    for step in range(1, 7):
        p.data.fill_(float(step))
        elastic.update()
        elastic.tick()
        seen.append((p.item(), elastic.ema["0"].item()))
    # averages before resets: .5, 1.25, 2.125, 2 (after θ̄←0: .5·0+.5·4), 3.5, 4.75
    assert seen == [(1.0, 0.5), (1.25, 1.25), (3.0, 0.0), (2.0, 2.0), (5.0, 3.5), (4.75, 0.0)]


def test_select_resets_only_the_chosen_names():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    elastic = ElasticReset(model.named_parameters(), select=lambda name: name.startswith("0."), mode="to_init")
    drift(list(model.parameters()), 1)
    elastic.reset()
    back = {name: torch.equal(p, start[name]) for name, p in model.named_parameters()}
    assert back == {"0.weight": True, "0.bias": True, "1.weight": False, "1.bias": False}


def test_only_trainable_parameters_are_averaged():
    model = torch.nn.Linear(3, 3)
    model.bias.requires_grad_(False)
    assert list(ElasticReset(model.named_parameters()).ema) == ["weight"]
    with pytest.raises(ValueError, match="select= takes none of the trained; their names are like 'weight'"):
        ElasticReset(model.named_parameters(), select=lambda name: name.startswith("lora"))
    with pytest.raises(ValueError, match=r"no parameter to average: none has requires_grad; call model.req"):
        ElasticReset(model.requires_grad_(False).parameters())


def test_bf16_parameters_keep_a_float32_average():
    # one bf16 step near 1 is 2^-8: an average kept in bf16 would never move by (1−η)·2^-8
    p = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    elastic = ElasticReset([p], decay=0.99)
    p.data.fill_(1 + 2**-7)
    for _ in range(10):
        elastic.update()
    assert elastic.ema["0"].dtype == torch.float32
    assert elastic.ema["0"].item() == pytest.approx(1 + 2**-7 * (1 - 0.99**10), abs=1e-6)
    assert elastic.initial["0"].dtype == torch.bfloat16


def test_an_optimiser_goes_on_working_after_a_reset():
    params = parameters((4,))
    optimiser = torch.optim.Adam(params, lr=0.1)
    elastic = ElasticReset(params, decay=0.5, reset_every=3)
    address = params[0].data_ptr()

    def step():
        optimiser.zero_grad()
        (params[0] ** 2).sum().backward()
        optimiser.step()
        elastic.update()

    for _ in range(3):
        step()
    momentum = optimiser.state[params[0]]["exp_avg"].clone()
    assert [elastic.tick() for _ in range(3)] == [False, False, True]
    assert params[0].data_ptr() == address
    assert torch.equal(optimiser.state[params[0]]["exp_avg"], momentum)
    before = params[0].detach().clone()
    step()
    assert not torch.equal(params[0], before)


def test_averaged_shows_the_average_and_gives_the_model_back_even_after_an_error():
    params = parameters((4,))
    elastic = ElasticReset(params, decay=0.5)
    drift(params, 1)
    elastic.update()
    online = params[0].detach().clone()
    with pytest.raises(KeyError), elastic.averaged():
        assert torch.equal(params[0], elastic.ema["0"])
        with pytest.raises(RuntimeError, match="averaged"):
            elastic.update()
        with pytest.raises(RuntimeError, match="averaged"):
            elastic.reset()
        raise KeyError
    assert torch.equal(params[0], online)
    elastic.update()


def test_distances_by_hand():
    p = torch.nn.Parameter(torch.zeros(2))
    q = torch.nn.Parameter(torch.zeros(2))
    elastic = ElasticReset([p, q], decay=0.75)
    p.data.copy_(torch.tensor([12.0, 0.0]))
    q.data.copy_(torch.tensor([0.0, 16.0]))
    elastic.update()
    assert elastic.distances() == pytest.approx((20.0, 5.0, 15.0))  # |(12,16)|; a quarter of it; the rest


def test_schedules():
    assert [s for s in range(1, 10) if Every(4)(s, {})] == [4, 8]
    assert [s for s in range(1, 10) if At([2, 7])(s, {})] == [2, 7]
    params = parameters((1,))
    elastic = ElasticReset(params, schedule=lambda step, measures: measures["kl"] > 1)
    assert [elastic.tick(kl=kl) for kl in (0.5, 2.0, 0.1)] == [False, True, False]


def test_adaptive_keeps_the_budget_and_the_interval():
    elastic = ElasticReset(parameters((1,)), schedule=Adaptive(kl_budget=1.0, min_interval=3))
    assert [elastic.tick(kl=5.0) for _ in range(7)] == [False, False, True, False, False, True, False]
    with pytest.raises(ValueError, match="kl=…"):
        elastic.tick()


def test_adaptive_sees_a_flat_slope_within_an_iteration_only():
    elastic = ElasticReset(parameters((1,)), schedule=Adaptive(min_slope=0.1, window=3))
    rising = [elastic.tick(kl=k**2, reward=float(k)) for k in range(1, 5)]  # reward = √KL: slope 1
    flat = [elastic.tick(kl=k**2, reward=4.0) for k in range(5, 8)]  # slopes ½, 0 → due at the second
    assert (rising, flat) == ([False] * 4, [False, True, False])


def test_an_adaptive_schedule_that_is_used_again_forgets_the_run_before():
    adaptive = Adaptive(min_slope=0.0, window=5)
    for step in range(1, 5):
        adaptive(step, {"kl": 0.01 * step**2, "reward": 2 - 0.1 * step, "since_reset": step})
    rising = [{"kl": 0.01 * step**2, "reward": 1 + 0.5 * step, "since_reset": step} for step in range(1, 9)]
    assert not any(adaptive(step, told) for step, told in enumerate(rising, 1))
    kl = torch.tensor(0.5)
    adaptive(9, {"kl": kl, "reward": kl, "since_reset": 9})
    assert all(type(value) is float for _, *point in adaptive.history for value in point)


def test_resets_of_what_was_replaced_or_never_averaged_are_told_of_once():
    old, new = parameters((2,)), parameters((2,))
    elastic = ElasticReset(old, decay=0.5, reset_every=1)
    with torch.no_grad():
        new[0].add_(1)  # what is trained is another one
    elastic.update()
    with pytest.warns(UserWarning, match="no parameter has moved since θ0: were they put in another's place"):
        elastic.tick()
    elastic.tick()  # once is enough: a second warning would be an error here
    forgotten = ElasticReset(new, decay=0.5, reset_every=1)
    with torch.no_grad():
        new[0].add_(1)
    with pytest.warns(UserWarning, match=r"this reset takes all back: call update\(\) after each step"):
        forgotten.tick()


def test_what_is_no_schedule_and_parameters_that_were_read_already_are_refused():
    for schedule in (3, Every):
        with pytest.raises(ValueError, match=r"schedule must be Every\(n\)"):
            ElasticReset(parameters((1,)), schedule=schedule)
    given = iter(parameters((1,)))
    list(given)
    with pytest.raises(ValueError, match="no parameters were given: an iterator that something has read already"):
        ElasticReset(given)


def test_adaptive_forgets_what_was_before_a_reset_where_not_every_step_is_told_of():
    adaptive = Adaptive(min_slope=0.0, window=2)
    told = {1: 1.0, 3: 2.0, 5: 3.0}  # rising; then falling on an iteration of its own, from the reset at 6 on
    assert not any(adaptive(step, {"kl": told.get(step, math.nan), "reward": step}) for step in range(1, 6))
    assert not adaptive(9, {"kl": 4.0, "reward": 0.0, "since_reset": 3})  # one point is no slope
    assert [point[0] for point in adaptive.history] == [9]
    assert adaptive(12, {"kl": 9.0, "reward": -1.0, "since_reset": 6})


def test_numbers_of_numpy_are_numbers():
    elastic = ElasticReset([torch.nn.Parameter(torch.zeros(1))], np.float32(0.5), np.int64(3))
    assert (elastic.decay, elastic.schedule.n) == (0.5, 3) and type(elastic.schedule.n) is int
    assert decay_for(left=np.float64(0.25), moves=np.int64(2)) == 0.5


def test_a_step_inside_averaged_is_refused_before_it_is_counted():
    elastic = ElasticReset(parameters((3,)), 0.5, 1)
    with elastic.averaged(), pytest.raises(RuntimeError, match=r"tick\(\) inside"):
        elastic.tick()
    assert elastic.step == 0


def test_state_goes_round_and_is_a_copy():
    params = parameters((3,), (2,))
    elastic = ElasticReset(params, decay=0.9, schedule=Adaptive(kl_budget=100.0))
    drift(params, 1)
    elastic.update()
    elastic.tick(kl=1.0)
    state = elastic.state_dict()
    average = elastic.ema["0"].clone()
    drift(params, 2)
    elastic.update()
    elastic.tick(kl=2.0)
    assert torch.equal(state["ema"]["0"], average)
    elastic.load_state_dict(state)
    assert torch.equal(elastic.ema["0"], average)
    assert (elastic.step, elastic.schedule.history) == (1, [(1, 1.0, 0.0)])


def test_ten_steps_are_five_and_five_more():
    def advance(params, elastic, steps):
        for step in steps:
            drift(params, step)
            elastic.update()
            elastic.tick()

    straight = parameters((7,))
    advance(straight, ElasticReset(straight, decay=0.9, reset_every=4), range(10))
    first = parameters((7,))
    elastic = ElasticReset(first, decay=0.9, reset_every=4)
    advance(first, elastic, range(5))
    state = elastic.state_dict()
    second = parameters((7,))
    resumed = ElasticReset(second, decay=0.9, reset_every=4)
    resumed.load_state_dict(state)
    second[0].data.copy_(first[0].data)
    advance(second, resumed, range(5, 10))
    assert torch.equal(straight[0], second[0])


@pytest.mark.parametrize("damage", ["missing", "extra", "shape", "key"])
def test_loading_is_strict_and_changes_nothing_on_refusal(damage):
    elastic = ElasticReset(parameters((3,), (2,)))
    state = elastic.state_dict()
    if damage == "missing":
        del state["ema"]["1"]
    elif damage == "extra":
        state["initial"]["2"] = torch.zeros(1)
    elif damage == "shape":
        state["initial"]["0"] = torch.zeros(4)
    else:
        state["decay"] = 0.5
    kept = elastic.ema["0"].clone()
    state["ema"]["0"] = state["ema"]["0"] + 1
    with pytest.raises(ValueError, match=r"1|2|shape|decay"):
        elastic.load_state_dict(state)
    assert torch.equal(elastic.ema["0"], kept)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"decay": 1.5}, "decay must be a number from 0 to 1; got 1.5"),
        ({"decay": "0.9"}, "decay must be a number"),
        ({"reset_every": 0}, "reset_every must be a whole number, 1 or more; got 0"),
        ({"reset_every": 2.5}, "reset_every must be a whole number"),
        ({"ema_reset_every": -1}, "ema_reset_every must be"),
        ({"restore": -0.1}, "restore must be"),
        ({"mode": "elastc"}, "mode must be one of elastic, to_ema, to_init, track; got 'elastc'"),
        ({"reset_every": 3, "schedule": Every(3)}, "not both"),
        ({"select": bool}, "named_parameters"),
    ],
)
def test_wrong_arguments_say_what_is_allowed(wrong, says):
    with pytest.raises(ValueError, match=says):
        ElasticReset(parameters((1,)), **wrong)


# ---- the share of θ0 that stays in an average, and η


@pytest.mark.parametrize(("left", "moves"), [(0.5, 100), (0.1, 160), (0.9, 1), (1.0, 7), (0.0, 7), (0.25, 1e6)])
def test_so_much_is_left_after_so_many_moves(left, moves):
    assert decay_for(left, moves) ** moves == pytest.approx(left, rel=1e-9)


def test_known_answers():
    assert decay_for(left=0.5, moves=1) == 0.5 and decay_for(left=0.25, moves=2) == 0.5
    assert elastic_lib.decay_for is decay_for and elastic_lib.starting_point is starting_point


@pytest.mark.parametrize(
    "wrong", [{"left": -0.1}, {"left": 1.1}, {"left": True}, {"left": "half"}, {"moves": 0}, {"moves": float("inf")}]
)
def test_what_means_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="must be a"):
        decay_for(**{"left": 0.5, "moves": 100} | wrong)


@pytest.mark.parametrize("task", TASKS)
def test_the_pocket_scale_leaves_what_the_text_says(task):
    assert Recipe(task, "elastic").left_at_reset() == pytest.approx({"answers": 0.1}.get(task, 0.5), abs=0.005)


def test_where_to_begin_is_two_resets_and_half_of_the_start():
    for updates in range(4, 100):
        n, decay = starting_point(updates)
        assert 2 * n <= updates < 3 * n and decay**n == pytest.approx(0.5)
    assert starting_point(50)[0] == 17  # the epochs of the paper's IMDB
    assert [starting_point(updates)[0] for updates in (1, 2, 3)] == [1, 1, 2]
    for wrong in (0, 2.5, True, "600"):
        with pytest.raises(ValueError, match="updates of a run must be a whole number, 1 or more; got"):
            starting_point(wrong)
