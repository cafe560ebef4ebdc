"""The PPO loop on toys: what an update does, where the KL is taken, what a reset leaves alone."""

import copy
import json
import math
from dataclasses import fields

import pytest
import torch

from elastic_lib.loops.checks import RunFailed
from elastic_lib.loops.ppo import PPO, PPOSettings
from elastic_lib.loops.resetting import Resetting
from elastic_lib.nets.gpt import GPT, Value
from elastic_lib.recipe.recipe import KNOWN_FIELDS
from elastic_lib.records.tensors import join, split
from elastic_lib.reset import Adaptive

SMALL = dict(batch=8, epochs=2, length=5, lr=1e-2, beta=0.01)
PLAN = dict(decay=0.84, reset_every=2)


def test_a_policy_learns_to_say_a_word_and_goes_back_to_its_average():
    policy = policy_of(seed=0)
    resetting = Resetting(policy, decay=0.9, reset_every=25)
    settings = PPOSettings(length=5, batch=8, epochs=2, lr=1e-2, beta=0.01)
    ppo = PPO(policy, Value(copy.deepcopy(policy)), prompts, share_of_fives, settings, resetting=resetting)
    rewards, due = [], False
    while not due:
        rewards.append(ppo.update()["reward"])
        average = copy.deepcopy(resetting.elastic.ema)
        due = ppo.tick()
    assert sum(rewards[-5:]) > sum(rewards[:5]) + 5 * 0.2 and len(rewards) == 25
    assert all(torch.equal(p, average[name]) for name, p in policy.named_parameters())


def prompts(count, generator):
    return torch.randint(3, 12, (count, 4), generator=generator)


def share_of_fives(tokens):
    return (tokens[:, 4:] == 5).float().mean(1)


def policy_of(seed=0):
    torch.manual_seed(seed)
    return GPT(vocabulary=12, width=16, layers=1, heads=2, context=16)


def loop(resets=None, anchor="initial", updates=None, reward=share_of_fives, value=None, **settings):
    policy = policy_of()
    resetting = Resetting(policy, anchor=anchor, updates=updates, **resets or {})
    value = value or Value(copy.deepcopy(policy))
    return PPO(policy, value, prompts, reward, PPOSettings(**SMALL | settings), resetting=resetting, banned=(0, 1, 2))


def test_a_recipe_has_a_word_for_every_number():
    assert {field.name for field in fields(PPOSettings)} <= {"seed", *KNOWN_FIELDS}


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


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
        ppo = loop(beta=beta, kl="full", lr=3e-3)
        ends[beta] = sum([ppo.update()["kl"] for _ in range(30)][-10:]) / 10
    assert ends[10.0] < 0.5 * ends[0.0]


def test_the_anchor_is_the_reset_own_tensor_never_a_copy():
    elastic, to_average = loop(PLAN).resetting, loop(PLAN, anchor="ema").resetting
    assert elastic.anchor.weights is elastic.elastic.initial
    assert to_average.anchor.weights is to_average.elastic.ema
    none = loop(anchor="none")
    assert none.resetting.anchor is None
    assert math.isnan(none.update()["kl"])


def test_the_controller_steers_beta_both_ways():
    near, far = loop(beta=0.5, target_kl=1e6, kl_rate=0.1), loop(beta=0.5, target_kl=1e-9, kl_rate=0.1, kl="full")
    near.update()
    assert near.beta == pytest.approx(0.5 * (1 - 0.1 * 0.2))
    for _ in range(3):
        far.update()
    assert far.beta > 0.5
    fixed = loop(beta=0.5)
    fixed.update()
    assert fixed.beta == 0.5


