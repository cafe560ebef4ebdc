"""The benchmarks of what a method costs: time an update, memory that it keeps, memory at its peak.

Each is set beside the same loop without the method. The loops of a task make one update each in turn, all on the same
weights and numbers of words; what happens seldom, a reset or a student's lessons, is timed apart and spread over the
updates from one to the next. Peaks are those of fresh processes.
"""

from __future__ import annotations

import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elastic_lib.machine import game as bench_game
from elastic_lib.machine import timing
from elastic_lib.machine.timing import Figure
from elastic_lib.nets.gpt import GPT
from elastic_lib.progress import Progress
from elastic_lib.recipe import Recipe
from elastic_lib.recipe.rules import check_known
from elastic_lib.reset import ElasticReset
from elastic_lib.tasks.bases import pretrained, task_on

# β=0 alone still measures the KL, and a controller of β has nothing to steer without it
NO_KL = {
    "sentiment": dict(beta=0.0, kl_anchor="none", target_kl=None),
    "translation": dict(beta=0.0, kl_anchor="none"),
    "answers": dict(beta=0.0, kl_anchor="none"),
}
KL = {"sentiment": {}, "translation": dict(beta=0.05), "answers": {}}
METHODS = {  # the first of a task is the loop that the others are set beside
    "sentiment": {
        "ppo": ("ppo", NO_KL),
        "ppo + kl": ("ppo", KL),
        "nlpo + kl": ("nlpo", KL),
        "elastic": ("elastic", NO_KL),
        "elastic + kl": ("elastic", KL),
    },
    "translation": {
        "reinforce": ("reinforce", NO_KL),
        "kl": ("kl", KL),
        "kl_lm": ("kl_lm", KL),
        "multitask": ("multitask", NO_KL),
        "sil": ("sil", NO_KL),
        "elastic": ("elastic", NO_KL),
        "elastic + kl": ("elastic", KL),
    },
    "answers": {
        "ppo": ("ppo", NO_KL),
        "ppo + kl": ("ppo", KL),
        "elastic": ("elastic", NO_KL),
        "elastic + kl": ("elastic", KL),
    },
}
# translators learn here no more than where a sentence ends, and then stay as they are: all methods play the same game
TRANSLATORS = dict(mt_steps=200, lm_steps=10, eval_pairs=100, lr=1e-12, listener_lr=1e-12)
# answers that hardly learned to end are long, and adapters that stay where they are keep them so
ADAPTERS = dict(train_questions=400, eval_prompts=8, eval_answers=8, lm_steps=30, rm_steps=5, lr=1e-12, value_lr=1e-12)
# of a round: multiples of the methods, as each begins equally often
TURNS = {"sentiment": 10, "translation": 14, "answers": 8}
PROCESSES, UPDATES_OF_A_PROCESS = 3, 3
# memory is given back at once, and kernels are not kept that were compiled for other shapes: what lies about otherwise
# moves a peak by more than most methods do
TIDY = dict(MALLOC_TRIM_THRESHOLD_="0", MALLOC_MMAP_THRESHOLD_="65536", ONEDNN_PRIMITIVE_CACHE_CAPACITY="1")
GPT2_TOKENS = (8, 64)
MB = 1e6
PAIRS = {"sentiment": 6, "translation": 8, "answers": 2}  # of turns a round, where nothing but Elastic Reset is asked
OVERHEAD = 1.01  # an update with it over one without, at most


def measure() -> dict[str, Figure]:
    """All figures: by task and method, and the method alone on a policy as large as GPT-2 small."""
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for task in METHODS:
            figures |= of_task(task, Path(folder))
    return figures | large()


def table(figures: Mapping[str, Figure]) -> str:
    """The figures of the methods as a table in Markdown, intervals from the least to the greatest of all rounds."""
    heads = "method | time an update over the plain loop | extra state, copies of the policy | extra peak memory, MB"
    lines = [f"| {heads} |", "|---" * 4 + "|"]
    for task, methods in METHODS.items():
        for method in methods:
            time, state, peak = (figures[f"{task} {method}: {what}"] for what in ("time", "state", "peak"))
            spread = f" [{time['min']:.3f}, {time['max']:.3f}]" if method != _plain(task) else ""
            memory = f"{peak['median']:+.1f} [{peak['min']:+.1f}, {peak['max']:+.1f}]"
            lines.append(f"| {task}: {method} | {time['median']:.3f}{spread} | {state['median']:.2f} | {memory} |")
    return "\n".join(lines)


