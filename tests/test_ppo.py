"""The PPO loop on a task of three lines: what an update does, where the KL is taken, what a reset leaves alone."""

import copy
import math

import pytest
import torch

from elastic_lib.loops.learning import RunFailed
from elastic_lib.loops.ppo import PPO
from elastic_lib.nets.gpt import GPT, Value
from elastic_lib.recipe import Recipe

SMALL = dict(updates=6, batch=8, minibatch=8, epochs=2, prompt=3, length=5, context=16, eval_every=1, lr=1e-2)


class Task:
    """Say word 5: the reward is its share among the sampled words."""

    banned = (0, 1, 2)

    def __init__(self, reward=None):
        torch.manual_seed(0)
        self.lm = GPT(vocabulary=12, width=16, layers=1, heads=2, context=16)
        self.reward = reward or (lambda tokens: (tokens[:, 4:] == 5).float().mean(1))

    def policy(self):
        return copy.deepcopy(self.lm)

    def value(self):
        return Value(self.policy())

    def prompts(self, count, generator):
        return torch.randint(3, 12, (count, 4), generator=generator)

    def text(self, tokens):
        return " ".join(map(str, tokens.tolist()))


def loop(method="ppo", task=None, **settings):
    return PPO(Recipe("sentiment", method, "smoke", **SMALL | settings), task or Task())


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_the_reward_rises():
    ppo = loop(updates=40, beta=0.0, target_kl=None)
    rewards = [ppo.update()["reward"] for _ in range(40)]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.2


def test_the_first_update_has_no_kl_and_the_next_do():
    for estimator in ("k1", "k3", "full"):
        ppo = loop(kl=estimator, beta=0.0)
        kls = [ppo.update()["kl"] for _ in range(6)]
        assert abs(kls[0]) < 1e-5
        assert abs(kls[-1]) > 1e-4
        if estimator != "k1":
            assert min(kls) > -1e-5


def test_a_strong_kl_keeps_the_policy_home():
    ends = {}
    for beta in (0.0, 10.0):
        ppo = loop(updates=30, beta=beta, target_kl=None, kl="full", lr=3e-3)
        ends[beta] = sum([ppo.update()["kl"] for _ in range(30)][-10:]) / 10
    assert ends[10.0] < 0.5 * ends[0.0]


def test_the_anchor_is_the_reset_own_tensor_never_a_copy():
    assert loop("elastic").anchor is not None
    elastic = loop("elastic")
    assert all(elastic.anchor[name] is elastic.elastic.initial[name] for name in elastic.anchor)
    to_average = loop("elastic", kl_anchor="ema")
    assert all(to_average.anchor[name] is to_average.elastic.ema[name] for name in to_average.anchor)
    none = loop(kl_anchor="none")
    assert none.anchor is None
    assert math.isnan(none.update()["kl"])


def test_the_controller_steers_beta_both_ways():
    near, far = loop(beta=0.5, target_kl=1e6, kl_rate=0.1), loop(beta=0.5, target_kl=1e-9, kl_rate=0.1, kl="full")
    near.update()
    assert near.beta == pytest.approx(0.5 * (1 - 0.1 * 0.2))
    for _ in range(3):
        far.update()
    assert far.beta > 0.5
    fixed = loop(beta=0.5, target_kl=None)
    fixed.update()
    assert fixed.beta == 0.5


def test_published_nlpo_moves_its_mask_and_shipped_nlpo_never_does():
    published, shipped = loop("nlpo", mask_every=2), loop("nlpo", mask_every=2, nlpo="as_shipped")
    start = weights(published.mask_lm)
    for ppo in (published, shipped):
        for _ in range(3):
            ppo.update()
    assert torch.equal(weights(shipped.mask_lm), start)
    assert not torch.equal(weights(published.mask_lm), start)
    assert not torch.equal(weights(published.mask_lm), weights(published.policy))  # synchronised at 2, now at 3


@pytest.mark.parametrize("method", ["elastic", "to_ema", "to_init", "track"])
def test_a_reset_moves_the_policy_as_its_mode_says(method):
    ppo = loop(method, reset_every=2, decay=0.9)
    initial = weights(ppo.policy)
    ppo.update()
    assert not ppo.tick()
    ppo.update()
    average = torch.cat([t.flatten() for t in ppo.elastic.ema.values()])
    online, value = weights(ppo.policy), weights(ppo.value)
    moments = ppo.policy_optimiser.state_dict()["state"][0]["exp_avg"].clone()
    assert ppo.tick() == (method != "track")
    expected = {"elastic": average, "to_ema": average, "to_init": initial, "track": online}[method]
    assert torch.equal(weights(ppo.policy), expected)
    assert torch.equal(weights(ppo.value), value)
    assert torch.equal(ppo.policy_optimiser.state_dict()["state"][0]["exp_avg"], moments)


