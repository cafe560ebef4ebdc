"""What belongs to a reset, in one place, so that a loop reads the same with and without one.

    resetting = Resetting(policy, decay=0.99, reset_every=17)     Resetting(policy) never averages or resets
    resetting.average("step")           θ̄ ← η θ̄ + (1−η) θ, if this is when θ̄ moves
    resetting.tick(update, …)           counts an update; θ ← θ̄ and θ̄ ← θ0 when that is due
    resetting.anchor.logits(tokens)     of the weights that a KL is taken against

ElasticReset is the method, for any training loop; this is what our loops need around it. Its rivals move the KL's
reference θ_ref instead of the policy, or both do, each on a clock of its own:

    every `reference_every` updates     θ_ref ← (1−rate) θ_ref + rate θ

Reference Resets (arXiv 2602.18037) with rate 1; EMA-PG (2602.04417) and TR-DPO's soft update with a small one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from elastic_lib.reset import Adaptive, ElasticReset, count, fraction

CHOICES = {
    "ema_every": ("step", "epoch", "rollout"),
    "optimizer": ("keep", "clear"),
    "value": ("keep", "clear"),
    "anchor": ("initial", "ema", "none"),
}
LAG = 10  # ρ of BEMA
LAYER, ATTENTION, ABOVE = (re.compile(one) for one in (r"\.(\d+)\.", r"\.(qkv|proj|self_attn)\.", r"\bnorm\."))


class Anchored:
    """A network with other weights than its own, the anchor's that a KL is taken against."""

    def __init__(self, net: nn.Module, weights: dict[str, Tensor]):
        self.net, self.weights = net, weights

    def logits(self, *inputs) -> Tensor:
        return functional_call(self.net, self.weights, inputs)


class BEMA(ElasticReset):
    """Another average (arXiv 2508.00180), never reset to: its weight falls with its moves t, and it reads out ahead.

    θ̄ ← (1−w) θ̄ + w θ,  w = (10+t)^−ema_power        read out: θ̄ + (10+t)^−bias_power (θ − θ0)
    """

    def __init__(self, parameters: Iterable[tuple[str, Tensor]], ema_power: float, bias_power: float, **how: Any):
        super().__init__(parameters, **how)
        self.ema_power, self.bias_power, self.moves = ema_power, bias_power, 0

    def update(self) -> None:
        self.moves += 1
        self.decay = 1 - (LAG + self.moves) ** -self.ema_power
        super().update()

    @contextmanager
    def averaged(self):
        online = {name: p.detach().clone() for name, p in self.parameters.items()}
        with super().averaged(), torch.no_grad():
            for name, p in self.parameters.items():
                p.add_(online[name] - self.initial[name], alpha=(LAG + self.moves) ** -self.bias_power)
            yield self

    def state_dict(self, copy: bool = True) -> dict[str, Any]:
        return super().state_dict(copy) | {"moves": self.moves}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict({name: part for name, part in state.items() if name != "moves"})
        self.moves = state["moves"]


