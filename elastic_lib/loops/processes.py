"""Several processes on one run (`accelerate launch`, `torchrun`): each samples and learns from its share of a batch.

Gradients and measures are averaged, so policy, θ̄ and β stay equal on all ranks; the first rank alone evaluates and
writes. Without a launcher there is one rank, and nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(hours=2)  # the others wait while the first one pretrains or evaluates


@contextmanager
def joined():
    """Inside the block the processes of a launcher know each other."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield
        dist.barrier()  # nobody leaves while another still evaluates or listens
    finally:
        dist.destroy_process_group()


def size() -> int:
    """How many processes share this run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is."""
    return dist.get_rank() if dist.is_initialized() else 0


def share(name: str, count: int) -> int:
    """This rank's part of a count that all share; exact, or refused."""
    if count % size():
        raise ValueError(f"{name} must be a multiple of the number of processes; got {count} and {size()}")
    return count // size()


def tell(what: Any) -> Any:
    """What the first rank gives, on every rank."""
    if size() == 1:
        return what
    box = [what]
    dist.broadcast_object_list(box)
    return box[0]


def average(tensors: Iterable[Tensor]) -> None:
    """Each tensor becomes the mean over the ranks."""
    if size() == 1:
        return
    tensors = list(tensors)
    flat = torch.cat([t.detach().flatten().cpu() for t in tensors])
    dist.all_reduce(flat)
    flat /= size()
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def means(measures: dict[str, float]) -> dict[str, float]:
    """The mean of each measure over the ranks."""
    if size() == 1:
        return measures
    values = torch.tensor(list(measures.values()), dtype=torch.float64)
    dist.all_reduce(values)
    return dict(zip(measures, (values / size()).tolist(), strict=True))


def gather(state: Tensor) -> Tensor:
    """A random state of every rank, [ranks, …]; one rank's as it is."""
    if size() == 1:
        return state
    parts = [torch.empty_like(state) for _ in range(size())]
    dist.all_gather(parts, state)
    return torch.stack(parts)


def own(states: Tensor) -> Tensor:
    """This rank's part of what `gather` gave."""
    count = 1 if states.dim() == 1 else len(states)
    if count != size():
        raise ValueError(f"the checkpoint was left by {count} processes and this run has {size()}; start as many again")
    return states if states.dim() == 1 else states[rank()].clone()  # a generator takes no view
