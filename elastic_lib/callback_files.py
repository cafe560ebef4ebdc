"""What ElasticResetCallback leaves beside a trainer's checkpoint: θ̄ and θ0 as safetensors, counters as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from elastic_lib.checkpoint import save_tensors
from elastic_lib.records import DamagedRecord, read_json, sha256, write_json
from elastic_lib.reset import ElasticReset

STATE, TENSORS = "elastic_reset.json", "elastic_reset.safetensors"


def is_sharded(t: Tensor) -> bool:
    """Whether this process holds a part of a tensor alone (FSDP2)."""
    return hasattr(t, "full_tensor")


def state_of(elastic: ElasticReset) -> dict[str, Any]:
    """The state of an ElasticReset with shards put together, on the CPU; every process has to take part in that."""
    state = elastic.state_dict(copy=False)
    for part in ("ema", "initial"):
        whole = {name: t.full_tensor() if is_sharded(t) else t for name, t in state[part].items()}
        state[part] = {name: t.cpu() for name, t in whole.items()}
    ema_schedule = elastic.ema_schedule
    return {**state, "ema_schedule": {} if ema_schedule is None else ema_schedule.state_dict()}


def save(state: dict[str, Any], folder: Path) -> None:
    """Writes what `state_of` gave into the folder of the trainer's checkpoint."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is not there to keep θ̄ and θ0 beside the trainer's checkpoint; a hyperparameter search saves "
            "elsewhere and needs save_strategy='no'"
        )
    save_tensors({part: state.pop(part) for part in ("ema", "initial")}, folder / TENSORS)
    write_json(folder / STATE, {**state, "sha256": sha256(folder / TENSORS)})


def load(elastic: ElasticReset, folder: Path) -> None:
    """Takes back what was saved in a trainer's checkpoint, θ0 too: the model by now holds the weights of that step."""
    instead = "resume from another checkpoint, or load the model from this one and start a new run"
    if not (folder / STATE).exists():
        why = "it was saved without ElasticResetCallback, or the process died while saving"
        raise FileNotFoundError(f"{folder} holds no {STATE}: {why}; {instead}")
    try:
        state = read_json(folder / STATE)
        if not (folder / TENSORS).exists() or sha256(folder / TENSORS) != state.pop("sha256"):
            raise DamagedRecord(f"{folder / TENSORS} is damaged or missing")
        ema_schedule = state.pop("ema_schedule")
        tensors = load_file(folder / TENSORS)
    except (DamagedRecord, KeyError, SafetensorError) as error:
        raise DamagedRecord(f"{folder} cannot be resumed from ({error}); {instead}") from None
    for part, own in (("ema", elastic.ema), ("initial", elastic.initial)):
        found = {name.partition("/")[2]: t for name, t in tensors.items() if name.startswith(f"{part}/")}
        state[part] = {name: _spread(t, own[name]) if name in own else t for name, t in found.items()}
    elastic.load_state_dict(state)
    if elastic.ema_schedule is not None:
        elastic.ema_schedule.load_state_dict(ema_schedule)


def _spread(whole: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, sharded like another where that one is."""
    if not is_sharded(like):
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements)
