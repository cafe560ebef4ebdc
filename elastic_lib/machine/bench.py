"""The benchmarks behind `elastic bench`: each a function that returns named figures, reported with machine and load.

They run on one thread, as runs do; ELASTIC_BENCH_THREADS=2 gives them another number. The models have the sizes of the
`pocket` scale and random weights: what a step costs does not depend on what was learned.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from elastic_lib.machine import cost as bench_cost
from elastic_lib.machine import game as bench_game
from elastic_lib.machine import growth as bench_growth
from elastic_lib.machine import real_language, rivals, stages, timing
from elastic_lib.machine.timing import Figure
from elastic_lib.progress import Progress
from elastic_lib.recipe.rules import COUNT, unknown
from elastic_lib.records.environment import environment
from elastic_lib.records.files import read_json, user_cache, write_json
from elastic_lib.records.record import MEASURED, own_results
from elastic_lib.tasks.answers import world as answers
from elastic_lib.tasks.real_models import fault
from elastic_lib.tasks.sentiment import world as reviews
from elastic_lib.tasks.translation import world as captions

THREADS = "ELASTIC_BENCH_THREADS"
SCALE = "ELASTIC_BENCH_SCALE"
TRL = "1.12.0"  # the last with PPO
PINS = ("torch==2.13.0", "transformers==5.23.0", "accelerate==1.15.0", "datasets==5.2.0", f"trl=={TRL}")
TARGETS = {"as shipped": 4.0, "without its gc.collect": 2.0}  # ours / TRL, at least
IMPORTED = """
import torch
from time import perf_counter as now
started = now()
import elastic_lib
from elastic_lib import ElasticReset
print(now() - started)
"""
FIRST_FIGURE = """
from time import perf_counter as now
started = now()
from elastic_lib.figures import panels
from elastic_lib.notebook import steps
panels.iterations(steps.gather("sentiment", "pocket", 3, None, "reference"), "Split at its resets").to_json()
print(now() - started)
"""


def main(only: str | None, as_json: bool, to: Path | None = None) -> int:
    """Runs one benchmark or all of them, prints what they measured and keeps it in a folder; 0 whatever they found."""
    if only is not None and only not in BENCHMARKS:
        raise ValueError(unknown("benchmark", only, BENCHMARKS))
    torch.set_num_threads(COUNT.parse(THREADS, os.environ.get(THREADS, "1")) or 1)
    names = [only] if only else list(BENCHMARKS)
    if only is None and not _trl_is_built():
        names.remove("ppo_vs_trl")
        how = "`elastic bench --only ppo_vs_trl` builds it (once, a download of 1.5 GB or more)"
        print(f"ppo_vs_trl is left out, since it needs an environment of its own: {how}", file=sys.stderr)
    if only is None and not (_own() / stages.FOLDER).is_dir():
        names.remove("reproduce")
        print("reproduce is left out, since there was no `make reproduce` whose jobs it could add up", file=sys.stderr)
    if only is None and not (own_results("lab") / stages.FOLDER).is_dir():
        names.remove("make_lab")
        print("make_lab is left out, since there was no `make lab` whose jobs it could add up", file=sys.stderr)
    if only is None and fault("smollm2-135m") is not None:
        names.remove("lab")
        print("lab is left out, since smollm2-135m is not here: `elastic models` brings it", file=sys.stderr)
    reports = []
    for name in names:
        reports.append(_report(name))
        if to is not None:
            _keep(reports[-1], to / MEASURED)
        if not as_json:
            print(_text(reports[-1]), flush=True)
    if as_json:
        print(json.dumps(reports, indent=1, ensure_ascii=False, allow_nan=False))
    return 0


def _keep(report: dict[str, Any], path: Path) -> None:
    """Puts a report in the place of the former one of this benchmark, beside those of the others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    others = [other for other in (read_json(path) if path.exists() else []) if other["name"] != report["name"]]
    write_json(path, sorted([*others, report], key=lambda one: one["name"]))
    print(f"{path} keeps it", file=sys.stderr)


# ---- the benchmarks


