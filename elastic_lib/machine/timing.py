"""What the benchmarks are made of: the sizes of `pocket`, untrained models of these sizes, seconds and figures."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file

from elastic_lib.nets.gpt import GPT, Classifier
from elastic_lib.progress import Progress
from elastic_lib.recipe import Recipe
from elastic_lib.records.files import write_json
from elastic_lib.tasks.sentiment.task import Sentiment

WARM_UP, UPDATES, EVALUATIONS, AVERAGES, ROUNDS = 2, 16, 3, 20, 5
# fixed here, so that a figure means the same when the scale's own numbers move
LM = dict(lm_width=64, lm_layers=2, lm_heads=2)
RM = dict(rm_width=48, rm_layers=2, rm_heads=2)
RL = dict(prompt=12, length=24, batch=64, minibatch=64, epochs=4, temperature=1.0, top_k=0, top_p=1.0)
TEXT = dict(corpus="generated", train_reviews=2000, eval_prompts=512, eval_reviews=256, context=80)
WRITTEN = {"reviews": 20_000, "captions": 10_000, "answers": 4_000}  # as much as a pocket base is trained on, or more
GPT2_SMALL = dict(vocabulary=50257, width=768, layers=12, heads=12, context=1024)

Figure = dict[str, Any]
Name = TypeVar("Name", bound=Hashable)


def recipe_of(method: str, **more: Any) -> Recipe:
    """A pocket run of the sentiment task."""
    return Recipe("sentiment", method, "pocket", **(LM | RM | RL | TEXT | more))


def random_base(recipe: Recipe, folder: Path) -> Sentiment:
    """The task on untrained models, which lie in the folder with a plan that says their sizes."""
    task = Sentiment(recipe, folder)
    plan = {
        part: dict(vocabulary=task.reviews.tokenizer.get_vocab_size(), context=recipe.context)
        | {name: getattr(recipe, f"{part}_{name}") for name in ("width", "layers", "heads")}
        for part in ("lm", "rm")
    }
    torch.manual_seed(0)
    lm, rm = GPT(**plan["lm"]), Classifier(**plan["rm"])
    with torch.no_grad():
        # TRL knows no banned words: a constant row under a constant bias puts their logits at −32, out of reach
        lm.norm.bias.fill_(1.0)
        lm.tokens.weight[list(task.reviews.banned)] = -32.0 / recipe.lm_width
    save_file(lm.state_dict(), folder / "lm.safetensors")
    save_file(rm.state_dict(), folder / "rm.safetensors")
    save_file({"prompts": task.reviews.rows("train").prompts.contiguous()}, folder / "prompts.safetensors")
    rl = {name: getattr(recipe, name) for name in ("batch", "epochs", "length", "beta", "lr")}
    write_json(folder / "plan.json", plan | rl)
    return task


def seconds(step: Callable[[], Any]) -> float:
    """How long a step takes."""
    started = perf_counter()
    step()
    return perf_counter() - started


def in_turn(title: str, steps: Mapping[Name, Callable[[], Any]], turns: int) -> dict[Name, list[float]]:
    """Seconds of each step in each turn, in another order every time: nobody always finds what the same one left."""
    order, taken, shuffled = list(steps), {name: [] for name in steps}, random.Random(0)
    with Progress(title, turns) as bar:
        for turn in range(WARM_UP + turns):
            for name in order:
                taken[name].append(seconds(steps[name]))
            shuffled.shuffle(order)
            bar.update(max(0, turn + 1 - WARM_UP))
    return {name: values[WARM_UP:] for name, values in taken.items()}


def figure(values: Iterable[float], unit: str) -> Figure:
    """Median, least and greatest of what was measured."""
    values = list(values)
    return dict(median=statistics.median(values), min=min(values), max=max(values), times=len(values), unit=unit)


def at_most(figure: Figure, target: float) -> Figure:
    """A figure with its target, and whether the median meets it."""
    return figure | {"target": target, "within": "at most", "met": figure["median"] <= target}


def at_least(figure: Figure, target: float) -> Figure:
    """The same where more is better."""
    return figure | {"target": target, "within": "at least", "met": figure["median"] >= target}


def last_line(said: str) -> str:
    """The last line that a process said."""
    return (said.strip().splitlines() or ["it said nothing"])[-1].strip()
