"""Who generates from a copy of the policy, and whether that copy is the policy: TRL's trainers with stub engines.

A stub stands where vLLM would, colocated or served: TRL's own code pushes weights into it, and it keeps a digest of
what it was given. Whenever a trainer generates, that digest is held against the policy's. The policy moves at the end
of steps, where TRL expects it, and where it does not: between two micro-batches and after an evaluation.

`python tests/generating.py` writes what it finds into docs/callback.md. `python tests/generating.py NAME …` runs these
examples on SmolLM2-135M and keeps what they print in docs/examples/results.json (forgetting.py keeps its own), and then
writes and draws what that file says.
"""

import contextlib
import hashlib
import io
import json
import os
import queue
import re
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
import trl
from datasets import Dataset
from peft import LoraConfig
from trainers import save_tiny, tiny
from transformers import TrainerCallback

from elastic_lib import callback as ours
from elastic_lib import pareto
from elastic_lib.callback import ElasticResetCallback

PAGE = Path(__file__).parents[1] / "docs" / "callback.md"
EXAMPLES = PAGE.parent / "examples"
RESULTS, PICTURE = EXAMPLES / "results.json", PAGE.parent / "real_runs.png"
ORANGE, BLUE, GREY, PINK = "#D55E00", "#0072B2", "#555555", "#B0528A"
REAL = {"grpo_lora": 12, "rloo_full": 6, "dpo": 6, "sft_forgetting": 8, "plain_loop": 7, "accelerate_loop": 7}
COMMON = {"max_steps": 5, "learning_rate": 1e-2, "logging_steps": 1, "use_cpu": True, "bf16": False}
COMMON |= {"gradient_checkpointing": False, "report_to": "none", "disable_tqdm": True, "save_strategy": "no"}
COMMON |= {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
WAYS = {"vLLM, colocated": "colocate", "vLLM, served": "server", "`generate`": None, "continuous batching": "batching"}
CASES = [(trainer, way) for trainer in ("GRPO", "RLOO") for way in WAYS]
CASES += [("Online DPO", way) for way in list(WAYS)[:3]] + [("AsyncGRPO", "vLLM, served")]


def digest(named) -> str:
    """Of weights by name, whatever their order."""
    told = hashlib.sha256()
    for name, p in sorted((name, p.detach().float()) for name, p in named):
        told.update(name.encode() + p.numpy().tobytes())
    return told.hexdigest()


class Engine:
    """Holds the weights that it was given, and notes at which step it generated from which."""

    trainer: "trl.GRPOTrainer"  # the one that runs

    def __init__(self, *args, **kwargs):
        self.weights, self.seen = {}, []
        worker = SimpleNamespace(model_runner=SimpleNamespace(model=self))
        self.llm_engine = SimpleNamespace(model_executor=SimpleNamespace(driver_worker=worker))

    def load_weights(self, pairs):
        self.weights |= {name: p.detach().clone() for name, p in pairs}

    def update_named_params(self, metadata, pairs):
        self.load_weights(pairs)

    def update_named_param(self, name, p):
        self.load_weights([(name, p)])

    def weight_update(self):
        return contextlib.nullcontext()

    def init_communicator(self, device):
        pass

    reset_prefix_cache = init_weight_transfer = pause = resume = destroy = lambda self: None

    def get_server_info(self):
        return {"model_config": {"logprobs_mode": "processed_logprobs"}}

    send_weights = load_weights  # AsyncGRPO's name for it

    def note(self, trainer, held=None):
        held = digest(self.weights.items()) if held is None else held
        policy = trainer.accelerator.unwrap_model(trainer.model)
        self.seen.append((trainer.state.global_step, held == digest(policy.named_parameters())))

    def generate(self, prompts, *args, n=2, **kwargs):
        """As vLLM's LLM (Online DPO) does, or its server."""
        self.note(Engine.trainer)
        if kwargs.keys() == {"use_tqdm"}:
            said = [SimpleNamespace(token_ids=[5 + i, 1]) for i in range(2)]
            return [SimpleNamespace(outputs=said, prompt_token_ids=[3, 4]) for _ in prompts]
        return {"completion_ids": [[5 + i, 1] for _ in prompts for i in range(n)]}


class Moves(TrainerCallback):
    """Resets where TRL looks for no change of the weights, and evaluates θ̄ where it generates."""

    def __init__(self, elastic):
        self.callback, self.trainer, self.inside = elastic, None, False

    def on_substep_end(self, args, state, control, **kwargs):
        if state.global_step == 3:
            self.callback.elastic.reset()

    def on_evaluate(self, args, state, control, **kwargs):
        if self.inside:
            return
        self.inside = True
        with self.callback.elastic.averaged():
            self.trainer.evaluate()
        self.inside = False


def _vllm(engine):
    """TRL's own code for vLLM, with a stub where vLLM would be."""
    from trl.generation import vllm_generation

    def generate(self, prompts, images, num_generations, profiler=None):
        engine.note(Engine.trainer)
        said = [[5 + i % 7, 1] for i in range(len(prompts))]
        return prompts, said, [[[-1.0], [-1.0]] for _ in said], None

    where = vllm_generation
    yield mock.patch.object(where, "is_vllm_available", lambda *a, **k: True)
    yield mock.patch.object(where, "LLM", lambda *a, **k: engine, create=True)
    yield mock.patch.object(where, "VLLMClient", lambda *a, **k: engine)
    yield mock.patch.object(where.VLLMGeneration, "generate", generate)
    from trl.experimental.online_dpo import online_dpo_trainer as where

    yield mock.patch.object(where, "is_vllm_available", lambda *a, **k: True)
    yield mock.patch.object(where, "LLM", lambda *a, **k: engine, create=True)
    yield mock.patch.object(where, "SamplingParams", lambda **k: SimpleNamespace(**k), create=True)
    yield mock.patch.object(where, "VLLMClient", lambda *a, **k: engine)
    yield mock.patch.dict(os.environ)  # TRL tells a colocated vLLM of its rank there, and leaves it


def _itself(engine, model):
    """`transformers` generates from the module that it is handed: what that holds is noted."""
    generate = model.generate

    def noted(*args, **kwargs):
        engine.note(Engine.trainer, digest(model.named_parameters()))
        return generate(*args, **kwargs)

    def batch(prompts, **kwargs):
        engine.note(Engine.trainer, digest(model.named_parameters()))
        return {i: SimpleNamespace(generated_tokens=[5 + i % 7, 1]) for i, _ in enumerate(prompts)}

    model.generate, model.generate_batch = noted, batch


def prompts(number=32):
    return [f"w{i % 30} w{i * 7 % 30}" for i in range(number)]


def lengths(completions, **kwargs):
    return [float(len(c) + i % 2) for i, c in enumerate(completions)]


def _made(kind, way, base, folder, callbacks, peft=None, **settings):
    """A trainer of TRL that generates in this way."""
    data = Dataset.from_dict({"prompt": prompts()})
    how = {"use_vllm": True, "vllm_mode": WAYS[way]} if WAYS[way] in ("colocate", "server") else {}
    if WAYS[way] == "batching":
        how = {"use_transformers_continuous_batching": True}
    if kind == "Online DPO":
        from transformers import AutoTokenizer
        from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

        args = OnlineDPOConfig(output_dir=folder, max_new_tokens=4, **COMMON | how | settings)
        tokenizer = AutoTokenizer.from_pretrained(base)
        more = {"args": args, "train_dataset": data, "processing_class": tokenizer, "callbacks": callbacks}
        with mock.patch.object(torch.accelerator, "current_accelerator", lambda *a, **k: torch.device("cpu")):
            return OnlineDPOTrainer(model=tiny(), reward_funcs=lengths, **more)
    how |= {"num_generations": 2, "steps_per_generation": 1, "max_completion_length": 4, "beta": 0.0}
    how |= {"eval_strategy": "steps", "eval_steps": 4, "per_device_eval_batch_size": 2}
    args = getattr(trl, f"{kind}Config")(output_dir=folder, **COMMON | how | settings)
    more = {"args": args, "train_dataset": data, "eval_dataset": data.select([0]), "callbacks": callbacks}
    return getattr(trl, f"{kind}Trainer")(model=base, reward_funcs=lengths, peft_config=peft, **more)


def generations(kind: str, way: str, base: str, *, care: bool = True, elastic=None, **settings):
    """(step, whether the copy was the policy) of every generation of a run with resets."""
    elastic = elastic or ElasticResetCallback(decay=0.5, reset_every=3)
    engine = Engine()
    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        if not care:
            stack.enter_context(mock.patch.object(ours, "_fetch_again", lambda *a, **k: None))
        for patch in _vllm(engine):
            stack.enter_context(patch)
        if kind == "AsyncGRPO":
            made = _asynchronous(base, folder, engine, elastic)
        else:
            moves = Moves(elastic)
            Engine.trainer = moves.trainer = made = _made(kind, way, base, folder, [elastic, moves], **settings)
            if WAYS[way] not in ("colocate", "server"):
                _itself(engine, made.model)
        made.train()
    return engine.seen


def _asynchronous(base, folder, engine, elastic):
    """AsyncGRPO with a worker that generates whenever it is asked for a sample."""
    from trl.experimental.async_grpo import AsyncGRPOConfig, AsyncGRPOTrainer, async_grpo_trainer
    from trl.experimental.async_grpo.async_rollout_worker import RolloutSample

    class Asked(queue.Queue):
        def get(self, timeout=None):
            engine.note(made)
            ids, one = np.array([3, 4, 5, 6, 1]), {"reward": 1.0}
            mask, old = np.array([0, 0, 1, 1, 1]), np.array([0.0, 0.0, -1.0, -1.0, -1.0], dtype=np.float32)
            number = len(engine.seen)
            return RolloutSample([], [], ids + number % 3 * (ids > 4), mask, old, 1.0, made.model_version, number, one)

    worker = SimpleNamespace(rollout_buffer=Asked(), metrics_queue=queue.Queue(), start=lambda: None)
    worker.stop, worker.update_model_version, worker.check_health = (lambda *a: None,) * 3

    class OnTheCPU(AsyncGRPOTrainer):
        def compute_loss(self, model, inputs, **kwargs):  # its attention needs a GPU; the weights still have to move
            return sum((p**2).sum() for p in model.parameters()) * 1e-3

    settings = {"weight_sync_steps": 1, "token_budget": -1, "gradient_accumulation_steps": 1}
    args = AsyncGRPOConfig(output_dir=folder, **COMMON | settings)
    data = Dataset.from_dict({"prompt": prompts()})
    more = {"args": args, "train_dataset": data, "rollout_worker": worker, "weight_transfer": engine}
    with mock.patch.object(async_grpo_trainer, "get_peak_flops_per_device", lambda *a: None):  # it asks a GPU
        made = OnTheCPU(model=base, reward_funcs=lengths, **more)
    made.add_callback(elastic)  # behind the trainer's own, which pushes the weights
    return made


def table(base: str) -> str:
    """Generations from weights that were not the policy's, for every trainer and way of generating."""
    rows = ["| trainer | generates with | generations | stale without care | stale |", "|---|---|---:|---:|---:|"]
    for kind, way in CASES:
        stale = {care: [fresh for _, fresh in generations(kind, way, base, care=care)] for care in (False, True)}
        told = (kind, way, len(stale[True]), stale[False].count(False), stale[True].count(False))
        rows.append("| " + " | ".join(map(str, told)) + " |")
    return "\n".join(rows)


def wear(base: str, cycles: int = 60) -> str:
    """How far the base beneath an adapter has gone after so many generations by vLLM, with a reset after each 20."""
    rows = ["| base | `guard_base` | before the last reset | after it |", "|---|---|---:|---:|"]
    for dtype, guard in (("float32", False), ("bfloat16", False), ("bfloat16", True)):
        elastic = ElasticResetCallback(decay=0.9, reset_every=20, guard_base=guard)
        lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
        more = {"peft": lora, "model_init_kwargs": {"dtype": dtype}, "max_steps": cycles, "eval_strategy": "no"}
        generations("GRPO", "vLLM, colocated", base, elastic=elastic, gradient_accumulation_steps=1, **more)
        lines = [line for line in elastic.trainer.state.log_history if "loss" in line]
        before, after = (line["elastic/base_drift"] for line in lines[-2:])
        rows.append(f"| {dtype} | {guard} | {before:.1e} | {after:.1e} |")
    return "\n".join(rows)


def on_the_page(mark: str) -> str:
    """What stands in docs/callback.md between two marks."""
    return PAGE.read_text().partition(f"<!-- {mark} -->")[2].partition(f"<!-- /{mark} -->")[0].strip()


def log_of(*arguments: str) -> str:
    """What the GRPO example prints."""
    examples, printed = PAGE.parent / "examples", io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(sys, "path", [str(examples), *sys.path]))
        stack.enter_context(mock.patch.object(sys, "argv", ["grpo_lora.py", *arguments]))
        stack.enter_context(contextlib.redirect_stdout(printed))
        stack.enter_context(contextlib.chdir(stack.enter_context(tempfile.TemporaryDirectory())))
        runpy.run_path(str(examples / "grpo_lora.py"), run_name="__main__")
    lines = [line for line in printed.getvalue().splitlines() if not line.startswith("{")]
    return "\n".join(["```", *lines, "```"])