def loop() -> dict[str, Figure]:
    """The inner loop of a pocket run of Elastic Reset: seconds an update by part, and seconds an evaluation."""
    recipe = timing.recipe_of("elastic")
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress("loop", timing.WARM_UP + timing.UPDATES + timing.EVALUATIONS) as bar,
    ):
        task = timing.random_base(recipe, Path(folder))
        training, turns = task.loop(), []
        for i in range(timing.WARM_UP + timing.UPDATES):
            training.seconds.clear()
            turns.append({"all": timing.seconds(training.update), **training.seconds})
            bar.update(i + 1)
        evaluations = []
        for i in range(1 + timing.EVALUATIONS):
            evaluations.append(timing.seconds(lambda: task.evaluate(training.policy)))
            bar.update(timing.WARM_UP + timing.UPDATES + i)
    turns = turns[timing.WARM_UP :]
    names = {"sampling": "sample", "scoring": "score", "learning": "update", "averaging": "ema", "whole update": "all"}
    figures = {name: timing.figure((turn[key] for turn in turns), "s/update") for name, key in names.items()}
    figures["throughput"] = timing.figure((recipe.batch / turn["all"] for turn in turns), "samples/s")
    return figures | {"evaluation": timing.figure(evaluations[1:], "s/evaluation")}  # the first makes texts


def ema() -> dict[str, Figure]:
    """Our average beside others' and beside the memory's speed, of a large model and of many small tensors."""
    return dict(rivals.averages())


def sampler() -> dict[str, Figure]:
    """Our sampler beside transformers' `generate` on models of three sizes."""
    return dict(rivals.sampling())


def startup() -> dict[str, Figure]:
    """How long one waits for the package beyond torch itself, for the command's help, for a notebook's first figure."""
    once = functools.partial(fresh, "-c", IMPORTED)
    imports = [float(once()) for _ in range(timing.WARM_UP + timing.ROUNDS)]
    helps = [timing.seconds(lambda: fresh("-m", "elastic_lib.cli", "--help")) for _ in imports]
    figures = [float(fresh("-c", FIRST_FIGURE)) for _ in imports]
    measured = {
        "import elastic_lib, beyond import torch": (imports, 0.05),
        "elastic --help": (helps, 0.3),
        "a first figure of the reference, imports and records included": (figures, 3.0),
    }
    return {
        name: timing.at_most(timing.figure(seconds[timing.WARM_UP :], "s"), target)
        for name, (seconds, target) in measured.items()
    }


def fresh(*words: str) -> str:
    """What a fresh interpreter says last."""
    said = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True).stdout
    return timing.last_line(said)


def ppo_vs_trl() -> dict[str, Figure]:
    """Samples a second of our PPO and of TRL's on the same weights, prompts and sizes.

    TRL's PPO collects garbage twice an update, over half of its time where the models are small. So it is measured as
    shipped and with those two calls left out.
    """
    kinds = {kind: dict(kind="PPO", defuse=kind != "as shipped") for kind in TARGETS}
    return _beside_trl("ppo_vs_trl", _trl_python(), kinds)


def rloo_grpo() -> dict[str, Figure]:
    """The same beside what TRL has had since: RLOO and GRPO, with groups of samples in the place of a critic."""
    kinds = {f"{kind} {version('trl')}": dict(kind=kind, defuse=False) for kind in ("RLOO", "GRPO")}
    return _beside_trl("rloo_grpo", Path(sys.executable), kinds)


def _beside_trl(title: str, python: Path, kinds: dict[str, dict[str, Any]]) -> dict[str, Figure]:
    """All make one update each in turn, so that whatever else the machine does falls on all of them.

    A ratio is that of a round of such turns.
    """
    recipe = timing.recipe_of("ppo", beta=0.1)
    turns = timing.WARM_UP + timing.ROUNDS * timing.UPDATES
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack, Progress(title, turns) as bar:
        training = timing.random_base(recipe, Path(folder)).loop()
        sides, told = {"ours": lambda: timing.seconds(training.update)}, {}
        for kind, how in kinds.items():
            trainer = _Trl(python, Path(folder), turns, **how)
            stack.enter_context(trainer.process)
            sides[f"TRL {kind}"], told[kind] = trainer.update, trainer.told
        seconds = []
        for turn in range(turns):
            seconds.append({name: update() for name, update in sides.items()})
            bar.update(turn + 1, **{f"{name} s": value for name, value in seconds[-1].items()})
    rounds = [seconds[first : first + timing.UPDATES] for first in range(timing.WARM_UP, turns, timing.UPDATES)]
    rates = {
        name: [recipe.batch * timing.UPDATES / sum(turn[name] for turn in part) for part in rounds] for name in sides
    }
    figures = {name: timing.figure(values, "samples/s") for name, values in rates.items()}
    for kind in kinds:
        ratio = timing.figure((a / b for a, b in zip(rates["ours"], rates[f"TRL {kind}"], strict=True)), "x")
        figures[f"ours / TRL {kind}"] = timing.at_least(ratio, TARGETS[kind]) if kind in TARGETS else ratio
        figures[f"TRL {kind}"]["with"] = told[kind]["with"]
    gap = max(line["logit_gap"] for line in told.values())
    return figures | {"largest difference of logits": timing.figure([gap], "nats")}


