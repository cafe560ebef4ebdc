"""The straight line from the pretrained weights θ0 to those where training ended, θ: LITI, of WARP (arXiv 2406.16768).

    θ(λ) = θ0 + λ (θ − θ0),   λ from 0 to 1

Nothing learns: walked like a training of so many updates, one finished run has a whole frontier.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elastic_lib.loops.walk import Walk


class StraightLine(Walk):
    """Walks a policy at θ0 to the weights `end` in equal steps, so many `updates`; the last ends there, bit for bit."""

    def __init__(self, policy: nn.Module, end: dict[str, Tensor], updates: int):
        super().__init__(policy, policy, updates)
        self.end = end
        self.trained = {name: p for name, p in policy.named_parameters() if p.requires_grad}
        self.start = {name: p.detach().clone() for name, p in self.trained.items()}

    @torch.no_grad()
    def _stand(self) -> None:
        for name, p in self.trained.items():
            p.copy_(self.start[name].lerp(self.end[name].to(p), self.step / self.updates))
