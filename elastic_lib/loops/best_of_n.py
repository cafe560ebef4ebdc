"""Best-of-n: of n continuations by the pretrained policy, the one that is paid most. Nothing learns.

    KL(best of n ‖ π0) = log n − (n−1)/n        in nats a text, whatever pays

as long as no two texts of a prompt are paid the same; where they are, it is less (Beirami et al., arXiv 2401.01879).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from elastic_lib.loops.walk import Walk


class Best(NamedTuple):
    """Of n texts a row the one that is paid most, [B, T], and what it is paid, [B]."""

    n: int
    texts: Tensor
    paid: Tensor


def best_of(
    n: int, draw: Callable[[int], Tensor], reward: Callable[[Tensor], Tensor], so_far: Best | None = None
) -> Best:
    """Of draw(0) to draw(n−1), [B, T] each, the texts of the highest reward [B], of equals the first.

    `so_far` is the best of fewer of them, from which it goes on.
    """
    if so_far is None:
        first = draw(0)
        so_far = Best(1, first, reward(first))
    _, texts, paid = so_far
    for i in range(so_far.n, n):
        drawn = draw(i)
        offered = reward(drawn)
        better = offered > paid
        texts, paid = torch.where(better[:, None], drawn, texts), torch.where(better, offered, paid)
    return Best(n, texts, paid)


def kl_of_best(n: int) -> float:
    """log n − (n−1)/n."""
    return math.log(n) - (n - 1) / n


class Asked(nn.Module):
    """A policy that is asked n times a prompt; it has no weights of its own to measure."""

    def __init__(self, policy: nn.Module, n: int = 1):
        super().__init__()
        self.policy, self.n = policy, n
        self.best: dict[str, Best] = {}  # by whose prompts: what was drawn is not drawn again


class BestOfN(Walk):
    """From one sample a prompt to `most`, by the same factor each of so many updates."""

    def __init__(self, policy: nn.Module, most: int, updates: int):
        super().__init__(Asked(policy), policy, updates)
        self.most = most

    def _stand(self) -> None:
        self.model.n = round(self.most ** (self.step / self.updates))
