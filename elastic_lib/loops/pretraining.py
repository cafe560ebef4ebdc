"""Pretraining: one loop for a language model and for a classifier, since they differ only in the batch and the loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elastic_lib.loops.optimiser import Optimiser, descend
from elastic_lib.progress import Progress


def fit(
    model: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    size: int,
    *,
    steps: int,
    batch: int,
    lr: float,
    generator: torch.Generator,
    title: str,
) -> float:
    """Minimises loss_of(indices of a batch) with AdamW, a warm-up and a cosine; returns the mean of the last tenth."""
    optimiser = Optimiser(model, lr, weight_decay=0.01, clip=1.0, betas=(0.9, 0.98))
    warm_up = max(1, steps // 20)
    last: list[float] = []
    with Progress(title, steps) as bar:
        for step in range(steps):
            scale = min(1.0, (step + 1) / warm_up) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
            optimiser.lr = lr * scale
            loss = loss_of(torch.randint(size, (batch,), generator=generator))
            descend(loss, step, optimiser)
            last.append(loss.item())
            bar.update(step + 1, loss=last[-1])
    tail = last[-max(1, steps // 10) :]
    return sum(tail) / len(tail)


def next_token_loss(lm: nn.Module, rows: Tensor, pad: int) -> Tensor:
    """Cross entropy of rows [B, T], pads not counted."""
    width = int((rows != pad).sum(1).max())
    logits = lm.logits(rows[:, : width - 1])
    return F.cross_entropy(logits.flatten(0, 1), rows[:, 1:width].flatten(), ignore_index=pad)


def prefixes(rows: Tensor, shortest: int, pad: int, generator: torch.Generator) -> Tensor:
    """Rows cut at random lengths, so that a classifier knows texts as short as the policy's."""
    lengths = torch.randint(shortest, rows.shape[1] + 1, (len(rows), 1), generator=generator).to(rows.device)
    cut = rows.masked_fill(torch.arange(rows.shape[1], device=rows.device) >= lengths, pad)
    return cut[:, : int((cut != pad).sum(1).max())]