def test_published_nlpo_moves_its_mask_and_shipped_nlpo_never_does():
    published, shipped = loop(nlpo="as_published", mask_every=2), loop(nlpo="as_shipped", mask_every=2)
    start = weights(published.mask_lm)
    for ppo in (published, shipped):
        for _ in range(3):
            ppo.update()
    assert torch.equal(weights(shipped.mask_lm), start)
    assert not torch.equal(weights(published.mask_lm), start)
    assert not torch.equal(weights(published.mask_lm), weights(published.policy))  # synchronised at 2, now at 3


@pytest.mark.parametrize("mode", ["elastic", "to_ema", "to_init", "track"])
def test_a_reset_moves_the_policy_as_its_mode_says(mode):
    ppo = loop(dict(mode=mode, reset_every=2, decay=0.9))
    initial = weights(ppo.policy)
    ppo.update()
    assert not ppo.tick()
    ppo.update()
    average = torch.cat([t.flatten() for t in ppo.resetting.elastic.ema.values()])
    online, value = weights(ppo.policy), weights(ppo.value)
    moments = ppo.policy_optimiser.state_dict()["0"]["exp_avg"].clone()
    assert ppo.tick() == (mode != "track")
    expected = {"elastic": average, "to_ema": average, "to_init": initial, "track": online}[mode]
    assert torch.equal(weights(ppo.policy), expected)
    assert torch.equal(weights(ppo.value), value)
    assert torch.equal(ppo.policy_optimiser.state_dict()["0"]["exp_avg"], moments)


def test_optimiser_and_value_can_be_cleared_at_a_reset():
    ppo = loop(dict(decay=0.9, reset_every=1, optimizer="clear", value="clear"))
    start = weights(ppo.value)
    ppo.update()
    assert not torch.equal(weights(ppo.value), start)
    assert ppo.tick()
    assert torch.equal(weights(ppo.value), start)
    assert not ppo.policy_optimiser.state_dict() and not ppo.value_optimiser.state_dict()
    ppo.update()


@pytest.mark.parametrize(("cadence", "updates"), [("step", 8), ("epoch", 4), ("rollout", 2)])
def test_the_average_moves_at_its_cadence(cadence, updates, monkeypatch):
    ppo = loop(dict(decay=0.9, ema_every=cadence), minibatch=4)
    calls = []
    monkeypatch.setattr(ppo.resetting.elastic, "update", lambda: calls.append(1))
    ppo.update()
    ppo.update()
    assert len(calls) == updates  # 2 updates of 2 epochs of 2 minibatches


def test_what_was_said_before_a_reset_is_learned_from_again_after_it(monkeypatch):
    """The same samples, advantages and probabilities, once, before the next ones are said."""
    replaying, plain = loop(PLAN, replay=2), loop(PLAN)
    learned, learn = [], replaying._learn
    monkeypatch.setattr(replaying, "_learn", lambda batch: learned.append(batch) or learn(batch))
    for ppo in (replaying, plain):
        ppo.update(), ppo.tick(), ppo.update()
        assert ppo.tick()
    assert torch.equal(weights(replaying.policy), weights(plain.policy)) and len(learned) == 2
    replaying.update()
    assert len(learned) == 5 and learned[2] is learned[0] and learned[3] is learned[1]
    for batch in learned[2:4]:
        plain._learn(batch)
    plain.update()
    assert torch.equal(weights(replaying.policy), weights(plain.policy))


def test_what_is_to_be_replayed_outlives_the_process():
    whole, resumed = loop(PLAN, replay=1), loop(PLAN, replay=1)
    for _ in range(2):
        whole.update(), whole.tick()
    tensors, plain = split(whole.state_dict())
    resumed.load_state_dict(join(tensors, json.loads(json.dumps(plain))))
    for ppo in (whole, resumed):
        ppo.update(), ppo.tick(), ppo.update()
    assert torch.equal(weights(whole.policy), weights(resumed.policy))


def test_track_learns_exactly_as_ppo_does():
    track, ppo = loop(PLAN | dict(mode="track")), loop()
    for _ in range(4):
        track.update()
        track.tick()
        ppo.update()
        ppo.tick()
    assert torch.equal(weights(track.policy), weights(ppo.policy))


