"""Known answers for the arithmetic of the loops."""

import math

import pytest
import torch

from elastic_lib import losses


def test_gae_by_hand():
    # γ=½, λ=½; δ = (1+½·4−2, 0+½·6−4, 2−6) = (1, −1, −4); A2=−4, A1=−1+¼·−4=−2, A0=1+¼·−2=½
    rewards, values = torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[2.0, 4.0, 6.0]])
    advantages, returns = losses.gae(rewards, values, gamma=0.5, lam=0.5)
    assert advantages.tolist() == [[0.5, -2.0, -4.0]]
    assert returns.tolist() == [[2.5, 2.0, 2.0]]


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.9, 0.7), (1.0, 0.0)])
def test_gae_equals_the_double_sum(gamma, lam):
    torch.manual_seed(1)
    rewards, values = torch.randn(3, 6, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    advantages, _ = losses.gae(rewards, values, gamma, lam)
    following = torch.cat([values[:, 1:], torch.zeros(3, 1, dtype=torch.float64)], 1)
    surprise = rewards + gamma * following - values
    for t in range(6):
        expected = sum((gamma * lam) ** (k - t) * surprise[:, k] for k in range(t, 6))
        torch.testing.assert_close(advantages[:, t], expected)


def test_whitened_has_mean_0_and_deviation_1():
    torch.manual_seed(2)
    white = losses.whiten(torch.randn(8, 5) * 3 + 7)
    assert white.mean().item() == pytest.approx(0, abs=1e-6)
    assert white.std().item() == pytest.approx(1, abs=1e-5)


def test_ppo_clip_by_hand():
    ratio = torch.tensor([[1.5, 0.5, 1.5, 1.0]])
    advantages = torch.tensor([[1.0, 1.0, -1.0, 2.0]])
    # clipped at 1.2; not clipped from below for a good action; not clipped from above for a bad one; 2
    loss = losses.ppo_clip(ratio.log(), torch.zeros(1, 4), advantages, clip=0.2)
    assert loss.item() == pytest.approx(-(1.2 + 0.5 - 1.5 + 2.0) / 4)


def test_ppo_gradient_is_the_policy_gradient_at_the_old_policy_and_zero_where_clipped():
    logp = torch.tensor([[0.0, 0.5]], requires_grad=True)
    losses.ppo_clip(logp, torch.zeros(1, 2), torch.tensor([[3.0, 3.0]]), clip=0.2).backward()
    assert logp.grad.tolist() == [[-1.5, 0.0]]


def test_value_clip_takes_the_worse_error():
    # value 1 → 2 clipped to 1.2 with return 2: errors 0 and .64 → ½·.64
    loss = losses.value_clip(torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor([[2.0]]), clip=0.2)
    assert loss.item() == pytest.approx(0.32)


def test_the_kl_estimators_agree_in_expectation_and_k3_is_never_negative():
    torch.manual_seed(3)
    log_p, log_q = torch.randn(2, 5).log_softmax(-1).double()
    p, true = log_p.exp(), (log_p.exp() * (log_p - log_q)).sum()
    torch.testing.assert_close((p * losses.kl_k1(log_p, log_q)).sum(), true)
    torch.testing.assert_close((p * losses.kl_k3(log_p, log_q)).sum(), true)
    torch.testing.assert_close(losses.kl_full(log_p[None, None], log_q[None, None])[0, 0], true)
    assert (losses.kl_k3(log_p, log_q) >= 0).all()
    assert (losses.kl_k1(log_p, log_q) < 0).any()


def test_full_kl_with_banned_words_is_finite():
    log_p, log_q = (
        torch.tensor([[[-torch.inf, 0.3, 0.1]]]).log_softmax(-1),
        torch.tensor([[[-torch.inf, 0.0, 0.0]]]).log_softmax(-1),
    )
    assert torch.isfinite(losses.kl_full(log_p, log_q)).all()


@pytest.mark.parametrize(
    ("top_p", "least", "kept"),
    [(0.5, 1, [0]), (0.51, 1, [0, 2]), (0.8, 1, [0, 2]), (0.0, 3, [0, 1, 2]), (1.0, 1, [0, 1, 2, 3])],
)
def test_nlpo_mask_by_hand(top_p, least, kept):
    logits = torch.tensor([0.5, 0.125, 0.3125, 0.0625]).log()
    assert losses.nlpo_mask(logits, top_p, least).nonzero().flatten().tolist() == kept


def test_explained_variance():
    target = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert losses.explained_variance(target, target) == pytest.approx(1)
    assert losses.explained_variance(torch.full((4,), 2.5), target) == pytest.approx(0, abs=1e-6)


def test_leave_one_out_by_hand():
    rewards = torch.tensor([1.0, 3.0, 2.0, 2.0, 6.0, 4.0])
    assert losses.leave_one_out(rewards, 2).tolist() == [-2.0, 2.0, 0.0, 0.0, 2.0, -2.0]
    # 1 − (3+2)/2, 3 − (1+2)/2, 2 − (1+3)/2; then the same for 2, 6, 4
    assert losses.leave_one_out(rewards, 3).tolist() == [-1.5, 1.5, 0.0, -3.0, 3.0, 0.0]


def test_reinforce_by_hand():
    logp = torch.tensor([-1.0, -2.0], requires_grad=True)
    losses.reinforce(logp, torch.tensor([3.0, -1.0])).backward()
    assert logp.grad.tolist() == [-1.5, 0.5]


def test_logp_and_entropy_are_those_of_autograd():
    torch.manual_seed(4)
    logits = torch.randn(6, 9, dtype=torch.float64)
    logits[:, :2] = -1e9
    words = torch.randint(2, 9, (6,))
    weight, bonus = torch.randn(6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    one, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    logp, entropy = losses.logp_and_entropy(one, words)
    (logp * weight + entropy * bonus).sum().backward()
    log_policy = other.log_softmax(-1)
    plain = -(log_policy.exp() * log_policy).sum(-1)
    torch.testing.assert_close(logp, log_policy.gather(1, words[:, None])[:, 0])
    torch.testing.assert_close(entropy, plain)
    (log_policy.gather(1, words[:, None])[:, 0] * weight + plain * bonus).sum().backward()
    torch.testing.assert_close(one.grad, other.grad)
    _, even = losses.logp_and_entropy(torch.zeros(2, 4), torch.tensor([0, 3]))
    assert even.tolist() == pytest.approx([math.log(4)] * 2)


def test_straight_through_says_the_sampled_word_and_leans_on_likely_ones():
    generator = torch.Generator().manual_seed(0)
    log_policy = torch.tensor([0.7, 0.2, 0.1]).log().expand(20000, 3).clone().requires_grad_()
    words = torch.multinomial(log_policy.detach().exp(), 1, generator=generator)[:, 0]
    soft = losses.straight_through(log_policy, words, 1.0, generator)
    assert torch.equal(soft.detach().argmax(1), words)
    torch.testing.assert_close(soft.detach().sum(1), torch.ones(20000))
    torch.testing.assert_close(soft.detach().max(1).values, torch.ones(20000))
    (soft * torch.tensor([1.0, 0.0, 0.0])).sum().backward()
    assert float(log_policy.grad[:, 0].mean()) > 0 > float(log_policy.grad[:, 1].mean())


def test_noise_given_the_winner_is_gumbel_noise_and_lets_it_win():
    """Over words drawn from the policy, the posterior noise is the prior: perturbed logits have Gumbel's mean."""
    generator = torch.Generator().manual_seed(1)
    policy = torch.tensor([0.6, 0.3, 0.1])
    log_policy = policy.log().expand(200000, 3)
    words = torch.multinomial(policy, 200000, replacement=True, generator=generator)
    noisy = losses.given_the_winner(log_policy, words, generator)
    assert torch.equal(noisy.argmax(1), words)
    euler = 0.5772156649
    assert (noisy - log_policy).mean(0).tolist() == pytest.approx([euler] * 3, abs=0.02)
    assert float((noisy - log_policy).var()) == pytest.approx(math.pi**2 / 6, abs=0.03)
