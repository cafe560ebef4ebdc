"""What is measured: pure functions of a model and tokens, or of sentences."""

from __future__ import annotations

import functools
import itertools
import math
import numbers
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from sacrebleu.metrics import BLEU
from torch import Tensor, nn

AT_ONCE = 128  # texts that models write or read together


def of_many(score: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """What `score` says of rows [N, T], a part of them at a time."""
    return torch.cat([score(part) for part in rows.split(AT_ONCE)])


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


def windows(tokens: Tensor, width: int, stride: int) -> tuple[Tensor, Tensor]:
    """Cuts one text [L] into rows [N, width] that overlap by width−stride, and marks each token once, [N, width]."""
    if not 0 < stride <= width:
        raise ValueError(f"stride must lie in 1..{width}; got {stride}")
    starts = range(0, max(len(tokens) - width, 0) + stride, stride)
    rows = torch.zeros(len(starts), width, dtype=torch.long)
    marks = torch.zeros(len(starts), width, dtype=torch.bool)
    done = 0
    for i, begin in enumerate(starts):
        piece = tokens[begin : begin + width]
        rows[i, : len(piece)] = piece
        marks[i, done - begin : len(piece)] = True
        done = begin + len(piece)
    kept = marks.any(1)
    return rows[kept], marks[kept]


# ---- what judges give


def calibration_error(margins: Tensor) -> float:
    """How far σ(r(better) − r(worse)) is from the share of pairs told right, a mean over ten bins of confidence.

    Confidence is that in the side which is taken, from 1/2 to 1 (Guo et al. 2017).
    """
    sure = torch.sigmoid(margins.abs())
    place = ((sure - 0.5) * 2 * 10).long().clamp(max=9)
    right = (margins > 0).to(sure)
    gaps = []
    for one in range(10):
        inside = place == one
        if inside.any():
            gaps.append((sure[inside] - right[inside]).sum().abs())
    return float(sum(gaps) / len(margins))


# ---- translations


def bleu(said: Sequence[str], references: Sequence[str]) -> float:
    """Detokenised sacreBLEU of a corpus with one reference a sentence, in points."""
    return _bleu_of(tuple(references)).corpus_score(said, None).score


@functools.lru_cache(maxsize=8)
def _bleu_of(references: tuple[str, ...]) -> BLEU:
    """The metric with its references counted once: every evaluation has the same ones."""
    return BLEU(references=[references])


def bleu_signature() -> str:
    """How sacreBLEU was set, and its version: what makes a BLEU comparable."""
    metric = BLEU()
    metric.corpus_score(["a"], [["a"]])  # a signature knows the number of references only after a score
    return str(metric.get_signature())


def readings(said: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """How sentences go wrong: too long, repeating themselves, without an end, with ever the same words."""
    words, meant = [s.split() for s in said], [r.split() for r in references]
    pairs = [list(itertools.pairwise(s)) for s in words]
    every_word, every_pair = sum(map(len, words)), sum(map(len, pairs))
    return {
        "length_ratio": every_word / sum(map(len, meant)),
        "repeated": sum(len(p) - len(set(p)) for p in pairs) / max(every_pair, 1),
        "unended": sum(not s.rstrip().endswith((".", "!", "?")) for s in said) / len(said),
        "distinct_1": len({word for s in words for word in s}) / max(every_word, 1),
        "distinct_2": len({pair for p in pairs for pair in p}) / max(every_pair, 1),
    }


# ---- programs


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The chance that one of k programs passes, 1 − C(n−c, k) / C(n, k), unbiased from n samples (Chen et al. 2021)."""
    for name, value in (("samples", samples), ("correct", correct), ("k", k)):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 0:
            raise ValueError(f"{name} must be a whole number, 0 or more; got {value!r}")
    if correct > samples:
        raise ValueError(f"correct must be at most samples; got {correct} of {samples}")
    if k > samples:
        raise ValueError(f"k must be at most samples: pass@{k} needs {k} samples of each problem; got {samples}")
    return 1 - math.comb(samples - correct, k) / math.comb(samples, k)