def test_a_run_never_ends_on_a_reset():
    ppo = loop(PLAN, updates=4)
    due = []
    for _ in range(4):
        ppo.update()
        due.append(ppo.tick())
    assert due == [False, True, False, False]


def test_resets_come_when_the_kl_is_over_its_budget_and_no_sooner_than_the_interval_allows():
    ppo, kls, due = loop(dict(decay=0.84, kl_budget=0.02, min_interval=3), lr=3e-2, kl="full"), [], []
    for _ in range(12):
        kls.append(ppo.update()["kl"])
        due.append(ppo.tick())
    since = 0
    for kl, reset in zip(kls, due, strict=True):
        since += 1
        assert reset == (kl > 0.02 and since >= 3)
        since = 0 if reset else since
    assert 2 <= sum(due) < 5 and any(kl > 0.02 and not reset for kl, reset in zip(kls, due, strict=True))
    with pytest.raises(ValueError, match="anchor must be initial"):
        loop(dict(decay=0.9, kl_budget=1.0), anchor="none")


def test_a_nan_reward_names_the_update_and_the_sample():
    def reward(tokens):
        values = torch.ones(len(tokens))
        values[3] = float("nan")
        return values

    with pytest.raises(RunFailed, match=r"the reward is nan at update 1 for the sample '\d+ \d+"):
        loop(reward=reward).update()


def test_a_sampler_that_disagrees_with_the_scorer_is_caught():
    ppo = loop()
    plain = ppo.policy.extend
    ppo.policy.extend = lambda tokens, cache: plain(tokens, cache) * 1.01
    with pytest.raises(RunFailed, match="sampler and scorer differ"):
        ppo.update()


def test_six_updates_are_three_and_three_more():
    def advance(ppo, count):
        for _ in range(count):
            ppo.update()
            ppo.tick()

    nlpo = dict(nlpo="as_published", mask_every=2)
    flat = dict(decay=0.84, schedule=Adaptive(min_slope=10.0, window=2))  # after 3 updates it remembers one
    for resets, settings in ((PLAN, {}), (flat, {}), ({}, nlpo), ({}, {"minibatch": 4}), ({}, {"target_kl": 0.1})):
        straight, first, second = (loop(copy.deepcopy(resets), **settings) for _ in range(3))
        advance(straight, 6)
        advance(first, 3)
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        advance(second, 3)
        assert torch.equal(weights(straight.policy), weights(second.policy))
        assert torch.equal(weights(straight.value), weights(second.value))
        assert straight.beta == second.beta and straight.iteration == second.iteration == (3 if resets else 0)


def reference_of(ppo):
    return torch.cat([w.flatten() for w in ppo.resetting.anchor.weights.values()])


def test_the_reference_becomes_the_policy_and_the_kl_starts_again_at_zero():
    ppo = loop(dict(reference_every=3), kl="full", lr=3e-2)
    start, kls = weights(ppo.policy), []
    for _ in range(2):
        kls.append(ppo.update()["kl"])
        ppo.tick()
    assert torch.equal(reference_of(ppo), start)
    kls.append(ppo.update()["kl"])
    assert not ppo.tick()  # the policy stays
    assert torch.equal(reference_of(ppo), weights(ppo.policy)) and ppo.iteration == 0
    kls += [ppo.update()["kl"], ppo.update()["kl"]]
    assert abs(kls[3]) < 1e-5 < min(kls[2], kls[4])


def test_a_soft_update_goes_part_of_the_way():
    ppo = loop(dict(reference_every=1, reference_rate=0.25))
    expected = weights(ppo.policy)
    for _ in range(3):
        ppo.update()
        ppo.tick()
        expected = 0.75 * expected + 0.25 * weights(ppo.policy)
    torch.testing.assert_close(reference_of(ppo), expected)


