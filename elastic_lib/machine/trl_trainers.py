"""TRL's trainers on the very same weights, for `elastic bench --only ppo_vs_trl` and `--only rloo_grpo`.

TRL removed PPO after 1.12.0, so that it runs in an environment of its own. What is set here differs from its defaults
only where it then does what our loop does, or works less: float32, no gradient checkpointing, no sample tables, one
batch of samples a forward pass.

    python -m elastic_lib.machine.trl_trainers PPO|RLOO|GRPO FOLDER UPDATES THREADS [--defuse]

It writes a line of JSON when it is ready and after every update, and makes an update for every line that it reads.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any, TextIO

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel, PreTrainedModel

from elastic_lib.nets.gpt import GPT, PAD, Classifier

AGREEMENT = 1e-4  # largest difference of logits between a network and its conversion
BOS, EOS = 1, 2  # as in tasks.sentiment, whose imports the other environment may lack
GROUP = 4  # completions a prompt, of which RLOO and GRPO make their baseline


def to_gpt2(lm: GPT, kind: type[PreTrainedModel] = GPT2LMHeadModel, **settings) -> PreTrainedModel:
    """The transformers model with the weights of `lm`."""
    config = GPT2Config(
        vocab_size=lm.tokens.num_embeddings, n_positions=lm.context, n_embd=lm.width, n_layer=len(lm.blocks),
        n_head=lm.blocks[0].heads, activation_function="gelu", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, **settings,
    )  # fmt: skip
    model = kind(config)
    trunk = model.transformer
    pairs = [(trunk.wte, lm.tokens), (trunk.wpe, lm.positions), (trunk.ln_f, lm.norm)]
    for theirs, ours in zip(trunk.h, lm.blocks, strict=True):
        pairs += [(theirs.ln_1, ours.norm1), (theirs.ln_2, ours.norm2)]
        pairs += [(theirs.attn.c_attn, ours.qkv), (theirs.attn.c_proj, ours.proj)]
        pairs += [(theirs.mlp.c_fc, ours.up), (theirs.mlp.c_proj, ours.down)]
    for theirs, ours in pairs:
        _copy(theirs, ours)
    return model.eval()


@torch.no_grad()
def _copy(theirs: nn.Module, ours: nn.Module) -> None:
    # GPT-2's Conv1D keeps a linear map's weight transposed
    theirs.weight.copy_(ours.weight.t() if isinstance(ours, nn.Linear) else ours.weight)
    if getattr(ours, "bias", None) is not None:
        theirs.bias.copy_(ours.bias)


@torch.no_grad()
def check_agreement(lm: GPT, model: PreTrainedModel, tokens: Tensor) -> float:
    """The largest difference of logits on tokens [B, T]; an error where the two are not the same network."""
    gap = float((model(tokens).logits - lm.logits(tokens)).abs().max())
    if not gap <= AGREEMENT:
        raise RuntimeError(f"the converted GPT-2's logits differ by {gap:.2g}; at most {AGREEMENT:g} is allowed")
    return gap


class _RewardBackbone(nn.Module):
    """What TRL takes for a reward model's trunk: P(positive) of the whole text at every position, [B, T, 1]."""

    def __init__(self, rm: Classifier):
        super().__init__()
        self.rm = rm

    def forward(self, input_ids: Tensor, **_) -> SimpleNamespace:
        positive = torch.sigmoid(self.rm(input_ids))
        return SimpleNamespace(hidden_states=[positive[:, None, None].expand(*input_ids.shape, 1)])


class _Reward(nn.Module):
    """Our classifier in the shape of a transformers sequence classifier: a trunk and a head `score`."""

    base_model_prefix = "backbone"

    def __init__(self, rm: Classifier):
        super().__init__()
        self.backbone, self.score = _RewardBackbone(rm), nn.Identity()


def _tokenizer(size: int):
    """Words are their own numbers: PPO is given ids, the others their names."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    words = {"<pad>": PAD, "<bos>": BOS, "<eos>": EOS} | {str(i): i for i in range(EOS + 1, size)}
    reads = Tokenizer(WordLevel(words, unk_token="<pad>"))
    reads.pre_tokenizer = WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=reads,
        pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", padding_side="left",
    )  # fmt: skip


def _left_in(folder: Path) -> tuple[dict[str, Any], GPT, Classifier, Tensor]:
    """The sizes, models and prompts that `bench` left there."""
    plan = json.loads((folder / "plan.json").read_text())
    lm, rm = GPT(**plan["lm"]), Classifier(**plan["rm"]).requires_grad_(False)
    lm.load_state_dict(load_file(folder / "lm.safetensors"))
    rm.load_state_dict(load_file(folder / "rm.safetensors"))
    return plan, lm, rm, load_file(folder / "prompts.safetensors")["prompts"]


def trainer_of(kind: str, folder: Path, updates: int, callback: transformers.TrainerCallback):
    """TRL's trainer on what was left in the folder, and the gap of the logits."""
    plan, lm, rm, prompts = _left_in(folder)
    if kind == "PPO":
        made = _ppo(folder, plan, lm, rm, prompts, updates, callback)
    else:
        made = _without_a_critic(kind, folder, plan, lm, rm, prompts, updates, callback)
    return made, check_agreement(lm, to_gpt2(lm), prompts[: plan["batch"]])


def _silent(trainer):
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)  # it prints every update's measures
    return trainer


