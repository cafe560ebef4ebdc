"""One KV-cached batched sampler for every language model of the house (their three methods: see `gpt`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from elastic_lib.losses import nlpo_mask


class Samples(NamedTuple):
    """`tokens` [B, P+T] with the prompt; `logp` [B, T] under the policy that PPO trains; NLPO's `mask` [B, T, V]."""

    tokens: Tensor
    logp: Tensor
    mask: Tensor | None


def shape_logits(
    logits: Tensor, temperature: float = 1.0, banned: Sequence[int] = (), mask: Tensor | None = None
) -> Tensor:
    """Logits of the policy that is trained: tempered, without the banned words, within NLPO's mask."""
    if temperature != 1:
        logits = logits / temperature
    if len(banned):
        logits = logits.index_fill(-1, torch.as_tensor(banned, device=logits.device), -torch.inf)
    return logits if mask is None else logits.masked_fill(~mask, -torch.inf)


def logp_of(lm: nn.Module, tokens: Tensor, prompt: int, **shape) -> tuple[Tensor, Tensor]:
    """The scorer beside the sampler: log-probabilities of the sampled tokens [B, T], and of all words [B, T, V]."""
    log_policy = shape_logits(lm.logits(tokens[:, :-1], prompt - 1), **shape).log_softmax(-1)
    return log_policy.gather(-1, tokens[:, prompt:, None]).squeeze(-1), log_policy


def _truncate(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k, -1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    return logits if top_p >= 1 else logits.masked_fill(~nlpo_mask(logits, top_p), -torch.inf)


def _draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Inverse-CDF sampling: one uniform a row [B] -> one word a row [B]."""
    reach = logits.softmax(-1).cumsum(-1)
    # the smallest word whose cumulated probability exceeds u·total; a word of probability 0 never does
    return (reach <= uniform[:, None] * reach[:, -1:]).sum(-1).clamp_(max=logits.shape[-1] - 1)


@torch.no_grad()
def sample(
    lm: nn.Module,
    prompts: Tensor,
    length: int,
    *,
    generator: torch.Generator | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    banned: Sequence[int] = (),
    mask_lm: nn.Module | None = None,
    mask_top_p: float = 0.9,
    mask_min_keep: int = 1,
) -> Samples:
    """Continues prompts [B, P] by `length` tokens.

    `top_k` and `top_p` narrow what is drawn but not `logp`, as the authors' code does; `mask_lm` (NLPO) narrows both.
    """
    batch, prompt = prompts.shape
    tokens = torch.empty(batch, prompt + length, dtype=torch.long, device=prompts.device)
    tokens[:, :prompt] = prompts
    uniforms = torch.rand(length, batch, generator=generator).to(prompts.device)
    logp = torch.empty(batch, length, device=prompts.device)
    cache = lm.new_cache(batch, prompt + length)
    mask_cache = mask_lm.new_cache(batch, prompt + length) if mask_lm is not None else None
    masks, new = [], prompts
    for t in range(length):
        mask = None
        if mask_lm is not None:
            mask = nlpo_mask(shape_logits(mask_lm.extend(new, mask_cache), 1.0, banned), mask_top_p, mask_min_keep)
            masks.append(mask)
        logits = shape_logits(lm.extend(new, cache), temperature, banned, mask)
        word = _draw(_truncate(logits, top_k, top_p), uniforms[t])[:, None]
        logp[:, t : t + 1] = logits.gather(-1, word) - logits.logsumexp(-1, keepdim=True)
        tokens[:, prompt + t], new = word[:, 0], word
    return Samples(tokens, logp, torch.stack(masks, 1) if masks else None)