def game() -> dict[str, Figure]:
    """Pretraining for the Translation Game, and games of REINFORCE and Elastic Reset by their parts."""
    with tempfile.TemporaryDirectory() as folder:
        return {name: timing.figure(*measured) for name, measured in bench_game.measure(Path(folder))}


def text() -> dict[str, Figure]:
    """How long the pocket worlds take to write their texts."""
    write = {"reviews": reviews.generate, "answers": answers.generate}
    write["captions"] = functools.partial(captions.generate, domain="captions")
    figures = {}
    with Progress("text", len(write)) as bar:
        for world, count in timing.WRITTEN.items():
            once = functools.partial(write[world], count, seed=1)
            figures[f"{count:,} {world}"] = timing.figure([timing.seconds(once) for _ in range(timing.ROUNDS)], "s")
            bar.update(bar.step + 1)
    return figures


def cost() -> dict[str, Figure]:
    """What a method costs beside the same loop without it: time, state, peak memory; 15 minutes on two slow cores."""
    return bench_cost.measure()


def overhead() -> dict[str, Figure]:
    """What Elastic Reset adds to an update of each task, resets included."""
    return dict(bench_cost.overhead())


def growth() -> dict[str, Figure]:
    """How an update's time and memory, and the reading of records, grow with what there is more of."""
    return dict(bench_growth.measure())


def reproduce() -> dict[str, Figure]:
    """Where the time of the last `make reproduce` went, job by job in its stages: nothing is run again."""
    return _went(_own(), 900.0, first=300.0)


def make_lab() -> dict[str, Figure]:
    """Where that of the last `make lab TASK=sentiment SEEDS=1` went, its models downloaded before."""
    results = own_results("lab")
    trained = [job for job in stages.jobs(results) if job.stage == f"{stages.STAGES['run']}, sentiment"]
    if len(trained) != 2:
        raise ValueError(f"{results} holds {len(trained)} runs that were timed, and not the two of SEEDS=1")
    return _went(results, 2700.0)


def cores() -> dict[str, Figure]:
    """All of sentiment's first seed from nothing by one process, then by one a core: twelve minutes on two."""
    number, taken = os.cpu_count() or 1, {}
    with Progress("cores", number) as bar:
        for at_once in dict.fromkeys((1, number)):
            with tempfile.TemporaryDirectory() as results:
                taken[at_once] = timing.seconds(lambda n=at_once, r=results: stages.reproduce_sentiment(n, Path(r)))
            bar.update(at_once)
    figures = {f"sentiment, one seed, {n} at once": timing.figure([seconds], "s") for n, seconds in taken.items()}
    gained = timing.figure([taken[1] / taken[number] / number], "x")
    return figures | {f"seconds by one / ({number} × those by {number})": timing.at_least(gained, 0.9)}


def _went(results: Path, most: float, first: float | None = None) -> dict[str, Figure]:
    """The seconds of each stage, of all, and until verdicts, of which so many at most are asked."""
    found = stages.jobs(results)
    start, end = stages.span(found)
    spent = {f"{stage}, {len(each)} jobs": sum(each) for stage, each in stages.seconds(found).items()}
    spent["all jobs"] = sum(spent.values())
    told = {f"until the verdicts of {seed}": when - start for seed, when in stages.told(results).items()}
    figures = {name: timing.figure([value], "s") for name, value in (spent | told).items()}
    if told and first is not None:
        figures["from start to the first verdicts"] = timing.at_most(timing.figure([min(told.values())], "s"), first)
    figures["from start to end"] = timing.at_most(timing.figure([end - start], "s"), most)
    busy = timing.figure([spent["all jobs"] / (end - start)], "cores")
    if first is None:  # one model is trained by one process
        return figures | {"cores at work, on average": busy}
    return figures | {"cores at work, on average": timing.at_least(busy, 0.9 * (os.cpu_count() or 1))}


