"""IMDB mock sentiment (Section 6, Appendix B): complete a film review so that a classifier finds it positive.

The policy is a language model of reviews; the reward is the classifier's P(positive) of prompt and completion; drift is
the policy's perplexity on held-out reviews. Both models are pretrained here once a base and shared by its runs, or come
from the hub (`paper`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from elastic_lib.loops.ppo import PPO, PPOSettings
from elastic_lib.loops.pretraining import fit, next_token_loss, prefixes
from elastic_lib.loops.resetting import Resetting
from elastic_lib.nets.gpt import GPT, PAD, Classifier, HubLM, Value
from elastic_lib.nets.learned import learned
from elastic_lib.nets.sampler import sample
from elastic_lib.recipe import Recipe
from elastic_lib.tasks import real_text, scores
from elastic_lib.tasks.hub import from_the_hub
from elastic_lib.tasks.sentiment import world
from elastic_lib.tasks.sentiment.drift_by_word import drift_by_word

BOS, EOS = 1, 2
HELD_OUT = {"validation": 10**6 + 1, "test": 10**6 + 2}  # seeds of generated reviews that no base trains on
SHOWN = 4  # prompts whose completions every evaluation keeps
EVAL_BATCH = 128


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
            return real_text.hub_tokenizer(recipe.lm_name)
        if recipe.corpus == "generated":
            return real_text.word_tokenizer(world.vocabulary())
        texts = [review.text for review in real_text.imdb("train")[: recipe.train_reviews]]
        return real_text.bpe_tokenizer(texts, recipe.vocabulary)

    @property
    def banned(self) -> tuple[int, ...]:
        """Words that are never sampled: every completion has the same length, so none may end early."""
        if self.recipe.lm_name is not None:
            return (self.tokenizer.eos_token_id,)
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
            return self._on_the_hub(split, texts)
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
        half = real_text.imdb("test")[0 if split == "validation" else 1 :: 2]
        return half[: 2 * max(recipe.eval_prompts, recipe.eval_reviews)]  # some are too short for a prompt

    def _on_the_hub(self, split: str, texts: list[world.Review]) -> Rows:
        """Appendix B: prompts end the first half of a review; perplexity is that of joined reviews."""
        recipe = self.recipe
        halves = self._encode([" ".join(review.text.split()[: len(review.text.split()) // 2]) for review in texts])
        prompts = torch.tensor([ids[-recipe.prompt - 1 :] for ids in halves if len(ids) > recipe.prompt])
        joined = self._encode(["\n\n".join(review.text for review in texts[: recipe.eval_reviews])])[0]
        width = min(recipe.context, 1024)
        modelled, scored = scores.windows(torch.tensor(joined), width, width // 2)
        labels = torch.tensor([float(review.label) for review in texts])
        prompts = prompts if split == "train" else prompts[: recipe.eval_prompts]
        return Rows(modelled, scored, modelled, labels, prompts)

    def _heads(self, rows: Tensor, split: str) -> Tensor:
        heads = rows[:, : self.recipe.prompt + 1]
        return heads if split == "train" else heads[: self.recipe.eval_prompts]

    def text_digest(self) -> str:
        """Of the held-out text: pretrained models belong to the text that they were trained beside."""
        return hashlib.sha256(self.rows("validation").modelled.cpu().numpy().tobytes()).hexdigest()[:16]

    # ---- pretraining

    def pretrain(self, part: str) -> tuple[dict[str, Tensor] | None, dict[str, Any]]:
        """Trains the base's language (`lm`) or reward model (`rm`): its weights, None from a hub, and its scores."""
        name = self.recipe.lm_name if part == "lm" else self.recipe.rm_name
        if name is not None:
            return None, {"hub": name}
        torch.manual_seed(100 + self.recipe.base)
        generator = torch.Generator().manual_seed(200 + self.recipe.base)
        model, reached = (self._train_lm if part == "lm" else self._train_rm)(generator)
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

    def loop(self) -> PPO:
        """PPO, or NLPO, or either with resets: as the recipe says."""
        recipe, policy = self.recipe, self.policy()
        value = Promise(self.reward) if recipe.value_net == "reward" else self.value()
        return PPO(
            policy, value, self.prompts, self.reward, recipe.numbers(PPOSettings),
            resetting=Resetting(policy, **recipe.reset_numbers()), banned=self.banned, text=self.text,
        )  # fmt: skip

    def policy(self) -> GPT | HubLM:
        """A fresh copy of the pretrained policy."""
        if self.recipe.lm_name is not None:
            return from_the_hub("model", self.recipe.lm_name, HubLM.load).to(self.device)
        lm = self._new_lm()
        lm.load_state_dict(load_file(self.base / "lm.safetensors"))
        return lm

    def value(self) -> Value:
        """A value network of its own, the pretrained policy with a zero head."""
        return Value(self.policy()).to(self.device)

    def prompts(self, count: int, generator: torch.Generator) -> Tensor:
        """Random training prompts [count, P]."""
        every = self.rows("train").prompts
        return every[torch.randint(len(every), (count,), generator=generator).to(self.device)]

    @cached_property
    def _reward_model(self) -> Callable[[Tensor], Tensor]:
        if self.recipe.rm_name is not None:
            return _HubSentiment(self.recipe.rm_name, self.device, self.text)
        rm = self._new_rm().requires_grad_(False)
        rm.load_state_dict(load_file(self.base / "rm.safetensors"))
        return lambda tokens: torch.sigmoid(rm(tokens))

    @torch.no_grad()
    def reward(self, tokens: Tensor) -> Tensor:
        """P(positive) of prompt and completion, [B]."""
        return self._reward_model(tokens)

    # ---- evaluation

    def perplexity(self, lm: GPT | HubLM, split: str) -> float:
        """On the held-out reviews of a split."""
        rows, count = self.rows(split), self.recipe.eval_reviews
        return scores.perplexity(lm, rows.modelled[:count], rows.scored[:count])

    def evaluate(self, lm: GPT | HubLM, split: str = "validation") -> tuple[dict[str, float], list[dict[str, Any]]]:
        """Reward of completions of held-out prompts, perplexity, and what was said to the first few of them.

        The same prompts and the same random numbers at every evaluation: differences are the policy's.
        """
        recipe, prompts = self.recipe, self.rows(split).prompts
        generator = torch.Generator().manual_seed(7)
        tokens = torch.cat([
            sample(lm, part, recipe.length, generator=generator, temperature=recipe.temperature, top_k=recipe.top_k,
                   top_p=recipe.top_p, banned=self.banned).tokens
            for part in prompts.split(EVAL_BATCH)
        ])  # fmt: skip
        reward = torch.cat([self.reward(part) for part in tokens.split(EVAL_BATCH)])
        said = [
            {"id": i, "prompt": self.text(row[: prompts.shape[1]]), "text": self.text(row[prompts.shape[1] :]),
             "reward": float(reward[i])}
            for i, row in enumerate(tokens[:SHOWN])
        ]  # fmt: skip
        return {"task": float(reward.mean()), "drift": self.perplexity(lm, split)}, said

    def at_the_end(self, lm: GPT | HubLM) -> dict[str, Any]:
        """Where the language drifted; words of a hub model are not ours to sort."""
        if self.recipe.lm_name is not None:
            return {}
        return {"where": {"before": drift_by_word(self, self.policy()), "end": drift_by_word(self, lm)}}

    @staticmethod
    def environment() -> dict[str, str]:
        """Nothing beside packages and machine."""
        return {}