def test_optimiser_and_value_can_be_cleared_at_a_reset():
    ppo = loop("elastic", reset_every=1, optimizer="clear", value="clear")
    start = weights(ppo.value)
    ppo.update()
    assert not torch.equal(weights(ppo.value), start)
    assert ppo.tick()
    assert torch.equal(weights(ppo.value), start)
    assert not ppo.policy_optimiser.state and not ppo.value_optimiser.state
    ppo.update()


@pytest.mark.parametrize(("cadence", "updates"), [("step", 8), ("epoch", 4), ("rollout", 2)])
def test_the_average_moves_at_its_cadence(cadence, updates, monkeypatch):
    ppo = loop("elastic", ema_every=cadence, minibatch=4, reset_every=50)
    calls = []
    monkeypatch.setattr(ppo.elastic, "update", lambda: calls.append(1))
    ppo.update()
    ppo.update()
    assert len(calls) == updates  # 2 updates of 2 epochs of 2 minibatches


def test_track_learns_exactly_as_ppo_does():
    track, ppo = loop("track", beta=0.05), loop("ppo", beta=0.05)
    for _ in range(4):
        track.update()
        track.tick()
        ppo.update()
        ppo.tick()
    assert torch.equal(weights(track.policy), weights(ppo.policy))


def test_a_run_never_ends_on_a_reset():
    ppo = loop("elastic", updates=4, reset_every=2)
    due = []
    for _ in range(4):
        ppo.update()
        due.append(ppo.tick())
    assert due == [False, True, False, False]


def test_a_nan_reward_names_the_update_and_the_sample():
    def reward(tokens):
        values = torch.ones(len(tokens))
        values[3] = float("nan")
        return values

    with pytest.raises(RunFailed, match=r"the reward is nan at update 1 for the sample '\d+ \d+"):
        loop(task=Task(reward)).update()


def test_a_sampler_that_disagrees_with_the_scorer_is_caught():
    task = Task()
    plain = task.lm.extend
    task.policy = lambda: task.lm
    task.lm.extend = lambda tokens, cache: plain(tokens, cache) * 1.01
    ppo = PPO(Recipe("sentiment", "ppo", "smoke", **SMALL), _copying(task))
    with pytest.raises(RunFailed, match="sampler and scorer differ"):
        ppo.update()


def _copying(task):
    task.value = lambda: Value(GPT(vocabulary=12, width=16, layers=1, heads=2, context=16))
    return task


def test_six_updates_are_three_and_three_more():
    def advance(ppo, count):
        for _ in range(count):
            ppo.update()
            ppo.tick()

    for method, settings in (("elastic", {"reset_every": 2}), ("nlpo", {"mask_every": 2}), ("ppo", {"minibatch": 4})):
        straight, first, second = (loop(method, **settings) for _ in range(3))
        advance(straight, 6)
        advance(first, 3)
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        advance(second, 3)
        assert torch.equal(weights(straight.policy), weights(second.policy))
        assert torch.equal(weights(straight.value), weights(second.value))
        assert straight.beta == second.beta


def test_a_frozen_reward_model_is_the_value_of_every_beginning():
    task = Task(reward=lambda tokens: (tokens == 5).float().mean(1))
    ppo = loop(task=task, value_net="reward", beta=0.0, target_kl=None)
    before = weights(ppo.value)
    measures = ppo.update()
    assert torch.equal(weights(ppo.value), before) and math.isfinite(measures["explained_variance"])
    tokens = torch.randint(3, 12, (4, 9))
    values = ppo._values(tokens, 4)
    expected = [[float(task.reward(tokens[row : row + 1, :end])) for end in range(4, 9)] for row in range(4)]
    torch.testing.assert_close(values, torch.tensor(expected))


def test_theta0_in_half_precision_comes_back_in_half_precision():
    ppo = loop("to_init", theta0="bfloat16", reset_every=1)
    start = {name: p.detach().clone() for name, p in ppo.policy.named_parameters()}
    ppo.update()
    assert ppo.tick()
    for name, p in ppo.policy.named_parameters():
        assert torch.equal(p.detach(), start[name].bfloat16().float())


def test_a_reset_before_the_first_update_changes_nothing():
    """The authors' code resets at epoch 0 too: θ̄ is θ0 there, and θ is."""
    ppo = loop("elastic")
    start = weights(ppo.policy)
    ppo.elastic.reset()
    assert torch.equal(weights(ppo.policy), start)
    assert all(torch.equal(ppo.elastic.ema[name], p) for name, p in ppo.elastic.initial.items())
