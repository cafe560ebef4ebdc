"""What is measured: pure functions of a model and tokens."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@torch.no_grad()
def perplexity(lm: nn.Module, rows: Tensor, scored: Tensor, batch: int = 64) -> float:
    """exp of the mean negative log-likelihood of the tokens that `scored` [N, T] marks in `rows` [N, T].

    The first token of a row is context only. Padding comes last in a row, so a causal model never reads it.
    """
    total, count = 0.0, 0
    for row, mark in zip(rows.split(batch), scored.split(batch), strict=True):
        width = int(mark.any(0).nonzero().max()) + 1  # nothing is scored behind it
        target = torch.where(mark[:, 1:width], row[:, 1:width], -100)
        logits = lm.logits(row[:, : width - 1])
        total += float(F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=-100, reduction="sum"))
        count += int((target != -100).sum())
    return math.exp(min(total / count, 700.0))


def windows(tokens: Tensor, width: int, stride: int, pad: int = 0) -> tuple[Tensor, Tensor]:
    """Cuts one text [L] into rows [N, width] that overlap by width−stride, and marks each token once, [N, width]."""
    if not 0 < stride <= width:
        raise ValueError(f"stride must lie in 1..{width}; got {stride}")
    starts = range(0, max(len(tokens) - width, 0) + stride, stride)
    rows = torch.full((len(starts), width), pad, dtype=torch.long)
    marks = torch.zeros(len(starts), width, dtype=torch.bool)
    done = 0
    for i, begin in enumerate(starts):
        piece = tokens[begin : begin + width]
        rows[i, : len(piece)] = piece
        marks[i, done - begin : len(piece)] = True
        done = begin + len(piece)
    kept = marks.any(1)
    return rows[kept], marks[kept]
