"""Where drift sits: perplexity of held-out reviews by the part of the review and, in our own world, by kind of word."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from elastic_lib.tasks.sentiment import world

BATCH = 64


def kinds() -> dict[str, set[str]]:
    """Words that name people, that state facts, and that take sides; all others are common."""
    names = {*world.MEN, *world.WOMEN, *world.SURNAMES}
    places = [word for roles, places in world.GENRES.values() for text in (*roles, *places) for word in text.split()]
    facts = {*world.TITLE_FIRST, *world.TITLE_SECOND, *world.COUNTRIES, *world.YEARS, *world.GENRES, *places}
    return {"names": names, "facts": facts - names, "polarity": world.TELLING - facts - names}


def drift_by_word(task, lm) -> dict[str, float]:
    """Perplexity of test reviews: of the words that a prompt, a completion and the tail would take, and by kind."""
    rows = task.reviews.rows("test")
    texts, scored = (part[: task.recipe.eval_reviews] for part in (rows.modelled, rows.scored))
    loss, counted = token_losses(lm, texts), scored[:, 1:]
    at, first = torch.arange(1, texts.shape[1], device=texts.device), task.recipe.prompt
    parts = {"prompt": at <= first, "tail": at > first + task.recipe.length}
    parts["completion"] = ~(parts["prompt"] | parts["tail"])
    if task.recipe.corpus == "generated":
        words = task.reviews.tokenizer.get_vocab()
        for kind, members in kinds().items():
            parts[kind] = torch.isin(texts[:, 1:], torch.tensor([words[w] for w in members if w in words]).to(texts))
        parts["common"] = ~(parts["names"] | parts["facts"] | parts["polarity"])
    return {name: math.exp(float(loss[counted & mask].mean())) for name, mask in parts.items()}


@torch.no_grad()
def token_losses(lm, rows: Tensor) -> Tensor:
    """−log π of every token but the first, [N, T-1]."""
    parts = [F.cross_entropy(lm.logits(part[:, :-1]).transpose(1, 2), part[:, 1:], reduction="none")
             for part in rows.split(BATCH)]  # fmt: skip
    return torch.cat(parts)
