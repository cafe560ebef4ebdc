"""StackLLaMA (Section 7, Appendix C): answer technical questions so that a model of people's votes likes the answers.

Supervised finetuning on answers, three reward models from pairs of answers (one is optimised, all three judge, as in
Table 3), then RL on LoRA adapters alone. Drift is the perplexity on held-out answers, and an exam of unseen questions,
whose code is run, shows what it costs: the alignment tax.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from elastic_lib.loops import trl_stages
from elastic_lib.loops.ppo import PPO, PPOSettings, acts_of
from elastic_lib.loops.rehearsal import Rehearsed, best_of_clusters
from elastic_lib.loops.resetting import Resetting
from elastic_lib.nets import transformers_lm
from elastic_lib.nets.gpt import PAD, ValueHead, padded
from elastic_lib.nets.learned import learned, relearn
from elastic_lib.nets.sampler import sample
from elastic_lib.nets.transformers_lm import CausalLM, RewardModel
from elastic_lib.recipe import Recipe
from elastic_lib.records.files import read_json
from elastic_lib.tasks import scores
from elastic_lib.tasks.answers import real, world
from elastic_lib.tasks.answers.dialogues import Dialogues, padded_in_front
from elastic_lib.tasks.answers.exam import Exam, Untouched
from elastic_lib.tasks.answers.facts import PARTS
from elastic_lib.tasks.hub import from_the_hub, pinned, used
from elastic_lib.tasks.judges import FinetunedEncoder

JUDGES = PARTS[1:]  # the models themselves; the first is optimised
SHOWN = 4  # questions whose answers every evaluation keeps
REHEARSED, CLUSTERS, KEPT = 1024, 16, 16  # answers from which what is rehearsed is chosen; of each cluster


class Answers:
    """The task on one base: text, the language model, the three judges, the exam."""

    def __init__(self, recipe: Recipe, base: Path, device: torch.device | str = "cpu"):
        self.recipe, self.base, self.device = recipe, Path(base), torch.device(device)
        self.results = self.base.parents[1]
        self.dialogues = Dialogues(recipe, self.device, self.results)
        self.text, self.split, self.text_digest = self.dialogues.text, self.dialogues.split, self.dialogues.text_digest

    @property
    def stop(self) -> int:
        """The word that ends an answer."""
        return self.dialogues.stop

    @property
    def banned(self) -> tuple[int, ...]:
        """Words that are never said."""
        return self.dialogues.banned

    # ---- the stages before RL

    def pretrain(self, part: str) -> tuple[dict[str, Tensor] | None, dict[str, Any]]:
        """Makes the language model or one of the reward models: its weights, None from a hub, and its scores."""
        if part == "lm":
            return self._finetune()
        return self._learn_reward(JUDGES.index(part))

    def _finetune(self) -> tuple[dict[str, Tensor] | None, dict[str, Any]]:
        recipe = self.recipe
        if recipe.lm_steps is None:
            return None, {"hub": recipe.lm_name, "perplexity": self.perplexity(CausalLM(self._lm()), "validation")}
        if recipe.exam == "untouched":
            self._exam.rows()  # text that is missing is told of now, not after all the training
        lm = self._new_lm(seed=100 + recipe.base)
        texts = [row[row != PAD].tolist() for row in self.split("train").texts]
        loss = trl_stages.finetune(
            lm, texts, self.dialogues.tokenizer, steps=recipe.lm_steps, batch=recipe.lm_batch, lr=recipe.lm_lr,
            seed=100 + recipe.base, title=f"supervised finetuning {recipe.base}",
        )  # fmt: skip
        weights, parameters = learned(lm), sum(p.numel() for p in lm.parameters())
        reached = {"loss": loss, "perplexity": self.perplexity(CausalLM(self._finetuned(lm)), "validation")}
        return weights, reached | {"parameters": parameters}

    def _learn_reward(self, judge: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """From the finetuned model, as the paper, or an encoder; judges differ by the seed of data and of the head."""
        recipe, seed = self.recipe, 200 + 10 * self.recipe.base + judge
        model = self._fresh_judge(seed)
        how = dict(
            steps=recipe.rm_steps, batch=recipe.rm_batch, lr=recipe.rm_lr, title=f"reward model {recipe.base}.{judge}",
            bound=recipe.rm_bound if judge == 0 else None,  # those that nothing is optimised for are reward models
        )  # fmt: skip
        if isinstance(model, FinetunedEncoder):
            pairs = [(self.text(torch.tensor(a)), self.text(torch.tensor(b))) for a, b in self.split("train").pairs]
            loss = model.learn_order(pairs, torch.Generator().manual_seed(seed), **how)
        else:
            pairs = self.split("train").pairs
            loss = trl_stages.learn_reward(
                model, pairs, self.dialogues.tokenizer, seed=seed, micro=recipe.rm_micro, **how
            )
        return learned(model), {"loss": loss, **self._standing(self._paying(model))}

    def _fresh_judge(self, seed: int) -> nn.Module:
        recipe = self.recipe
        if recipe.rm_name is not None:
            torch.manual_seed(seed)
            return FinetunedEncoder(pinned(recipe.rm_name, self.results), self.device)
        if recipe.lm_name is not None:
            torch.manual_seed(seed)
            return transformers_lm.adapted_judge(self._from_the_hub("SequenceClassification", num_labels=1))
        model = self._new("SequenceClassification", seed)
        lm = load_file(self.base / "lm.safetensors")
        model.load_state_dict({n: t for n, t in lm.items() if n.startswith("model.")}, strict=False)
        return model

    def _paying(self, judge: nn.Module) -> Callable[[Tensor], Tensor]:
        """A judge as what gives rows of tokens a number each.

        An encoder has tokens of its own, and reads the words. People compare answers to one question, so that what it
        gives a question means nothing; it is most of what it gives, and is taken off: what an answer adds to it pays.
        """
        if not isinstance(judge, FinetunedEncoder):
            return RewardModel(judge.eval())
        mark = self.dialogues.mark.strip()

        def adds(tokens: Tensor) -> Tensor:
            texts = [self.text(row) for row in tokens]
            return judge(texts) - judge([text.partition(mark)[0] + mark for text in texts])

        return adds

    @torch.no_grad()
    def _standing(self, judge: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Accuracy on held-out pairs, that of taking the longer one, and what people's answers get: mean, deviation."""
        held = self.split("validation")
        better, worse = (
            torch.cat([judge(padded(list(part)).to(self.device)) for part in _chunks(side)])
            for side in zip(*held.pairs, strict=True)
        )
        given = scores.of_many(judge, held.texts)
        accuracy = float((better > worse).float().mean())
        longer = sum((len(a) > len(b)) + (len(a) == len(b)) / 2 for a, b in held.pairs) / len(held.pairs)
        return dict(
            accuracy=accuracy, longer=longer, calibration_error=scores.calibration_error(better - worse),
            mean=float(given.mean()), deviation=float(given.std()),
        )  # fmt: skip

    def _new_lm(self, seed: int) -> nn.Module:
        """What finetuning begins with: a small Llama, or a pretrained model with adapters, which alone learn."""
        if self.recipe.lm_name is None:
            return self._new("CausalLM", seed)
        torch.manual_seed(seed)
        return transformers_lm.adapted_writer(self._from_the_hub("CausalLM"))

    def _finetuned(self, lm: nn.Module) -> nn.Module:
        """The whole model: adapters that have learned become part of it."""
        return (lm if self.recipe.lm_name is None else lm.merge_and_unload()).eval()

    def _new(self, kind: str, seed: int) -> nn.Module:
        recipe = self.recipe
        torch.manual_seed(seed)
        size = (len(self.dialogues.tokenizer), recipe.lm_width, recipe.lm_layers, recipe.lm_heads, recipe.context)
        return transformers_lm.llama(kind, *size).to(self.device)

    def _lm(self) -> nn.Module:
        """The finetuned language model."""
        recipe = self.recipe
        if recipe.lm_steps is None:
            return self._from_the_hub("CausalLM")
        lm = self._new_lm(seed=0)
        relearn(lm, load_file(self.base / "lm.safetensors"))
        return self._finetuned(lm)

    def _from_the_hub(self, kind: str, **how: Any) -> nn.Module:
        recipe = self.recipe
        load = functools.partial(transformers_lm.load, kind=kind, device=self.device, **how)
        model = from_the_hub("model", pinned(recipe.lm_name, self.results), load)
        if recipe.lm_adapter is None:
            return model
        merge = functools.partial(transformers_lm.merged, model=model)
        return from_the_hub("adapter", pinned(recipe.lm_adapter, self.results), merge)

    # ---- the loop, and what it asks for

    def loop(self) -> PPO:
        """PPO on the adapters, with resets if the recipe has them."""
        recipe, policy = self.recipe, self.policy()
        return PPO(
            policy, self.value(), self.prompts, self.reward, recipe.numbers(PPOSettings),
            rehearsed=self._rehearsed(policy) if recipe.rehearsal is not None else None,
            resetting=Resetting(policy, **recipe.reset_numbers()), stop=self.stop, banned=self.banned, text=self.text,
        )  # fmt: skip

    @torch.no_grad()
    def _rehearsed(self, policy: CausalLM) -> Rehearsed:
        """The best of what the finetuned model says to training questions, of every kind that it says."""
        recipe, generator = self.recipe, torch.Generator().manual_seed(600 + self.recipe.seed)
        prompts = self.split("train").prompts
        prompts = prompts[torch.randperm(len(prompts), generator=generator)[:REHEARSED]]
        parts = [self.answer(policy, part, generator) for part in prompts.split(scores.AT_ONCE)]
        tokens = torch.cat([F.pad(part, (0, prompts.shape[1] + recipe.length - part.shape[1])) for part in parts])
        there = (tokens != PAD)[..., None]
        states = scores.of_many(policy.hidden, tokens)
        paid = scores.of_many(self.reward, tokens)
        points = (states.float() * there).sum(1) / there.sum(1)
        best = best_of_clusters(points, paid, CLUSTERS, KEPT, generator)
        return Rehearsed(tokens[best], acts_of(tokens[best][:, prompts.shape[1] :], recipe.length))

    def policy(self) -> CausalLM:
        """The finetuned model with fresh adapters, which alone are trained."""
        return CausalLM(transformers_lm.adapted(self._lm(), **self.recipe.adapter_numbers()))

    def value(self) -> ValueHead:
        """The value head."""
        return ValueHead(self._width).to(self.device)

    @cached_property
    def _width(self) -> int:
        if self.recipe.lm_width is not None:
            return self.recipe.lm_width
        from transformers import AutoConfig

        name = pinned(self.recipe.lm_name, self.results)
        return from_the_hub("configuration", name, AutoConfig.from_pretrained).hidden_size

    def prompts(self, count: int, generator: torch.Generator) -> Tensor:
        """Random training questions [count, P]."""
        every = self.split("train").prompts
        drawn = every[torch.randint(len(every), (count,), generator=generator).to(self.device)]
        return drawn[:, int((drawn == PAD).sum(1).min()) :]

    @cached_property
    def _judges(self) -> list[tuple[Callable[[Tensor], Tensor], float, float]]:
        first, judges = self._fresh_judge(seed=0), []
        others = (transformers_lm.beside(first) for _ in JUDGES[1:])
        for part, model in zip(JUDGES, (first, *others), strict=True):
            relearn(model, load_file(self.base / f"{part}.safetensors"))
            standing = read_json(self.base / f"{part}.json")
            paying = self._paying(model.eval().requires_grad_(False))
            judges.append((paying, standing["mean"], standing["deviation"]))
        return judges

    @torch.no_grad()
    def reward(self, tokens: Tensor, judge: int = 0) -> Tensor:
        """What a judge gives question and answer, in deviations from its mean over people's answers, [B]."""
        model, mean, deviation = self._judges[judge]
        return (model(tokens) - mean) / deviation

    # ---- evaluation

    def perplexity(self, lm: CausalLM, split: str) -> float:
        """On the held-out answers of a split, given their questions."""
        held = self.split(split)
        return scores.perplexity(lm, held.texts, held.answered)

    def evaluate(self, lm: CausalLM, split: str = "validation") -> tuple[dict[str, float], list[dict[str, Any]]]:
        """What three judges give answers to held-out questions, perplexity, readings of the answers, some of them.

        The same questions and random numbers at every evaluation: differences are the policy's. Tests sit the exam.
        """
        recipe, prompts = self.recipe, self.split(split).prompts
        generator = torch.Generator().manual_seed(7)
        parts = [self.answer(lm, part, generator) for part in prompts.split(scores.AT_ONCE)]
        given = torch.tensor([
            [float(x) for part in parts for x in self.reward(part, judge)] for judge in range(len(JUDGES))
        ])  # fmt: skip
        width = prompts.shape[1]
        said = [self.text(row[width:]) for part in parts for row in part]
        shown = [
            {"id": i, "prompt": self.text(prompts[i]), "text": said[i], "reward": float(given[0, i])}
            for i in range(min(SHOWN, len(said)))
        ]
        read = [world.reads(text) for text in said]
        means = {name: sum(r[name] for r in read) / len(read) for name in ("words", "has_code", "compiles", "courtesy")}
        reached = {"task": float(given[0].mean()), "drift": self.perplexity(lm, split)}
        reached |= {f"judge_{i}": float(given[i].mean()) for i in (1, 2)} | means
        if split == "test" and recipe.exam != "none":
            reached |= self._exam.sit(lm)
        return reached, shown

    @cached_property
    def _exam(self) -> Exam | Untouched:
        return (Untouched if self.recipe.exam == "untouched" else Exam)(self)

    def answer(self, lm: CausalLM, prompts: Tensor, generator: torch.Generator, length: int | None = None) -> Tensor:
        """Answers of at most `length` words to prompts [B, P], [B, P+T]."""
        recipe = self.recipe
        return sample(
            lm, prompts, length or recipe.length, generator=generator, temperature=recipe.temperature,
            top_k=recipe.top_k, top_p=recipe.top_p, banned=self.banned, stop=self.stop,
        ).tokens  # fmt: skip

    def exam_prompt(self, question: str) -> list[int]:
        """A question of the exam as the model reads it: HumanEval's are the beginnings of programs."""
        if self.recipe.exam == "humaneval":
            return [self.dialogues.tokenizer.bos_token_id, *self.dialogues.ids(question)]
        return self.dialogues.asked(question)

    def padded(self, prompts: list[list[int]]) -> Tensor:
        """Prompts [B, P], pads first."""
        return padded_in_front(prompts).to(self.device)

    def at_the_end(self, lm: CausalLM) -> dict[str, Any]:
        """Nothing beside the scores."""
        return {}

    def environment(self) -> dict[str, Any]:
        """Which models and which questions of the hub stand behind the names."""
        recipe = self.recipe
        names = [name for name in (recipe.lm_name, recipe.lm_adapter, recipe.rm_name) if name is not None]
        found = {name: what for one in names for name, what in used(pinned(one, self.results)).items()}
        asked = real.on_the_hub(self.results) if recipe.corpus == "stackexchange" else None
        return ({"models": found} if found else {}) | ({"data": asked} if asked else {})


def _chunks(texts: tuple[list[int], ...]):
    return (texts[i : i + scores.AT_ONCE] for i in range(0, len(texts), scores.AT_ONCE))
