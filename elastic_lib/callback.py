"""Elastic Reset inside any transformers.Trainer: plain, or TRL's SFT, reward, DPO, RLOO and GRPO.

When things happen, in optimiser steps (micro-batches of gradient accumulation do not count):

    average    after each step, after every n-th, at the end of an epoch, or of a generation buffer (`ema_every`); a
               step that mixed precision skipped is not averaged again
    reset      after steps n, 2n, …, before that step's log, evaluation and checkpoint: these see the reset policy.
               RLOO and GRPO may train several steps on one buffer of completions; a reset in its middle would leave
               completions of a policy that is gone, so it waits for the end of the buffer or of the run. A run of
               2n steps thus ends on a reset policy, the checkpoint to keep where drift matters most; for the policy
               before it train a step less.
    log        on the trainer's training lines: `elastic/reset`, the resets since the last one (1 on the line of a
               reset, where every step has a line), `elastic/distance_*` of the model as it is at that line, and
               `elastic/base_drift`, how far the frozen layers beneath an adapter are from what they were
    save       in the folder of the trainer's checkpoint, by the process that writes it, ahead of a push to the hub:
               θ̄, θ0, counters, the schedule's memory. A resumed run reads them from the folder that the trainer
               itself resumes from, so a moved one is found; settings are those of the run, not of the files.

Of FSDP2's shards each process averages its own. DeepSpeed (ZeRO-1, -2) steps from float32 copies of its own: a reset
writes the model, then these from it.

A `schedule` is asked after each step, with the numbers of a logged line at the step after it, and with NaN for `kl` and
`reward`, which is unknown, at every other: with `logging_steps=1` they lag by one step. A line that tells of a step
before the last reset, in part at least, is left out, since its policy is gone. Under several processes a schedule has
to say the same in each.

A second callback, which tracks or resets other weights, has files and log lines of its own: `elastic_2/reset`.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import has_length

from elastic_lib.records.files import DamagedRecord, read_json, sha256, write_json
from elastic_lib.records.tensors import write
from elastic_lib.reset import Adaptive, ElasticReset, Every, Schedule, count, starting_point

CADENCES = ("step", "epoch", "rollout")
DEFAULT_INTERVAL = 260
HARDLY_MOVED = 0.9  # of θ0 is left in an average: a reset to it takes nearly all back
COPYING = {"SyncRefModelCallback", "BEMACallback", "MergeModelCallback", "PEFTAdapterEMACallback"}  # TRL's


class ElasticResetCallback(TrainerCallback):
    """Averages and resets what is trained of a Trainer's policy; `elastic` is its ElasticReset once training began.

        callback = ElasticResetCallback(**ElasticResetCallback.suggest(600))  # n and η for a run of 600 steps
        GRPOTrainer(model, reward, args, data, callbacks=[callback]).train()

    decay           η: θ̄ ← η θ̄ + (1−η) θ; `decay_for(left=0.5, moves=n)` is the one that leaves half of θ0 at a reset
    reset_every     n, in optimiser steps; or a `schedule`: any callable of the step and of what was logged last
    ema_every       when the average moves: "step", a number of steps, "epoch", or "rollout" (RLOO, GRPO)
    optimizer       at a reset: "keep" Adam's moments, as the authors' code does, or "clear" them
    mode            "elastic"; "to_ema" leaves θ̄ where it is, "to_init" takes θ0, "track" only averages
    restore         how much of the way to θ̄ a reset takes θ; `restart`: how much of the way to θ0 it takes θ̄
    select          a predicate on names, where not all that is trained shall be reset
    ema_reset_every a clock of its own for θ̄ ← θ0
    device          where θ̄ and θ0 are kept, "cpu" for one; by default where the policy is
    stop_after      ends the run right after so many resets, on the policy to keep where drift matters most; saved too,
                    unless save_strategy is "no"
    guard_base      keeps a copy of the frozen layers beneath an adapter and restores them at each reset
    """

    def __init__(
        self,
        decay: float = 0.995,
        reset_every: int | None = DEFAULT_INTERVAL,
        ema_every: int | str = "step",
        optimizer: str = "keep",
        *,
        mode: str = "elastic",
        restore: float = 1.0,
        restart: float = 1.0,
        select: Callable[[str], bool] | None = None,
        schedule: Schedule | None = None,
        ema_reset_every: int | None = None,
        device: torch.device | str | None = None,
        stop_after: int | None = None,
        guard_base: bool = False,
    ):
        if isinstance(ema_every, str) and ema_every not in CADENCES:
            raise ValueError(f"ema_every must be a number of steps or one of {', '.join(CADENCES)}; got {ema_every!r}")
        if optimizer not in ("keep", "clear"):
            raise ValueError(f"optimizer must be 'keep' or 'clear' (its moments at a reset); got {optimizer!r}")
        if schedule is not None and reset_every not in (None, DEFAULT_INTERVAL):
            raise ValueError("give reset_every or schedule, not both: reset_every=n means schedule=Every(n)")
        self.ema_every = ema_every if isinstance(ema_every, str) else count("ema_every", ema_every)
        self.optimizer = optimizer
        self.stop_after = None if stop_after is None else count("stop_after", stop_after)
        if mode == "track" and stop_after is not None:
            raise ValueError("stop_after counts resets, and mode='track' has none")
        if schedule is None and reset_every is not None:
            schedule = Every(reset_every)
        self.schedule = None if mode == "track" else schedule
        self.settings = {"decay": decay, "mode": mode, "restore": restore, "restart": restart}
        self.settings |= {"ema_reset_every": ema_reset_every, "device": device}
        # a wrong number is refused here and now
        ElasticReset([nn.Parameter(torch.zeros(1))], schedule=self.schedule, **self.settings)
        self.select, self.guard_base = select, guard_base
        self.elastic: ElasticReset | None = None
        self.trainer: Trainer | None = None
        self.model: nn.Module | None = None
        self.before_loggers = _BeforeLoggers(self)
        self.suffix = ""  # of the names of its files and log lines, where it is not the first of its kind
        self.saved: int | None = None  # the step whose checkpoint has them already
        self.warned: set[str] = set()

    @staticmethod
    def suggest(updates: int) -> dict[str, Any]:
        """Settings to begin with in a run of so many optimiser steps: `ElasticResetCallback(**….suggest(600))`.

        With `ema_every="step"`: an average that moves more rarely needs an η of its own, `decay_for(0.5, moves)`.
        """
        reset_every, decay = starting_point(updates)
        return {"decay": decay, "reset_every": reset_every}

    def on_train_begin(self, args, state, control, model=None, optimizer=None, train_dataloader=None, **kwargs):
        """Starts at θ0, or goes on from the files beside the trainer's checkpoint."""
        again, (self.trainer, folder) = self.elastic is not None, _caller()
        if again and folder is None and getattr(args, "auto_find_batch_size", False):
            raise RuntimeError(
                "auto_find_batch_size begins again with the weights that it stopped at, which are not θ0: give the "
                "batch size that fits, or for another run another ElasticResetCallback"
            )
        if self.trainer is None and state.global_step > 0:
            raise RuntimeError("only Trainer.train() can resume with θ̄ and θ0; elsewhere use elastic_lib.ElasticReset")
        self.model = model = _bare(model)
        _refuse_what_cannot_be_reset(self, model)
        # a generation buffer in micro-batches; 1 where a trainer has none
        self.buffer = (getattr(args, "steps_per_generation", None) or 1) * getattr(args, "num_iterations", 1)
        _refuse_cadence(self.ema_every, args, train_dataloader)
        if self.stop_after is not None and getattr(args, "save_strategy", "no") == "best":
            raise ValueError(
                "save_strategy='best' does not save the policy that stop_after ends on; use 'steps' or 'no'"
            )
        schedule = None if self.schedule is None else _Held(_afresh(self.schedule))
        self.elastic = None  # another run's θ̄ and θ0 make room for these
        self.elastic = _Policy(_trained(model), select=self.select, schedule=schedule, **self.settings)
        self.elastic.model, self.elastic.trainer, self.elastic.base = model, self.trainer, _Base(model, self.guard_base)
        _refuse_a_second(self)
        kin = _kin(self.trainer)
        self.suffix = f"_{kin.index(self) + 1}" if self in kin[1:] else ""
        self.saved = None
        self._warn_of_what_is_hardly_meant(args, state)
        if self.elastic.ema_schedule is not None:
            self.elastic.ema_schedule = _Held(self.elastic.ema_schedule)
        _refuse_copies(optimizer, self.elastic.parameters.values())
        if folder is not None:
            _load(self.elastic, Path(folder), self.files)
            if self.stop_after is not None and self.elastic.resets >= self.stop_after:
                raise RuntimeError(
                    f"{folder} is where this run ended, after stop_after={self.stop_after} resets: load the model from "
                    "it, or give a larger stop_after to go on"
                )
            ends = self.stop_after is not None and self.elastic.resets + 1 >= self.stop_after
            # the trainer looks only after a step whether it is to stop: the last reset waits for the end of a buffer
            if state.global_step < state.max_steps and not ends and self._make_up():
                self._after_reset(args, control, optimizer)
        if self.trainer is not None:
            others = [other for other in self.trainer.callback_handler.callbacks if other is not self.before_loggers]
            self.trainer.callback_handler.callbacks = [self.before_loggers, *others]

    def on_step_end(self, args, state, control, optimizer=None, **kwargs):
        """θ̄ ← η θ̄ + (1−η) θ, and every n steps θ ← θ̄, then θ̄ ← θ0."""
        if self.elastic is None:
            raise RuntimeError("ElasticResetCallback was added while training: θ0 is gone; give it before train()")
        taken = getattr(self.trainer, "_step", state.global_step * args.gradient_accumulation_steps)
        buffer_ends = taken % self.buffer == 0
        if self._averages_now(state, buffer_ends) and not getattr(optimizer, "step_was_skipped", False):
            self.elastic.update()
        last = state.global_step >= state.max_steps or control.should_training_stop
        if self.elastic.tick(**_just_logged(state, self.elastic), held=not (buffer_ends or last)):
            self._after_reset(args, control, optimizer)

    def on_epoch_end(self, args, state, control, **kwargs):
        """A reset that waited for the end of a buffer comes now, if a later callback ended the run in its middle."""
        if control.should_training_stop:
            self._make_up()

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Adds to a line of training what a reader needs to see whether the resets do anything."""
        prefix = f"elastic{self.suffix}"
        if self.elastic is None or "loss" not in logs or f"{prefix}/reset" in logs:
            return
        before = sum(line.get(f"{prefix}/reset", 0) for line in state.log_history)
        self._warn_of_a_cast()
        told = {"reset": self.elastic.resets - before}
        told |= {f"distance_{name}": value for name, value in self.elastic.distances()._asdict().items()}
        if self.elastic.base.layers:
            told["base_drift"] = self.elastic.base.drift()
        told = {f"{prefix}/{name}": value for name, value in told.items()}
        logs |= told
        state.log_history[-1] |= told  # the trainer has copied its line by now

    def on_push_begin(self, args, state, control, **kwargs):
        """A checkpoint goes to the hub with θ̄ and θ0; of shards without, since one process alone is asked to push."""
        if self.elastic is not None and control.should_save and not self._sharded():
            self._keep(args, state)

    def on_save(self, args, state, control, **kwargs):
        """Writes θ̄, θ0 and the counters beside the checkpoint that the trainer has just written."""
        if (args.should_save or self._sharded()) and self.saved != state.global_step:
            self._keep(args, state)

    def _sharded(self) -> bool:
        return any(map(_is_sharded, self.elastic.parameters.values()))

    def _keep(self, args, state) -> None:
        whole = _whole_state(self.elastic, kept=args.should_save)  # of shards, every process gives its own
        if args.should_save:
            whole |= {"averages": self.elastic.moves, "mode": self.elastic.mode}
            _save(whole, Path(args.output_dir) / f"checkpoint-{state.global_step}", self.files)
        self.saved = state.global_step

    @property
    def files(self) -> str:
        """What the files in a checkpoint are called, but for their endings."""
        return f"elastic_reset{self.suffix}"

    def _warn_of_what_is_hardly_meant(self, args, state) -> None:
        if isinstance(self.schedule, Every) and 0 < state.max_steps < self.schedule.n:
            n, steps = self.schedule.n, state.max_steps
            _warn(f"reset_every={n} is longer than this run of {steps} steps, so none comes: set it to {steps} or less")
        if self.stop_after is not None and getattr(args, "load_best_model_at_end", False):
            _warn(
                "load_best_model_at_end=True puts another checkpoint in the place of the policy that stop_after ends on"
            )
        if getattr(args, "save_total_limit", None) == 1 and args.save_strategy != "no":
            _warn("with save_total_limit=1 a kill while a checkpoint is written leaves none to resume from: keep 2")
        if self.guard_base and not (self.elastic.base.layers or self.elastic.base.quantised):
            _warn("guard_base=True has no frozen layers beneath an adapter to keep: leave it out")
        before = itertools.takewhile(lambda other: other is not self, _line(self.trainer))
        copying = [cls.__name__ for other in before for cls in type(other).__mro__ if cls.__name__ in COPYING]
        if copying:
            _warn(f"{copying[0]} takes the policy of a step before it is reset: give ElasticResetCallback ahead of it")
        if worn := self.elastic.base.wears(self.trainer):
            _warn(f"generation merges the adapter into a {worn}")

    def _warn_once(self, of: str, what: str) -> None:
        if of not in self.warned:
            self.warned.add(of)
            _warn(what)

    def _warn_of_a_cast(self) -> None:
        pairs = [(p, self.elastic.initial[name]) for name, p in self.elastic.parameters.items()]
        cast = next((p.dtype for p, initial in pairs if p.dtype != initial.dtype), None)
        if cast is not None:
            self._warn_once(
                "cast",
                f"the trainer has cast the policy to {str(cast)[6:]} in place, so small steps are rounded away: set "
                "bf16=False and fp16=False with continuous batching, or generate with vLLM or model.generate",
            )

    def _averages_now(self, state, buffer_ends: bool) -> bool:
        if self.ema_every == "rollout":
            return buffer_ends
        if self.ema_every == "epoch":
            return float(state.epoch).is_integer()
        return state.global_step % (1 if self.ema_every == "step" else self.ema_every) == 0

    def _after_reset(self, args, control, optimizer) -> None:
        self._warn_of_an_average_that_stood()
        self._warn_of_what_is_trained_since()
        if self.optimizer == "clear":
            for p in self.elastic.parameters.values():
                optimizer.state.pop(p, None)
        if self.stop_after is not None and self.elastic.resets >= self.stop_after:
            control.should_training_stop = True
            control.should_save |= getattr(args, "save_strategy", "no") != "no"

    def _warn_of_an_average_that_stood(self) -> None:
        if self.elastic.mode not in ("elastic", "to_ema"):
            return
        moved = self.elastic.moved
        left = self.elastic.decay**moved
        if moved == 0:
            self._warn_once(
                "average",
                f"θ̄ had not left θ0 at this reset, so that all was taken back: ema_every={self.ema_every!r} has "
                "not moved it since the last one; move it more often or reset less often",
            )
        elif left > HARDLY_MOVED:
            self._warn_once(
                "average",
                f"this reset took nearly all back: {left:.0%} of θ0 was left in θ̄, which moved {moved} times "
                f"since it was there; decay_for(left=0.5, moves={moved}) is the η that leaves half",
            )

    def _warn_of_what_is_trained_since(self) -> None:
        mine = {id(p) for p in self.elastic.parameters.values()}
        trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        left_out = [name for name, p in trained.items() if id(p) not in mine and (not self.select or self.select(name))]
        idle = mine - {id(p) for p in trained.values()}
        if left_out or idle:
            example = f" (like {left_out[0]!r})" if left_out else ""
            self._warn_once(
                "others",
                f"what is trained has changed since training began: {len(left_out)} trained parameters{example} are "
                f"not reset, and {len(idle)} that are reset are trained no more; begin another run",
            )

    def _make_up(self) -> bool:
        """Resets that waited for the end of a buffer that never comes: whether θ was reset."""
        due = self.elastic.schedule is not None and self.elastic.schedule.release()
        if due:
            self.elastic.reset()
        if self.elastic.ema_schedule is not None and self.elastic.ema_schedule.release():
            self.elastic.reset_ema()
        return due


class _Policy(ElasticReset):
    """A trainer's policy: whoever generates from a copy of its weights learns of every change that is made here."""

    model: nn.Module
    trainer: Trainer | None = None
    base: _Base
    warned = True  # the callback knows more of what goes wrong, and says it
    moves = moved = 0  # of the average since it was at θ0, and by the last reset

    def update(self) -> None:
        super().update()
        self.moves += 1

    def reset_ema(self) -> None:
        super().reset_ema()
        self.moves = 0

    def reset(self) -> None:
        self.moved = self.moves
        super().reset()
        for p in filter(_has_master, self.parameters.values()):
            p.set_full_hp_param(p.detach().float())
        self.base.restore()
        self._gather_again()
        _fetch_again(self.trainer, for_good=True)

    def _write(self, source: Mapping[str, Tensor]) -> None:
        super()._write(source)
        self._gather_again()
        _fetch_again(self.trainer)

    def _gather_again(self) -> None:
        """FSDP2 keeps some parameters whole after a forward without gradients: they are put together anew, changed."""
        for module in self.model.modules():
            if hasattr(module, "reshard"):
                module.reshard()


