"""Others' code beside ours, on the same weights, in one process and in turn: averages of weights, and sampling.

What the project needs nowhere else lies in a folder of the user's cache that is filled once, each package as it is and
without what it asks for. TRL's PPO wants other versions than ours, and so a process of its own: see `bench`.
"""

from __future__ import annotations

import functools
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from elastic_lib.machine import timing
from elastic_lib.machine.timing import Figure, at_least, at_most
from elastic_lib.nets.gpt import GPT
from elastic_lib.nets.sampler import sample
from elastic_lib.progress import Progress
from elastic_lib.records.files import DamagedRecord, lock, read_json, user_cache, write_json
from elastic_lib.reset import ElasticReset

Update = Callable[[], None]

DECAY = 0.995
PAIRS, RANK, WIDTH = 180, 16, 416  # of a LoRA: 360 tensors, 2.4 million numbers
AGREEMENT = 1e-5  # of averages of the same weights
QUICK = 10  # times as many turns where one takes milliseconds
SLOWER = 1.1  # than the quickest of the others, and than the memory allows, at most
SAMPLED = [  # a language model, rows that it goes on with, turns, how many times as quick as transformers
    (dict(vocabulary=384, width=64, layers=2, heads=2, context=80), 64, 40, 3.0),
    (dict(vocabulary=8192, width=320, layers=6, heads=5, context=80), 64, 10, 3.0),
    (timing.GPT2_SMALL, 16, 5, 1.0),
]
PROMPT, LENGTH = 12, 24


# ---- a folder of the cache with packages of these versions


def is_there(folder: Path, pins: Iterable[str], file: str = "") -> bool:
    """True if the folder holds these very versions, and a file; a half-filled one does not count."""
    try:
        return (folder / file).exists() and read_json(folder / "ready.json") == list(pins)
    except (DamagedRecord, FileNotFoundError):
        return False


def bring(what: str, folder: Path, pins: Iterable[str], steps: Iterable[list[str]], file: str = "") -> None:
    """Fills a folder by these commands, once, whoever else asks for it at the same time."""
    with lock(folder.with_name(f".{folder.name}.lock"), str(folder)):
        if is_there(folder, pins, file):
            return
        print(f"installing {', '.join(pins)} into {folder}, once", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)  # what was left of one that failed, or of other versions
        steps = list(steps)
        with Progress(what, len(steps)) as bar:
            for step in steps:
                made = subprocess.run(step, capture_output=True, text=True, check=False)
                if made.returncode:
                    said = f"could not build {what}, which takes the network; {' '.join(step[1:])}"
                    raise RuntimeError(f"{said}: {timing.last_line(made.stdout + made.stderr)}")
                bar.update(bar.step + 1)
        write_json(folder / "ready.json", list(pins))


@contextmanager
def _packages() -> Iterator[Path]:
    """The folder with the others' averages, which can be imported from within; after whatever is installed."""
    folder, pins = user_cache("averages"), [pin for pin, _ in OTHERS.values() if pin]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", str(folder)]
    try:
        bring("the folder of others' averages", folder, pins, [[*pip, *pins]])
    except RuntimeError as error:
        print(f"{', '.join(pins)}: left out; {error}", file=sys.stderr)
    sys.path.append(str(folder))
    try:
        yield folder
    finally:
        sys.path.remove(str(folder))


# ---- averages: θ̄ ← η θ̄ + (1−η) θ of a model, each as quick as its settings make it, none with a warm-up


class Average(NamedTuple):
    """What moves an average, and its weights."""

    update: Update
    weights: list[Tensor]


def _torch(model: nn.Module, _: Path) -> Average:
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
    return Average(lambda: averaged.update_parameters(model), list(averaged.module.parameters()))


