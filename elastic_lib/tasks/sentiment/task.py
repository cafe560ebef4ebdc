"""IMDB mock sentiment (Section 6, Appendix B): complete a film review so that a classifier finds it positive.

The policy is a language model of reviews; the reward is the classifier's P(positive) of prompt and completion; drift is
the policy's perplexity on held-out reviews. Both are pretrained here once a base and shared by its runs (`pocket`), are
real models (`lab`: MiniLM is finetuned here, SmolLM2 learns through adapters), or come from the hub (`paper`).
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from elastic_lib.loops.best_of_n import Asked, BestOfN, best_of, kl_of_best
from elastic_lib.loops.ppo import PPO, PPOSettings
from elastic_lib.loops.pretraining import fit, next_token_loss, prefixes
from elastic_lib.loops.resetting import Resetting
from elastic_lib.nets import transformers_lm
from elastic_lib.nets.gpt import GPT, PAD, Classifier, Value, ValueHead
from elastic_lib.nets.learned import learned, relearn
from elastic_lib.nets.sampler import Samples, logp_of, sample
from elastic_lib.nets.transformers_lm import CausalLM
from elastic_lib.recipe import Recipe
from elastic_lib.tasks import real_text, scores
from elastic_lib.tasks.hub import from_the_hub, pinned, used
from elastic_lib.tasks.sentiment import world
from elastic_lib.tasks.sentiment.drift_by_word import drift_by_word
from elastic_lib.tasks.sentiment.gold import proxy_of
from elastic_lib.tasks.sentiment.judges import FinetunedEncoder, PublishedClassifier

BOS, EOS = 1, 2
HELD_OUT = {"validation": 10**6 + 1, "test": 10**6 + 2}  # seeds of generated reviews that no base trains on
SHOWN = 4  # prompts whose completions every evaluation keeps
EVAL_BATCH = 128
QUARTER = 4  # the first quarter of the prompts measures the KL to the pretrained model


class Rows(NamedTuple):
    """Token ids [N, T]: texts to model, which of their tokens perplexity counts, texts to rate, prompts of the RL."""

    modelled: Tensor
    scored: Tensor
    rated: Tensor
    labels: Tensor
    prompts: Tensor


class Sentiment:
    """The task on one base: text, the two models, reward and evaluation."""

    def __init__(self, recipe: Recipe, base: Path, device: torch.device | str = "cpu"):
        self.recipe, self.base, self.device = recipe, Path(base), torch.device(device)
        self._rows: dict[str, Rows] = {}

    # ---- text

    @cached_property
    def tokenizer(self):
        """Closed vocabulary for the generated world, BPE for real reviews, the hub model's own on the hub."""
        recipe = self.recipe
        if recipe.lm_name is not None:
            return real_text.hub_tokenizer(self._called(recipe.lm_name))
        if recipe.corpus == "generated":
            return real_text.word_tokenizer(world.vocabulary())
        texts = [review.text for review in real_text.imdb("train")[: recipe.train_reviews]]
        return real_text.bpe_tokenizer(texts, recipe.vocabulary)

    @property
    def banned(self) -> tuple[int, ...]:
        """Words that are never sampled: every completion has the same length, so none may end early."""
        if self.recipe.lm_name is not None:
            return tuple(sorted(self.tokenizer.all_special_ids))
        return (PAD, BOS, EOS)

    def text(self, tokens: Tensor) -> str:
        """The words of one row of tokens."""
        return self.tokenizer.decode([t for t in tokens.tolist() if t not in self.banned])

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
        rows = _padded(self._encode([review.text for review in texts]), recipe.context)
        labels = torch.tensor([float(review.label) for review in texts])
        return Rows(rows, rows != PAD, rows, labels, self._heads(rows, split))

    def _real(self, split: str) -> Rows:
        """Whole reviews to model; to rate and to continue, their last sentences, so that contexts are short."""
        recipe, texts = self.recipe, self._reviews(split)
        if recipe.lm_name is not None:
            return (self._beginnings if recipe.prompts_at is None else self._halves)(split, texts)
        least = recipe.prompt + recipe.length
        encodings = self.tokenizer.encode_batch([review.text for review in texts])
        tails = [_last_sentences(review.text, e, least) for review, e in zip(texts, encodings, strict=True)]
        kept = [(tail, float(review.label)) for tail, review in zip(tails, texts, strict=True) if tail is not None]
        rated = _padded([[BOS, *tail] for tail, _ in kept], recipe.context)
        whole = [[BOS, *e.ids, EOS] for e in encodings]
        if split == "train":
            whole = [ids[i : i + recipe.context] for ids in whole for i in range(0, len(ids), recipe.context)]
        modelled = _padded(whole, recipe.context)
        labels = torch.tensor([label for _, label in kept])
        return Rows(modelled, modelled != PAD, rated, labels, self._heads(rated, split))

    def _reviews(self, split: str) -> list[world.Review]:
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

    def text_digest(self) -> str:
        """Of the held-out text: pretrained models belong to the text that they were trained beside."""
        if self.recipe.lm_name is not None:
            texts = "\n".join(review.text for review in self._held_out("validation"))
            return hashlib.sha256(texts.encode()).hexdigest()[:16]
        return hashlib.sha256(self.rows("validation").modelled.cpu().numpy().tobytes()).hexdigest()[:16]

    # ---- pretraining

    def pretrain(self, part: str) -> tuple[dict[str, Tensor] | None, dict[str, Any]]:
        """Trains the base's language (`lm`) or reward model (`rm`): weights, None if they are there, and its scores."""
        recipe = self.recipe
        name, steps = (recipe.lm_name, recipe.lm_steps) if part == "lm" else (recipe.rm_name, recipe.rm_steps)
        if name is not None and steps is None:
            return None, {"hub": name}
        torch.manual_seed(100 + recipe.base)
        generator = torch.Generator().manual_seed(200 + recipe.base)
        train = self._train_lm if part == "lm" else self._train_rm if name is None else self._finetune_rm
        model, reached = train(generator)
        return learned(model), reached | {"parameters": sum(p.numel() for p in model.parameters())}

    def _train_lm(self, generator: torch.Generator) -> tuple[GPT, dict[str, float]]:
        recipe, rows, lm = self.recipe, self.rows("train").modelled, self._new_lm()
        loss = fit(
            lm, lambda i: next_token_loss(lm, rows[i.to(self.device)], PAD), len(rows), steps=recipe.lm_steps,
            batch=recipe.lm_batch, lr=recipe.lm_lr, generator=generator, title=f"language model {recipe.base}",
        )  # fmt: skip
        return lm, {"loss": loss, "perplexity": self.perplexity(lm, "validation")}

    def _train_rm(self, generator: torch.Generator) -> tuple[Classifier, dict[str, float]]:
        recipe, rm = self.recipe, self._new_rm()
        train = self.rows("train")
        rows = train.rated.masked_fill(train.rated == EOS, PAD)  # a completion has no end mark
        shortest = recipe.prompt + recipe.length // 2

        def loss_of(i: Tensor) -> Tensor:
            i = i.to(self.device)
            logit = rm(prefixes(rows[i], shortest, PAD, generator))
            return torch.nn.functional.binary_cross_entropy_with_logits(logit, train.labels[i])

        loss = fit(
            rm, loss_of, len(rows), steps=recipe.rm_steps, batch=recipe.rm_batch, lr=recipe.rm_lr,
            generator=generator, title=f"reward model {recipe.base}",
        )  # fmt: skip
        return rm, {"loss": loss, **self._accuracy(rm)}

    def _finetune_rm(self, generator: torch.Generator) -> tuple[FinetunedEncoder, dict[str, float]]:
        recipe = self.recipe
        rm = FinetunedEncoder(self._called(recipe.rm_name), self.device)
        loss = rm.learn(
            self._reviews("train"), generator, steps=recipe.rm_steps, batch=recipe.rm_batch, lr=recipe.rm_lr,
            title=f"reward model {recipe.base}",
        )  # fmt: skip
        held, words = self._reviews("validation"), recipe.prompt + recipe.length
        return rm, {"loss": loss, "accuracy_whole": rm.accuracy(held), "accuracy_scored": rm.accuracy(held, words)}

    @torch.no_grad()
    def _accuracy(self, rm: Classifier) -> dict[str, float]:
        """On held-out texts, whole and cut to the length that RL scores."""
        held = self.rows("validation")
        rows = held.rated.masked_fill(held.rated == EOS, PAD)
        scored = rows[:, : 1 + self.recipe.prompt + self.recipe.length]
        right = [((rm(part) > 0).float() == held.labels).float().mean() for part in (rows, scored)]
        return {"accuracy_whole": float(right[0]), "accuracy_scored": float(right[1])}

    def _new_lm(self) -> GPT:
        recipe = self.recipe
        size = self.tokenizer.get_vocab_size()
        return GPT(size, recipe.lm_width, recipe.lm_layers, recipe.lm_heads, recipe.context).to(self.device)

    def _new_rm(self) -> Classifier:
        recipe = self.recipe
        size = self.tokenizer.get_vocab_size()
        return Classifier(size, recipe.rm_width, recipe.rm_layers, recipe.rm_heads, recipe.context).to(self.device)

    # ---- the loop, and what it asks for

    def loop(self) -> PPO | BestOfN:
        """PPO, or NLPO, or either with resets: as the recipe says; or samples alone."""
        recipe, policy = self.recipe, self.policy()
        if recipe.best_of is not None:
            return BestOfN(policy, recipe.best_of, recipe.updates)
        value = Promise(self.reward) if recipe.value_net == "reward" else self.value(policy)
        return PPO(
            policy, value, self.prompts, self.reward, recipe.numbers(PPOSettings),
            resetting=Resetting(policy, **recipe.reset_numbers()), banned=self.banned, text=self.text,
        )  # fmt: skip

    def policy(self) -> GPT | CausalLM:
        """A fresh copy of the pretrained policy, which learns in whole or through fresh adapters."""
        recipe = self.recipe
        if recipe.lm_name is not None:
            how = dict(kind="CausalLM", device=torch.device("cpu"), precision=recipe.precision)
            model = from_the_hub("model", self._called(recipe.lm_name), functools.partial(transformers_lm.load, **how))
            if recipe.lora_rank is not None:
                model = transformers_lm.adapted(model, **recipe.adapter_numbers())
            return CausalLM(model, pad=None).to(self.device)
        lm = self._new_lm()
        lm.load_state_dict(load_file(self.base / "lm.safetensors"))
        return lm

    def value(self, policy: GPT | CausalLM) -> Value | ValueHead:
        """A value network of its own, the pretrained policy with a zero head; or a head on the policy's states."""
        if self.recipe.value_coef is not None:
            return ValueHead(policy.width).to(self.device)
        return Value(self.policy()).to(self.device)

    def prompts(self, count: int, generator: torch.Generator) -> Tensor:
        """Random training prompts [count, P]."""
        every = self.rows("train").prompts
        return every[torch.randint(len(every), (count,), generator=generator).to(self.device)]

    @cached_property
    def _reward_model(self) -> Callable[[Tensor], Tensor]:
        if self.recipe.rm_name is not None:
            judge = self._judge_of_words()
            return lambda tokens: judge([self.text(row) for row in tokens])
        rm = self._new_rm().requires_grad_(False)
        rm.load_state_dict(load_file(self.base / "rm.safetensors"))
        return lambda tokens: torch.sigmoid(rm(tokens))

    def _judge_of_words(self) -> Callable[[list[str]], Tensor]:
        recipe = self.recipe
        if recipe.rm_steps is None:
            return PublishedClassifier(self._called(recipe.rm_name), self.device)
        encoder = FinetunedEncoder(self._called(recipe.rm_name), self.device)
        relearn(encoder, load_file(self.base / "rm.safetensors"))
        encoder.requires_grad_(False)
        return lambda texts: torch.sigmoid(encoder(texts))

    @torch.no_grad()
    def reward(self, tokens: Tensor) -> Tensor:
        """P(positive) of prompt and completion, [B], by what pays: the reward model, or a proxy of it."""
        return self._pays(tokens)

    @torch.no_grad()
    def gold(self, tokens: Tensor) -> Tensor:
        """The same by the reward model itself."""
        return self._reward_model(tokens)

    @cached_property
    def _pays(self) -> Callable[[Tensor], Tensor]:
        recipe = self.recipe
        if recipe.gold_labels is None:
            return self._reward_model
        generator = torch.Generator().manual_seed(400 + recipe.seed)
        prompts = self.prompts(recipe.gold_labels, generator)
        texts = sample(self._initial, prompts, recipe.length, generator=generator, **self._shape).tokens
        proxy = proxy_of(self.gold, texts, self.tokenizer.get_vocab_size(), 500 + recipe.seed)
        return lambda tokens: torch.sigmoid(proxy(tokens))

    # ---- evaluation

    def perplexity(self, lm: GPT | CausalLM, split: str) -> float:
        """On the held-out reviews of a split."""
        rows, count = self.rows(split), self.recipe.eval_reviews
        return scores.perplexity(lm, rows.modelled[:count], rows.scored[:count])

    def evaluate(self, lm: GPT | CausalLM, split: str = "validation") -> tuple[dict[str, float], list[dict[str, Any]]]:
        """Reward of completions of held-out prompts, perplexity, and what was said to the first few of them.

        The same prompts and the same random numbers at every evaluation: differences are the policy's.
        """
        prompts = self.rows(split).prompts
        if isinstance(lm, Asked):
            drawn = functools.partial(self._drawn, lm.policy, prompts)
            lm.best[split] = best_of(lm.n, drawn, self._paid, lm.best.get(split))
            tokens = lm.best[split].texts
            reached = {"drift": math.nan, "reverse_kl": kl_of_best(lm.n) / self.recipe.length}
        else:
            tokens, logp, _ = self._said(lm, prompts)
            reached = {"drift": self.perplexity(lm, split)} | self._kl(lm, tokens, logp)
        reward = self._paid(tokens)
        said = [
            {"id": i, "prompt": self.text(row[: prompts.shape[1]]), "text": self.text(row[prompts.shape[1] :]),
             "reward": float(reward[i])}
            for i, row in enumerate(tokens[:SHOWN])
        ]  # fmt: skip
        if self.recipe.gold_labels is not None:
            reached["gold"] = float(torch.cat([self.gold(part) for part in tokens.split(EVAL_BATCH)]).mean())
        return {"task": float(reward.mean())} | reached, said

    def _said(self, lm: GPT | CausalLM, prompts: Tensor, again: int = 0) -> Samples:
        """Continuations of prompts; asked again, with random numbers of that time and of the run's seed."""
        recipe = self.recipe
        generator = torch.Generator().manual_seed(10**9 + 1000 * recipe.seed + again if again else 7)
        drawn = [
            sample(lm, part, recipe.length, generator=generator, top_k=recipe.top_k, top_p=recipe.top_p, **self._shape)
            for part in prompts.split(EVAL_BATCH)
        ]
        return Samples(torch.cat([part.tokens for part in drawn]), torch.cat([part.logp for part in drawn]), None)

    def _drawn(self, lm: GPT | CausalLM, prompts: Tensor, again: int) -> Tensor:
        return self._said(lm, prompts, again).tokens

    def _paid(self, tokens: Tensor) -> Tensor:
        """The reward of many texts, [N]."""
        return torch.cat([self.reward(part) for part in tokens.split(EVAL_BATCH)])

    @torch.no_grad()
    def _kl(self, lm: GPT | CausalLM, tokens: Tensor, logp: Tensor) -> dict[str, float]:
        """To the pretrained model π0 in nats a token: KL(π0‖π) on what π0 first said, KL(π‖π0) on what π says here.

        The second asks π0 about new texts each time: of a world of our own alone, where π0 is small.
        """
        said, first = self._first_said
        found = {"forward_kl": float((first - self._logp(lm, said)).mean())}
        if self.recipe.lm_name is None:
            tokens, logp = (part.chunk(QUARTER)[0] for part in (tokens, logp))
            found["reverse_kl"] = float((logp - self._logp(self._initial, tokens)).mean())
        return found

    @cached_property
    def _first_said(self) -> tuple[Tensor, Tensor]:
        """Continuations of held-out prompts by the pretrained model, [B, P+T], and their log-probabilities [B, T]."""
        initial = self._initial if self.recipe.lm_name is None else self.policy()
        prompts, generator = self.rows("validation").prompts.chunk(QUARTER)[0], torch.Generator().manual_seed(8)
        said = sample(initial, prompts, self.recipe.length, generator=generator, **self._shape)
        return said.tokens, said.logp

    @cached_property
    def _initial(self) -> GPT | CausalLM:
        return self.policy()

    @property
    def _shape(self) -> dict[str, Any]:
        """Of the distribution that is trained, sampled and compared."""
        return {"temperature": self.recipe.temperature, "banned": self.banned}

    def _logp(self, lm: GPT | CausalLM, tokens: Tensor) -> Tensor:
        """Log-probabilities of completions, [B, T]."""
        return logp_of(lm, tokens, tokens.shape[1] - self.recipe.length, **self._shape)[0]

    def at_the_end(self, lm: GPT | CausalLM) -> dict[str, Any]:
        """Where the language drifted; words of a hub model are not ours to sort, and samples are of no new weights."""
        if self.recipe.lm_name is not None or isinstance(lm, Asked):
            return {}
        return {"where": {"before": drift_by_word(self, self.policy()), "end": drift_by_word(self, lm)}}

    def environment(self) -> dict[str, Any]:
        """Which real models stand behind the names."""
        names = [name for name in (self.recipe.lm_name, self.recipe.rm_name) if name is not None]
        found = {name: what for one in names for name, what in used(self._called(one)).items()}
        return {"models": found} if found else {}

    def _called(self, name: str) -> str:
        """A model's name, at the commit that these results go by."""
        return pinned(name, self.base.parents[1])


class Promise(nn.Module):
    """The reward model as a value that does not learn: what it gives every beginning of a text."""

    def __init__(self, reward: Callable[[Tensor], Tensor]):
        super().__init__()
        self.reward = reward

    def forward(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Values of positions `start` and later, [B, T-start]."""
        return torch.stack([self.reward(tokens[:, : end + 1]) for end in range(start, tokens.shape[1])], 1)


def _padded(texts: list[list[int]], width: int) -> Tensor:
    rows = torch.full((len(texts), width), PAD, dtype=torch.long)
    for row, ids in zip(rows, texts, strict=True):
        row[: len(ids[:width])] = torch.tensor(ids[:width])
    return rows


def _last_sentences(text: str, encoding, least: int) -> list[int] | None:
    """The shortest run of final sentences of at least `least` tokens; None if the whole text has fewer."""
    starts = [0, *(match.end() for match in re.finditer(r"[.!?]\s+", text))]
    for start in reversed(starts):
        first = next((i for i, (_, end) in enumerate(encoding.offsets) if end > start), len(encoding.ids))
        if len(encoding.ids) - first >= least:
            return encoding.ids[first:]
    return None
