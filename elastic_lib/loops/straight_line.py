"""The straight line from the pretrained weights θ0 to those where training ended, θ: LITI, of WARP (arXiv 2406.16768).

    θ(λ) = θ0 + λ (θ − θ0),   λ from 0 to 1

Nothing learns: walked like a training of so many updates, one finished run has a whole frontier.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from elastic_lib.loops.resetting import Resetting
from elastic_lib.loops.stopwatch import Stopwatch


class StraightLine:
    """Walks a policy at θ0 to the weights `end` in equal steps, so many `updates`: a loop like those that learn."""

    MEANS = ()
    iteration = 0

    def __init__(self, policy: nn.Module, end: dict[str, Tensor], updates: int):
        self.model, self.end, self.updates = policy, end, updates
        self.trained = {name: p for name, p in policy.named_parameters() if p.requires_grad}
        self.start = {name: p.detach().clone() for name, p in self.trained.items()}
        self.step, self.beta = 0, math.nan
        self.resetting, self.seconds = Resetting(policy, anchor="none"), Stopwatch()

    def update(self) -> dict[str, float]:
        """One step on; the last one ends on `end`, bit for bit."""
        self.step += 1
        self._stand()
        return {}

    @torch.no_grad()
    def _stand(self) -> None:
        for name, p in self.trained.items():
            p.copy_(self.start[name].lerp(self.end[name].to(p), self.step / self.updates))

    def tick(self) -> bool:
        """Never resets."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Where it stands."""
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.step = state["step"]
        self._stand()