class Resetting:
    """The resets of a policy: `elastic` is its ElasticReset, or None without a `decay`.

    θ̄ moves once a `ema_every`: step of the optimiser, epoch or rollout. `optimizer` and `value` say what becomes of
    both at a reset, `keep` or `clear`. A KL is taken against the `anchor`: initial, ema or none. θ0 can be kept in the
    precision `theta0`. Nothing is reset after the last of `updates`. With `reference_every` the anchor is a reference
    of its own, which begins as the initial model and moves to the policy, `reference_rate` of the way; of an update
    where both are due, to the policy that was reset. With a `kl_budget` or a `min_slope` Adaptive says when a reset is
    due, `min_interval` updates apart or more. An `ema_power` and a `bias_power` make the average BEMA's. What else
    there is goes to ElasticReset. A `part`, upper or lower layers or attention, alone is averaged and goes back.
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
        reference_every: int | None = None,
        reference_rate: float = 1.0,
        kl_budget: float | None = None,
        min_slope: float | None = None,
        min_interval: int = 1,
        ema_power: float | None = None,
        bias_power: float | None = None,
        part: str | None = None,
        **how: Any,
    ):
        given = {"ema_every": ema_every, "optimizer": optimizer, "value": value, "anchor": anchor}
        for name, known in CHOICES.items():
            if given[name] not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {given[name]!r}")
        if decay is None and (reset_every is not None or how or anchor == "ema"):
            raise ValueError("there is no average without a decay, 0.995 for instance")
        if reference_every is not None and anchor != "initial":
            raise ValueError(f"a reference that moves begins as θ0: anchor must be initial, not {anchor}")
        if kl_budget is not None or min_slope is not None:
            if anchor != "initial" or reference_every is not None:
                raise ValueError("kl_budget and min_slope are of the KL to θ0: anchor must be initial, and stay there")
            how["schedule"] = Adaptive(kl_budget, min_slope, min_interval)
        if (ema_power is None) != (bias_power is None):
            raise ValueError("BEMA needs both: an ema_power, 0.5 for instance, and a bias_power, 0.2")
        if ema_power is not None and how.get("mode") != "track":
            raise ValueError("BEMA's average is one to read out: mode must be track")
        self.ema_every, self.updates = ema_every, updates
        self.cleared = {name for name in ("optimizer", "value") if given[name] == "clear"}
        self.elastic = None
        if part is not None and anchor == "ema":
            raise ValueError(
                "of an average of a part of the weights no KL can be taken: anchor must be initial or none"
            )
        if part is not None:
            how["select"] = in_part(part, [name for name, _ in policy.named_parameters()])
        if ema_power is not None:
            self.elastic = BEMA(policy.named_parameters(), ema_power, bias_power, **how)
        elif decay is not None:
            self.elastic = ElasticReset(policy.named_parameters(), decay, reset_every, **how)
        if theta0 is not None and self.elastic is not None:  # the numbers that a copy in half precision would give back
            for initial in self.elastic.initial.values():
                initial.copy_(initial.to(getattr(torch, theta0)))
        self.policy, self.reference_rate = policy, fraction("reference_rate", reference_rate)
        self.reference_every = None if reference_every is None else count("reference_every", reference_every)
        self.anchor = None if anchor == "none" else Anchored(policy, self._weights(policy, anchor))

    def _weights(self, policy: nn.Module, anchor: str) -> dict[str, Tensor]:
        """θ̄ and θ0 are those of the reset itself, never a second copy; what is frozen is the policy's own."""
        whole = self.elastic is not None and set(self.elastic.initial) == set(_learning(policy))
        if whole and self.reference_every is None:
            return self.elastic.ema if anchor == "ema" else self.elastic.initial
        return {name: p.clone() for name, p in _learning(policy).items()}

    @property
    def resets(self) -> int:
        """How many so far."""
        return self.elastic.resets if self.elastic is not None else 0

    def average(self, *after: str) -> None:
        """Moves θ̄, if it moves after one of these."""
        if self.elastic is not None and self.ema_every in after:
            self.elastic.update()

    def tick(self, update: int, measures: Mapping[str, float] | None = None, **clear: Callable[[], None]) -> bool:
        """Counts an update; True if θ was reset, and then what is to be cleared was, as a loop says it is.

        `measures` of the update, its `kl` and `reward`, are what a schedule may ask for. A run never ends on a reset.
        """
        if odd := self.cleared - set(clear):
            raise ValueError(f"this loop has no {' and no '.join(odd)} to clear; it has {', '.join(clear)}")
        if update == self.updates:
            return False
        due = self.elastic is not None and self.elastic.tick(**(measures or {}))
        if due:
            for name in self.cleared:
                clear[name]()
        if self.reference_every is not None and update % self.reference_every == 0:
            self.move_reference()
        return due

    def move_reference(self) -> None:
        """θ_ref ← (1−rate) θ_ref + rate θ; with rate 1 it becomes the policy, bit for bit."""
        for name, p in _learning(self.policy).items():
            self.anchor.weights[name].lerp_(p, self.reference_rate)

    def state_dict(self) -> dict[str, Any]:
        """The ElasticReset's, if there is one, and the reference if it moves."""
        state = {} if self.elastic is None else self.elastic.state_dict()
        if self.reference_every is not None:
            state["reference"] = {name: weights.clone() for name, weights in self.anchor.weights.items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        if self.reference_every is not None:
            for name, weights in self.anchor.weights.items():
                weights.copy_(state["reference"][name])
        if self.elastic is not None:
            self.elastic.load_state_dict({name: part for name, part in state.items() if name != "reference"})


def in_part(part: str, names: Iterable[str]) -> Callable[[str], bool]:
    """Which of a model's weights belong to its upper or lower half, or to attention.

    Embeddings are below all layers, the last norm is above them.
    """
    numbers = {int(found[1]) for name in names if (found := LAYER.search(name))}
    half = (max(numbers) + 1) / 2

    def upper(name: str) -> bool:
        found = LAYER.search(name)
        return int(found[1]) >= half if found else ABOVE.search(name) is not None

    return {
        "upper": upper,
        "lower": lambda name: not upper(name),
        "attention": lambda name: bool(ATTENTION.search(name)),
    }[part]


def _learning(policy: nn.Module) -> dict[str, Tensor]:
    """What of a policy is trained, without its gradients."""
    return {name: p.detach() for name, p in policy.named_parameters() if p.requires_grad}