def write(mark: str, found: str) -> None:
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, _, rest = PAGE.read_text().partition(begin)
    PAGE.write_text(f"{before}{begin}\n{found}\n{end}{rest.partition(end)[2]}")


# ---- the examples on a real model, and whether resets help against forgetting


def real_run(name: str) -> None:
    """One example on SmolLM2-135M, what it printed by column, into `RESULTS`."""
    launch = (
        ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"] if name == "accelerate_loop" else []
    )
    given, began = ["--model", "smollm2-135m", "--steps", str(REAL[name])], time.time()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *launch, str(EXAMPLES / f"{name}.py"), *given]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{name}: {ran.stderr[-2000:]}")
    seconds, columns = round(time.time() - began), printed(ran.stdout)
    sys.path.append(str(EXAMPLES))
    from start import keep

    command = f"{'accelerate launch --multi_gpu --num_processes 2' if launch else 'python'} docs/examples/{name}.py"
    found = {"command": " ".join([command, *given]), "seconds": seconds, "log": columns}
    keep(name, found | {"processes": int((re.search(r"(\d+) processes", ran.stdout) or [0, 1])[1])})


def printed(lines: str) -> dict[str, list[float]]:
    """What `watch` or a loop of one's own prints, by column."""
    columns: dict[str, list[float]] = {}
    header: list[str] = []
    for line in lines.splitlines():
        if line.startswith("step  reset"):
            header, row = ["step", "reset", "share", *line.partition("share of θ0 in θ̄")[2].split()], {}
        elif header and re.match(r" *\d", line):
            row = dict(zip(header, (float(cell.rstrip("%")) for cell in line.split()), strict=True))
        elif line.startswith("step "):
            row = {"step": float(line.split()[1]), "reset": float(line.endswith("reset"))}
            row |= {name: float(value) for name, value in re.findall(r"(\|θ̄?-θ0\||KL) ([\d.]+)", line)}
        else:
            continue
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return columns


