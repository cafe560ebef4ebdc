"""What belongs to a reset, in one place, so that a loop reads the same with and without one.

    resetting = Resetting(policy, decay=0.99, reset_every=17)     Resetting(policy) never averages or resets
    resetting.average("step")           θ̄ ← η θ̄ + (1−η) θ, if this is when θ̄ moves
    resetting.tick(update, …)           counts an update; θ ← θ̄ and θ̄ ← θ0 when that is due
    resetting.anchor.logits(tokens)     of the weights that a KL is taken against

ElasticReset is the method, for any training loop; this is what our loops need around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from elastic_lib.reset import ElasticReset

CHOICES = {
    "ema_every": ("step", "epoch", "rollout"),
    "optimizer": ("keep", "clear"),
    "value": ("keep", "clear"),
    "anchor": ("initial", "ema", "none"),
}


class Anchored:
    """A network with other weights than its own, the anchor's that a KL is taken against."""

    def __init__(self, net: nn.Module, weights: dict[str, Tensor]):
        self.net, self.weights = net, weights

    def logits(self, *inputs) -> Tensor:
        return functional_call(self.net, self.weights, inputs)


class Resetting:
    """The resets of a policy: `elastic` is its ElasticReset, or None without a `decay`.

    θ̄ moves once a `ema_every`: step of the optimiser, epoch or rollout. `optimizer` and `value` say what becomes of
    both at a reset, `keep` or `clear`. A KL is taken against the `anchor`: initial, ema or none. θ0 can be kept in the
    precision `theta0`. Nothing is reset after the last of `updates`. What else there is goes to ElasticReset.
    """

    def __init__(
        self,
        policy: nn.Module,
        decay: float | None = None,
        reset_every: int | None = None,
        *,
        ema_every: str = "step",
        optimizer: str = "keep",
        value: str = "keep",
        anchor: str = "initial",
        theta0: str | None = None,
        updates: int | None = None,
        **how: Any,
    ):
        given = {"ema_every": ema_every, "optimizer": optimizer, "value": value, "anchor": anchor}
        for name, known in CHOICES.items():
            if given[name] not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {given[name]!r}")
        if decay is None and (reset_every is not None or how or anchor == "ema"):
            raise ValueError("there is no average without a decay, 0.995 for instance")
        self.ema_every, self.updates = ema_every, updates
        self.cleared = {name for name in ("optimizer", "value") if given[name] == "clear"}
        self.elastic = None
        if decay is not None:
            self.elastic = ElasticReset(policy.named_parameters(), decay, reset_every, **how)
            if theta0 is not None:  # the numbers that a copy in half precision would give back
                for initial in self.elastic.initial.values():
                    initial.copy_(initial.to(getattr(torch, theta0)))
        self.anchor = None if anchor == "none" else Anchored(policy, self._weights(policy, anchor))

    def _weights(self, policy: nn.Module, anchor: str) -> dict[str, Tensor]:
        """θ̄ and θ0 are those of the reset itself, never a second copy; what is frozen is the policy's own."""
        if self.elastic is not None:
            return self.elastic.ema if anchor == "ema" else self.elastic.initial
        return {name: p.detach().clone() for name, p in policy.named_parameters() if p.requires_grad}

    @property
    def resets(self) -> int:
        """How many so far."""
        return self.elastic.resets if self.elastic is not None else 0

    def average(self, *after: str) -> None:
        """Moves θ̄, if it moves after one of these."""
        if self.elastic is not None and self.ema_every in after:
            self.elastic.update()

    def tick(self, update: int, **clear: Callable[[], None]) -> bool:
        """Counts an update; True if θ was reset, and then what is to be cleared was, as a loop says it is.

        A run never ends on a reset.
        """
        if odd := self.cleared - set(clear):
            raise ValueError(f"this loop has no {' and no '.join(odd)} to clear; it has {', '.join(clear)}")
        if self.elastic is None or update == self.updates:
            return False
        due = self.elastic.tick()
        for name in self.cleared if due else ():
            clear[name]()
        return due

    def state_dict(self) -> dict[str, Any]:
        """The ElasticReset's, if there is one."""
        return {} if self.elastic is None else self.elastic.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        if self.elastic is not None:
            self.elastic.load_state_dict(state)
