"""PPO for language models after Ziegler et al. (2019), with NLPO's mask and Elastic Reset as switches on the same loop.

    samples ~ π;  reward at the last token, −β·KL at every token;  advantages by GAE from a separate value network;
    `epochs` passes of clipped steps on policy and value;  β steered towards `target_kl`;  a reset when it is due.

Differences from RL4LMs and TRL, which the authors used: a minibatch holds whole samples, not loose tokens, and the KL
is taken against the initial model unless `kl_anchor=ema` (their winning configuration on IMDB took the average).
Reviews all have one length. An answer ends at `task.stop`; one that does not is ended at its last position, and that
is no act of the policy. The value is a network of its own or, with a `value_coef`, a head on the policy's states as in
TRL; the head is no parameter of the policy, so it stays out of the average.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from elastic_lib import losses
from elastic_lib.loops import processes as ranks
from elastic_lib.loops.learning import (
    AGREEMENT,
    HALF,
    Anchored,
    RunFailed,
    Stopwatch,
    adam,
    anchor_of,
    check_agreement,
    descend,
    elastic_of,
    go_back,
    learned,
    pack,
    relearn,
    unpack,
)
from elastic_lib.nets.gpt import PAD
from elastic_lib.nets.sampler import Samples, logp_in, logp_of, sample
from elastic_lib.recipe import Recipe


class Batch(NamedTuple):
    """What an update learns from; all but `tokens` and `mask` are [B, T]; `acts` is None where every token counts."""

    tokens: Tensor
    mask: Tensor | None
    acts: Tensor | None
    old_logp: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor


class PPO:
    """One run's networks, optimisers and random state; `update` makes one update, `tick` counts it for the resets."""

    MEANS = ("reward", "kl", "entropy")  # logged as means since the last row, the others as they were last

    def __init__(self, recipe: Recipe, task):
        self.recipe, self.task = recipe, task
        self.policy, self.value = task.policy(), task.value()
        self.stop = getattr(task, "stop", None)  # the word that ends a text, if texts end
        self.initial_value = {name: p.clone() for name, p in self.value.state_dict().items()}
        self.policy_optimiser = adam(self.policy, recipe.lr, recipe.weight_decay, eps=1e-5)
        self.value_optimiser = adam(self.value, recipe.value_lr, recipe.weight_decay, eps=1e-5)
        self.value_learns = recipe.value_net != "reward"
        self.mask_lm = copy.deepcopy(self.policy).requires_grad_(False) if recipe.nlpo else None
        self.elastic = elastic_of(recipe, self.policy)
        self.anchor = anchor_of(recipe, self.policy, self.elastic) if recipe.kl_anchor != "none" else None
        self.beta = recipe.beta
        self.generator = torch.Generator().manual_seed(1000 + recipe.seed + 10**6 * ranks.rank())
        self.batch = ranks.share("batch", recipe.batch)
        self.minibatch = ranks.share("minibatch", recipe.minibatch)
        self.step = 0
        self.seconds = Stopwatch()

    @property
    def model(self) -> nn.Module:
        """What is evaluated."""
        return self.policy

    @property
    def iteration(self) -> int:
        """Resets so far."""
        return self.elastic.resets if self.elastic is not None else 0

    # ---- one update

    def update(self) -> dict[str, float]:
        """Samples, scores and learns once; returns the measures of this update."""
        recipe = self.recipe
        with self.seconds("sample"):
            prompts = self.task.prompts(self.batch, self.generator)
            samples = sample(
                self.policy,
                prompts,
                recipe.length,
                generator=self.generator,
                temperature=recipe.temperature,
                top_k=recipe.top_k,
                top_p=recipe.top_p,
                banned=self.task.banned,
                mask_lm=self.mask_lm,
                mask_top_p=recipe.mask_top_p or 1.0,
                mask_min_keep=recipe.mask_min_keep or 1,
                stop=self.stop,
            )
        with self.seconds("score"):
            batch, measures = self._score(samples)
        self.step += 1
        measures = ranks.means(measures | self._learn(batch))
        if recipe.nlpo == "as_published" and self.step % recipe.mask_every == 0:
            self.mask_lm.load_state_dict(self.policy.state_dict())
        if recipe.target_kl is not None and self.anchor is not None:
            error = measures["kl"] / measures["length"] / recipe.target_kl - 1
            self.beta *= 1 + recipe.kl_rate * min(max(error, -0.2), 0.2)
        return measures | {"beta": self.beta}

    @torch.no_grad()
    def _score(self, samples: Samples) -> tuple[Batch, dict[str, float]]:
        recipe, start, acts = self.recipe, samples.tokens.shape[1] - samples.logp.shape[1], self._acts(samples)
        if self.step == 0:
            self._check_agreement(samples, acts, start)
        reward = self.task.reward(samples.tokens)
        self._check_reward(reward, samples.tokens)
        kl, values = self._kl(samples, start), self._values(samples.tokens, start)
        if acts is not None:
            kl, values = (torch.where(acts, x, 0.0) if x is not None else None for x in (kl, values))
        rewards = -self.beta * kl if kl is not None else torch.zeros_like(samples.logp)
        if acts is None:
            rewards[:, -1] += reward
        else:
            rewards[torch.arange(len(reward)), acts.sum(1) - 1] += reward
        advantages, returns = losses.gae(rewards, values, recipe.gamma, recipe.lam)
        every = slice(None) if acts is None else acts
        measures = {
            "reward": float(reward.mean()),
            "kl": float(kl.sum(1).mean()) if kl is not None else float("nan"),
            "entropy": float(-samples.logp[every].mean()),
            "length": float(samples.logp.shape[1]) if acts is None else float(acts.sum(1).float().mean()),
            "explained_variance": losses.explained_variance(values[every], returns[every]),
        }
        if recipe.whiten:
            advantages = losses.whiten(advantages, acts)
        return Batch(samples.tokens, samples.mask, acts, samples.logp, values, advantages, returns), measures

    def _acts(self, samples: Samples) -> Tensor | None:
        """Which tokens the policy chose, [B, T]: neither what follows an end nor an end that was forced."""
        if self.stop is None:
            return None
        acts = samples.tokens[:, -samples.logp.shape[1] :] != PAD
        acts[:, self.recipe.length - 1 :] = False
        return acts

    def _values(self, tokens: Tensor, start: int) -> Tensor:
        if not self.value_learns:  # what the reward model gives every beginning of a text
            return torch.stack([self.task.reward(tokens[:, :end]) for end in range(start, tokens.shape[1])], 1)
        if self.recipe.value_coef is None:
            return self.value(tokens[:, :-1], start - 1)
        return self.value(self.policy.hidden(tokens[:, :-1], start - 1)).squeeze(-1)

    def _kl(self, samples: Samples, start: int) -> Tensor | None:
        """KL to the anchor a token [B, T], of the unmasked policies, which NLPO's reward takes too."""
        if self.anchor is None:
            return None
        shape = {"temperature": self.recipe.temperature, "banned": self.task.banned}
        anchored = Anchored(self.policy, self.anchor)
        anchor_logp, log_anchor = logp_of(anchored, samples.tokens, start, **shape)
        if self.recipe.kl == "full" or samples.mask is not None:
            logp, log_policy = logp_of(self.policy, samples.tokens, start, **shape)
        else:
            logp, log_policy = samples.logp, None
        if self.recipe.kl == "full":
            return losses.kl_full(log_policy, log_anchor)
        return (losses.kl_k1 if self.recipe.kl == "k1" else losses.kl_k3)(logp, anchor_logp)

    def _learn(self, batch: Batch) -> dict[str, float]:
        recipe, ema_every = self.recipe, self.recipe.reset and self.recipe.reset.ema_every
        for _ in range(recipe.epochs):
            for rows in self._minibatches():
                part = Batch(*(field[rows] if field is not None else None for field in batch))
                with self.seconds("update"):
                    measures = self._step(part)
                if ema_every == "step":
                    self._average()
            if ema_every == "epoch":
                self._average()
        if ema_every == "rollout":
            self._average()
        return measures

    def _minibatches(self):
        """Rows of each optimiser step: a fresh order every epoch, exact division."""
        if self.minibatch == self.batch:
            return [slice(None)]
        return torch.randperm(self.batch, generator=self.generator).split(self.minibatch)

    def _step(self, batch: Batch) -> dict[str, float]:
        recipe, start = self.recipe, batch.tokens.shape[1] - batch.old_logp.shape[1]
        shape = {"temperature": recipe.temperature, "banned": self.task.banned, "mask": batch.mask}
        if recipe.value_coef is None:
            logp, _ = logp_of(self.policy, batch.tokens, start, **shape)
            values = self.value(batch.tokens[:, :-1], start - 1) if self.value_learns else batch.old_values
        else:
            hidden = self.policy.hidden(batch.tokens[:, :-1], start - 1)
            logp, _ = logp_in(self.policy.words(hidden), batch.tokens, start, **shape)
            values = self.value(hidden).squeeze(-1)
        if batch.acts is not None:
            logp, values = torch.where(batch.acts, logp, batch.old_logp), torch.where(batch.acts, values, 0.0)
        loss = losses.ppo_clip(logp, batch.old_logp, batch.advantages, recipe.clip, batch.acts)
        value_loss = losses.value_clip(values, batch.old_values, batch.returns, recipe.value_clip, batch.acts)
        self.policy_optimiser.zero_grad()
        self.value_optimiser.zero_grad()
        (loss + (1.0 if recipe.value_coef is None else recipe.value_coef) * value_loss).backward()
        descend(self.policy, self.policy_optimiser, recipe.grad_clip, self.step)
        if self.value_learns:
            descend(self.value, self.value_optimiser, recipe.grad_clip, self.step)
        with torch.no_grad():
            outside = ((logp - batch.old_logp).exp() - 1).abs() > recipe.clip
        return {"value_loss": float(value_loss.detach()), "clipped": float(losses.mean(outside.float(), batch.acts))}

    # ---- the reset

    def _average(self) -> None:
        with self.seconds("ema"):
            self.elastic.update()

    def tick(self) -> bool:
        """Counts this update for the schedule; True if the policy was reset. A run never ends on a reset."""
        due = go_back(self.recipe, self.elastic, self.step, self.policy_optimiser, self.seconds)
        if due and self.recipe.reset.value == "clear":
            self.value.load_state_dict(self.initial_value)
            self.value_optimiser.state.clear()
        return due

    # ---- checks

    def _check_agreement(self, samples: Samples, acts: Tensor | None, start: int) -> None:
        shape = {"temperature": self.recipe.temperature, "banned": self.task.banned, "mask": samples.mask}
        scored, _ = logp_of(self.policy, samples.tokens, start, **shape)
        every = slice(None) if acts is None else acts
        precise = all(p.dtype == torch.float32 for p in self.policy.parameters())
        check_agreement(scored[every], samples.logp[every], AGREEMENT if precise else HALF)

    def _check_reward(self, reward: Tensor, tokens: Tensor) -> None:
        bad = ~torch.isfinite(reward)
        if bool(bad.any()):
            row = int(bad.nonzero()[0])
            text = self.task.text(tokens[row])
            raise RunFailed(f"the reward is {float(reward[row])} at update {self.step + 1} for the sample {text!r}")

    # ---- saving

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to go on bit for bit: nested dicts of tensors and plain JSON values."""
        state = {
            "policy": learned(self.policy),
            "value": dict(self.value.state_dict()),
            "policy_optimiser": pack(self.policy_optimiser),
            "value_optimiser": pack(self.value_optimiser),
            "generator": ranks.gather(self.generator.get_state()),
            "beta": self.beta,
            "step": self.step,
            "seconds": dict(self.seconds),
        }
        if self.elastic is not None:
            state["elastic"] = self.elastic.state_dict()
        if self.mask_lm is not None:
            state["mask_lm"] = dict(self.mask_lm.state_dict())
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        relearn(self.policy, state["policy"])
        self.value.load_state_dict(state["value"])
        unpack(self.policy_optimiser, state["policy_optimiser"])
        unpack(self.value_optimiser, state["value_optimiser"])
        self.generator.set_state(ranks.own(state["generator"]))
        self.beta, self.step = state["beta"], state["step"]
        self.seconds.update(state["seconds"])
        if self.elastic is not None:
            self.elastic.load_state_dict(state["elastic"])
        if self.mask_lm is not None:
            self.mask_lm.load_state_dict(state["mask_lm"])
