"""What an update on a real language model costs, by part, beside what others make of as many words.

Ours is PPO, with a value head; TRL's RLOO and GRPO have none, and learn from as many samples as often.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, TrainerCallback

from elastic_lib.machine import timing, trl_trainers
from elastic_lib.machine.timing import Figure
from elastic_lib.nets import transformers_lm
from elastic_lib.progress import Progress
from elastic_lib.recipe import Recipe
from elastic_lib.tasks.real_models import resolve
from elastic_lib.tasks.sentiment.task import Sentiment

ROUNDS = 3


def measure(recipe: Recipe | None = None) -> Iterator[tuple[str, Figure]]:
    """Updates of the `lab` scale's own size on random prompts; in turn with the frozen layers computed at every pass,
    with frozen weights in half precision, with transformers' `generate` for as many words, and with TRL's updates.
    """
    recipe = recipe or Recipe("sentiment", "ppo", "lab", beta=0.02)
    turns, beside = [], {}
    with TemporaryDirectory() as folder, Progress("lab", 3 * (1 + ROUNDS)) as bar:
        task = _on_random_words(recipe, Path(folder))
        method, changed = recipe.setting()
        half = Recipe(recipe.task, method, recipe.scale, **changed, precision="bfloat16")
        training, in_half = task.loop(), _on_random_words(half, Path(folder)).loop()
        policy = training.policy
        for _ in range(1 + ROUNDS):
            training.seconds.clear()
            turn = {"whole update": timing.seconds(training.update), **training.seconds}
            halves, policy._halves = policy._halves, None
            turn["again"] = timing.seconds(training.update)
            policy._halves = halves
            turn["half"] = timing.seconds(in_half.update)
            turn["generate"] = timing.seconds(lambda: _generate(policy.model, task.prompts(recipe.batch, None), recipe))
            turns.append(turn)
            bar.update(bar.step + 1)
        for kind in ("RLOO", "GRPO"):
            callback = _InTurn(recipe.epochs, training.update, bar)
            _trainer(kind, task, Path(folder), callback).train()
            beside[f"TRL {kind} {version('trl')}"] = callback.turns[1:]
    turns = turns[1:]
    for name, key in {"sampling": "sample", "scoring": "score", "learning": "update"}.items():
        yield name, timing.figure((turn[key] for turn in turns), "s/update")
    yield "whole update", timing.figure((turn["whole update"] for turn in turns), "s/update")
    yield f"{recipe.updates} updates", timing.figure((recipe.updates * turn["whole update"] for turn in turns), "s")
    yield "whole update, precision=bfloat16", timing.figure((turn["half"] for turn in turns), "s/update")
    for name, key in {"every pass through all layers": "again", "precision=bfloat16": "half"}.items():
        yield f"{name} / ours", timing.figure((turn[key] / turn["whole update"] for turn in turns), "x")
    yield "generate / our sampler", timing.figure((turn["generate"] / turn["sample"] for turn in turns), "x")
    for kind, each in beside.items():
        yield kind, timing.figure((theirs for theirs, _ in each), "s/update")
        yield f"{kind} / ours", timing.figure((theirs / ours for theirs, ours in each), "x")


def _on_random_words(recipe: Recipe, folder: Path) -> Sentiment:
    """The task with prompts of random words and a reward of theirs: neither text nor judge is what is timed."""
    task = Sentiment(recipe, folder)
    words = _words(task.reviews.tokenizer)
    task.prompts = lambda count, _: words[torch.randint(len(words), (count, recipe.prompt))]
    task._reward_model = lambda tokens: (tokens % 2).float().mean(1)
    return task


@torch.no_grad()
def _generate(model: torch.nn.Module, prompts: Tensor, recipe: Recipe) -> None:
    how = dict(do_sample=True, top_k=0, top_p=1.0, temperature=1.0, pad_token_id=0)
    there = torch.ones_like(prompts)
    model.generate(prompts, attention_mask=there, max_new_tokens=recipe.length, min_new_tokens=recipe.length, **how)


def _words(tokenizer: Any) -> Tensor:
    """Tokens that are whole words with a blank before them: a text of so many of them has as many tokens again."""
    said = [f" {text.strip()}" for text in tokenizer.batch_decode([[i] for i in range(len(tokenizer))])]
    again = tokenizer(said)["input_ids"]
    return torch.tensor([i for i, ids in enumerate(again) if ids == [i] and said[i][1:].isalpha()])


class _InTurn(TrainerCallback):
    """An update of ours after each of a trainer that takes so many steps to one: seconds of theirs and of ours."""

    def __init__(self, steps: int, ours: Callable[[], Any], bar: Progress):
        self.steps, self.ours, self.bar = steps, ours, bar
        self.turns: list[tuple[float, float]] = []

    def on_train_begin(self, *_, **__) -> None:
        self.started = perf_counter()

    def on_step_end(self, _, state, *__, **___) -> None:
        if state.global_step % self.steps == 0:
            theirs = perf_counter() - self.started
            self.turns.append((theirs, timing.seconds(self.ours)))
            self.bar.update(self.bar.step + 1)
            self.started = perf_counter()


def _trainer(kind: str, task: Sentiment, folder: Path, callback: TrainerCallback) -> Any:
    """TRL's trainer of the same model, with adapters of the same shape in the same layers, on as many words."""
    recipe, tokenizer, model = task.recipe, task.reviews.tokenizer, resolve(task.recipe.lm_name)
    numbers = {name: number for name, number in recipe.adapter_numbers().items() if name != "seed"}
    layers = AutoConfig.from_pretrained(model).num_hidden_layers
    adapters = transformers_lm.lora(layers, **numbers, task_type="CAUSAL_LM")
    plan = {name: getattr(recipe, name) for name in ("batch", "epochs", "length", "beta", "lr")}
    prompts = [tokenizer.decode(row) for row in task.prompts(64, None)]

    def paid(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [sum(i % 2 for i in row) / len(row) for row in completion_ids]

    return trl_trainers.grouped(
        kind, folder, plan, str(model), tokenizer, prompts, paid, 1 + ROUNDS, callback, peft_config=adapters
    )