class _Base:
    """The frozen layers beneath an adapter: merged for generation and unmerged, in half precision they wear away."""

    def __init__(self, model: nn.Module, guard: bool, most: int = 4096):
        adapted = [(at, m.base_layer) for at, m in model.named_modules() if hasattr(m, "merge") and _has_base(m)]
        named = [(f"{at}.{name}", p) for at, layer in adapted for name, p in layer.named_parameters()]
        frozen = {name: p for name, p in named if not p.requires_grad}
        self.quantised = any(_is_quantised(p) for p in frozen.values())
        self.types = {str(p.dtype)[6:] for p in frozen.values() if p.is_floating_point() and p.element_size() < 4}
        self.layers = {name: p for name, p in frozen.items() if not (_is_quantised(p) or _is_sharded(p))}
        self.whole = {name: p.detach().cpu().clone() for name, p in self.layers.items()} if guard else {}
        self.stride = {name: max(1, p.numel() // most) for name, p in self.layers.items()}
        self.sample = self._sampled()

    def _sampled(self) -> dict[str, Tensor]:
        chosen = {name: p.detach().flatten()[:: self.stride[name]] for name, p in self.layers.items()}
        return {name: t.to(torch.float32, copy=True) for name, t in chosen.items()}

    def drift(self) -> float:
        """|W−W0| / |W0| over some thousand weights of each layer."""
        before, now = (torch.cat([t.cpu() for t in part.values()]) for part in (self.sample, self._sampled()))
        return float(torch.dist(now, before) / before.norm())

    @torch.no_grad()
    def restore(self) -> None:
        """Makes them what they were, where `guard_base` kept them."""
        for name, kept in self.whole.items():
            self.layers[name].copy_(kept)

    def wears(self, trainer: Trainer | None) -> str | None:
        """What becomes of them if this trainer merges the adapter into them and out again; None where nothing does."""
        streams = hasattr(trainer, "_sync_weight") and not getattr(trainer, "_lora_sync", False)
        if not (streams or getattr(trainer, "use_vllm", False)):
            return None
        if self.quantised:
            return (
                "quantised base and out again, rounded anew each time, which cannot be guarded: load the base in "
                "bfloat16 with guard_base=True, or in float32"
            )
        if self.whole or not self.types:
            return None
        guard = "set guard_base=True (a copy on the CPU, restored at each reset) or " if self.layers else ""
        worn = f"{min(self.types)} base and out again, which wears the base away"
        return f"{worn}: {guard}load the base in float32"


def _is_quantised(p: Tensor) -> bool:
    """Whether a frozen weight holds packed numbers, not its own (bitsandbytes)."""
    return not p.is_floating_point() or hasattr(p, "quant_state")


def _has_base(module: nn.Module) -> bool:
    return isinstance(getattr(module, "base_layer", None), nn.Module)


def _fetch_again(trainer: Trainer | None, for_good: bool = False) -> None:
    """Makes vLLM, colocated or served, take the weights anew before it generates from them."""
    if hasattr(trainer, "_last_loaded_step"):
        trainer._last_loaded_step = -1  # they are pushed where this is not the number of the step
    if for_good and trainer is not None and trainer.is_in_train and hasattr(trainer, "_sync_weight"):
        trainer._sync_weight()  # AsyncGRPO pushes at steps of its own, perhaps before this callback was called


class _BeforeLoggers(TrainerCallback):
    """First in the trainer's line, so that a line of the log is complete before any logger sees it."""

    def __init__(self, callback: ElasticResetCallback):
        self.callback = callback

    def on_log(self, *args, **kwargs):
        if self.callback in _line(self.callback.trainer):  # it may have been removed
            self.callback.on_log(*args, **kwargs)


class _Held:
    """A schedule whose dates wait as long as `held` is measured."""

    def __init__(self, schedule: Schedule):
        self.schedule, self.due = schedule, False

    def __call__(self, step: int, measures: Mapping[str, float]) -> bool:
        self.due = bool(self.schedule(step, measures)) or self.due
        return not measures["held"] and self.release()

    def release(self) -> bool:
        due, self.due = self.due, False
        return due

    def state_dict(self) -> dict[str, Any]:
        return {"due": self.due, "schedule": getattr(self.schedule, "state_dict", dict)()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.due = state.get("due", False)  # nothing is known of a schedule that the run had not before
        if state.get("schedule") and hasattr(self.schedule, "load_state_dict"):
            self.schedule.load_state_dict(state["schedule"])


def _afresh(schedule: Schedule) -> Schedule:
    """One that has seen no other run: of ours, Adaptive alone remembers."""
    return copy.deepcopy(schedule) if isinstance(schedule, Adaptive) else schedule


UNKNOWN = {"kl": math.nan, "reward": math.nan}


def _just_logged(state, elastic: ElasticReset) -> dict[str, float]:
    """The numbers of the line that the step before this one ended with, if all that it tells of came after a reset."""
    lines = [*itertools.islice((line for line in reversed(state.log_history) if "loss" in line), 2)]  # the last first
    if not lines or lines[0]["step"] != state.global_step - 1:
        return UNKNOWN
    begins = lines[1]["step"] if len(lines) > 1 else 0
    told = {name: math.nan if value is None else value for name, value in lines[0].items()}  # TRL's None is a NaN
    told = {name: value for name, value in told.items() if isinstance(value, (int, float)) and name != "step"}
    if begins < elastic.last_reset:  # part of it tells of a policy that is gone
        return UNKNOWN | dict.fromkeys(told, math.nan)
    return told


# ---- beside the trainer's checkpoint: θ̄ and θ0 as safetensors, counters as JSON


def _is_sharded(t: Tensor) -> bool:
    """Whether this process holds a part of a tensor alone (FSDP2)."""
    return hasattr(t, "full_tensor")


def _whole_state(elastic: ElasticReset, kept: bool = True) -> dict[str, Any]:
    """The state of an ElasticReset on the CPU, shards put together one after another.

    Every process has to take part in that; nothing is `kept` by those that will not write it.
    """
    state = elastic.state_dict(copy=False)
    for part in ("ema", "initial"):
        whole = {}
        for name, t in state[part].items():
            together = t.full_tensor() if _is_sharded(t) else t
            if kept:
                whole[name] = together.cpu()
        state[part] = whole
    ema_schedule = elastic.ema_schedule
    return {**state, "ema_schedule": {} if ema_schedule is None else ema_schedule.state_dict()}


def _save(state: dict[str, Any], folder: Path, name: str) -> None:
    """Writes what `_whole_state` gave into the folder of the trainer's checkpoint."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is not there to keep θ̄ and θ0 beside the trainer's checkpoint; a hyperparameter search saves "
            "elsewhere and needs save_strategy='no'"
        )
    tensors = folder / f"{name}.safetensors"
    parts = {part: state.pop(part) for part in ("ema", "initial")}
    write({f"{part}/{name}": t.contiguous() for part, whole in parts.items() for name, t in whole.items()}, tensors)
    write_json(folder / f"{name}.json", {**state, "sha256": sha256(tensors)})


def _load(elastic: _Policy, folder: Path, name: str) -> None:
    """Takes back what was saved in a trainer's checkpoint, θ0 too: the model by now holds the weights of that step."""
    written, kept = folder / f"{name}.json", folder / f"{name}.safetensors"
    instead = "resume from another checkpoint, or load the model from this one and start a new run"
    if not written.exists():
        why = "it was saved without ElasticResetCallback, or the process died while saving"
        raise FileNotFoundError(f"{folder} holds no {written.name}: {why}; {instead}")
    try:
        state = read_json(written)
        if not kept.exists() or sha256(kept) != state.pop("sha256"):
            raise DamagedRecord(f"{kept} is damaged or missing")
        ema_schedule, moves = state.pop("ema_schedule"), state.pop("averages", 1)
        mode = state.pop("mode", elastic.mode)
        tensors = load_file(kept)
    except (DamagedRecord, KeyError, SafetensorError) as error:
        raise DamagedRecord(f"{folder} cannot be resumed from ({error}); {instead}") from None
    if (mode == "track") != (elastic.mode == "track"):
        raise ValueError(
            f"{written} is of a callback with mode={mode!r}, and this one has mode={elastic.mode!r}: give the "
            f"callbacks of that run, in its order, or {instead}"
        )
    for part, own in (("ema", elastic.ema), ("initial", elastic.initial)):
        found = {name.partition("/")[2]: t for name, t in tensors.items() if name.startswith(f"{part}/")}
        state[part] = {name: _spread(t, own[name]) if name in own else t for name, t in found.items()}
    try:
        elastic.load_state_dict(state)
    except ValueError as error:
        raise ValueError(
            f"{folder} was saved with another adapter, model or select= ({error}); give those of that run, {instead}"
        ) from None
    if elastic.ema_schedule is not None:
        elastic.ema_schedule.load_state_dict(ema_schedule)
    elastic.moves = moves


def _spread(whole: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, sharded like another where that one is."""
    if not _is_sharded(like):
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)


# ---- the trainer around it


def _caller() -> tuple[Trainer | None, str | None]:
    """The trainer that begins and the checkpoint it resumes from, which it does not tell; None in another loop."""
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, Trainer) and "resume_from_checkpoint" in frame.f_locals:
            return owner, frame.f_locals["resume_from_checkpoint"]
        frame = frame.f_back
    return None, None


def _line(trainer: Trainer | None) -> list[TrainerCallback]:
    return [] if trainer is None else trainer.callback_handler.callbacks


def _kin(trainer: Trainer | None) -> list[ElasticResetCallback]:
    return [other for other in _line(trainer) if isinstance(other, ElasticResetCallback)]


def _warn(what: str) -> None:
    warnings.warn(what, stacklevel=4)


def _bare(model: nn.Module) -> nn.Module:
    """A model without the wrappers that change the names of its parameters."""
    while isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        model = model.module
    return getattr(model, "_orig_mod", model)


def _trained(model: nn.Module) -> list[tuple[str, Tensor]]:
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not trained:
        raise ValueError(
            "nothing of the model is trainable; with LoRA give the trainer a peft_config= or load the adapter with "
            "is_trainable=True, otherwise call model.requires_grad_(True)"
        )
    return trained


def _has_master(p: Tensor) -> bool:
    """Whether DeepSpeed (ZeRO-1, -2) steps from a float32 copy of a parameter, and lets us write to it."""
    return hasattr(p, "_hp_mapping")


def _refuse_what_cannot_be_reset(callback: ElasticResetCallback, model: nn.Module) -> None:
    instead = "use DDP, FSDP2 (fsdp_version: 2) or DeepSpeed's ZeRO-1 or -2"
    if any(hasattr(p, "ds_id") or hasattr(p, "ds_status") for p in model.parameters()):
        raise ValueError(f"DeepSpeed ZeRO-3 shards the parameters, so there is nothing here to average; {instead}")
    if getattr(callback.trainer, "is_deepspeed_enabled", False):
        if not all(_has_master(p) for p in model.parameters() if p.requires_grad):
            raise ValueError(f"DeepSpeed trains copies of the weights that cannot be written to here; {instead}")
        if callback.optimizer == "clear":
            raise ValueError("optimizer='clear' does not reach the moments that DeepSpeed keeps in pieces; use 'keep'")
    flat = any(type(m).__name__ == "FullyShardedDataParallel" for m in model.modules())
    if flat or any(p.requires_grad and not _is_sharded(p) and p.numel() == 0 for p in model.parameters()):
        raise ValueError(f"parameters are sharded into flat pieces (FSDP1) and cannot be told apart; {instead}")
    sharded = any(map(_is_sharded, model.parameters()))
    if callback.guard_base and sharded:
        raise ValueError("guard_base=True does not keep layers that FSDP2 shards; load the base in float32 instead")
    if callback.settings["device"] is not None and sharded:
        raise ValueError("device= does not go with FSDP2, whose shards stay where they are; leave it out")


def _refuse_a_second(callback: ElasticResetCallback) -> None:
    """Two that reset the same weights; one that only tracks, or resets other ones, may stand beside another."""
    line = _kin(callback.trainer)
    others = [other.elastic for other in line if other is not callback and other.elastic is not None]
    mine = {id(p) for p in callback.elastic.parameters.values()}
    common = [o for o in others if "track" not in (o.mode, callback.elastic.mode)]
    common = [o for o in common if any(id(p) in mine for p in o.parameters.values())]
    if common or line.count(callback) > 1:
        raise ValueError("two ElasticResetCallbacks reset the same weights: keep one, and give it schedule= or select=")


def _refuse_cadence(ema_every: int | str, args, train_dataloader) -> None:
    if ema_every == "rollout" and not hasattr(args, "steps_per_generation"):
        raise ValueError("ema_every='rollout' needs a trainer that generates (RLOO, GRPO); use 'step' or a number")
    if ema_every == "epoch" and not has_length(train_dataloader):
        raise ValueError("ema_every='epoch' needs a dataset whose length is known; use 'step' or a number")


def _refuse_copies(optimizer, parameters) -> None:
    if optimizer is None or any(map(_has_master, parameters)):
        return
    stepping = getattr(optimizer, "optimizer", optimizer)  # within accelerate's
    if callable(getattr(stepping, "eval", None)):
        kind = type(stepping).__name__
        raise ValueError(
            f"{kind} steps from weights of its own, schedule-free, which would undo every reset; use AdamW"
        )
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not any(id(p) in held for p in parameters):
        why = "it trains copies of its own, which would undo every reset, or select= chose only what it does not train"
        raise ValueError(f"the optimizer holds none of the parameters to reset: {why}; give it the model's own ones")
