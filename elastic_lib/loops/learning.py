"""What every loop of reinforcement learning does in the same way: step, average, reset, keep time, keep state."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from elastic_lib.loops import processes as ranks
from elastic_lib.recipe import Recipe
from elastic_lib.reset import ElasticReset

AGREEMENT, HALF = 1e-4, 0.5  # largest difference of log-probabilities between sampler and scorer at step 0, in nats


class RunFailed(RuntimeError):
    """Training cannot go on; the message names the step and what was seen there."""


class Stopwatch(defaultdict):
    """Seconds by activity: `with seconds("sample"): …`."""

    def __init__(self):
        super().__init__(float)

    @contextmanager
    def __call__(self, what: str):
        started = perf_counter()
        yield
        self[what] += perf_counter() - started


class Anchored:
    """A network with other weights than its own, the anchor's that a KL is taken against."""

    def __init__(self, net: nn.Module, weights: dict[str, Tensor]):
        self.net, self.weights = net, weights

    def logits(self, *inputs) -> Tensor:
        return functional_call(self.net, self.weights, inputs)


def adam(net: nn.Module, lr: float, weight_decay: float, eps: float = 1e-8, **more: Any) -> torch.optim.Optimizer:
    """AdamW over what is trained of a network."""
    trained = [p for p in net.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=lr, eps=eps, weight_decay=weight_decay, fused=True, **more)


def learned(net: nn.Module) -> dict[str, Tensor]:
    """What is trained of a network, buffers included: all of it, or the adapters alone on top of frozen weights."""
    frozen = {name for name, p in net.named_parameters(remove_duplicate=False) if not p.requires_grad}
    return {name: tensor for name, tensor in net.state_dict().items() if name not in frozen}


def relearn(net: nn.Module, state: dict[str, Tensor]) -> None:
    """Puts back what `learned` gave."""
    if odd := set(learned(net)) ^ set(state):
        raise ValueError(f"these weights are of another network; only one of the two has {', '.join(sorted(odd)[:4])}")
    net.load_state_dict(state, strict=False)


def descend(net: nn.Module, optimiser: torch.optim.Optimizer, clip: float, step: int) -> None:
    """One step along the gradients that are there, clipped; the caller has called backward."""
    ranks.average(p.grad for p in net.parameters() if p.grad is not None)
    norm = nn.utils.clip_grad_norm_(net.parameters(), clip, foreach=True)
    if not torch.isfinite(norm):
        raise RunFailed(f"the gradient is {float(norm)} at update {step}; a smaller lr or grad_clip may help")
    optimiser.step()


def elastic_of(recipe: Recipe, policy: nn.Module) -> ElasticReset | None:
    """The resets that a recipe plans for its policy."""
    plan = recipe.reset
    if plan is None:
        return None
    elastic = ElasticReset(
        policy.named_parameters(),
        decay=plan.decay,
        reset_every=plan.reset_every,
        ema_reset_every=plan.ema_reset_every,
        mode=plan.mode,
        restore=plan.restore,
        restart=plan.restart,
    )
    if plan.theta0 is not None:  # the numbers that a copy in half precision would give back
        for initial in elastic.initial.values():
            initial.copy_(initial.to(getattr(torch, plan.theta0)))
    return elastic


def go_back(
    recipe: Recipe, elastic: ElasticReset | None, step: int, optimiser: torch.optim.Optimizer, seconds: Stopwatch
) -> bool:
    """Counts an update for the schedule; True if the policy was reset. A run never ends on a reset."""
    if elastic is None or step >= recipe.updates:
        return False
    with seconds("ema"):
        due = elastic.tick()
    if due and recipe.reset.optimizer == "clear":
        optimiser.state.clear()
    return due


def check_agreement(scored: Tensor, sampled: Tensor, allowed: float = AGREEMENT) -> None:
    """A sampler and a scorer that differ make a KL that is not one: negative, and rewarded."""
    gap = float((scored - sampled).abs().max())
    if not gap <= allowed:
        raise RunFailed(f"sampler and scorer differ by {gap:.2g} nats at step 0; at most {allowed:g} is allowed")


def anchor_of(recipe: Recipe, policy: nn.Module, elastic: ElasticReset | None) -> dict[str, Tensor]:
    """The weights that the KL is taken against; θ̄ and θ0 are those of the reset itself, never a second copy.

    Frozen weights are the policy's own.
    """
    if elastic is not None:
        return elastic.ema if recipe.kl_anchor == "ema" else elastic.initial
    return {name: p.detach().clone() for name, p in policy.named_parameters() if p.requires_grad}


def pack(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's moments as nested dicts of tensors."""
    return {str(i): dict(moments) for i, moments in optimiser.state_dict()["state"].items()}


def unpack(optimiser: torch.optim.Optimizer, packed: dict[str, Any]) -> None:
    """Takes back what `pack` gave."""
    own = optimiser.state_dict()
    optimiser.load_state_dict({**own, "state": {int(i): moments for i, moments in packed.items()}})
