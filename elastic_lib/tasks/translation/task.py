"""The Translation Game (Section 4, Appendix A): French to German through an English that nobody checks.

The speaker translates French to English, the listener English to German. Both are pretrained on one domain and play on
captions, where only French and German are given. The task is the BLEU of FR→EN→DE; drift is read off the BLEU of FR→EN.
"""

from __future__ import annotations

import hashlib
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from elastic_lib.loops.distill import Distillation
from elastic_lib.loops.pretraining import fit, next_token_loss
from elastic_lib.loops.reinforce import Game, GameSettings, Players, pair_loss
from elastic_lib.loops.resetting import Resetting
from elastic_lib.nets.gpt import GPT, PAD, padded
from elastic_lib.nets.learned import learned
from elastic_lib.nets.lstm import LSTMSeq2Seq
from elastic_lib.nets.sampler import sample
from elastic_lib.nets.seq2seq import BOS, EOS, Seq2Seq
from elastic_lib.recipe import Recipe
from elastic_lib.tasks import scores
from elastic_lib.tasks.translation import sources
from elastic_lib.tasks.translation.sources import SIDES

SHOWN = 6  # sentences whose translations every evaluation keeps
EVAL_BATCH = 250
SEEDS = {"speaker": 101, "listener": 102, "lm": 103}


class Rows(NamedTuple):
    """Token ids [N, T] of one language, ended and padded, and their lengths [N]."""

    tokens: Tensor
    lengths: Tensor

    def cut(self, chosen: Tensor) -> Tensor:
        """Some of the rows, as wide as the longest of them."""
        return self.tokens[chosen, : int(self.lengths[chosen].max())]


