"""What an update on a real language model costs, by part, and what our sampler and the frozen layers save of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from elastic_lib.machine import timing as parts
from elastic_lib.machine.timing import Figure
from elastic_lib.progress import Progress
from elastic_lib.recipe import Recipe
from elastic_lib.tasks.sentiment.task import Sentiment

ROUNDS = 3


def measure(recipe: Recipe | None = None) -> Iterator[tuple[str, Figure]]:
    """Updates of the `lab` scale's own size on random prompts; in turn with the frozen layers computed at every pass,
    and with transformers' `generate` for the same number of samples and words.
    """
    recipe = recipe or Recipe("sentiment", "ppo", "lab", beta=0.02)
    turns = []
    with TemporaryDirectory() as folder, Progress("lab", 1 + ROUNDS) as bar:
        task = Sentiment(recipe, Path(folder))
        words = len(task.reviews.tokenizer)
        task.prompts = lambda count, generator: torch.randint(100, words, (count, recipe.prompt), generator=generator)
        task._reward_model = lambda tokens: (tokens % 2).float().mean(1)  # neither text nor judge is what is timed
        training = task.loop()
        policy = training.policy
        for i in range(1 + ROUNDS):
            training.seconds.clear()
            turn = {"whole update": parts.seconds(training.update), **training.seconds}
            halves, policy._halves = policy._halves, None
            turn["again"] = parts.seconds(training.update)
            policy._halves = halves
            turn["generate"] = parts.seconds(lambda: _generate(policy.model, task.prompts(recipe.batch, None), recipe))
            turns.append(turn)
            bar.update(i + 1)
    turns = turns[1:]
    for name, key in {"sampling": "sample", "scoring": "score", "learning": "update"}.items():
        yield name, parts.figure((turn[key] for turn in turns), "s/update")
    yield "whole update", parts.figure((turn["whole update"] for turn in turns), "s/update")
    yield f"{recipe.updates} updates", parts.figure((recipe.updates * turn["whole update"] for turn in turns), "s")
    saved = (turn["again"] / turn["whole update"] for turn in turns)
    yield "every pass through all layers / ours", parts.figure(saved, "x")
    yield "generate / our sampler", parts.figure((turn["generate"] / turn["sample"] for turn in turns), "x")


@torch.no_grad()
def _generate(model: torch.nn.Module, prompts: Tensor, recipe: Recipe) -> None:
    how = dict(do_sample=True, top_k=0, top_p=1.0, temperature=1.0, pad_token_id=0)
    there = torch.ones_like(prompts)
    model.generate(prompts, attention_mask=there, max_new_tokens=recipe.length, min_new_tokens=recipe.length, **how)
