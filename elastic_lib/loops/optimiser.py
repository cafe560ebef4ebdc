"""Steps along gradients: averaged over the processes, clipped, refused where they are no numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from elastic_lib.loops import processes
from elastic_lib.loops.checks import RunFailed


class Optimiser:
    """AdamW over what is trained of a network; of a network that never learns, over nothing.

    By the kernel that torch's own class calls: the class itself loads torch's compiler, two seconds of each process.
    """

    def __init__(
        self,
        net: nn.Module,
        lr: float,
        weight_decay: float,
        clip: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        self.trained = [p for p in net.parameters() if p.requires_grad]
        self.lr, self.weight_decay, self.clip, self.betas, self.eps = lr, weight_decay, clip, betas, eps
        self.moments: dict[int, dict[str, Tensor]] = {}

    def step(self, update: int) -> None:
        """One step along the gradients that are there, clipped."""
        self.clip_gradients(update)
        self.move()

    def clip_gradients(self, update: int) -> None:
        """The mean of all processes, no longer than `clip`."""
        processes.average(p.grad for p in self.trained if p.grad is not None)
        norm = nn.utils.clip_grad_norm_(self.trained, self.clip, foreach=True)
        if not torch.isfinite(norm):
            raise RunFailed(f"the gradient is {float(norm)} at update {update}; a smaller lr or grad_clip may help")

    @torch.no_grad()
    def move(self) -> None:
        """AdamW's step along the gradients as they are."""
        learning = [(i, p) for i, p in enumerate(self.trained) if p.grad is not None]
        if not learning:
            return
        for i, p in learning:
            if i not in self.moments:
                step = torch.zeros((), dtype=torch.float32, device=p.device)
                self.moments[i] = {"step": step, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        steps, first, second = (
            [self.moments[i][name] for i, _ in learning] for name in ("step", "exp_avg", "exp_avg_sq")
        )
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            [p for _, p in learning], [p.grad for _, p in learning], first, second, [], steps, lr=self.lr,
            beta1=self.betas[0], beta2=self.betas[1], weight_decay=self.weight_decay, eps=self.eps,
            amsgrad=False, maximize=False,
        )  # fmt: skip

    def clear(self) -> None:
        """Forgets the moments."""
        self.moments.clear()

    def state_dict(self) -> dict[str, Any]:
        """The moments as nested dicts of tensors."""
        return {str(i): dict(moments) for i, moments in self.moments.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.moments = {
            int(i): {name: tensor.to(self.trained[int(i)].device, copy=True) for name, tensor in moments.items()}
            for i, moments in state.items()
        }


def descend(loss: Tensor, update: int, *optimisers: Optimiser) -> None:
    """One step of each down the slope of a loss."""
    _slope(loss, *optimisers)
    for optimiser in optimisers:
        optimiser.step(update)


def _slope(loss: Tensor, *optimisers: Optimiser) -> None:
    """Puts the gradients of a loss in the place of those that are there."""
    for optimiser in optimisers:
        for p in optimiser.trained:
            p.grad = None
    loss.backward()


def descend_gently(
    loss: Tensor,
    near: Callable[[], Tensor],
    penalty: float,
    reach: float,
    update: int,
    policy: Optimiser,
    *others: Optimiser,
) -> None:
    """One step of a policy to where the loss is low and flat (gradient regularisation, arXiv 2602.18037).

        g1 = clip ∇L(θ);   g2 = clip ∇L(θ + ε·g1);   g = g1 + γ·(g2 − g1)/ε

    γ is the `penalty` on half the squared norm of the gradient, ε the `reach` of the step that tries how that changes;
    `near` is the loss where the policy then stands. The others make their step as ever, down L alone.
    """
    _slope(loss, policy, *others)
    policy.clip_gradients(update)
    with torch.no_grad():
        learning = [p for p in policy.trained if p.grad is not None]
        here, first = [p.clone() for p in learning], [p.grad.clone() for p in learning]
        torch._foreach_add_(learning, first, alpha=reach)
    for p in learning:
        p.grad = None
    near().backward(inputs=learning)
    policy.clip_gradients(update)
    with torch.no_grad():
        for p, at, slope in zip(learning, here, first, strict=True):
            p.copy_(at)
            p.grad.sub_(slope).mul_(penalty / reach).add_(slope)
    policy.move()
    for optimiser in others:
        optimiser.step(update)
