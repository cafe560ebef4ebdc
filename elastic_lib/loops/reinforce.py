"""The Translation Game of Lee et al. (2019): a speaker FR→EN is paid for what a listener EN→DE makes of its English.

    english ~ speaker(french);  the listener learns the true german from it, by cross entropy;
    the speaker learns by REINFORCE from the listener's log-likelihood of the german, less β·KL (Equation 1), with a
    running mean as baseline, or with the other samples of the same source; an entropy bonus; a reset when it is due.

FROZEN trains the listener alone. GUMBEL sends the listener's gradient straight through the sampled words instead, by a
Gumbel-Softmax whose noise is drawn given the words; the words before a word are taken as they were sampled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elastic_lib import losses
from elastic_lib.loops.checks import check_agreement, check_reward, numbers
from elastic_lib.loops.optimiser import Optimiser, descend
from elastic_lib.loops.resetting import Resetting
from elastic_lib.loops.stopwatch import Stopwatch
from elastic_lib.nets.gpt import PAD
from elastic_lib.nets.sampler import sample
from elastic_lib.nets.seq2seq import BOS, EOS, shifted

NEVER = (PAD, BOS)  # words that are never sampled
Pairs = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class GameSettings:
    """The numbers of a game."""

    length: int = 20
    """Words of the English, at most."""
    batch: int = 64
    """Samples an update."""
    samples: int = 2
    """Samples of a source; with 2 or more, each is the others' baseline."""
    lr: float = 7e-5
    """Adam's rate for the speaker."""
    listener_lr: float = 2e-3
    """Adam's rate for the listener."""
    weight_decay: float = 0.0
    """Of both."""
    grad_clip: float = 1.0
    """Largest gradient norm of either."""
    estimator: str = "reinforce"
    """The speaker's gradient: reinforce or gumbel; none: it stays frozen."""
    gumbel_temperature: float = 1.0
    """Of the straight-through Gumbel-Softmax."""
    warm_up: int = 0
    """Updates of the listener alone before the speaker learns."""
    beta: float = 0.0
    """Coefficient β of the KL in the reward (Equation 1)."""
    entropy: float = 0.003
    """Coefficient of the entropy bonus."""
    baseline_decay: float = 0.95
    """Of the running mean and variance of the reward."""
    multitask: float = 0.0
    """Weight of the cross entropy of true pairs."""
    multitask_batch: int = 32
    """True pairs an update."""
    temperature: float = 1.0
    """Of sampling, and of the speaker's distribution."""
    seed: int = 0
    """Of sources and samples."""


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
    """Two translators that learn: `update` plays and learns once, `tick` counts it for the resets.

    speaker, listener   translators (their methods: see `nets.seq2seq`)
    sentences           sentences(count, generator) -> french [count, S] and its true german [count, T]
    resetting           when the speaker goes back, and what its KL is taken against; none: never, itself at first
    pairs               pairs(count, generator) -> french and its true english, where `multitask` rehearses them
    english_lm          a language model that the KL is taken against instead
    text                text(english [T]) -> its words

    Only the speaker goes back at a reset: the listener is the reward model, and goes on learning.
    """

    MEANS = ("reward", "kl", "entropy", "length", "listener_loss")

    def __init__(
        self,
        speaker: nn.Module,
        listener: nn.Module,
        sentences: Pairs,
        settings: GameSettings,
        *,
        resetting: Resetting | None = None,
        pairs: Pairs | None = None,
        english_lm: nn.Module | None = None,
        text: Callable[[Tensor], str] = numbers,
    ):
        self.model, self.sentences, self.settings = Players(speaker, listener), sentences, settings
        self.resetting = resetting or Resetting(speaker, anchor="initial" if settings.beta else "none")
        self.pairs, self.english_lm, self.text = pairs, english_lm, text
        more = dict(weight_decay=settings.weight_decay, clip=settings.grad_clip, betas=(0.9, 0.98))
        self.speaker_optimiser = Optimiser(speaker, settings.lr, **more)
        self.listener_optimiser = Optimiser(listener, settings.listener_lr, **more)
        self.beta = settings.beta
        self.running: dict[str, float] = {}  # mean and variance of the reward, mean of what is maximised
        self.generator = torch.Generator().manual_seed(1000 + settings.seed)
        self.step = 0
        self.seconds = Stopwatch()
        self.measured: dict[str, float] = {}  # at the last update

    @property
    def iteration(self) -> int:
        """Resets so far."""
        return self.resetting.resets

    # ---- one update: play, listen, learn

    def update(self) -> dict[str, float]:
        """Plays a batch and learns from it once; returns the measures of this update."""
        with self.seconds("sample"):
            played = self._play()
        if self.step == 0:
            self._check_agreement(played)
        self.step += 1
        measures = {"length": float((played.english != PAD).sum(1).float().mean()), "kl": float("nan")}
        learns = self.settings.estimator != "none" and self.step > self.settings.warm_up
        if learns and self.settings.estimator == "gumbel":
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
        if learns:
            with self.seconds("ema"):
                self.resetting.average("step", "epoch", "rollout")  # each update is one of each
        self.measured = measures
        return measures

    @torch.no_grad()
    def _play(self) -> Played:
        """Sources of the training text, and `samples` times what the speaker makes of each."""
        settings = self.settings
        french, german = self.sentences(settings.batch // settings.samples, self.generator)
        start = torch.full((settings.batch, 1), BOS, device=french.device)
        said = sample(self.model.speaker.reading(french, settings.samples), start, settings.length, stop=EOS,
                      banned=NEVER, generator=self.generator, temperature=settings.temperature)  # fmt: skip
        return Played(french, said.tokens[:, 1:], german.repeat_interleave(settings.samples, 0), said.logp)

    def _listen(self, played: Played) -> tuple[Tensor, float]:
        """The reward [B], log-likelihood of the german a token; and one step of the listener towards it."""
        logits = self.model.listener.logits(played.english, played.german)
        surprise = F.cross_entropy(logits, played.german[played.german != PAD], reduction="none")
        reward = -_by_row(surprise.detach(), played.german, mean=True)
        check_reward(reward, played.english, self.step, self.text)
        loss = surprise.mean()
        descend(loss, self.step, self.listener_optimiser)
        return reward, float(loss.detach())

    def _learn(self, played: Played, reward: Tensor) -> dict[str, float]:
        """One step of the speaker by REINFORCE."""
        kept = played.english != PAD
        logp, entropy = losses.logp_and_entropy(self._logits(self.model.speaker, played), played.english[kept])
        kl = self._kl(played, logp.detach())
        advantage = self._advantage(reward, kl)
        loss = losses.reinforce(logp, advantage[kept.nonzero()[:, 0]]) - self.settings.entropy * entropy.mean()
        descend(self._rehearsed(loss), self.step, self.speaker_optimiser)
        measures = {"entropy": float(entropy.detach().mean())}
        return measures if kl is None else measures | {"kl": float(kl.mean())}

    def _learn_together(self, played: Played) -> dict[str, float]:
        """One step of both players on the listener's loss, whose gradient goes through the words to the speaker."""
        settings, kept = self.settings, played.english != PAD
        log_policy = self._logits(self.model.speaker, played).log_softmax(-1)
        soft = losses.straight_through(log_policy, played.english[kept], settings.gumbel_temperature, self.generator)
        through = soft.new_zeros(*kept.shape, soft.shape[-1]).masked_scatter(kept[..., None], soft)
        logits = self.model.listener.logits(played.english, played.german, through)
        loss = F.cross_entropy(logits, played.german[played.german != PAD])
        entropy = -(log_policy.exp() * log_policy).sum(-1).mean()
        both = self._rehearsed(loss - settings.entropy * entropy)
        descend(both, self.step, self.speaker_optimiser, self.listener_optimiser)
        loss = float(loss.detach())
        return {"listener_loss": loss, "reward": -loss, "entropy": float(entropy.detach())}

    def _rehearsed(self, loss: Tensor) -> Tensor:
        """A loss and, with `multitask`, that of true pairs."""
        if not self.settings.multitask:
            return loss
        french, english = self.pairs(self.settings.multitask_batch, self.generator)
        return loss + self.settings.multitask * pair_loss(self.model.speaker, french, english)

    def _logits(self, speaker, played: Played) -> Tensor:
        """Logits of the distribution that is sampled from, at every place that was spoken, [N, V]."""
        return self._shaped(speaker.logits(played.french, played.english))

    def _shaped(self, logits: Tensor) -> Tensor:
        logits = logits.index_fill(1, torch.tensor(NEVER, device=logits.device), -1e9)  # of −∞ the entropy is NaN
        return logits if self.settings.temperature == 1 else logits / self.settings.temperature

    @torch.no_grad()
    def _kl(self, played: Played, logp: Tensor) -> Tensor | None:
        """log π/π_anchor of each sample [B], the paper's KL in the reward."""
        kept = played.english != PAD
        if self.english_lm is not None:
            logits = self._shaped(self.english_lm.logits(shifted(played.english))[kept])
        elif self.resetting.anchor is not None:
            logits = self._logits(self.resetting.anchor, played)
        else:
            return None
        return _by_row(logp + F.cross_entropy(logits, played.english[kept], reduction="none"), played.english)

    def _advantage(self, reward: Tensor, kl: Tensor | None) -> Tensor:
        """How much better than expected a sample is, in running standard deviations of the reward, [B]."""
        samples, keep = self.settings.samples, self.settings.baseline_decay
        total = reward if kl is None else reward - self.beta * kl
        spread = float(reward.var(correction=0))
        now = {"mean": float(reward.mean()), "variance": spread, "total": float(total.mean())}
        before = self.running or now
        self.running = {name: keep * before[name] + (1 - keep) * now[name] for name in now}
        advantage = losses.leave_one_out(total, samples) if samples > 1 else total - before["total"]
        return advantage / max(before["variance"], 1e-6) ** 0.5

    # ---- the reset

    def tick(self) -> bool:
        """Counts this update for the schedule; True if the speaker was reset. A run never ends on a reset."""
        with self.seconds("ema"):
            return self.resetting.tick(self.step, self.measured, optimizer=self.speaker_optimiser.clear)

    # ---- checks

    @torch.no_grad()
    def _check_agreement(self, played: Played) -> None:
        kept = played.english != PAD
        surprise = F.cross_entropy(self._logits(self.model.speaker, played), played.english[kept], reduction="none")
        check_agreement(-surprise, played.logp[kept])

    # ---- saving

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to go on bit for bit: nested dicts of tensors and plain JSON values."""
        return {
            "model": dict(self.model.state_dict()),
            "speaker_optimiser": self.speaker_optimiser.state_dict(),
            "listener_optimiser": self.listener_optimiser.state_dict(),
            "resetting": self.resetting.state_dict(),
            "generator": self.generator.get_state(),
            "running": self.running,
            "step": self.step,
            "seconds": dict(self.seconds),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave, in a game that was made as that one was."""
        self.model.load_state_dict(state["model"])
        self.speaker_optimiser.load_state_dict(state["speaker_optimiser"])
        self.listener_optimiser.load_state_dict(state["listener_optimiser"])
        self.resetting.load_state_dict(state["resetting"])
        self.generator.set_state(state["generator"])
        self.running, self.step = state["running"], state["step"]
        self.seconds.update(state["seconds"])


def pair_loss(translator: nn.Module, source: Tensor, target: Tensor) -> Tensor:
    """Cross entropy of true pairs a token."""
    return F.cross_entropy(translator.logits(source, target), target[target != PAD])


def _by_row(values: Tensor, tokens: Tensor, mean: bool = False) -> Tensor:
    """Sums, or means, over the sentence of values [N] that belong to the unpadded places of tokens [B, T]."""
    kept = tokens != PAD
    sums = values.new_zeros(len(tokens)).index_add_(0, kept.nonzero()[:, 0], values)
    return sums / kept.sum(1) if mean else sums