class Translation:
    """The task on one base: text, the pretrained translators, what the game asks for, and evaluation."""

    def __init__(self, recipe: Recipe, base: Path, device: torch.device | str = "cpu"):
        self.recipe, self.base, self.device = recipe, Path(base), torch.device(device)
        self._held: dict[str, dict[str, Rows]] = {}
        self._true: dict[str, dict[str, list[str]]] = {}

    # ---- text

    @cached_property
    def source(self) -> sources.Generated | sources.Real:
        """Where sentences come from."""
        return sources.Generated(self.recipe) if self.recipe.corpus == "generated" else sources.Real(self.recipe)

    def text(self, tokens: Tensor, language: str) -> str:
        """One row of tokens as normal text, up to its end mark."""
        ids = [t for t in tokens.tolist() if t > EOS]
        return self.source.text(ids, language)

    def _rows(self, sentences: list[str], language: str) -> Rows:
        encoded = self.source.tokenizers[language].encode_batch(sentences)
        ids = [[*e.ids[: self.recipe.context - 2], EOS] for e in encoded]
        return Rows(padded(ids).to(self.device), torch.tensor([len(words) for words in ids]).to(self.device))

    def _sides(self, pairs: list[tuple[str, str]], languages: tuple[str, str]) -> tuple[Rows, Rows]:
        return tuple(self._rows([pair[i] for pair in pairs], language) for i, language in enumerate(languages))

    @cached_property
    def _game_text(self) -> tuple[Rows, Rows]:
        return self._sides(self.source.game(), ("fr", "de"))

    @cached_property
    def _speaker_text(self) -> tuple[Rows, Rows]:
        return self._sides(self.source.pretraining("speaker"), SIDES["speaker"])

    def held_out(self, split: str) -> dict[str, Rows]:
        """French, English and German of the validation or the test captions."""
        if split not in self._held:
            sentences = self.source.held_out(split)[: self.recipe.eval_pairs]
            sides = zip(("fr", "en", "de"), zip(*sentences, strict=True), strict=True)
            self._held[split] = {language: self._rows(list(side), language) for language, side in sides}
        return self._held[split]

    def text_digest(self) -> str:
        """Of the held-out text: pretrained models belong to the text that they were trained beside."""
        rows = self.held_out("validation").values()
        return hashlib.sha256(b"".join(side.tokens.cpu().numpy().tobytes() for side in rows)).hexdigest()[:16]

    def _batch(self, sides: tuple[Rows, Rows], chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The pairs at random places; where there are buckets, at places in one bucket of sources of like length."""
        chosen, count = chosen.to(self.device), self.recipe.buckets
        if count > 1:
            order = sides[0].lengths.argsort(stable=True)
            size = len(order) // count
            chosen = order[int(chosen[0]) % count * size + chosen % size]
        return sides[0].cut(chosen), sides[1].cut(chosen)

    # ---- pretraining

    def pretrain(self, part: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Trains the base's speaker, listener or English language model: its weights, and its scores."""
        torch.manual_seed(10 * SEEDS[part] + self.recipe.base)
        generator = torch.Generator().manual_seed(10 * SEEDS[part] + 5000 + self.recipe.base)
        model, reached = self._train_lm(generator) if part == "lm" else self._train_translator(part, generator)
        return learned(model), reached | {"parameters": sum(p.numel() for p in model.parameters())}

    def _train_translator(self, part: str, generator: torch.Generator) -> tuple[nn.Module, dict[str, float]]:
        recipe, net = self.recipe, self._new(part).train()
        sides = self._sides(self.source.pretraining(part), SIDES[part])
        loss = fit(
            net, lambda i: pair_loss(net, *self._batch(sides, i)), len(sides[0].tokens), steps=recipe.mt_steps,
            batch=recipe.mt_batch, lr=recipe.mt_lr, generator=generator, title=f"{part} {recipe.base}",
        )  # fmt: skip
        source, target = SIDES[part]
        own = self._sides(self.source.held_out_pretraining(part)[: recipe.eval_pairs], SIDES[part])
        game = self.held_out("validation")
        reached = {"bleu": self._bleu(net.eval(), *own, target),
                   "bleu_captions": self._bleu(net, game[source], game[target], target)}  # fmt: skip
        return net, {"loss": loss, **reached}

    def _train_lm(self, generator: torch.Generator) -> tuple[GPT, dict[str, float]]:
        recipe, lm = self.recipe, self._new("lm").train()
        english = self._speaker_text[1]
        start = torch.full_like(english.tokens[:, :1], BOS)
        rows = torch.cat([start, english.tokens], 1)
        loss = fit(
            lm, lambda i: next_token_loss(lm, rows[i.to(self.device)], PAD), len(rows), steps=recipe.lm_steps,
            batch=recipe.lm_batch, lr=recipe.lm_lr, generator=generator, title=f"language model {recipe.base}",
        )  # fmt: skip
        held = self.held_out("validation")["en"].tokens
        held = torch.cat([torch.full_like(held[:, :1], BOS), held], 1)
        return lm.eval(), {"loss": loss, "perplexity_captions": scores.perplexity(lm, held, held != PAD)}

    def _bleu(self, net: nn.Module, source: Rows, target: Rows, language: str) -> float:
        said = self._texts(self._translate(net, source), language)
        return scores.bleu(said, self._texts(target.tokens, language))

    def _new(self, part: str) -> nn.Module:
        recipe = self.recipe
        size = {lang: tokenizer.get_vocab_size() for lang, tokenizer in self.source.tokenizers.items()}
        if part == "lm":
            net = GPT(size["en"], recipe.lm_width, recipe.lm_layers, recipe.lm_heads, recipe.context + 1)
        else:
            sizes = [size[language] for language in SIDES[part]]
            if recipe.net == "lstm":
                net = LSTMSeq2Seq(*sizes, recipe.width, recipe.layers, recipe.context, recipe.dropout)
            else:
                shape = (recipe.width, recipe.layers, recipe.heads, recipe.feed, recipe.context, recipe.dropout)
                net = Seq2Seq(*sizes, *shape)
        return net.to(self.device)

    # ---- the loop, and what it asks for

    def loop(self) -> Game | Distillation:
        """The game, with whatever the recipe adds to it, or seeded iterated learning around it."""
        recipe, speaker = self.recipe, self.speaker()
        resets, against_lm = recipe.reset_numbers(), recipe.kl_anchor == "lm"
        if against_lm or recipe.beta == 0:
            resets["anchor"] = "none"  # a KL that nobody pays for is not measured here
        game = Game(
            speaker, self.listener(), self.sentences, recipe.numbers(GameSettings),
            resetting=Resetting(speaker, **resets), pairs=self.pretraining_pairs,
            english_lm=self.english_lm() if against_lm and recipe.beta > 0 else None,
            text=partial(self.text, language="en"),
        )  # fmt: skip
        if recipe.sil_teacher is None:
            return game
        return Distillation(
            game, Players(self.speaker(), self.listener()), teacher_updates=recipe.sil_teacher,
            student_steps=recipe.sil_student, lr=recipe.sil_lr, updates=recipe.updates,
        )  # fmt: skip

    def _pretrained(self, part: str) -> nn.Module:
        net = self._new(part)
        net.load_state_dict(load_file(self.base / f"{part}.safetensors"))
        return net.eval()

    def speaker(self) -> nn.Module:
        """A fresh copy of the pretrained FR→EN translator."""
        return self._pretrained("speaker")

    def listener(self) -> nn.Module:
        """A fresh copy of the pretrained EN→DE translator."""
        return self._pretrained("listener")

    def english_lm(self) -> GPT:
        """The language model of the pretraining's English."""
        return self._pretrained("lm").requires_grad_(False)

    def sentences(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random French sources of the game and their true German, [count, S] and [count, T]."""
        sides = self._game_text
        return self._batch(sides, torch.randint(len(sides[0].tokens), (count,), generator=generator))

    def pretraining_pairs(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random French and English of the pretraining, [count, S] and [count, T]."""
        sides = self._speaker_text
        return self._batch(sides, torch.randint(len(sides[0].tokens), (count,), generator=generator))

    # ---- evaluation

    @torch.no_grad()
    def _translate(self, net: nn.Module, source: Rows) -> Tensor:
        """The likeliest word each time, [N, T]; sentences of like length together, as they end together."""
        longest = self.recipe.length
        said = torch.full((len(source.tokens), longest), PAD, dtype=torch.long, device=self.device)
        for chosen in source.lengths.argsort(stable=True).split(EVAL_BATCH):
            start = torch.full((len(chosen), 1), BOS, device=self.device)
            reading = net.reading(source.cut(chosen))
            tokens = sample(reading, start, longest, stop=EOS, banned=(PAD, BOS), greedy=True).tokens[:, 1:]
            said[chosen, : tokens.shape[1]] = tokens
        return said

    def _texts(self, tokens: Tensor, language: str) -> list[str]:
        return [self.text(row, language) for row in tokens]

    def evaluate(self, model: Players, split: str = "validation") -> tuple[dict[str, float], list[dict[str, Any]]]:
        """Both BLEUs, how the English reads, and what was made of the first few sentences."""
        held = self.held_out(split)
        english = self._translate(model.speaker, held["fr"])
        german = self._translate(model.listener, Rows(english, (english != PAD).sum(1)))
        said = {"en": self._texts(english, "en"), "de": self._texts(german, "de")}
        true = self._references(split)
        shown = [
            {"id": i, "prompt": true["fr"][i], "text": said["en"][i], "reference": true["en"][i],
             "german": said["de"][i], "german_reference": true["de"][i]}
            for i in range(min(SHOWN, len(english)))
        ]  # fmt: skip
        reached = {"task": scores.bleu(said["de"], true["de"]), "drift": scores.bleu(said["en"], true["en"])}
        return reached | scores.readings(said["en"], true["en"]), shown

    def _references(self, split: str) -> dict[str, list[str]]:
        if split not in self._true:
            self._true[split] = {lang: self._texts(rows.tokens, lang) for lang, rows in self.held_out(split).items()}
        return self._true[split]

    def at_the_end(self, model: Players) -> dict[str, Any]:
        """Nothing beside the scores."""
        return {}

    @staticmethod
    def environment() -> dict[str, str]:
        """What makes a BLEU comparable."""
        return {"bleu": scores.bleu_signature()}