def test_a_reference_that_is_due_with_a_reset_becomes_the_policy_that_was_reset():
    ppo = loop(PLAN | dict(reference_every=2), updates=4)
    start = weights(ppo.policy)
    for due in (False, True, False):
        ppo.update()
        average = torch.cat([t.flatten() for t in ppo.resetting.elastic.ema.values()])
        assert ppo.tick() == due
        assert torch.equal(reference_of(ppo), average if due else start)
        start = reference_of(ppo)
    assert not torch.equal(start, torch.cat([t.flatten() for t in ppo.resetting.elastic.initial.values()]))
    ppo.update()
    ppo.tick()  # the last: nothing comes after it
    assert torch.equal(reference_of(ppo), start)


def test_ten_updates_are_five_a_checkpoint_and_five_more(tmp_path):
    def advance(ppo, count):
        for _ in range(count):
            ppo.update()
            ppo.tick()

    for resets in (dict(reference_every=3), PLAN | dict(reference_every=4, reference_rate=0.1)):
        straight, first, second = (loop(resets) for _ in range(3))
        advance(straight, 10)
        advance(first, 5)
        torch.save(first.state_dict(), tmp_path / "state")
        advance(first, 1)  # what was saved is no view of what goes on
        second.load_state_dict(torch.load(tmp_path / "state"))
        advance(second, 5)
        assert torch.equal(weights(straight.policy), weights(second.policy))
        assert torch.equal(reference_of(straight), reference_of(second))
        assert straight.resetting.resets == second.resetting.resets


def test_a_value_that_cannot_learn_is_asked_once_and_stays():
    class Half(torch.nn.Module):
        asked = 0

        def forward(self, tokens, start=0):
            self.asked += 1
            return torch.full((len(tokens), tokens.shape[1] - start), 0.5)

    ppo = loop(value=Half())
    assert ppo.update()["value_loss"] > 0 and ppo.value.asked == 1
    other = loop(value=Half())
    other.load_state_dict(copy.deepcopy(ppo.state_dict()))
    assert ppo.update()["value_loss"] == other.update()["value_loss"]


def test_theta0_in_half_precision_comes_back_in_half_precision():
    ppo = loop(dict(mode="to_init", decay=0.9, theta0="bfloat16", reset_every=1))
    start = {name: p.detach().clone() for name, p in ppo.policy.named_parameters()}
    ppo.update()
    assert ppo.tick()
    for name, p in ppo.policy.named_parameters():
        assert torch.equal(p.detach(), start[name].bfloat16().float())


def test_a_reset_before_the_first_update_changes_nothing():
    """The authors' code resets at epoch 0 too: θ̄ is θ0 there, and θ is."""
    ppo = loop(PLAN)
    start, elastic = weights(ppo.policy), ppo.resetting.elastic
    elastic.reset()
    assert torch.equal(weights(ppo.policy), start)
    assert all(torch.equal(elastic.ema[name], p) for name, p in elastic.initial.items())


@pytest.mark.parametrize(("given", "says"), [
    (dict(reset_every=5), "no average without a decay"),
    (dict(anchor="ema"), "no average without a decay"),
    (dict(decay=0.9, ema_every="batch"), "ema_every must be one of step, epoch, rollout; got 'batch'"),
    (dict(decay=0.9, optimizer="forget"), "optimizer must be one of keep, clear"),
    (dict(decay=0.9, anchor="average"), "anchor must be one of initial, ema, none"),
    (dict(decay=0.9, anchor="ema", reference_every=2), "anchor must be initial, not ema"),
    (dict(reference_every=0), "reference_every must be a whole number, 1 or more; got 0"),
    (dict(reference_every=1, reference_rate=2), "reference_rate must be a number from 0 to 1; got 2"),
])  # fmt: skip
def test_resets_that_mean_nothing_are_refused(given, says):
    with pytest.raises(ValueError, match=says):
        Resetting(policy_of(), **given)
