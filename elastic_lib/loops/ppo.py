"""PPO for language models after Ziegler et al. (2019), with NLPO's mask and Elastic Reset as switches on the same loop.

    samples ~ π;  reward at the last token, −β·KL at every token;  advantages by GAE from a value network;
    `epochs` passes of clipped steps on policy and value;  β steered towards `target_kl`;  a reset when it is due.

Differences from RL4LMs and TRL, which the authors used: a minibatch holds whole samples, not loose tokens, and the KL
is taken against the initial model unless the anchor is the average (their winning configuration on IMDB took that).
Without a `stop` all samples have one length. With one, a sample that does not end is ended at its last position, and
that is no act of the policy.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from elastic_lib import losses
from elastic_lib.loops import processes
from elastic_lib.loops.checks import check_agreement, check_reward, numbers
from elastic_lib.loops.optimiser import Optimiser, descend, descend_gently
from elastic_lib.loops.rehearsal import Rehearsed, nll
from elastic_lib.loops.resetting import Resetting
from elastic_lib.loops.stopwatch import Stopwatch
from elastic_lib.nets.gpt import PAD
from elastic_lib.nets.learned import learned, relearn
from elastic_lib.nets.sampler import Samples, logp_in, logp_of, sample


@dataclass(frozen=True)
class PPOSettings:
    """The numbers of a run of PPO."""

    length: int = 24
    """Words sampled after a prompt, at most."""
    batch: int = 64
    """Samples an update."""
    minibatch: int | None = None
    """Samples an optimiser step; none: all of them."""
    epochs: int = 4
    """Passes over the samples."""
    lr: float = 2e-4
    """Adam's rate for the policy."""
    value_lr: float = 1e-3
    """Adam's rate for the value network."""
    value_coef: float | None = None
    """Weight of the loss of a value head on the policy's states; none: the value is a network of its own."""
    weight_decay: float = 0.0
    """Of both."""
    grad_clip: float = 1.0
    """Largest gradient norm of either."""
    grad_penalty: float | None = None
    """γ of gradient regularisation, a penalty on the norm of the policy's gradient; none: none."""
    grad_reach: float = 1e-3
    """ε of it: how far the step goes that tries how the gradient changes, over that gradient."""
    rehearsal: float | None = None
    """γ of the loss on what is rehearsed; none: nothing is."""
    replay: int | None = None
    """Updates before a reset whose samples are learned from again after it; none: none."""
    clip: float = 0.2
    """How far the ratio of probabilities may move from 1."""
    value_clip: float = 0.2
    """How far a value may move in an update."""
    gamma: float = 1.0
    """Discount."""
    lam: float = 0.95
    """λ of the generalised advantage."""
    whiten: bool = True
    """Advantages get mean 0, deviation 1."""
    beta: float = 0.1
    """Coefficient β of the KL in the reward (Equation 1), at the start."""
    kl: str = "k1"
    """Estimator of the KL a token: k1, k3 or full."""
    target_kl: float | None = None
    """KL a token that β is steered towards; none: β stays."""
    kl_rate: float = 1 / 30
    """How fast it is."""
    temperature: float = 1.0
    """Of sampling, and of the policy's distribution."""
    top_k: int = 0
    """Sampling keeps the k likeliest words; 0: all."""
    top_p: float = 1.0
    """Sampling keeps the likeliest words up to this mass."""
    nlpo: str | None = None
    """NLPO's mask: as_published is synchronised, as_shipped never moves; none: no mask."""
    mask_top_p: float = 0.9
    """Mass that it keeps."""
    mask_min_keep: int = 1
    """Words that it keeps at least."""
    mask_every: int = 10
    """Updates from one synchronisation to the next."""
    seed: int = 0
    """Of prompts, samples and the order of minibatches."""


class Batch(NamedTuple):
    """What an update learns from; all but `tokens` and `mask` are [B, T]; `acts` is None where every token counts."""

    tokens: Tensor
    mask: Tensor | None
    acts: Tensor | None
    old_logp: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor


def acts_of(said: Tensor, length: int) -> Tensor:
    """Which tokens of samples that may end, [B, T], a policy chose: no pad, and no end that is forced at the last."""
    acts = said != PAD
    acts[:, length - 1 :] = False
    return acts