def _settings(kind: str, folder: Path, plan: Mapping[str, Any]) -> dict[str, Any]:
    """What is set alike of all trainers."""
    return dict(
        output_dir=str(folder / f"trl-{kind}"), use_cpu=True, bf16=False, gradient_checkpointing=False,
        report_to="none", save_strategy="no", disable_tqdm=True, per_device_train_batch_size=plan["batch"],
        gradient_accumulation_steps=1, temperature=1.0, learning_rate=plan["lr"], lr_scheduler_type="constant",
    )  # fmt: skip


def _ppo(folder, plan, lm, rm, prompts, updates, callback):
    from datasets import Dataset
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    policy, reference = to_gpt2(lm), to_gpt2(lm).requires_grad_(False)
    value = to_gpt2(lm, GPT2ForSequenceClassification, num_labels=1)
    nn.init.zeros_(value.score.weight)
    config = PPOConfig(
        **_settings("PPO", folder, plan), num_sample_generations=0, total_episodes=plan["batch"] * updates,
        num_mini_batches=1, local_rollout_forward_batch_size=plan["batch"], num_ppo_epochs=plan["epochs"],
        response_length=plan["length"], kl_coef=plan["beta"], vf_coef=0.5,
    )  # fmt: skip
    rows = Dataset.from_dict({"input_ids": prompts.tolist()})
    trainer = PPOTrainer(
        args=config, processing_class=_tokenizer(plan["lm"]["vocabulary"]), model=policy, ref_model=reference,
        reward_model=_Reward(rm), value_model=value, train_dataset=rows,
        eval_dataset=rows.select(range(plan["batch"])), callbacks=[callback],
    )  # fmt: skip
    return _silent(trainer)


def _without_a_critic(kind, folder, plan, lm, rm, prompts, updates, callback):
    """RLOO or GRPO on the converted network, paid by ours."""
    to_gpt2(lm).save_pretrained(folder / f"gpt2-{kind}")  # by whose name the reference is loaded too

    @torch.no_grad()
    def positive(prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        before = tokenizer(prompts)["input_ids"]
        texts = [[*prompt, *said] for prompt, said in zip(before, completion_ids, strict=True)]
        return torch.sigmoid(rm(torch.tensor(texts))).tolist()

    tokenizer = _tokenizer(plan["lm"]["vocabulary"])
    asked = [" ".join(tokenizer.convert_ids_to_tokens(row)) for row in prompts.tolist()]
    model = str(folder / f"gpt2-{kind}")
    return grouped(kind, folder, plan, model, tokenizer, asked, positive, updates, callback)


def grouped(kind, folder, plan, model, tokenizer, prompts, paid, updates, callback, **more):
    """RLOO or GRPO, as many completions of as many words as PPO, learned from as often, against the same KL."""
    import trl
    from datasets import Dataset

    config = getattr(trl, f"{kind}Config")(
        **_settings(kind, folder, plan), max_steps=plan["epochs"] * updates, num_iterations=plan["epochs"],
        steps_per_generation=1, num_generations=GROUP, max_completion_length=plan["length"], beta=plan["beta"],
        generation_kwargs={"min_new_tokens": plan["length"]}, model_init_kwargs={"dtype": "float32"},
    )  # fmt: skip
    trainer = getattr(trl, f"{kind}Trainer")(
        model=model, reward_funcs=paid, args=config, processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"prompt": prompts}), callbacks=[callback], **more,
    )  # fmt: skip
    return _silent(trainer)


class _Turns(transformers.TrainerCallback):
    """Holds every update until a line is read, then tells how long it took; some take several steps."""

    def __init__(self, channel: TextIO, steps: int):
        self.channel, self.steps, self.made, self.started = channel, steps, 0, 0.0

    def tell(self, **what: Any) -> None:
        """Writes a line and waits for the answer."""
        print(json.dumps(what), file=self.channel, flush=True)
        if not sys.stdin.readline():
            sys.exit(0)
        self.started = perf_counter()

    def on_step_end(self, *_, **__) -> None:
        self.made += 1
        if self.made % self.steps == 0:
            self.tell(seconds=perf_counter() - self.started)


def _defuse() -> None:
    """Takes the two full garbage collections an update out of TRL's loop, and nothing else."""
    from trl.experimental.ppo import ppo_trainer

    ppo_trainer.gc = SimpleNamespace(collect=lambda: 0)


def main(argv: list[str] | None = None) -> int:
    """Makes the updates that it is told to make."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kind", choices=("PPO", "RLOO", "GRPO"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("updates", type=int)
    parser.add_argument("threads", type=int)
    parser.add_argument("--defuse", action="store_true", help="leave out the loop's gc.collect()")
    given = parser.parse_args(argv)
    import trl

    torch.set_num_threads(given.threads)
    if given.defuse:
        _defuse()
    epochs = json.loads((given.folder / "plan.json").read_text())["epochs"]
    turns, sys.stdout = _Turns(sys.stdout, 1 if given.kind == "PPO" else epochs), sys.stderr  # TRL prints too
    trainer, gap = trainer_of(given.kind, given.folder, given.updates, turns)
    versions = [f"{module.__name__} {module.__version__}" for module in (trl, transformers, torch)]
    turns.tell(**{"logit_gap": gap, "with": ", ".join(versions)})
    trainer.train()
    return 0


if __name__ == "__main__":
    sys.exit(main())
