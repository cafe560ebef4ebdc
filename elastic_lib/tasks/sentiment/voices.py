"""Policies to talk to: the adapters of a run, cut until they can be published, and what they say to a reader's words.

An adapter adds (α/r)·BA to a frozen matrix. Of BA the k largest singular values are kept, which is the closest product
of rank k; how far the policy is then from the whole one is measured, as KL(whole‖cut) over all words, on its own texts.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from elastic_lib.losses import kl_full
from elastic_lib.nets.learned import learned, relearn
from elastic_lib.nets.sampler import logp_of, sample
from elastic_lib.recipe import Recipe
from elastic_lib.records.files import head_of
from elastic_lib.records.record import Record
from elastic_lib.records.tensors import write
from elastic_lib.tasks.bases import pretrained
from elastic_lib.tasks.sentiment.task import Sentiment

RANK = 2
ASKED = 64  # held-out prompts on whose continuations the loss of the cut is measured
PROMPTS = ("This film was", "I watched it with my family, and")  # what everybody is asked when a voice is made


def cut(adapters: dict[str, Tensor], rank: int, scale: float = 1.0) -> dict[str, Tensor]:
    """The closest adapters of a lower rank, in half precision: of an α/r of 1, made of those whose α/r is `scale`."""
    small = {}
    for name, down in adapters.items():
        if ".lora_A." not in name:
            continue
        up_name = name.replace(".lora_A.", ".lora_B.")
        left, upper = torch.linalg.qr(adapters[up_name].float())
        right, lower = torch.linalg.qr(down.float().T)
        u, sizes, v = torch.linalg.svd(upper @ lower.T)
        half = (scale * sizes[:rank]).sqrt()
        small[name] = ((right @ v.T[:, :rank]) * half).T.half().contiguous()
        small[up_name] = ((left @ u[:, :rank]) * half).half().contiguous()
    if odd := set(adapters) ^ set(small):
        raise ValueError(f"these weights are no adapters: {', '.join(sorted(odd)[:4])}")
    return small


def publish(run_id: str, which: str, results: Path, folder: Path, rank: int = RANK) -> Path:
    """Cuts the adapters of a finished run, writes them with what the cut costs and what they say; returns the file.

    `which`: `policy`, as it was at the end, or `after_reset`, right after the last one.
    """
    record = Record(Path(results) / "records" / run_id)
    weights = record.path / "checkpoint" / f"{which}.safetensors"
    if not weights.exists():
        raise FileNotFoundError(f"{weights} is not there; a run that ended on this machine, and was reset, leaves it")
    recipe = Recipe.from_dict(record.recipe())
    if recipe.task != "sentiment" or recipe.lora_rank is None or recipe.lora_rank < rank:
        raise ValueError(f"{run_id} has no adapters of rank {rank} or more to cut; runs of sentiment at lab have")
    whole = load_file(weights)
    small, task = cut(whole, rank, recipe.lora_alpha / recipe.lora_rank), pretrained(recipe, results)
    when = "right after its last reset" if which == "after_reset" else "at the end"
    about = {"run_id": run_id, "when": when, "recipe": record.recipe(), "rank": rank}
    about |= _cost(task, whole, Sentiment(_of_rank(recipe, rank), task.base, task.device), small)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{run_id}.{which}.safetensors"
    write(small, file, about)
    voices = Voices([file])  # from the file, as a reader hears it
    write(small, file, about | {"said": {prompt: voices.say(prompt) for prompt in PROMPTS}})
    return file


def _of_rank(recipe: Recipe, rank: int) -> Recipe:
    """The recipe whose policy holds adapters of this rank, with an α/r of 1."""
    return Recipe.from_dict(recipe.to_dict() | {"lora_alpha": rank, "lora_rank": rank})


@torch.no_grad()
def _cost(task: Sentiment, whole: dict[str, Tensor], less: Sentiment, small: dict[str, Tensor]) -> dict[str, float]:
    """Nats a token from the whole policy to the cut one and, to compare, to the untrained one; and its perplexity."""
    recipe, prompts = task.recipe, task.reviews.rows("validation").prompts[:ASKED]
    policy = task.policy()
    untrained = {name: tensor.clone() for name, tensor in learned(policy).items()}
    relearn(policy, whole)
    said = sample(
        policy, prompts, recipe.length, generator=torch.Generator().manual_seed(9), banned=task.reviews.banned
    ).tokens
    here = logp_of(policy, said, recipe.prompt)[1]
    relearn(policy, untrained)
    to_untrained = float(kl_full(here, logp_of(policy, said, recipe.prompt)[1]).mean())
    cut_policy = less.policy()
    relearn(cut_policy, small)
    to_cut = float(kl_full(here, logp_of(cut_policy, said, recipe.prompt)[1]).mean())
    drift = task.perplexity(cut_policy, "validation")
    return {"kl_to_cut": to_cut, "kl_to_untrained": to_untrained, "perplexity": drift}


class Voices:
    """Published policies of one model, beside the untrained one; the model is read at the first word."""

    def __init__(self, files: list[Path]):
        self.files, about = files, head_of(files[0])
        self._recipe = _of_rank(Recipe.from_dict(about["recipe"]), about["rank"])

    @cached_property
    def _task(self) -> Sentiment:
        return Sentiment(self._recipe, Path(os.devnull))

    @cached_property
    def _policy(self) -> nn.Module:
        return self._task.policy()

    def say(self, prompt: str, seed: int = 0, words: int = 24) -> list[str]:
        """How the untrained model goes on with these words, and how each voice does, with the same random numbers."""
        ids = self._task.reviews.tokenizer(prompt)["input_ids"]
        if not ids:
            raise ValueError("say something first: the model goes on with what is written")
        untrained = {name: torch.zeros_like(part) for name, part in learned(self._policy).items()}
        return [self._go_on(state, ids, seed, words) for state in (untrained, *map(load_file, self.files))]

    @torch.no_grad()
    def _go_on(self, state: dict[str, Tensor], ids: list[int], seed: int, words: int) -> str:
        relearn(self._policy, state)
        generator = torch.Generator().manual_seed(seed)
        said = sample(
            self._policy, torch.tensor([ids]), words, generator=generator, banned=self._task.reviews.banned
        ).tokens
        return self._task.reviews.text(said[0, len(ids) :])
