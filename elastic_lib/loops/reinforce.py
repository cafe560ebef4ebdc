"""The Translation Game of Lee et al. (2019): a speaker FR→EN is paid for what a listener EN→DE makes of its English.

    english ~ speaker(french);  the listener learns the true german from it, by cross entropy;
    the speaker learns by REINFORCE from the listener's log-likelihood of the german, less β·KL (Equation 1), with a
    running mean as baseline, or with the other samples of the same source; an entropy bonus; a reset when it is due.

FROZEN trains the listener alone. GUMBEL sends the listener's gradient straight through the sampled words instead, by a
Gumbel-Softmax whose noise is drawn given the words; the words before a word are taken as they were sampled.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elastic_lib import losses
from elastic_lib.loops.learning import (
    Anchored,
    RunFailed,
    Stopwatch,
    adam,
    anchor_of,
    check_agreement,
    descend,
    elastic_of,
    go_back,
    pack,
    unpack,
)
from elastic_lib.nets.gpt import PAD
from elastic_lib.nets.sampler import sample
from elastic_lib.nets.seq2seq import BOS, EOS, shifted
from elastic_lib.recipe import Recipe

NEVER = (PAD, BOS)  # words that are never sampled


class Players(nn.Module):
    """The two translators of the game."""

    def __init__(self, speaker: nn.Module, listener: nn.Module):
        super().__init__()
        self.speaker, self.listener = speaker.eval(), listener.eval()


class Played(NamedTuple):
    """A batch of the game: token ids padded behind, the sampled words' log-probabilities [B, T].

    A source of french [B/k, S] has k samples, which stand side by side in the others.
    """

    french: Tensor
    english: Tensor
    german: Tensor
    logp: Tensor


class Game:
    """One run's players, optimisers and random state; `update` plays and learns once, `tick` counts it for the resets.

    Only the speaker goes back at a reset: the listener is the reward model, and goes on learning.
    """

    MEANS = ("reward", "kl", "entropy", "length", "listener_loss")

    def __init__(self, recipe: Recipe, task):
        self.recipe, self.task = recipe, task
        self.model = Players(task.speaker(), task.listener())
        self.speaker_optimiser = adam(self.model.speaker, recipe.lr, recipe.weight_decay, betas=(0.9, 0.98))
        self.listener_optimiser = adam(self.model.listener, recipe.listener_lr, recipe.weight_decay, betas=(0.9, 0.98))
        self.elastic = elastic_of(recipe, self.model.speaker)
        self.anchor = self._anchor()
        self.beta = recipe.beta
        self.running: dict[str, float] = {}  # mean and variance of the reward, mean of what is maximised
        self.generator = torch.Generator().manual_seed(1000 + recipe.seed)
        self.step = 0
        self.seconds = Stopwatch()

    @property
    def iteration(self) -> int:
        """Resets so far."""
        return self.elastic.resets if self.elastic is not None else 0

    def _anchor(self):
        """What the KL is taken against: a language model of English, or the speaker with other weights."""
        recipe = self.recipe
        if recipe.beta == 0 or recipe.kl_anchor == "none":
            return None
        if recipe.kl_anchor == "lm":
            return self.task.english_lm()
        return Anchored(self.model.speaker, anchor_of(recipe, self.model.speaker, self.elastic))

    # ---- one update

    def update(self) -> dict[str, float]:
        """Plays a batch and learns from it once; returns the measures of this update."""
        with self.seconds("sample"):
            played = self._play()
        if self.step == 0:
            self._check_agreement(played)
        self.step += 1
        measures = {"length": float((played.english != PAD).sum(1).float().mean()), "kl": float("nan")}
        learns = self.recipe.estimator != "none" and self.step > self.recipe.warm_up
        if learns and self.recipe.estimator == "gumbel":
            with self.seconds("update"):
                measures |= self._learn_together(played)
        else:
            with self.seconds("score"):
                reward, measures["listener_loss"] = self._listen(played)
            surprise = -played.logp.sum() / (played.english != PAD).sum()
            measures |= {"reward": float(reward.mean()), "entropy": float(surprise)}
            if learns:
                with self.seconds("update"):
                    measures |= self._learn(played, reward)
        if learns and self.elastic is not None:
            with self.seconds("ema"):
                self.elastic.update()
        return measures

    @torch.no_grad()
    def _play(self) -> Played:
        """Sources of the training text, and `samples` times what the speaker makes of each."""
        recipe = self.recipe
        french, german = self.task.game(recipe.batch // recipe.samples, self.generator)
        start = torch.full((recipe.batch, 1), BOS, device=french.device)
        said = sample(self.model.speaker.reading(french, recipe.samples), start, recipe.length, stop=EOS,
                      banned=NEVER, generator=self.generator, temperature=recipe.temperature)  # fmt: skip
        return Played(french, said.tokens[:, 1:], german.repeat_interleave(recipe.samples, 0), said.logp)

    def _listen(self, played: Played) -> tuple[Tensor, float]:
        """The reward [B], log-likelihood of the german a token; and one step of the listener towards it."""
        logits = self.model.listener.logits(played.english, played.german)
        surprise = F.cross_entropy(logits, played.german[played.german != PAD], reduction="none")
        reward = -_by_row(surprise.detach(), played.german, mean=True)
        self._check_reward(reward, played)
        loss = surprise.mean()
        self.listener_optimiser.zero_grad()
        loss.backward()
        descend(self.model.listener, self.listener_optimiser, self.recipe.grad_clip, self.step)
        return reward, float(loss.detach())

    def _learn(self, played: Played, reward: Tensor) -> dict[str, float]:
        """One step of the speaker by REINFORCE."""
        kept = played.english != PAD
        logp, entropy = losses.logp_and_entropy(self._logits(self.model.speaker, played), played.english[kept])
        kl = self._kl(played, logp.detach())
        advantage = self._advantage(reward, kl)
        loss = losses.reinforce(logp, advantage[kept.nonzero()[:, 0]]) - self.recipe.entropy * entropy.mean()
        self._descend_speaker(loss)
        measures = {"entropy": float(entropy.detach().mean())}
        return measures if kl is None else measures | {"kl": float(kl.mean())}

    def _learn_together(self, played: Played) -> dict[str, float]:
        """One step of both players on the listener's loss, whose gradient goes through the words to the speaker."""
        recipe, kept = self.recipe, played.english != PAD
        log_policy = self._logits(self.model.speaker, played).log_softmax(-1)
        soft = losses.straight_through(log_policy, played.english[kept], recipe.gumbel_temperature, self.generator)
        through = soft.new_zeros(*kept.shape, soft.shape[-1]).masked_scatter(kept[..., None], soft)
        logits = self.model.listener.logits(played.english, played.german, through)
        loss = F.cross_entropy(logits, played.german[played.german != PAD])
        entropy = -(log_policy.exp() * log_policy).sum(-1).mean()
        self.listener_optimiser.zero_grad()
        self._descend_speaker(loss - recipe.entropy * entropy)
        descend(self.model.listener, self.listener_optimiser, recipe.grad_clip, self.step)
        loss = float(loss.detach())
        return {"listener_loss": loss, "reward": -loss, "entropy": float(entropy.detach())}

    def _descend_speaker(self, loss: Tensor) -> None:
        if self.recipe.multitask:
            french, english = self.task.pretraining_pairs(self.recipe.multitask_batch, self.generator)
            loss = loss + self.recipe.multitask * pair_loss(self.model.speaker, french, english)
        self.speaker_optimiser.zero_grad()
        loss.backward()
        descend(self.model.speaker, self.speaker_optimiser, self.recipe.grad_clip, self.step)

    def _logits(self, speaker: nn.Module | Anchored, played: Played) -> Tensor:
        """Logits of the distribution that is sampled from, at every place that was spoken, [N, V]."""
        return self._shaped(speaker.logits(played.french, played.english))

    def _shaped(self, logits: Tensor) -> Tensor:
        logits = logits.index_fill(1, torch.tensor(NEVER, device=logits.device), -1e9)  # of −∞ the entropy is NaN
        return logits if self.recipe.temperature == 1 else logits / self.recipe.temperature

    @torch.no_grad()
    def _kl(self, played: Played, logp: Tensor) -> Tensor | None:
        """log π/π_anchor of each sample [B], the paper's KL in the reward."""
        if self.anchor is None:
            return None
        kept = played.english != PAD
        if self.recipe.kl_anchor == "lm":
            logits = self._shaped(self.anchor.logits(shifted(played.english))[kept])
        else:
            logits = self._logits(self.anchor, played)
        return _by_row(logp + F.cross_entropy(logits, played.english[kept], reduction="none"), played.english)

    def _advantage(self, reward: Tensor, kl: Tensor | None) -> Tensor:
        """How much better than expected a sample is, in running standard deviations of the reward, [B]."""
        recipe, keep = self.recipe, self.recipe.baseline_decay
        total = reward if kl is None else reward - recipe.beta * kl
        spread = float(reward.var(correction=0))
        now = {"mean": float(reward.mean()), "variance": spread, "total": float(total.mean())}
        before = self.running or now
        self.running = {name: keep * before[name] + (1 - keep) * now[name] for name in now}
        if recipe.samples > 1:
            advantage = losses.leave_one_out(total, recipe.samples)
        else:
            advantage = total - before["total"]
        return advantage / max(before["variance"], 1e-6) ** 0.5

    # ---- the reset

    def tick(self) -> bool:
        """Counts this update for the schedule; True if the speaker was reset. A run never ends on a reset."""
        return go_back(self.recipe, self.elastic, self.step, self.speaker_optimiser, self.seconds)

    # ---- checks

    @torch.no_grad()
    def _check_agreement(self, played: Played) -> None:
        kept = played.english != PAD
        surprise = F.cross_entropy(self._logits(self.model.speaker, played), played.english[kept], reduction="none")
        check_agreement(-surprise, played.logp[kept])

    def _check_reward(self, reward: Tensor, played: Played) -> None:
        bad = ~torch.isfinite(reward)
        if bool(bad.any()):
            row = int(bad.nonzero()[0])
            text = self.task.text(played.english[row], "en")
            raise RunFailed(f"the reward is {float(reward[row])} at update {self.step} for the sample {text!r}")

    # ---- saving

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to go on bit for bit: nested dicts of tensors and plain JSON values."""
        state = {
            "model": dict(self.model.state_dict()),
            "speaker_optimiser": pack(self.speaker_optimiser),
            "listener_optimiser": pack(self.listener_optimiser),
            "generator": self.generator.get_state(),
            "running": self.running,
            "step": self.step,
            "seconds": dict(self.seconds),
        }
        return state if self.elastic is None else state | {"elastic": self.elastic.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        unpack(self.speaker_optimiser, state["speaker_optimiser"])
        unpack(self.listener_optimiser, state["listener_optimiser"])
        self.generator.set_state(state["generator"])
        self.running, self.step = state["running"], state["step"]
        self.seconds.update(state["seconds"])
        if self.elastic is not None:
            self.elastic.load_state_dict(state["elastic"])


def pair_loss(translator: nn.Module, source: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of true pairs a token."""
    return F.cross_entropy(translator.logits(source, target), target[target != PAD])


def _by_row(values: Tensor, tokens: Tensor, mean: bool = False) -> Tensor:
    """Sums, or means, over the sentence of values [N] that belong to the unpadded places of tokens [B, T]."""
    kept = tokens != PAD
    sums = values.new_zeros(len(tokens)).index_add_(0, kept.nonzero()[:, 0], values)
    return sums / kept.sum(1) if mean else sums