def kept() -> dict:
    return json.loads(RESULTS.read_text())


def real_table() -> str:
    """Each example on the real model: how far θ was from θ0, and what it is watched for, around its first reset."""
    rows = ["| example | steps | seconds | resets at | \\|θ−θ0\\| at the first | watched, a step before it and after |"]
    rows.append("|---|---:|---:|---|---|---|")
    for name in REAL:
        run, log = kept()[name], kept()[name]["log"]
        at = [int(step) for step, reset in zip(log["step"], log["reset"], strict=True) if reset]
        first = log["step"].index(at[0])
        told = [c for c in log if c not in ("step", "reset", "share", "|θ-θ0|", "|θ̄-θ0|")]
        watched = ", ".join(f"{c} {log[c][first - 1]:.3g} → {log[c][first + 1]:.3g}" for c in told)
        far = f"{log['|θ-θ0|'][first - 1]:.3f} → {log['|θ-θ0|'][first]:.3f}"
        cells = [f"`{name}`", f"{len(log['step'])}", run["seconds"], ", ".join(map(str, at)), far, watched]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def made_on() -> str:
    """The machine and the versions of all runs that are kept, each once."""
    said = {f"{run['machine']}; torch {run['torch']}, transformers {run['transformers']}, trl {run['trl']}"
            for run in kept().values()}  # fmt: skip
    return "; ".join(sorted(said))