class Promise(nn.Module):
    """The reward model as a value that does not learn: what it gives every beginning of a text."""

    def __init__(self, reward: Callable[[Tensor], Tensor]):
        super().__init__()
        self.reward = reward

    def forward(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Values of positions `start` and later, [B, T-start]."""
        return torch.stack([self.reward(tokens[:, : end + 1]) for end in range(start, tokens.shape[1])], 1)


class _HubSentiment:
    """A transformers text classifier as the reward: P of its positive class."""

    def __init__(self, name: str, device: torch.device, text: Callable[[Tensor], str]):
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.tokenizer = from_the_hub("tokenizer", name, AutoTokenizer.from_pretrained)
        model = from_the_hub("classifier", name, AutoModelForSequenceClassification.from_pretrained)
        self.model = model.eval().to(device)
        self.device, self.text = device, text
        labels = {label.upper(): i for i, label in self.model.config.id2label.items()}
        self.positive = labels.get("POSITIVE", labels.get("POS", 1))

    def __call__(self, tokens: Tensor) -> Tensor:
        texts = [self.text(row) for row in tokens]
        inputs = self.tokenizer(texts, return_tensors="pt", padding=True, truncation=True).to(self.device)
        return self.model(**inputs).logits.softmax(-1)[:, self.positive]


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
