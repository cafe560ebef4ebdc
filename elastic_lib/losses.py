"""The arithmetic of the loops as pure functions: nothing here keeps state, samples, or knows a model.

Shapes: B texts of T sampled tokens, V words. `logp` are log-probabilities of the sampled tokens, [B, T]. Where texts
end early, `acts` [B, T] marks the tokens that the policy chose; no other one counts.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def gae(rewards: Tensor, values: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantages and returns of episodes that end after the last column, both [B, T]."""
    advantages = torch.empty_like(rewards)
    following_value, following_advantage = torch.zeros_like(values[:, 0]), torch.zeros_like(values[:, 0])
    for t in reversed(range(rewards.shape[1])):
        surprise_t = rewards[:, t] + gamma * following_value - values[:, t]
        following_advantage = surprise_t + gamma * lam * following_advantage
        advantages[:, t], following_value = following_advantage, values[:, t]
    return advantages, advantages + values


def mean(x: Tensor, acts: Tensor | None = None) -> Tensor:
    """Over all entries, or over those that `acts` marks."""
    return x.mean() if acts is None else (x * acts).sum() / acts.sum()


def whiten(x: Tensor, acts: Tensor | None = None) -> Tensor:
    """x with mean 0 and standard deviation 1 over its entries; 0 where `acts` marks none."""
    if acts is None:
        return (x - x.mean()) / (x.std() + 1e-8)
    chosen = x[acts]
    return torch.where(acts, (x - chosen.mean()) / (chosen.std() + 1e-8), 0.0)


def ppo_clip(logp: Tensor, old_logp: Tensor, advantages: Tensor, clip: float, acts: Tensor | None = None) -> Tensor:
    """PPO's clipped policy loss, a mean over tokens."""
    ratio = (logp - old_logp).exp()
    return mean(torch.max(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)), acts)


def value_clip(values: Tensor, old_values: Tensor, returns: Tensor, clip: float, acts: Tensor | None = None) -> Tensor:
    """Half the squared error of values that may move by at most `clip` an update, a mean over tokens."""
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * mean(torch.max((values - returns).square(), (clipped - returns).square()), acts)


def preferred(better: Tensor, worse: Tensor) -> Tensor:
    """−log σ(r(better) − r(worse)): what a reward model learns from pairs, a mean over them."""
    return -logsigmoid(better - worse).mean()


def beyond_bound(better: Tensor, worse: Tensor, bound: float) -> Tensor:
    """−log σ(m − a(better)) − log σ(m + a(worse)): what an advantage model (arXiv 2309.10202) has beside that.

    It keeps advantages between −m and m, whatever the question. Reconstructed: the text says that they are kept there,
    with m = 2.5, and not by which terms.
    """
    return -(logsigmoid(bound - better) + logsigmoid(bound + worse)).mean()


def kl_k1(logp: Tensor, anchor_logp: Tensor) -> Tensor:
    """log π/π_anchor of the sampled token: unbiased, may be negative (Equation 1 of the paper)."""
    return logp - anchor_logp


def kl_k3(logp: Tensor, anchor_logp: Tensor) -> Tensor:
    """π_anchor/π − 1 − log π_anchor/π of the sampled token: unbiased, never negative."""
    return torch.expm1(anchor_logp - logp) - (anchor_logp - logp)


def kl_full(log_policy: Tensor, log_anchor: Tensor) -> Tensor:
    """The KL itself, summed over the vocabulary: [B, T, V] twice -> [B, T]; words that are banned in both count 0."""
    gap = torch.where(log_policy.isneginf(), 0.0, log_policy - log_anchor)
    return (log_policy.exp() * gap).sum(-1)


def nlpo_mask(logits: Tensor, top_p: float, min_keep: int = 1) -> Tensor:
    """NLPO's mask: the fewest words whose probability reaches `top_p`, at least `min_keep` of them; bool [..., V]."""
    probabilities, order = logits.softmax(-1).sort(-1, descending=True)
    keep = probabilities.cumsum(-1) - probabilities < top_p
    keep[..., :min_keep] = True
    return torch.zeros_like(keep).scatter(-1, order, keep)


def reinforce(logp: Tensor, advantages: Tensor) -> Tensor:
    """The policy loss of REINFORCE, a mean over tokens."""
    return -(advantages * logp).mean()


def leave_one_out(rewards: Tensor, samples: int) -> Tensor:
    """Each reward less the mean of the other `samples` − 1 of its source, whose samples stand side by side, [B]."""
    groups = rewards.view(-1, samples)
    return ((groups - groups.mean(1, keepdim=True)) * samples / (samples - 1)).flatten()


class _LogpAndEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        log_policy = logits.log_softmax(-1)
        policy = log_policy.exp()
        surprise = -(policy * log_policy).sum(-1)
        ctx.save_for_backward(log_policy, policy, surprise, words)
        return log_policy.gather(1, words[:, None])[:, 0], surprise

    @staticmethod
    def backward(ctx, for_logp: Tensor, for_entropy: Tensor):
        log_policy, policy, surprise, words = ctx.saved_tensors
        # ∂logp/∂logits = 1[word] − π;  ∂H/∂logits = −π (log π + H)
        slope = log_policy.add(surprise[:, None]).mul_(-for_entropy[:, None]).sub_(for_logp[:, None]).mul_(policy)
        return slope.scatter_add_(1, words[:, None], for_logp[:, None]), None


def logp_and_entropy(logits: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
    """Of the distributions behind logits [N, V]: log-probabilities of the words [N], and entropies [N], in nats.

    The gradient is written out: on a CPU it takes half the time that autograd would.
    """
    return _LogpAndEntropy.apply(logits, words)


def straight_through(log_policy: Tensor, words: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """One-hots of the words [N] that pass their gradient to the Gumbel-Softmax behind them, [N, V]."""
    noise = given_the_winner(log_policy.detach(), words, generator) - log_policy.detach()
    soft = ((log_policy + noise) / temperature).softmax(-1)
    hard = torch.zeros_like(soft).scatter_(1, words[:, None], 1.0)
    return hard + soft - soft.detach()


def given_the_winner(log_policy: Tensor, words: Tensor, generator: torch.Generator) -> Tensor:
    """Log-probabilities [N, V] plus Gumbel noise, drawn given that the words [N] won (Maddison et al. 2014)."""
    uniform = torch.rand(log_policy.shape, generator=generator).to(log_policy.device)
    waits = -uniform.clamp_(1e-20, 1 - 1e-7).log_()  # exponential waiting times: the shortest wins
    first = waits.gather(1, words[:, None])
    waits = waits / log_policy.exp().clamp(1e-20) + first
    return -waits.scatter(1, words[:, None], first).log()


def explained_variance(predicted: Tensor, target: Tensor) -> float:
    """1 − Var(target − predicted) / Var(target): 1 for a perfect prediction, 0 for a constant one."""
    return float(1 - (target - predicted).var() / (target.var() + 1e-8))