def forgot() -> dict[str, np.ndarray]:
    """[seed, checkpoint, (step, loss on old text, on new)] of plain finetuning, of its average and of Elastic Reset."""
    runs = [run for name, run in sorted(kept().items()) if name.startswith("forgetting")]
    plain, elastic = (np.array([run[mode] for run in runs]) for mode in ("track", "elastic"))
    return {"plain": plain[..., :3], "its average": plain[..., [0, 3, 4]], "Elastic Reset": elastic[..., :3]}


def matched() -> dict[str, np.ndarray]:
    """By seed: the level on new text that all three reach, and the least loss on old text there of each."""
    level = np.max([lines[..., 2].min(1) for lines in forgot().values()], 0)
    reached = {who: lines[..., 2] <= level[:, None] for who, lines in forgot().items()}
    return {"level": level} | {who: np.where(reached[who], forgot()[who][..., 1], np.inf).min(1) for who in reached}


def forgetting_table() -> str:
    level, plain, average, elastic = matched().values()
    rows = ["| | " + " | ".join(f"seed {seed}" for seed in range(len(level))) + " | mean [95%] |"]
    rows.append("|---|" + "---:|" * (len(level) + 1))
    losses = {"loss on new text, the level": level, "loss on old text there: plain": plain}
    losses |= {"… the average of the plain run": average, "… Elastic Reset": elastic}
    for what, values in losses.items():
        rows.append(f"| {what} | {' | '.join(f'{v:.3f}' for v in (*values, values.mean()))} |")
    for what, values in (("plain − Elastic Reset", plain - elastic), ("average − Elastic Reset", average - elastic)):
        mean, low, high = (f"{v:+.3f}" for v in (values.mean(), *pareto.interval(values)))
        rows.append(f"| {what} | {' | '.join(f'{v:+.3f}' for v in values)} | {mean} [{low}, {high}] |")
    return "\n".join(rows)


