"""Elastic Reset (Noukhovitch et al., NeurIPS 2023, Section 3) for any PyTorch training loop.

The method keeps an exponential moving average θ̄ of the online model θ, both starting at the pretrained θ0:

    after every online step     θ̄ ← η θ̄ + (1−η) θ          `update`
    every n steps               θ ← θ̄, then θ̄ ← θ0          `reset`, counted by `tick`

A step is one of the optimiser, not a micro-batch of gradient accumulation. Whoever trains a copy of the weights (master
weights in float32, say) has to write θ into that copy after a reset.

How this differs from the text: the caller decides when `update` runs, because the authors' code ran it once an epoch on
IMDB, once an inner PPO epoch on StackLLaMA and once a step in the Translation Game; θ̄ is kept in float32 whatever the
model's type; and the two halves of a reset can be partial (`restore`, `restart`) or run on different clocks.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from elastic_lib.decay import count, fraction
from elastic_lib.decay import decay_for as decay_for
from elastic_lib.decay import starting_point as starting_point

MODES = ("elastic", "to_ema", "to_init", "track")
Schedule = Callable[[int, Mapping[str, float]], bool]


class Distances(NamedTuple):
    """Euclidean distances in weight space: |θ−θ0|, |θ̄−θ0|, |θ−θ̄|."""

    init: float
    ema_init: float
    ema: float


class ElasticReset:
    """Averages `parameters` and resets them; `mode` is elastic, to_ema, to_init, or track (never write back)."""

    warned = False  # of what goes wrong silently

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[tuple[str, Tensor]],
        decay: float = 0.995,
        reset_every: int | None = None,
        *,
        mode: str = "elastic",
        device: torch.device | str | None = None,
        restore: float = 1.0,
        restart: float = 1.0,
        select: Callable[[str], bool] | None = None,
        schedule: Schedule | None = None,
        ema_reset_every: int | None = None,
    ):
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}; got {mode!r}")
        if schedule is not None and reset_every is not None:
            raise ValueError("give reset_every or schedule, not both: reset_every=n means schedule=Every(n)")
        if ema_reset_every is not None and mode in ("to_ema", "track"):
            raise ValueError(f"ema_reset_every sends θ̄ back to θ0, and mode {mode!r} never does")
        self.mode = mode
        self.decay = fraction("decay", decay)
        self.restore = fraction("restore", restore)
        self.restart = fraction("restart", restart)
        if schedule is not None and (isinstance(schedule, type) or not callable(schedule)):
            raise ValueError(f"schedule must be Every(n), At(steps), Adaptive(…) or a function; got {schedule!r}")
        self.schedule = Every(reset_every) if reset_every is not None else schedule
        self.ema_schedule = Every(ema_reset_every, "ema_reset_every") if ema_reset_every is not None else None
        self.parameters = _trainable(parameters, select)
        self.ema = {name: _state_like(p, device, average=True) for name, p in self.parameters.items()}
        self.initial = {name: _state_like(p, device, average=False) for name, p in self.parameters.items()}
        self.step = self.resets = self.last_reset = 0
        self._swapped = False

    @torch.no_grad()
    def update(self) -> None:
        """θ̄ ← η θ̄ + (1−η) θ."""
        self._refuse_inside_averaged("update")
        averages, online = list(self.ema.values()), [p.detach() for p in self.parameters.values()]
        if any(a.device != p.device for a, p in zip(averages, online, strict=True)):
            online = [p.to(a.device, non_blocking=True) for a, p in zip(averages, online, strict=True)]
            if any(p.is_cuda for p in self.parameters.values()):
                torch.cuda.synchronize()  # all copies were started before the one wait
        if all(a.dtype == p.dtype for a, p in zip(averages, online, strict=True)) and _on_one_mesh(online):
            torch._foreach_lerp_(averages, online, 1 - self.decay)
        else:
            for average, p in zip(averages, online, strict=True):
                average.mul_(self.decay).add_(p, alpha=1 - self.decay)

    @torch.no_grad()
    def reset(self) -> None:
        """θ ← θ̄, then θ̄ ← θ0 (to_ema leaves out the second, to_init takes θ0 in the first, track does neither)."""
        self._refuse_inside_averaged("reset")
        if self.mode == "track":
            return
        self._warn_of_what_stands()
        self.resets += 1
        self.last_reset = self.step
        for name, p in self.parameters.items():
            _move(p, self.initial[name] if self.mode == "to_init" else self.ema[name], self.restore)
        if self.mode != "to_ema" and self.ema_schedule is None:
            self.reset_ema()

    @torch.no_grad()
    def reset_ema(self) -> None:
        """θ̄ ← θ0, the second half of a reset."""
        if any(p.is_cuda for p in self.parameters.values()):
            torch.cuda.synchronize()  # θ may still be on its way out of the pinned θ̄
        for name, average in self.ema.items():
            _move(average, self.initial[name], self.restart)

    def tick(self, **measures: float) -> bool:
        """Counts one step of the schedule and resets when it is due; True if θ was reset."""
        self._refuse_inside_averaged("tick")
        self.step += 1
        seen = {**measures, "since_reset": self.step - self.last_reset}
        due = self.schedule is not None and bool(self.schedule(self.step, seen)) and self.mode != "track"
        if due:
            self.reset()
        if self.ema_schedule is not None and self.ema_schedule(self.step, seen):
            self.reset_ema()
        return due

    @contextmanager
    def averaged(self):
        """Inside the block the model holds θ̄; after it, θ again, bit for bit."""
        self._refuse_inside_averaged("averaged")
        online = {name: p.detach().clone() for name, p in self.parameters.items()}
        try:
            self._swapped = True
            self._write(self.ema)
            yield self
        finally:
            self._write(online)
            self._swapped = False

    @torch.no_grad()
    def distances(self) -> Distances:
        """How far θ and θ̄ have gone from θ0 and from each other."""
        squares = [0.0, 0.0, 0.0]
        for name, p in self.parameters.items():
            average, initial = self.ema[name], self.initial[name].to(self.ema[name].dtype)
            online = p.detach().to(average)
            for i, (a, b) in enumerate(((online, initial), (average, initial), (online, average))):
                part = torch.dist(a, b)  # of shards, only those of this rank
                squares[i] += float(part.full_tensor() if hasattr(part, "full_tensor") else part) ** 2
        return Distances(*map(math.sqrt, squares))

    def state_dict(self, copy: bool = True) -> dict[str, Any]:
        """Everything that a resumed run needs: counters, θ̄, θ0, and the schedule's memory if it has one."""
        return {
            "step": self.step,
            "resets": self.resets,
            "last_reset": self.last_reset,
            "schedule": getattr(self.schedule, "state_dict", dict)(),
            "ema": {name: t.clone() if copy else t for name, t in self.ema.items()},
            "initial": {name: t.clone() if copy else t for name, t in self.initial.items()},
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave; refuses other parameters, shapes or keys before it changes anything."""
        _same("state", {"step", "resets", "last_reset", "schedule", "ema", "initial"}, _names("state", state))
        counted = [count(f"{name} of the state", state[name], least=0) for name in ("step", "resets", "last_reset")]
        if counted[2] > counted[0]:
            raise ValueError(f"a last reset at step {counted[2]} of {counted[0]}: the state was damaged or mixed up")
        for part in ("ema", "initial"):
            own = getattr(self, part)
            _same(f"parameters of '{part}'", set(own), _names(f"'{part}' of the state", state[part]))
            for name, tensor in state[part].items():
                if not isinstance(tensor, Tensor):
                    raise ValueError(f"'{part}' of parameter {name!r} is no tensor but {type(tensor).__name__}")
                if tensor.shape != own[name].shape:
                    shapes = f"{tuple(tensor.shape)} in the state, {tuple(own[name].shape)} in the model"
                    raise ValueError(f"'{part}' of parameter {name!r} has another shape: {shapes}")
        if hasattr(self.schedule, "load_state_dict"):
            self.schedule.load_state_dict(state["schedule"])  # first: it may refuse
        for part in ("ema", "initial"):
            for name, tensor in state[part].items():
                getattr(self, part)[name].copy_(tensor)
        self.step, self.resets, self.last_reset = counted

    def _warn_of_what_stands(self) -> None:
        """Says once, at a reset, what nobody would see: weights that never moved, an average that never followed."""
        if self.warned:
            return
        if all(_equal(p.detach(), self.initial[name]) for name, p in self.parameters.items()):
            self.warned = True
            warnings.warn(
                "no parameter has moved since θ0: were they put in another's place after ElasticReset was made "
                "(get_peft_model, fully_shard, load_state_dict(assign=True), a copy of it)? Make it after that.",
                stacklevel=3,
            )
        elif self.mode != "to_init" and all(_equal(self.ema[name], initial) for name, initial in self.initial.items()):
            self.warned = True
            warnings.warn(
                f"θ̄ is still at θ0, so this reset takes all back: call update() after each step (η is {self.decay:g})",
                stacklevel=3,
            )

    @torch.no_grad()
    def _write(self, source: Mapping[str, Tensor]) -> None:
        for name, p in self.parameters.items():
            p.copy_(source[name], non_blocking=True)

    def _refuse_inside_averaged(self, what: str) -> None:
        if self._swapped:
            raise RuntimeError(f"{what}() inside `with averaged():` would take θ̄ for θ; call it after the block")


# ---- when to reset


class Every:
    """Due at every n-th step."""

    def __init__(self, n: int, name: str = "reset_every"):
        self.n = count(name, n)

    def __call__(self, step: int, measures: Mapping[str, float]) -> bool:
        return step % self.n == 0


class At:
    """Due at the listed steps."""

    def __init__(self, steps: Iterable[int]):
        if isinstance(steps, str) or not isinstance(steps, Iterable):
            raise ValueError(f"At takes a list of steps; got {steps!r}")
        self.steps = frozenset(count("a step of At", s) for s in steps)

    def __call__(self, step: int, measures: Mapping[str, float]) -> bool:
        return step in self.steps


class Adaptive:
    """Due when the KL to θ0 exceeds `kl_budget`, or when reward stops rising with √KL; at least `min_interval` apart.

    It reads the measures `kl` and `reward` of `tick(kl=…, reward=…)`; NaN is one that is not known yet. The slope of
    reward over √KL is fitted by least squares to the last `window` steps of this iteration, and is flat when it falls
    to `min_slope` or below.
    """

    def __init__(
        self, kl_budget: float | None = None, min_slope: float | None = None, min_interval: int = 1, window: int = 10
    ):
        if kl_budget is None and min_slope is None:
            raise ValueError("Adaptive needs a kl_budget, a min_slope, or both")
        if kl_budget is not None and not number("kl_budget", kl_budget) > 0:
            raise ValueError(f"kl_budget must be above 0; got {kl_budget!r}")
        if min_slope is not None:
            number("min_slope", min_slope)
        self.kl_budget, self.min_slope = kl_budget, min_slope
        self.min_interval = count("min_interval", min_interval)
        self.window = count("window", window, least=2)
        self.history: list[tuple[int, float, float]] = []  # step, √KL, reward

    def __call__(self, step: int, measures: Mapping[str, float]) -> bool:
        needed = {"kl"} if self.min_slope is None else {"kl", "reward"}
        if missing := sorted(needed - set(measures)):
            given = ", ".join(f"{name}=…" for name in missing)
            above = " (TRL: β above 0)" if "kl" in missing else ""
            raise ValueError(f"Adaptive needs tick({given}), or a trainer that logs {' and '.join(missing)}{above}")
        if any(number(f"{name} of tick", measures[name], unknown=True) is None for name in needed):
            return False
        since = count("since_reset of tick", measures.get("since_reset", step), least=0)
        # forget what was before a reset, and of another run
        self.history = [point for point in self.history if step - since < point[0] < step]
        kl, reward = float(measures["kl"]), float(measures.get("reward", 0.0))
        self.history.append((step, math.sqrt(max(kl, 0.0)), reward))
        self.history = self.history[-self.window :]
        if since < self.min_interval:
            return False
        over = self.kl_budget is not None and kl > self.kl_budget
        return over or (self.min_slope is not None and self._flat())

    def _flat(self) -> bool:
        if len(self.history) < self.window:
            return False
        _, xs, ys = zip(*self.history, strict=True)
        mean_x, mean_y = sum(xs) / self.window, sum(ys) / self.window
        spread = sum((x - mean_x) ** 2 for x in xs)
        rise = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
        return spread > 0 and rise / spread <= self.min_slope

    def state_dict(self) -> dict[str, Any]:
        """The points of this iteration."""
        return {"history": [list(point) for point in self.history]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        points = state.get("history") if isinstance(state, Mapping) else None
        if not isinstance(points, list) or any(not isinstance(p, list | tuple) or len(p) != 3 for p in points):
            raise ValueError(
                "an Adaptive schedule's state is steps with √KL and reward; this one is another schedule's"
            )
        self.history = [
            (count("step of the state", at), number("√KL of the state", x), number("reward of the state", y))
            for at, x, y in points
        ]


def number(name: str, value: float, unknown: bool = False) -> float | None:
    """`value` as a float, infinite or not, or an error that says what it is; NaN is None where it may be unknown."""
    try:
        found = None if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        found = None
    if found is None or (math.isnan(found) and not unknown):
        raise ValueError(f"{name} must be a number; got {value!r}")
    return None if math.isnan(found) else found


def _trainable(parameters: Iterable, select: Callable[[str], bool] | None) -> dict[str, Tensor]:
    if select is not None and not callable(select):
        raise ValueError(f"select must be a function of a name that says True or False; got {select!r}")
    if isinstance(parameters, Mapping | Tensor) or not isinstance(parameters, Iterable):
        what = type(parameters).__name__
        raise ValueError(f"pass model.parameters() or model.named_parameters(); got {what}")
    given = list(parameters)
    if not given:
        raise ValueError("no parameters were given: an iterator that something has read already? model.parameters()")
    named = isinstance(given[0], tuple)
    if select is not None and not named:
        raise ValueError("select= chooses by name: pass model.named_parameters()")
    pairs = given if named else [(str(i), p) for i, p in enumerate(given)]
    odd = [one for one in pairs if not (isinstance(one, tuple) and len(one) == 2 and isinstance(one[1], Tensor))]
    if odd:
        raise ValueError(f"parameters are tensors, or pairs of a name and a tensor, all alike; got {odd[0]!r:.80}")
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("two parameters have one name: prefix the names of each model, or pass parameters()")
    chosen = {name: p for name, p in pairs if p.requires_grad and (select is None or select(name))}
    if not chosen:
        trained = next((name for name, p in pairs if p.requires_grad), None)
        if trained is None:
            raise ValueError("no parameter to average: none has requires_grad; call model.requires_grad_(True)")
        raise ValueError(
            f"no parameter to average: select= takes none of the trained; their names are like {trained!r}"
        )
    return chosen


def _state_like(p: Tensor, device: torch.device | str | None, average: bool) -> Tensor:
    """A copy of θ0: in float32 or wider for the average, in the model's own type for the bit-for-bit restore."""
    dtype = torch.promote_types(p.dtype, torch.float32) if average else p.dtype
    try:
        copy = torch.empty_like(p, dtype=dtype, device=device or p.device, requires_grad=False)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ValueError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"the average cannot lie on device {device or p.device} ({why}); device='cpu' always can"
        ) from None
    if copy.is_meta:
        raise ValueError("parameters on 'meta' have no values yet: load the model's weights first")
    copy.copy_(p.detach())
    return copy.pin_memory() if p.is_cuda and copy.device.type == "cpu" else copy


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two have the same values, of shards those of this process."""
    one, other = (t.to_local() if hasattr(t, "to_local") else t for t in (one, other))
    return torch.equal(one.to(other.device, other.dtype), other)


def _on_one_mesh(tensors: list[Tensor]) -> bool:
    """Whether all are whole, or all in shards on the same devices: no kernel takes a mixture."""
    return len({getattr(t, "device_mesh", None) for t in tensors}) == 1


def _move(target: Tensor, source: Tensor, share: float) -> None:
    """target ← (1−share)·target + share·source, in place, so that an optimiser's references survive."""
    if share == 1:
        target.copy_(source, non_blocking=True)
    elif share > 0:
        wide = torch.promote_types(target.dtype, source.dtype)
        target.copy_(torch.lerp(target.to(wide), source.to(target.device, wide), share))


def _names(what: str, given: Any) -> set[str]:
    if not isinstance(given, Mapping):
        raise ValueError(f"{what} must be what state_dict() gave; got {type(given).__name__}")
    return set(given)


def _same(what: str, own: set[str], given: set[str]) -> None:
    if own != given:
        raise ValueError(f"{what} do not match: missing {_few(own - given)}, unexpected {_few(given - own)}")


def _few(names: set[str]) -> str:
    """The first three of some names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{sorted(map(str, names))[:3] or 'none'}{more}"