def recipe_of(task: str, method: str, always: bool = False) -> Recipe:
    """One of METHODS; `always` lets a reset, or the students' turn, follow every update."""
    check_known("task", task, METHODS)
    check_known(f"method of {task} in this benchmark", method, METHODS[task])
    name, settings = METHODS[task][method]
    more = dict(settings[task])
    if always and name == "elastic":
        more["reset_every"] = 1
    if name == "sil":
        more |= dict(sil_lr=TRANSLATORS["lr"]) | (dict(sil_teacher=1) if always else {})
    if task == "sentiment":
        return timing.recipe_of(name, **more)
    return Recipe(task, name, bench_game.SCALE, **(TRANSLATORS if task == "translation" else ADAPTERS), **more)


# ---- one task


def of_task(task: str, folder: Path) -> dict[str, Figure]:
    """Time, state and peak of each method, and what they are measured by."""
    plain, base = _plain(task), models(task, folder)
    loops = {method: loop_of(recipe_of(task, method), base) for method in METHODS[task]}
    policy = sum(p.nbytes for p in _policy(loops[plain]).parameters())
    states = {method: (held(loop) - held(loops[plain])) / policy for method, loop in loops.items()}
    rounds, times = rounds_of(task, loops), range(min(PROCESSES, timing.ROUNDS))
    peaks = peaks_of(task, ((method, recipe_of(task, method, always=True), base) for method in loops for _ in times))
    figures = {
        f"{task}: plain update": timing.figure(rounds[plain], "s/update"),
        f"{task}: plain peak": timing.figure((high / MB for high in peaks[plain]), "MB"),
        f"{task}: policy": timing.figure([policy / MB], "MB"),
    }
    for method, loop in loops.items():
        apart = restarting(task, method, base)
        spread = statistics.median(apart) / _every(recipe_of(task, method))
        extra = [(high - statistics.median(peaks[plain])) / MB for high in peaks[method]]
        figures[f"{task} {method}: time"] = timing.figure(_over(rounds[plain], rounds[method], spread), "x")
        figures[f"{task} {method}: state"] = timing.figure([states[method]], "policies")
        figures[f"{task} {method}: peak"] = timing.figure(extra, "MB")
        if any(apart):
            figures[f"{task} {method}: restart"] = timing.figure(apart, "s")
        if loop.resetting.elastic is not None:
            share = (loop.seconds["ema"] / loop.step + spread) / statistics.median(rounds[plain])
            figures[f"{task} {method}: EMA and resets"] = timing.figure([100 * share], "% of plain update")
    return figures


def overhead() -> Iterator[tuple[str, Figure]]:
    """Elastic Reset alone: an update with its average and its share of a reset, over the same update without."""
    with tempfile.TemporaryDirectory() as folder:
        for task in METHODS:
            plain, base = _plain(task), models(task, Path(folder))
            loops = {method: loop_of(recipe_of(task, method), base) for method in (plain, "elastic")}
            rounds = rounds_of(task, loops, size=2, count=PAIRS[task] * timing.ROUNDS)
            spread = statistics.median(restarting(task, "elastic", base)) / _every(recipe_of(task, "elastic"))
            own = loops["elastic"].seconds["ema"] / loops["elastic"].step + spread
            share = own / statistics.median(rounds[plain])
            over = timing.figure(_over(rounds[plain], rounds["elastic"], spread), "x")
            yield f"{task}: with Elastic Reset / without", timing.at_most(over, OVERHEAD)
            yield f"{task}: averaging and resets, timed by themselves", timing.figure([100 * share], "% of an update")


def _over(plain: list[float], own: list[float], spread: float) -> list[float]:
    """A method's seconds of an update, with its share of what happens seldom, over those of the loop without."""
    return [(seconds + spread) / least for seconds, least in zip(own, plain, strict=True)]


def loop_of(recipe: Recipe, base: Path) -> Any:
    """A recipe's loop on the models of a folder."""
    return task_on(recipe, base).loop()


def rounds_of(
    task: str, loops: Mapping[Any, Any], size: int | None = None, count: int | None = None
) -> dict[Any, list[float]]:
    """Mean seconds of an update of each loop in each round of turns, resets and students left out."""
    size = size or min(TURNS[task], timing.UPDATES)
    steps = {method: loop.update for method, loop in loops.items()}
    taken = timing.in_turn(f"cost, {task}", steps, (count or timing.ROUNDS) * size)
    firsts = range(0, (count or timing.ROUNDS) * size, size)
    return {method: [statistics.mean(values[i : i + size]) for i in firsts] for method, values in taken.items()}


def restarting(task: str, method: str, base: Path) -> list[float]:
    """Seconds of a reset, or of a generation of students; 0 where a method has neither."""
    recipe = recipe_of(task, method, always=True)
    if not recipe.restarts():
        return [0.0]
    loop = loop_of(recipe, base)
    loop.update()
    loop.tick()  # the first one reads memory that nobody has touched
    return [timing.seconds(loop.tick) for _ in range(timing.ROUNDS)]


