"""The reviews of the sentiment task as models read them: generated or IMDB's, in tokens of our own or a hub model's.

Three splits: train, validation, test.
    rows(split)            token ids to model, to rate and to continue
    of(split)              the real reviews themselves
    tokenizer, text(row)   from words to tokens, and back
    banned                 tokens that are never sampled
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from elastic_lib.nets.gpt import PAD, padded
from elastic_lib.recipe import Recipe
from elastic_lib.tasks import real_text, scores
from elastic_lib.tasks.hub import pinned
from elastic_lib.tasks.sentiment import world

BOS, EOS = 1, 2
HELD_OUT = {"validation": 10**6 + 1, "test": 10**6 + 2}  # seeds of generated reviews that no base trains on


class Rows(NamedTuple):
    """Token ids [N, T]: texts to model, which of their tokens perplexity counts, texts to rate, prompts of the RL."""

    modelled: Tensor
    scored: Tensor
    rated: Tensor
    labels: Tensor
    prompts: Tensor


class Reviews:
    """The texts of one base; a hub model's tokens are those of the commit that these results go by."""

    def __init__(self, recipe: Recipe, results: Path, device: torch.device):
        self.recipe, self.results, self.device = recipe, results, device
        self._rows: dict[str, Rows] = {}

    @cached_property
    def tokenizer(self):
        """A pretrained model's own, or the closed vocabulary of the generated world."""
        if self.recipe.lm_name is not None:
            return real_text.hub_tokenizer(pinned(self.recipe.lm_name, self.results))
        return real_text.word_tokenizer(world.vocabulary())

    @property
    def banned(self) -> tuple[int, ...]:
        """Words that are never sampled: every completion has the same length, so none may end early."""
        if self.recipe.lm_name is not None:
            return tuple(sorted(self.tokenizer.all_special_ids))
        return (PAD, BOS, EOS)

    def text(self, tokens: Tensor) -> str:
        """The words of one row of tokens."""
        banned = self.banned
        return self.tokenizer.decode([t for t in tokens.tolist() if t not in banned])

    def rows(self, split: str) -> Rows:
        """The train, validation or test texts."""
        if split not in self._rows:
            rows = self._generated(split) if self.recipe.corpus == "generated" else self._real(split)
            self._rows[split] = Rows(*(part.to(self.device) for part in rows))
        return self._rows[split]

    def _encode(self, texts: list[str]) -> list[list[int]]:
        if self.recipe.lm_name is not None:
            return self.tokenizer(texts)["input_ids"]
        return [[BOS, *encoding.ids, EOS] for encoding in self.tokenizer.encode_batch(texts)]

    def _generated(self, split: str) -> Rows:
        recipe = self.recipe
        if split == "train":
            texts = world.generate(recipe.train_reviews, seed=recipe.base)
        else:
            texts = world.generate(max(recipe.eval_prompts, recipe.eval_reviews), seed=HELD_OUT[split])
        rows = padded(self._encode([review.text for review in texts]), recipe.context)
        labels = torch.tensor([float(review.label) for review in texts])
        return Rows(rows, rows != PAD, rows, labels, self._heads(rows, split))

    def _real(self, split: str) -> Rows:
        """What a pretrained model models, and goes on with."""
        read = self._beginnings if self.recipe.prompts_at is None else self._halves
        return read(split, self.of(split))

    def of(self, split: str) -> list[world.Review]:
        """Train reviews, or one half of the test reviews, as many as evaluation can use."""
        recipe = self.recipe
        if split == "train":
            return real_text.imdb("train")[: recipe.train_reviews]
        return self._held_out(split)[: 2 * max(recipe.eval_prompts, recipe.eval_reviews)]  # some are too short

    def _held_out(self, split: str) -> list[world.Review]:
        """One half of the test reviews."""
        return self._test_reviews[0 if split == "validation" else 1 :: 2]

    @cached_property
    def _test_reviews(self) -> list[world.Review]:
        return real_text.imdb("test")

    def _beginnings(self, split: str, texts: list[world.Review]) -> Rows:
        """For a pretrained model: the first tokens of each review to continue, and the first `context` to model."""
        recipe, count = self.recipe, max(self.recipe.eval_prompts, self.recipe.eval_reviews)
        kept = [ids for ids in self._encode([review.text for review in texts]) if len(ids) >= recipe.context]
        if len(kept) < count and split != "train":
            raise ValueError(f"{len(kept)} reviews of {split} have {recipe.context} tokens; {count} are needed")
        rows = torch.tensor([ids[: recipe.context] for ids in kept])
        prompts = self._asked(rows[:, : recipe.prompt], split)
        return Rows(rows, torch.ones_like(rows, dtype=torch.bool), rows, torch.empty(0), prompts)

    def _halves(self, split: str, texts: list[world.Review]) -> Rows:
        """Appendix B: prompts end the first half of a review; perplexity is that of joined reviews."""
        recipe = self.recipe
        halves = self._encode([" ".join(review.text.split()[: len(review.text.split()) // 2]) for review in texts])
        prompts = torch.tensor([ids[-recipe.prompt :] for ids in halves if len(ids) >= recipe.prompt])
        joined = self._encode(["\n\n".join(review.text for review in texts[: recipe.eval_reviews])])[0]
        width = min(recipe.context, 1024)
        modelled, scored = scores.windows(torch.tensor(joined), width, width // 2)
        labels = torch.tensor([float(review.label) for review in texts])
        return Rows(modelled, scored, modelled, labels, self._asked(prompts, split))

    def _heads(self, rows: Tensor, split: str) -> Tensor:
        return self._asked(rows[:, : self.recipe.prompt + 1], split)

    def _asked(self, prompts: Tensor, split: str) -> Tensor:
        """All of them to train on, else as many as evaluation asks."""
        return prompts if split == "train" else prompts[: self.recipe.eval_prompts]

    def digest(self) -> str:
        """Of the held-out text."""
        if self.recipe.lm_name is not None:
            texts = "\n".join(review.text for review in self._held_out("validation"))
            return hashlib.sha256(texts.encode()).hexdigest()[:16]
        return hashlib.sha256(self.rows("validation").modelled.cpu().numpy().tobytes()).hexdigest()[:16]