class PPO:
    """A policy that learns what is rewarded: `update` makes one update, `tick` counts it for the resets.

    policy      a language model (its methods: see `nets.gpt`); what it has with requires_grad is trained
    value       value(tokens [B, T], start) -> [B, T-start], of a network that stays as it is where nothing of it can be
                trained; with a `value_coef`, a head on the policy's states, which stays out of the average
    prompts     prompts(count, generator) -> tokens [count, P]
    reward      reward(tokens [B, P+T]) -> [B]
    rehearsed   what the policy rehearses, where the settings give a `rehearsal`
    resetting   when the policy goes back, and what its KL is taken against; none: never, itself at first
    stop        the word that ends a text, if texts end;  `banned` are never said;  `text` tells a sample's words
    """

    MEANS = ("reward", "kl", "entropy")  # logged as means since the last row, the others as they were last

    def __init__(
        self,
        policy: nn.Module,
        value: nn.Module,
        prompts: Callable[[int, torch.Generator], Tensor],
        reward: Callable[[Tensor], Tensor],
        settings: PPOSettings,
        *,
        rehearsed: Rehearsed | None = None,
        resetting: Resetting | None = None,
        stop: int | None = None,
        banned: Sequence[int] = (),
        text: Callable[[Tensor], str] = numbers,
    ):
        self.policy, self.value, self.prompts, self.reward = policy, value, prompts, reward
        self.settings, self.stop, self.text, self.rehearsed = settings, stop, text, rehearsed
        if (settings.rehearsal is None) != (rehearsed is None):
            raise ValueError("a rehearsal needs texts (rehearsed=…) and a weight of their loss (settings.rehearsal)")
        if settings.replay is not None and processes.size() > 1:
            raise ValueError("replay is of one process: a checkpoint does not keep what others said")
        self.resetting = resetting or Resetting(policy)
        self.shape = {"temperature": settings.temperature, "banned": banned}  # of the distribution that is trained
        more = dict(weight_decay=settings.weight_decay, clip=settings.grad_clip, eps=1e-5)
        self.policy_optimiser = Optimiser(policy, settings.lr, **more)
        self.value_optimiser = Optimiser(value, settings.value_lr, **more)
        self.value_learns = any(p.requires_grad for p in value.parameters())
        self.initial_value = copy.deepcopy(value.state_dict()) if "value" in self.resetting.cleared else None
        self.mask_lm = copy.deepcopy(policy).requires_grad_(False) if settings.nlpo else None
        self.beta = settings.beta
        self.batch = processes.share("batch", settings.batch)
        self.minibatch = processes.share("minibatch", settings.minibatch or settings.batch)
        if self.batch % self.minibatch:
            raise ValueError(f"batch must be a multiple of minibatch; got {self.batch} and {self.minibatch}")
        self.generator = torch.Generator().manual_seed(1000 + settings.seed + 10**6 * processes.rank())
        self.said: deque[Batch] = deque(maxlen=settings.replay or 0)  # the last batches, if they are to be replayed
        self.to_replay = False  # whether the policy has just gone back
        self.step = 0
        self.seconds = Stopwatch()
        self.measured: dict[str, float] = {}  # at the last update

    @property
    def model(self) -> nn.Module:
        """What is evaluated."""
        return self.policy

    @property
    def iteration(self) -> int:
        """Resets so far."""
        return self.resetting.resets

    # ---- one update: sample, score, learn

    def update(self) -> dict[str, float]:
        """Samples, scores and learns once; returns the measures of this update."""
        self._replay()
        with self.seconds("sample"):
            samples = self._sample()
        with self.seconds("score"):
            batch, measures = self._score(samples)
        self.step += 1
        measures = self.measured = processes.means(measures | self._learn(batch))
        self.said.append(batch)
        self._move_mask()
        self._steer(measures["kl"] / measures["length"])
        return measures | {"beta": self.beta}

    def _sample(self) -> Samples:
        settings = self.settings
        return sample(
            self.policy, self.prompts(self.batch, self.generator), settings.length, generator=self.generator,
            top_k=settings.top_k, top_p=settings.top_p, mask_lm=self.mask_lm, mask_top_p=settings.mask_top_p,
            mask_min_keep=settings.mask_min_keep, stop=self.stop, **self.shape,
        )  # fmt: skip

    @torch.no_grad()
    def _score(self, samples: Samples) -> tuple[Batch, dict[str, float]]:
        """Equation 1: the reward at the last token that the policy chose, less β·KL at each."""
        settings, start, acts = self.settings, samples.tokens.shape[1] - samples.logp.shape[1], self._acts(samples)
        if self.step == 0:
            self._check_agreement(samples, acts, start)
        if self._precise:
            values = self._values(samples.tokens, start)
        else:  # a first ratio that is not 1 would be learned from
            logp, values = self._read(samples.tokens, samples.mask, start)
            samples = samples._replace(logp=logp)
        reward = self.reward(samples.tokens)
        check_reward(reward, samples.tokens, self.step + 1, self.text)
        kl = self._kl(samples, start)
        if acts is not None:
            values = torch.where(acts, values, 0.0)
            kl = None if kl is None else torch.where(acts, kl, 0.0)
        rewards = -self.beta * kl if kl is not None else torch.zeros_like(samples.logp)
        if acts is None:
            rewards[:, -1] += reward
        else:
            rewards[torch.arange(len(reward)), acts.sum(1) - 1] += reward
        advantages, returns = losses.gae(rewards, values, settings.gamma, settings.lam)
        every = slice(None) if acts is None else acts
        measures = {
            "reward": float(reward.mean()),
            "kl": float(kl.sum(1).mean()) if kl is not None else float("nan"),
            "entropy": float(-samples.logp[every].mean()),
            "length": float(samples.logp.shape[1]) if acts is None else float(acts.sum(1).float().mean()),
            "explained_variance": losses.explained_variance(values[every], returns[every]),
        }
        if settings.whiten:
            advantages = losses.whiten(advantages, acts)
        return Batch(samples.tokens, samples.mask, acts, samples.logp, values, advantages, returns), measures

    def _acts(self, samples: Samples) -> Tensor | None:
        """Which tokens the policy chose, [B, T]: neither what follows an end nor an end that was forced."""
        if self.stop is None:
            return None
        return acts_of(samples.tokens[:, -samples.logp.shape[1] :], self.settings.length)

    def _values(self, tokens: Tensor, start: int) -> Tensor:
        if self.settings.value_coef is None:
            return self.value(tokens[:, :-1], start - 1)
        return self.value(self.policy.hidden(tokens[:, :-1], start - 1)).squeeze(-1)

    def _read(self, tokens: Tensor, mask: Tensor | None, start: int) -> tuple[Tensor, Tensor]:
        """Log-probabilities and values of samples, both [B, T]; of a head on the policy's states in one pass."""
        if self.settings.value_coef is None:
            return logp_of(self.policy, tokens, start, mask=mask, **self.shape)[0], self._values(tokens, start)
        hidden = self.policy.hidden(tokens[:, :-1], start - 1)
        logp, _ = logp_in(self.policy.words(hidden), tokens, start, mask=mask, **self.shape)
        return logp, self.value(hidden).squeeze(-1)

    def _kl(self, samples: Samples, start: int) -> Tensor | None:
        """KL to the anchor a token [B, T], of the unmasked policies, which NLPO's reward takes too."""
        if self.resetting.anchor is None:
            return None
        anchor_logp, log_anchor = logp_of(self.resetting.anchor, samples.tokens, start, **self.shape)
        if self.settings.kl == "full" or samples.mask is not None:
            logp, log_policy = logp_of(self.policy, samples.tokens, start, **self.shape)
        else:
            logp, log_policy = samples.logp, None
        if self.settings.kl == "full":
            return losses.kl_full(log_policy, log_anchor)
        return {"k1": losses.kl_k1, "k3": losses.kl_k3}[self.settings.kl](logp, anchor_logp)

    def _learn(self, batch: Batch) -> dict[str, float]:
        for _ in range(self.settings.epochs):
            for rows in self._minibatches():
                part = Batch(*(field[rows] if field is not None else None for field in batch))
                with self.seconds("update"):
                    measures = self._step(part)
                self._average("step")
            self._average("epoch")
        self._average("rollout")
        return measures

    def _replay(self) -> None:
        """After a reset: learns again from what was said before it. The ratio is to the policy that said it."""
        if self.to_replay:
            for batch in self.said:
                self._learn(batch)
        self.to_replay = False

    def _minibatches(self):
        """Rows of each optimiser step: a fresh order every epoch, exact division."""
        if self.minibatch == self.batch:
            return [slice(None)]
        return torch.randperm(self.batch, generator=self.generator).split(self.minibatch)

    def _step(self, batch: Batch) -> dict[str, float]:
        settings, optimisers = self.settings, (self.policy_optimiser, self.value_optimiser)
        loss, measures = self._loss(batch)
        if settings.grad_penalty is None:
            descend(loss, self.step, *optimisers)
        else:
            near = lambda: self._loss(batch)[0]  # noqa: E731
            descend_gently(loss, near, settings.grad_penalty, settings.grad_reach, self.step, *optimisers)
        return measures

    def _loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Of the policy and of the value together, on a minibatch, and what is logged of it."""
        settings, start = self.settings, batch.tokens.shape[1] - batch.old_logp.shape[1]
        if self.value_learns:
            logp, values = self._read(batch.tokens, batch.mask, start)
        else:
            logp, _ = logp_of(self.policy, batch.tokens, start, mask=batch.mask, **self.shape)
            values = batch.old_values
        if batch.acts is not None:
            logp, values = torch.where(batch.acts, logp, batch.old_logp), torch.where(batch.acts, values, 0.0)
        loss = losses.ppo_clip(logp, batch.old_logp, batch.advantages, settings.clip, batch.acts)
        value_loss = losses.value_clip(values, batch.old_values, batch.returns, settings.value_clip, batch.acts)
        if settings.rehearsal is not None:
            loss = loss + settings.rehearsal * self._rehearse(len(batch.tokens))
        weight = 1.0 if settings.value_coef is None else settings.value_coef
        loss = loss + weight * value_loss
        with torch.no_grad():
            outside = ((logp - batch.old_logp).exp() - 1).abs() > settings.clip
            clipped = losses.mean(outside.float(), batch.acts)
        return loss, {"value_loss": float(value_loss.detach()), "clipped": float(clipped)}

    def _rehearse(self, count: int) -> Tensor:
        """The loss of some of what is rehearsed."""
        again = self.rehearsed.some(count, self.generator)
        logp, _ = logp_of(self.policy, again.tokens, again.tokens.shape[1] - again.acts.shape[1], **self.shape)
        return nll(logp, again.acts)

    def _average(self, after: str) -> None:
        with self.seconds("ema"):
            self.resetting.average(after)

    def _move_mask(self) -> None:
        """The mask follows the policy from afar, as published; in the authors' code it never moves."""
        if self.settings.nlpo == "as_published" and self.step % self.settings.mask_every == 0:
            self.mask_lm.load_state_dict(self.policy.state_dict())

    def _steer(self, kl: float) -> None:
        """β rises where the KL a token is above its target, and falls below it."""
        if self.settings.target_kl is not None and self.resetting.anchor is not None:
            error = kl / self.settings.target_kl - 1
            self.beta *= 1 + self.settings.kl_rate * min(max(error, -0.2), 0.2)

    # ---- the reset

    def tick(self) -> bool:
        """Counts this update for the schedule; True if the policy was reset. A run never ends on a reset."""
        with self.seconds("ema"):
            clear = dict(optimizer=self.policy_optimiser.clear, value=self._clear_value)
            due = self.resetting.tick(self.step, self.measured, **clear)
        self.to_replay = due and self.settings.replay is not None
        return due

    def _clear_value(self) -> None:
        self.value.load_state_dict(self.initial_value)
        self.value_optimiser.clear()

    # ---- checks

    def _check_agreement(self, samples: Samples, acts: Tensor | None, start: int) -> None:
        scored, _ = logp_of(self.policy, samples.tokens, start, mask=samples.mask, **self.shape)
        every = slice(None) if acts is None else acts
        check_agreement(scored[every], samples.logp[every], self._precise)

    @property
    def _precise(self) -> bool:
        """Whether sampler and scorer find the same numbers but for the last digits."""
        return all(p.dtype == torch.float32 for p in self.policy.parameters())

    # ---- saving

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to go on bit for bit: nested dicts of tensors and plain JSON values."""
        state = {
            "policy": learned(self.policy),
            "value": dict(self.value.state_dict()),
            "policy_optimiser": self.policy_optimiser.state_dict(),
            "value_optimiser": self.value_optimiser.state_dict(),
            "resetting": self.resetting.state_dict(),
            "generator": processes.gather(self.generator.get_state()),
            "beta": self.beta,
            "step": self.step,
            "seconds": dict(self.seconds),
        }
        if self.settings.replay is not None:
            said = {str(i): batch._asdict() for i, batch in enumerate(self.said)}
            state |= {"said": said, "to_replay": self.to_replay}
        return state if self.mask_lm is None else state | {"mask_lm": dict(self.mask_lm.state_dict())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave, in a loop that was made as that one was."""
        relearn(self.policy, state["policy"])
        self.value.load_state_dict(state["value"])
        self.policy_optimiser.load_state_dict(state["policy_optimiser"])
        self.value_optimiser.load_state_dict(state["value_optimiser"])
        self.resetting.load_state_dict(state["resetting"])
        self.generator.set_state(processes.own(state["generator"]))
        self.beta, self.step = state["beta"], state["step"]
        self.seconds.update(state["seconds"])
        if self.settings.replay is not None:
            device = next(self.policy.parameters()).device
            for batch in state["said"].values():
                self.said.append(Batch(**{name: t if t is None else t.to(device) for name, t in batch.items()}))
            self.to_replay = state["to_replay"]
        if self.mask_lm is not None:
            self.mask_lm.load_state_dict(state["mask_lm"])