def held(loop: Any) -> int:
    """Bytes of all that a loop keeps from update to update, each tensor once under however many names."""
    storages = (tensor.untyped_storage() for tensor in _tensors(loop))
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def peak(recipe: Recipe, base: Path) -> int:
    """Bytes that a process of its own, which makes a few updates and all that may follow one, had at most."""
    command = [sys.executable, "-m", "elastic_lib.machine.cost", str(base), str(torch.get_num_threads())]
    pipes = dict(input=json.dumps(recipe.to_dict()), capture_output=True, text=True)
    made = subprocess.run(command, env=os.environ | TIDY, check=False, **pipes)
    if made.returncode:
        raise RuntimeError(f"no peak of {recipe.label()!r}, its process failed: {timing.last_line(made.stderr)}")
    return int(made.stdout)


def peaks_of(title: str, wanted: Iterable[tuple[Any, Recipe, Path]]) -> dict[Any, list[int]]:
    """The peaks of recipes on their models, by what they are called; two processes at a time."""
    wanted = list(wanted)
    peaks = {name: [] for name, *_ in wanted}
    with ThreadPoolExecutor(2) as both, Progress(f"{title}, memory", len(wanted)) as bar:
        highest = both.map(lambda one: peak(*one[1:]), wanted)
        for (name, *_), high in zip(wanted, highest, strict=True):
            peaks[name].append(high)
            bar.update(bar.step + 1)
    return peaks


def _plain(task: str) -> str:
    return next(iter(METHODS[task]))


def models(task: str, folder: Path) -> Path:
    """The folder with the models of a task, which are made now: untrained, or trained until sentences end."""
    recipe = recipe_of(task, _plain(task))
    if task == "sentiment":
        return timing.random_base(recipe, folder).base
    return pretrained(recipe, folder, recipe.facts.PARTS).base


def _policy(loop: Any) -> nn.Module:
    return getattr(loop.model, "speaker", loop.model)


def _every(recipe: Recipe) -> int:
    """Updates from one restart to the next; 1 where there is none."""
    return recipe.sil_teacher or (recipe.reset.reset_every if recipe.reset is not None else 1)


def _tensors(thing: Any) -> Iterator[Tensor]:
    """What hangs on a loop but for its optimisers' moments, and for the text and reward model behind its functions."""
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, nn.Module):
        yield from thing.state_dict().values()
    elif isinstance(thing, Mapping | list | tuple):
        for part in thing.values() if isinstance(thing, Mapping) else thing:
            yield from _tensors(part)
    elif type(thing).__module__.startswith("elastic_lib"):
        yield from _tensors(vars(thing))


# ---- a large policy


def large() -> dict[str, Figure]:
    """Elastic Reset on GPT-2 small in float32, beside the gradients of one small batch; takes 3 GB of memory."""
    policy = GPT(**timing.GPT2_SMALL)
    rows, length = GPT2_TOKENS
    tokens = torch.randint(timing.GPT2_SMALL["vocabulary"], (rows, min(length, policy.context)))

    def gradients() -> None:
        policy.zero_grad()
        F.cross_entropy(policy.logits(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()

    gradients()  # the first one compiles
    passes = timing.seconds(gradients)
    elastic = ElasticReset(policy.named_parameters(), decay=0.995)
    seconds = [(timing.seconds(elastic.update), timing.seconds(elastic.reset))
               for _ in range(timing.WARM_UP + timing.AVERAGES)]  # fmt: skip
    updates, resets = zip(*seconds[timing.WARM_UP :], strict=True)
    weights = sum(p.nbytes for p in policy.parameters())
    return {
        "GPT-2 small: update": timing.figure(updates, "s"),
        "GPT-2 small: reset": timing.figure(resets, "s"),
        f"GPT-2 small: gradients of {rows}x{tokens.shape[1]} tokens": timing.figure([passes], "s"),
        "GPT-2 small: weights": timing.figure([weights / MB], "MB"),
        "GPT-2 small: state": timing.figure([held(elastic) / MB - weights / MB], "MB"),
    }


# ---- in the process whose peak is asked for


def _highest() -> int:
    """Bytes resident at most; on Linux ru_maxrss begins with the parent's peak, which exec does not clear."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return 1024 * int(found[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes where there is no /proc


def _few_updates(base: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    recipe = Recipe.from_dict(json.load(sys.stdin))
    loop = loop_of(recipe, Path(base))
    for _ in range(UPDATES_OF_A_PROCESS):
        loop.update()
        loop.tick()
    print(_highest())


if __name__ == "__main__":
    _few_updates(*sys.argv[1:])
