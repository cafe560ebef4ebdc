"""The sentences of the Translation Game from either source, the generated world or real corpora, behind the same names.

Sentences are prepared text, their tokens joined by blanks; `text` makes normal text of token ids.
    tokenizers                     one a language
    pretraining("speaker")         (fr, en) pairs of the pretraining's domain; of the listener: (en, de)
    held_out_pretraining(…)        the same, held out
    game()                         (fr, de) pairs of the game's domain
    held_out("validation"|"test")  (fr, en, de) of the game's domain
"""

from __future__ import annotations

from functools import cached_property

from tokenizers import Tokenizer

from elastic_lib.recipe import Recipe
from elastic_lib.tasks import real_text
from elastic_lib.tasks.translation import moses, real, world

SIDES = {"speaker": ("fr", "en"), "listener": ("en", "de")}
Pairs = list[tuple[str, str]]


class Generated:
    """The pocket world: everyday sentences before, captions in the game; each language has its closed vocabulary."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.tokenizers = {lang: real_text.word_tokenizer(world.vocabulary(lang)) for lang in world.LANGUAGES}
        self._words = {lang: {i: w for w, i in t.get_vocab().items()} for lang, t in self.tokenizers.items()}

    def text(self, ids: list[int], language: str) -> str:
        """Normal text of token ids."""
        words = self._words[language]
        return world.detokenise(" ".join(words[i] for i in ids), language)

    def pretraining(self, part: str) -> Pairs:
        return self._sides(self._unseen(self.recipe.pairs, "everyday"), SIDES[part])

    def held_out_pretraining(self, part: str) -> Pairs:
        return self._sides(self._held("validation", "everyday"), SIDES[part])

    def game(self) -> Pairs:
        return self._sides(self._unseen(self.recipe.game_pairs, "captions"), ("fr", "de"))

    def held_out(self, split: str) -> list[tuple[str, str, str]]:
        return self._sides(self._held(split, "captions"), world.LANGUAGES)

    def _held(self, split: str, domain: str) -> list[world.Caption]:
        return world.generate(self.recipe.eval_pairs, split, domain, self.recipe.distance)

    def _unseen(self, count: int, domain: str) -> list[world.Caption]:
        """Sentences of this base, without those that are held out: a small world repeats its short ones."""
        held = {one.fr for split in ("validation", "test") for one in self._held(split, domain)}
        spare = count // 5 + 100
        made = world.generate(count + spare, self.recipe.base, domain, self.recipe.distance)
        return [one for one in made if one.fr not in held][:count]

    def _sides(self, made: list[world.Caption], languages: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [tuple(getattr(one, language) for language in languages) for one in made]


class Real:
    """Tatoeba or IWSLT before, Multi30k in the game; one joint BPE for the three languages.

    Where `domain_pairs` is set, pretraining sees that many of Multi30k's pairs too, and the game those behind them.
    """

    def __init__(self, recipe: Recipe):
        real.require("multi30k", recipe.pretraining)
        self.recipe = recipe

    @cached_property
    def tokenizers(self) -> dict[str, Tokenizer]:
        """One joint BPE, learned on all that pretraining and the game may read; never on the game's own English."""
        texts = [side for part in SIDES for pair in self._pretraining_text(part) for side in pair]
        texts += [side for pair in self.game() for side in pair]
        tokenizer = real.joint_bpe(texts, self.recipe.vocabulary)
        return dict.fromkeys(world.LANGUAGES, tokenizer)

    def text(self, ids: list[int], language: str) -> str:
        """Normal text of token ids."""
        return moses.detokenise(self.tokenizers[language].decode(ids).split(), language)

    def pretraining(self, part: str) -> Pairs:
        recipe = self.recipe
        before = real.join_short(self._pretraining_text(part)[: recipe.pairs], recipe.base)
        if recipe.domain_pairs is None:
            return before
        domain = self._captions("train", SIDES[part])[: recipe.domain_pairs]
        times = round(recipe.domain_share / (1 - recipe.domain_share) * len(before) / len(domain))
        return before + domain * times

    def held_out_pretraining(self, part: str) -> Pairs:
        return self._everyday(part, "validation")

    def _pretraining_text(self, part: str) -> Pairs:
        return self._everyday(part, "train")

    def _everyday(self, part: str, split: str) -> Pairs:
        read = real.iwslt if self.recipe.pretraining == "iwslt" else real.tatoeba
        return self._prepared(read("-".join(SIDES[part]), split), SIDES[part])

    def game(self) -> Pairs:
        first = self.recipe.domain_pairs or 0
        pairs = self._captions("train", ("fr", "de"))[first : first + self.recipe.game_pairs]
        return [pair for pair in pairs if max(len(side.split()) for side in pair) <= self.recipe.length]

    def held_out(self, split: str) -> list[tuple[str, str, str]]:
        return self._captions(split, world.LANGUAGES)

    def _captions(self, split: str, languages: tuple[str, ...]) -> list[tuple[str, ...]]:
        return self._prepared(real.multi30k(split), languages)

    def _prepared(self, text: dict[str, list[str]], languages: tuple[str, ...]) -> list[tuple[str, ...]]:
        how = self.recipe.lowercase
        sides = ([moses.prepare(sentence, lang, how) for sentence in text[lang]] for lang in languages)
        return list(zip(*sides, strict=True))
