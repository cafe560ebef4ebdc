"""IMDB mock sentiment (Section 6, Appendix B): complete a film review so that a classifier finds it positive.

The policy is a language model of reviews; the reward is the classifier's P(positive) of prompt and completion; drift is
the policy's perplexity on held-out reviews. Both are pretrained here once a base and shared by its runs (`pocket`), are
real models (`lab`: MiniLM is finetuned here, SmolLM2 learns through adapters), or come from the hub (`paper`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

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
from elastic_lib.tasks import scores
from elastic_lib.tasks.hub import from_the_hub, pinned, used
from elastic_lib.tasks.judges import FinetunedEncoder, PublishedClassifier
from elastic_lib.tasks.sentiment.drift_by_word import drift_by_word
from elastic_lib.tasks.sentiment.gold import OnStates, of_words, proxy_of
from elastic_lib.tasks.sentiment.reviews import EOS, Reviews

SHOWN = 4  # prompts whose completions every evaluation keeps
QUARTER = 4  # the first quarter of the prompts measures the KL to the pretrained model


class Sentiment:
    """The task on one base: text, the two models, reward and evaluation."""

    def __init__(self, recipe: Recipe, base: Path, device: torch.device | str = "cpu"):
        self.recipe, self.base, self.device = recipe, Path(base), torch.device(device)
        self.reviews = Reviews(recipe, self.base.parents[1], self.device)

    def text_digest(self) -> str:
        """Of the held-out text: pretrained models belong to the text that they were trained beside."""
        return self.reviews.digest()

    # ---- pretraining

    def pretrain(self, part: str) -> tuple[dict[str, Tensor] | None, dict[str, Any]]:
        """Trains the base's language (`lm`) or reward model (`rm`): weights, None if they are there, and its scores."""
        recipe = self.recipe
        name, steps = (recipe.lm_name, recipe.lm_steps) if part == "lm" else (recipe.rm_name, recipe.rm_steps)
        if name is not None and steps is None:
            return None, {"hub": name}
        torch.manual_seed(100 + recipe.base)
        generator = torch.Generator().manual_seed(200 + recipe.base)
        if part == "lm":
            train = self._train_lm
        else:
            train = self._train_rm if name is None else self._finetune_rm
        model, reached = train(generator)
        return learned(model), reached | {"parameters": sum(p.numel() for p in model.parameters())}

    def _train_lm(self, generator: torch.Generator) -> tuple[GPT, dict[str, float]]:
        recipe, rows, lm = self.recipe, self.reviews.rows("train").modelled, self._new_lm()
        loss = fit(
            lm, lambda i: next_token_loss(lm, rows[i.to(self.device)], PAD), len(rows), steps=recipe.lm_steps,
            batch=recipe.lm_batch, lr=recipe.lm_lr, generator=generator, title=f"language model {recipe.base}",
        )  # fmt: skip
        return lm, {"loss": loss, "perplexity": self.perplexity(lm, "validation")}

    def _train_rm(self, generator: torch.Generator) -> tuple[Classifier, dict[str, float]]:
        recipe, rm = self.recipe, self._new_rm()
        train = self.reviews.rows("train")
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
        loss = rm.learn_sides(
            self.reviews.of("train"), generator, steps=recipe.rm_steps, batch=recipe.rm_batch, lr=recipe.rm_lr,
            title=f"reward model {recipe.base}",
        )  # fmt: skip
        held, words = self.reviews.of("validation"), recipe.prompt + recipe.length
        return rm, {"loss": loss, "accuracy_whole": rm.accuracy(held), "accuracy_scored": rm.accuracy(held, words)}

    @torch.no_grad()
    def _accuracy(self, rm: Classifier) -> dict[str, float]:
        """On held-out texts, whole and cut to the length that RL scores."""
        held = self.reviews.rows("validation")
        rows = held.rated.masked_fill(held.rated == EOS, PAD)
        scored = rows[:, : 1 + self.recipe.prompt + self.recipe.length]
        right = [((rm(part) > 0).float() == held.labels).float().mean() for part in (rows, scored)]
        return {"accuracy_whole": float(right[0]), "accuracy_scored": float(right[1])}

    def _new_lm(self) -> GPT:
        recipe = self.recipe
        size = self.reviews.tokenizer.get_vocab_size()
        return GPT(size, recipe.lm_width, recipe.lm_layers, recipe.lm_heads, recipe.context).to(self.device)

    def _new_rm(self) -> Classifier:
        recipe = self.recipe
        size = self.reviews.tokenizer.get_vocab_size()
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
            resetting=Resetting(policy, **recipe.reset_numbers()), banned=self.reviews.banned, text=self.reviews.text,
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
        every = self.reviews.rows("train").prompts
        return every[torch.randint(len(every), (count,), generator=generator).to(self.device)]

    @cached_property
    def _reward_model(self) -> Callable[[Tensor], Tensor]:
        if self.recipe.rm_name is not None:
            judge = self._judge_of_words()
            return lambda tokens: judge([self.reviews.text(row) for row in tokens])
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
        read, fresh = self._read_by_a_proxy(texts.shape[1])
        labels = scores.of_many(self.gold, texts)
        proxy = proxy_of(labels, read(texts), fresh, 500 + recipe.seed)
        return lambda tokens: torch.sigmoid(proxy(read(tokens)))

    def _read_by_a_proxy(self, length: int) -> tuple[Callable[[Tensor], Tensor], Callable[[], nn.Module]]:
        """How a proxy reads texts, and how one is made: of our own words, or of an encoder that nobody finetuned."""
        if self.recipe.rm_name is None:
            return lambda tokens: tokens, lambda: of_words(self.reviews.tokenizer.get_vocab_size(), length)
        encoder = FinetunedEncoder(self._called(self.recipe.rm_name), self.device).requires_grad_(False)

        def states(tokens: Tensor) -> Tensor:
            return encoder.states([self.reviews.text(row) for row in tokens])

        return states, lambda: OnStates(encoder.head.in_features)

    # ---- evaluation

    def perplexity(self, lm: GPT | CausalLM, split: str) -> float:
        """On the held-out reviews of a split."""
        rows, count = self.reviews.rows(split), self.recipe.eval_reviews
        return scores.perplexity(lm, rows.modelled[:count], rows.scored[:count])

    def evaluate(self, lm: GPT | CausalLM, split: str = "validation") -> tuple[dict[str, float], list[dict[str, Any]]]:
        """Reward of completions of held-out prompts, perplexity, and what was said to the first few of them.

        The same prompts and the same random numbers at every evaluation: differences are the policy's.
        """
        prompts, text = self.reviews.rows(split).prompts, self.reviews.text
        if isinstance(lm, Asked):
            drawn = functools.partial(self._drawn, lm.policy, prompts)
            lm.best[split] = best_of(lm.n, drawn, functools.partial(scores.of_many, self.reward), lm.best.get(split))
            tokens = lm.best[split].texts
            reached = {"drift": math.nan, "reverse_kl": kl_of_best(lm.n) / self.recipe.length}
        else:
            tokens, logp, _ = self._said(lm, prompts)
            reached = {"drift": self.perplexity(lm, split)} | self._kl(lm, tokens, logp)
        reward = scores.of_many(self.reward, tokens)
        said = [
            {
                "id": i,
                "prompt": text(row[: prompts.shape[1]]),
                "text": text(row[prompts.shape[1] :]),
                "reward": float(paid),
            }
            for i, (row, paid) in enumerate(zip(tokens[:SHOWN], reward, strict=False))
        ]
        if self.recipe.gold_labels is not None:
            reached["gold"] = float(scores.of_many(self.gold, tokens).mean())
        return {"task": float(reward.mean())} | reached, said

    def _said(self, lm: GPT | CausalLM, prompts: Tensor, again: int = 0) -> Samples:
        """Continuations of prompts; asked again, with random numbers of that time and of the run's seed."""
        recipe = self.recipe
        seed = 10**9 + 1000 * recipe.seed + again if again else 7
        generator = torch.Generator().manual_seed(seed)
        drawn = [
            sample(lm, part, recipe.length, generator=generator, top_k=recipe.top_k, top_p=recipe.top_p, **self._shape)
            for part in prompts.split(scores.AT_ONCE)
        ]
        return Samples(torch.cat([part.tokens for part in drawn]), torch.cat([part.logp for part in drawn]), None)

    def _drawn(self, lm: GPT | CausalLM, prompts: Tensor, again: int) -> Tensor:
        return self._said(lm, prompts, again).tokens

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
        prompts, generator = self.reviews.rows("validation").prompts.chunk(QUARTER)[0], torch.Generator().manual_seed(8)
        said = sample(initial, prompts, self.recipe.length, generator=generator, **self._shape)
        return said.tokens, said.logp

    @cached_property
    def _initial(self) -> GPT | CausalLM:
        return self.policy()

    @property
    def _shape(self) -> dict[str, Any]:
        """Of the distribution that is trained, sampled and compared."""
        return {"temperature": self.recipe.temperature, "banned": self.reviews.banned}

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
        return pinned(name, self.reviews.results)


class Promise(nn.Module):
    """The reward model as a value that does not learn: what it gives every beginning of a text."""

    def __init__(self, reward: Callable[[Tensor], Tensor]):
        super().__init__()
        self.reward = reward

    def forward(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Values of positions `start` and later, [B, T-start]."""
        return torch.stack([self.reward(tokens[:, : end + 1]) for end in range(start, tokens.shape[1])], 1)
