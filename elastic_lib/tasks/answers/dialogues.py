"""Questions and their answers as tokens: generated or a real site's, in words of our own or of a hub model."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from elastic_lib.loops import trl_stages
from elastic_lib.nets.gpt import PAD, padded
from elastic_lib.recipe import Recipe
from elastic_lib.tasks import real_text
from elastic_lib.tasks.answers import real, world
from elastic_lib.tasks.hub import pinned

HELD_OUT = {"validation": 10**6 + 1, "test": 10**6 + 2}  # seeds of generated questions that no base trains on


class Split(NamedTuple):
    """Token ids: whole texts [N, T], which of their tokens are an answer's, prompts [Q, P] with pads first, pairs."""

    texts: Tensor
    answered: Tensor
    prompts: Tensor
    pairs: list[tuple[list[int], list[int]]]


class Dialogues:
    """The questions of a recipe, split by split, and what turns words into tokens and back."""

    def __init__(self, recipe: Recipe, device: torch.device, results: Path):
        self.recipe, self.device, self.results = recipe, device, results
        self._splits: dict[str, Split] = {}
        self._known: dict[str, list[int]] = {}

    @cached_property
    def tokenizer(self):
        """A transformers tokenizer: of the closed vocabulary, a BPE of real answers, or the hub model's own."""
        recipe = self.recipe
        if recipe.lm_name is not None:
            tokenizer = real_text.hub_tokenizer(pinned(recipe.lm_name, self.results))
            return with_pad(tokenizer, recipe.lm_name)
        if recipe.corpus == "generated":
            return trl_stages.tokenizer_of(real_text.word_tokenizer(world.vocabulary()))
        texts = [self._text(q.text) + " " + a.text for q in self._questions("train") for a in q.answers]
        return trl_stages.tokenizer_of(real_text.bpe_tokenizer(texts, recipe.vocabulary))

    @property
    def stop(self) -> int:
        """The word that ends an answer."""
        return self.tokenizer.eos_token_id

    @property
    def banned(self) -> tuple[int, ...]:
        """Words that are never said: a pad is no word, and a text begins once."""
        return (PAD, self.tokenizer.bos_token_id)

    def text(self, tokens: Tensor) -> str:
        """The words of one row of tokens."""
        hidden = (*self.banned, self.stop)
        return self.tokenizer.decode([t for t in tokens.tolist() if t not in hidden])

    @property
    def mark(self) -> str:
        """What an answer comes after."""
        return " ⏎" if self.recipe.corpus == "generated" else "\n\nAnswer:"

    def _text(self, question: str) -> str:
        """What stands before an answer."""
        if self.recipe.corpus != "generated":
            question = f"Question: {question}"
        return question + self.mark

    def _questions(self, split: str) -> list[world.Question]:
        recipe = self.recipe
        if recipe.corpus == "generated":
            if split == "train":
                return world.generate(recipe.train_questions, seed=recipe.base)
            return world.generate(max(recipe.eval_prompts, recipe.eval_answers), seed=HELD_OUT[split])
        if recipe.corpus == "stackexchange":
            every = real.stack_exchange(results=self.results)
        else:
            every = real.by_wins(real.qa_feedback())
        return [q for q in every if real.split(q.text) == split][: recipe.train_questions]

    def split(self, name: str) -> Split:
        """The train, validation or test questions."""
        if name not in self._splits:
            recipe, questions = self.recipe, self._questions(name)
            answers = dict.fromkeys(a.text for q in questions for a in q.answers)
            self._read([self.mark, *(self._text(q.text) for q in questions), *answers])
            asked = {q.text: self.asked(q.text) for q in questions}
            told = [(asked[q.text], self.ids(a.text)) for q in questions for a in q.answers]
            texts = [self._joined(*both) for both in told]
            pairs = [
                tuple(self._joined(asked[q.text], self.ids(text)) for text in pair)
                for q in questions for pair in world.pairs(q)
            ]  # fmt: skip
            self._known.clear()
            if name != "train":
                texts, told = texts[: recipe.eval_answers], told[: recipe.eval_answers]
            rows = padded(texts)
            first = torch.tensor([len(question) for question, _ in told])[:, None]
            answered = (rows != PAD) & (torch.arange(rows.shape[1]) >= first)
            prompts = padded_in_front([asked[q.text] for q in questions])
            if name != "train":
                prompts = prompts[: recipe.eval_prompts]
            parts = (part.to(self.device) for part in (rows, answered, prompts))
            self._splits[name] = Split(*parts, pairs)
        return self._splits[name]

    def ids(self, text: str) -> list[int]:
        """The words of a text as tokens, without any that mark its ends."""
        if text not in self._known:
            self._read([text])
        return self._known[text]

    def _read(self, texts: list[str]) -> None:
        """Tokens of many texts, at a fifth of the price of one after the other."""
        self._known |= zip(texts, self.tokenizer(texts, add_special_tokens=False)["input_ids"], strict=True)

    def asked(self, question: str) -> list[int]:
        """A prompt: <bos>, the question, of a long one its beginning, and the mark of the answer."""
        ids, mark = self.ids(self._text(question)), self.ids(self.mark)
        if len(ids) > self.recipe.prompt:
            ids = ids[: self.recipe.prompt - len(mark)] + mark
        return [self.tokenizer.bos_token_id, *ids]

    def _joined(self, asked: list[int], answer: list[int]) -> list[int]:
        """A whole text; an answer that is too long has no end."""
        longest = self.recipe.length
        return [*asked, *([*answer, self.stop] if len(answer) < longest else answer[:longest])]

    def text_digest(self) -> str:
        """Of the held-out text: pretrained models belong to the text that they were trained beside."""
        return hashlib.sha256(self.split("validation").texts.cpu().numpy().tobytes()).hexdigest()[:16]


def with_pad(tokenizer, name: str):
    """Llama's <unk> serves as its pad, as in StackLLaMA; the sampler wants the id 0 for it."""
    if tokenizer.convert_tokens_to_ids(tokenizer.pad_token) != PAD:
        if tokenizer.unk_token_id != PAD:
            raise ValueError(f"the tokenizer {name!r} has no special token of id {PAD} to pad with; Llama's has <unk>")
        tokenizer.pad_token = tokenizer.unk_token
    return tokenizer


def padded_in_front(texts: list[list[int]]) -> Tensor:
    """Token rows [N, T] of texts of any length, pads before them, so that what is said next follows."""
    return padded([ids[::-1] for ids in texts]).flip(1)