def _own() -> Path:
    return own_results(os.environ.get(SCALE, "pocket"))


def lab() -> dict[str, Figure]:
    """An update on SmolLM2-135M by part, and TRL's beside it; a quarter of an hour on a slow core."""
    return dict(real_language.measure())


EVERY = (
    lab,
    reproduce,
    make_lab,
    cores,
    loop,
    startup,
    ema,
    sampler,
    overhead,
    growth,
    game,
    text,
    cost,
    rloo_grpo,
    ppo_vs_trl,
)
BENCHMARKS = {benchmark.__name__: benchmark for benchmark in EVERY}


# ---- TRL's side


def _trl_folder() -> Path:
    return user_cache(f"trl-{TRL}")


def _trl_is_built() -> bool:
    """True if the environment holds these very versions."""
    return rivals.is_there(_trl_folder(), PINS, "bin/python")


def _trl_python() -> Path:
    """The interpreter of the environment with TRL's PPO, which is built on the first call."""
    folder = _trl_folder()
    python = folder / "bin" / "python"
    steps = [[sys.executable, "-m", "venv", str(folder)]]
    steps += [[str(python), "-m", "pip", "install", pin] for pin in PINS]
    rivals.bring("the environment of ppo_vs_trl", folder, PINS, steps, "bin/python")
    return python


class _Trl:
    """TRL's trainer in a process of its own: makes an update when it is told to, ends when its input is closed."""

    def __init__(self, python: Path, folder: Path, updates: int, kind: str, defuse: bool):
        package = folder / "elastic_lib"  # a link, since other packages may lie beside the package itself
        if not package.exists():
            package.symlink_to(Path(__file__).parents[1], target_is_directory=True)
        threads = str(torch.get_num_threads())
        command = [python, "-m", "elastic_lib.machine.trl_trainers", kind, folder, str(updates), threads]
        settings = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
        self.log = folder / f"trl-{kind}-{defuse}.log"
        with self.log.open("w") as log:
            pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
            self.process = subprocess.Popen([*command, *["--defuse"] * defuse], cwd=folder, env=settings, **pipes)
        self.told = self._read()

    def update(self) -> float:
        """Seconds of one update."""
        with suppress(BrokenPipeError):  # then there is nothing to read either
            print("go", file=self.process.stdin, flush=True)
        return self._read()["seconds"]

    def _read(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"TRL's run failed: {timing.last_line(self.log.read_text())}")
        return json.loads(line)


# ---- the report


def _report(name: str) -> dict[str, Any]:
    command = f"{THREADS}={os.environ[THREADS]} " if THREADS in os.environ else ""
    command += f"elastic bench --only {name}"
    before, figures = os.getloadavg(), BENCHMARKS[name]()
    load = {"before": before, "after": os.getloadavg()}
    here = environment(torch.device("cpu"))
    return {"name": name, **here, "command": command, "load": load, "figures": figures}


def _text(report: dict[str, Any]) -> str:
    """The report for a person."""
    load = report["load"]
    lines = [
        report["command"],
        f"  {report['machine']}, {report['cores']} cores; {report['threads']} thread(s), torch {report['torch']}; "
        f"load {load['before'][0]:.2f} before, {load['after'][0]:.2f} after",
    ]
    width = max(map(len, report["figures"]))
    for name, figure in report["figures"].items():
        spread = f"({figure['min']:.4g} to {figure['max']:.4g}, {figure['times']} times)" if figure["times"] > 1 else ""
        lines.append(f"  {name:<{width}} {figure['median']:>9.4g} {figure['unit']:<13} {spread}".rstrip())
        if "with" in figure:
            lines[-1] += f"; {figure['with']}"
        if "target" in figure:
            lines[-1] += f"; {figure['within']} {figure['target']:g}: {'met' if figure['met'] else 'MISSED'}"
        if "curve" in figure:
            curve = figure["curve"]
            points = ", ".join(
                f"{cost:.4g} at {size:,}" for size, cost in zip(curve["sizes"], curve["costs"], strict=True)
            )
            lines.append(f"    {curve['unit']}: {points}")
    return "\n".join(lines)