def _timm(model: nn.Module, folder: Path) -> Average:
    file = folder / "timm" / "utils" / "model_ema.py"  # by itself: the package around it asks for torchvision
    if not file.exists():
        raise ImportError("No module named 'timm'")
    spec = importlib.util.spec_from_file_location("timm_model_ema", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    averaged = module.ModelEmaV3(model, decay=DECAY)
    return Average(lambda: averaged.update(model), list(averaged.module.parameters()))


def _ema_pytorch(model: nn.Module, _: Path) -> Average:
    from ema_pytorch import EMA

    how = dict(update_after_step=-1, update_every=1, use_foreach=True, include_online_model=False)
    averaged = EMA(model, beta=DECAY, min_value=DECAY, **how)
    return Average(averaged.update, list(averaged.ema_model.parameters()))


def _torch_ema(model: nn.Module, _: Path) -> Average:
    from torch_ema import ExponentialMovingAverage

    averaged = ExponentialMovingAverage(list(model.parameters()), DECAY, use_num_updates=False)
    return Average(averaged.update, averaged.shadow_params)


def _diffusers(model: nn.Module, _: Path) -> Average:
    from diffusers.training_utils import EMAModel

    parameters = list(model.parameters())
    averaged = EMAModel(parameters, decay=DECAY, min_decay=DECAY, foreach=True)
    return Average(lambda: averaged.step(parameters), averaged.shadow_params)


def _plain(model: nn.Module, _: Path) -> Average:
    pairs = [(p.detach().clone(), p.detach()) for p in model.parameters()]

    def update() -> None:
        for average, p in pairs:
            average.mul_(DECAY).add_(p, alpha=1 - DECAY)

    return Average(update, [average for average, _ in pairs])


# TRL's BEMACallback is none of them: it makes another estimator of three tensors, and a model of it each time
OTHERS = {
    "torch's AveragedModel": ("", _torch),
    "timm's ModelEmaV3": ("timm==1.0.31", _timm),
    "ema-pytorch's EMA": ("ema-pytorch==0.8.3", _ema_pytorch),
    "torch-ema's ExponentialMovingAverage": ("torch-ema==0.3", _torch_ema),
    "diffusers' EMAModel": ("diffusers==0.42.1", _diffusers),
    "a loop of mul_ and add_": ("", _plain),
}


def others(model: nn.Module, folder: Path) -> dict[str, Average]:
    """Each of the others' averages that can be had here, all of the same model."""
    found = {}
    for name, (_, make) in OTHERS.items():
        try:
            found[name] = make(model, folder)
        except ImportError as error:
            _say_once(f"{name} is left out: {error}")
    return found


@functools.cache
def _say_once(line: str) -> None:
    print(line, file=sys.stderr)


def lora() -> nn.Module:
    """As many small tensors as the adapters of a language model."""
    shapes = [(RANK, WIDTH), (WIDTH, RANK)] * PAIRS
    return nn.ParameterList(nn.Parameter(0.02 * torch.randn(shape)) for shape in shapes)


def averages() -> Iterator[tuple[str, Figure]]:
    """Ours beside the others' and beside what the memory allows: one pass that reads two and writes one.

    On GPT-2 small in float32, which takes 6 GB of memory, and on a LoRA; all of them in turn.
    """
    shapes = {"GPT-2 small": (lambda: GPT(**timing.GPT2_SMALL), 1), "LoRA": (lora, QUICK)}
    with _packages() as folder:
        for name, (make, times) in shapes.items():
            model = make()
            for figure, measured in _averages(model, others(model, folder), times * timing.AVERAGES, name):
                yield f"{name}: {figure}", measured


@torch.no_grad()
def check_same(elastic: ElasticReset, theirs: dict[str, Average]) -> None:
    """An error where one of them does not keep the average that ours does."""
    for _ in range(3):  # some take the first weights as they are
        for update in (elastic.update, *(average.update for average in theirs.values())):
            update()
        for p in elastic.parameters.values():
            p.add_(0.1)
    for name, average in theirs.items():
        pairs = zip(elastic.ema.values(), average.weights, strict=True)
        gap = max(float((ours - their).abs().max()) for ours, their in pairs)
        if not gap <= AGREEMENT:
            raise RuntimeError(f"{name} keeps another average than ours: they differ by {gap:.2g}")


def _averages(model: nn.Module, theirs: dict[str, Average], turns: int, title: str) -> Iterator[tuple[str, Figure]]:
    elastic = ElasticReset(model.parameters(), decay=DECAY)
    check_same(elastic, theirs)
    one, other = (torch.zeros(sum(p.numel() for p in model.parameters())) for _ in range(2))

    def copies() -> None:
        one.copy_(other)
        other.copy_(one)

    bounds = {"pass": lambda: one.add_(other, alpha=DECAY), "copies": copies}
    ours = {"update": elastic.update, "reset": elastic.reset}
    seconds = timing.in_turn(title, ours | {name: average.update for name, average in theirs.items()} | bounds, turns)

    def ratio(a: str, b: str) -> Figure:
        return timing.figure((x / y for x, y in zip(seconds[a], seconds[b], strict=True)), "x")

    quickest = min(theirs, key=lambda name: timing.figure(seconds[name], "s")["median"])
    yield "ElasticReset.update", timing.figure(seconds["update"], "s")
    for name in theirs:
        version = OTHERS[name][0].replace("==", " ") or f"torch {torch.__version__}"
        yield f"{name} / ours", ratio(name, "update") | {"with": version}
    yield "ours / the quickest of them", at_most(ratio("update", quickest), SLOWER) | {"with": quickest}
    yield "one pass, two read and one written", timing.figure(seconds["pass"], "s")
    yield "ours / one pass", at_most(ratio("update", "pass"), SLOWER)
    yield "ElasticReset.reset", timing.figure(seconds["reset"], "s")
    yield "reset / two copies", ratio("reset", "copies")


# ---- sampling


def sampling() -> Iterator[tuple[str, Figure]]:
    """Tokens a second of our sampler and of transformers' `generate`, for the same weights, prompts and lengths."""
    for settings, rows, turns, target in SAMPLED:
        torch.manual_seed(0)
        lm = GPT(**settings).requires_grad_(False)
        count = sum(p.numel() for p in lm.parameters())
        name = f"{count / 1e6:.0f} M" if count >= 1e6 else f"{count / 1e3:.0f} thousand"
        for figure, measured in _sampling(lm, rows, turns, target, f"{name} parameters"):
            yield f"{name} parameters: {figure}", measured


def _sampling(lm: GPT, rows: int, turns: int, target: float, title: str) -> Iterator[tuple[str, Figure]]:
    from transformers import __version__
    from transformers.utils import logging

    from elastic_lib.machine.trl_trainers import check_agreement, to_gpt2  # which takes transformers' seconds to import

    logging.set_verbosity_error()  # which remarks upon a pad that was drawn as a word
    model = to_gpt2(lm)
    prompts = torch.randint(3, lm.tokens.num_embeddings, (rows, PROMPT), generator=torch.Generator().manual_seed(0))
    check_agreement(lm, model, prompts)
    how = dict(do_sample=True, top_k=0, top_p=1.0, temperature=1.0, max_new_tokens=LENGTH, min_new_tokens=LENGTH)
    asked = dict(attention_mask=torch.ones_like(prompts), pad_token_id=0)

    @torch.no_grad()
    def generate() -> None:
        if (shape := model.generate(prompts, **asked, **how).shape) != (rows, PROMPT + LENGTH):
            raise RuntimeError(f"generate made texts of {tuple(shape)}, not of {(rows, PROMPT + LENGTH)}")

    seconds = timing.in_turn(title, {"ours": lambda: sample(lm, prompts, LENGTH), "generate": generate}, turns)
    for name, said in (("ours", "ours"), ("generate", "transformers' generate")):
        figure = timing.figure((rows * LENGTH / value for value in seconds[name]), "tokens/s")
        yield said, figure | ({"with": f"transformers {__version__}"} if name == "generate" else {})
    ratio = (theirs / ours for ours, theirs in zip(seconds["ours"], seconds["generate"], strict=True))
    yield "ours / generate", at_least(timing.figure(ratio, "x"), target)
