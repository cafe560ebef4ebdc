"""What stops a run: numbers that cannot be learned from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Largest difference of log-probabilities between sampler and scorer at step 0, in nats. In single precision a large
# vocabulary rounds by 1e-4; a temperature or a mask that one of them forgot moves them by a tenth and more. In half
# precision a word may be off by a whole nat, of text that nobody would write, and the words by 0.05 on average.
AGREEMENT, HALF = 1e-3, 0.15


class RunFailed(RuntimeError):
    """Training cannot go on; the message names the update and what was seen there."""


def check_agreement(scored: Tensor, sampled: Tensor, precise: bool = True) -> None:
    """A sampler and a scorer that differ make a KL that is not one: negative, and rewarded."""
    gaps = (scored - sampled).abs()
    gap, allowed, of = (gaps.max(), AGREEMENT, "") if precise else (gaps.mean(), HALF, " on average")
    if not gap <= allowed:
        raise RunFailed(f"sampler and scorer differ by {gap:.2g} nats{of} at step 0; at most {allowed:g} is allowed")


def check_reward(reward: Tensor, tokens: Tensor, update: int, text: Callable[[Tensor], str]) -> None:
    """A reward [B] that is no number, and the sample among tokens [B, T] that it was given for."""
    bad = ~torch.isfinite(reward)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise RunFailed(f"the reward is {float(reward[row])} at update {update} for the sample {text(tokens[row])!r}")


def numbers(tokens: Tensor) -> str:
    """Tokens [T] as text, where nobody knows their words."""
    return " ".join(map(str, tokens.tolist()))