def learnt() -> str:
    least = (f"{who} {lines[..., 2].min(1).mean():.2f}" for who, lines in forgot().items())
    return f"The least loss on new text, mean of the seeds: {', '.join(least)}."


TOLD = {"real": real_table, "made on": made_on, "forgetting": forgetting_table, "learnt": learnt}


def draw() -> None:
    """Two runs of the real model, a good and a bad one of the tiny one, and forgetting; titles name what is drawn."""
    from plotly.subplots import make_subplots

    from elastic_lib.notebook.pictures import _fewer_colours

    grpo, finetuned = kept()["grpo_lora"]["log"], kept()["sft_forgetting"]["log"]
    ways = {"|θ-θ0|": ("|θ−θ0|", ORANGE), "|θ̄-θ0|": ("|θ̄−θ0|", GREY)}
    panels = [
        ("GRPO", grpo, ways),
        ("GRPO", grpo, {"reward": ("reward", BLUE)}),
        ("SFT", finetuned, ways),
        ("SFT, loss", finetuned, {"loss": ("new text", BLUE), "eval_loss": ("old text", PINK)}),
        ("tiny, good", printed(on_the_page("good log")), ways),
        ("tiny, bad", printed(on_the_page("bad log")), ways),
    ]
    titles = [f"{title}: {', '.join(_coloured(*line) for line in lines.values())}" for title, _, lines in panels]
    colors = dict(zip(forgot(), (BLUE, GREY, ORANGE), strict=True))
    titles.append(f"old text: {', '.join(_coloured(who, colors[who]) for who in colors)}")
    figure = make_subplots(4, 2, subplot_titles=[*titles, "… against that on new text"], vertical_spacing=0.07)
    for i, (_, log, lines) in enumerate(panels):
        at = {"row": i // 2 + 1, "col": i % 2 + 1}
        for column, (_, color) in lines.items():
            line = {"mode": "lines+markers", "line": {"color": color, "width": 2.5}}
            figure.add_scatter(x=log["step"], y=log[column], **line, **at)
        for step, reset in zip(log["step"], log["reset"], strict=True):
            if reset:
                figure.add_vline(step, line={"dash": "dot", "color": "#444444"}, **at)
        figure.update_xaxes(rangemode="tozero", **at)
    for who, lines in forgot().items():
        step, old, new = lines.mean(0).T
        new[np.flatnonzero(np.diff(new) > 1) + 1] = np.nan  # no line across a reset
        line = {"mode": "lines", "line": {"color": colors[who], "width": 2.5}}
        figure.add_scatter(x=step, y=old, row=4, col=1, **line)
        figure.add_scatter(x=new[1:], y=old[1:], row=4, col=2, **line)
    figure.update_xaxes(title="optimiser step", row=4, col=1)
    figure.update_xaxes(title="loss on new text", row=4, col=2)
    figure.update_annotations(font={"size": 15})
    figure.update_layout(template="plotly_white", width=660, height=940, font={"size": 14}, showlegend=False)
    figure.update_layout(margin={"t": 30, "r": 10, "l": 40, "b": 50})
    PICTURE.write_bytes(_fewer_colours(figure.to_image("png", scale=1.5)))


def _coloured(name: str, color: str) -> str:
    return f"<span style='color:{color}'><b>{name}</b></span>"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        real_run(name)
    if not sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            save_tiny(folder)
            write("who generates", table(folder))
            write("wear", wear(folder))
        for mark, decay in (("good log", ()), ("bad log", ("--decay", "0.9999")), ("idle log", ("--decay", "0.3"))):
            write(mark, log_of(*decay))
    for mark, found in TOLD.items():
        write(mark, found())
    draw()
