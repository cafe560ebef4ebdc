"""Steps along gradients: averaged over the processes, clipped, refused where they are no numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from elastic_lib.loops import processes
from elastic_lib.loops.checks import RunFailed


class Optimiser:
    """AdamW over what is trained of a network; of a network that never learns, over nothing."""

    def __init__(self, net: nn.Module, lr: float, weight_decay: float, clip: float, **more: Any):
        self.trained, self.clip = [p for p in net.parameters() if p.requires_grad], clip
        group = {"params": self.trained}
        self.adam = torch.optim.AdamW([group], lr=lr, weight_decay=weight_decay, fused=True, **more)

    def step(self, update: int) -> None:
        """One step along the gradients that are there."""
        processes.average(p.grad for p in self.trained if p.grad is not None)
        norm = nn.utils.clip_grad_norm_(self.trained, self.clip, foreach=True)
        if not torch.isfinite(norm):
            raise RunFailed(f"the gradient is {float(norm)} at update {update}; a smaller lr or grad_clip may help")
        self.adam.step()

    def clear(self) -> None:
        """Forgets the moments."""
        self.adam.state.clear()

    def state_dict(self) -> dict[str, Any]:
        """The moments as nested dicts of tensors."""
        return {str(i): dict(moments) for i, moments in self.adam.state_dict()["state"].items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        own = self.adam.state_dict()
        self.adam.load_state_dict({**own, "state": {int(i): moments for i, moments in state.items()}})


def descend(loss: Tensor, update: int, *optimisers: Optimiser) -> None:
    """One step of each down the slope of a loss."""
    for optimiser in optimisers:
        optimiser.adam.zero_grad()
    loss.backward()
    for optimiser in optimisers:
        optimiser.step(update)
