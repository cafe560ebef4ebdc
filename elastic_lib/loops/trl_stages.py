"""The two stages before RL, by TRL's own trainers: supervised finetuning, and a reward model from pairs.

TRL, peft and datasets are imported where they are used.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from elastic_lib import losses
from elastic_lib.progress import Progress

WARM_UP = 0.05  # share of the steps


def finetune(model: nn.Module, texts: Sequence[list[int]], tokenizer, **how: Any) -> float:
    """Trains a language model on texts with `SFTTrainer`; returns the mean loss of the last tenth."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_dict({"input_ids": list(texts)})
    return _train(SFTTrainer, SFTConfig, model, data, tokenizer, **how)


def learn_reward(model: nn.Module, pairs: Sequence[tuple[list[int], list[int]]], tokenizer, **how: Any) -> float:
    """Trains a reward model on (better, worse) with `RewardTrainer`: −log σ(r(better) − r(worse)); returns the loss.

    With a `bound` m it is an advantage model: − log σ(m − r(better)) − log σ(m + r(worse)) is added.
    """
    from datasets import Dataset
    from trl import RewardConfig

    better, worse = zip(*pairs, strict=True)
    data = Dataset.from_dict({"chosen_ids": list(better), "rejected_ids": list(worse)})
    return _train(_reward_trainer(how.pop("bound", None)), RewardConfig, model, data, tokenizer, **how)


def _reward_trainer(bound: float | None) -> type:
    """TRL's own, or that of an advantage model (arXiv 2309.10202)."""
    from trl import RewardTrainer

    class Bounded(RewardTrainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
            loss = loss + losses.beyond_bound(*outputs.logits.squeeze(-1).chunk(2), bound)
            return (loss, outputs) if return_outputs else loss

    return RewardTrainer if bound is None else Bounded


def _train(
    trainer_of, config_of, model, data, tokenizer, *, steps: int, batch: int, lr: float, seed: int, title: str,
    micro: int | None = None,
) -> float:  # fmt: skip
    """`micro` texts at a time, where a batch is too large for the machine."""
    on_gpu, micro = next(model.parameters()).is_cuda, micro or batch
    with tempfile.TemporaryDirectory() as folder, _quiet():
        config = config_of(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=micro,
            gradient_accumulation_steps=batch // micro, learning_rate=lr, lr_scheduler_type="cosine",
            warmup_steps=max(1, round(WARM_UP * steps)), weight_decay=0.01, max_grad_norm=1.0, seed=seed,
            data_seed=seed,
            max_length=None, bf16=on_gpu, use_cpu=not on_gpu, gradient_checkpointing=micro < batch,
            save_strategy="no", report_to="none", disable_tqdm=True, logging_strategy="steps",
            logging_steps=1, dataloader_pin_memory=on_gpu,
        )  # fmt: skip
        with Progress(title, steps) as bar:
            trainer = trainer_of(
                model=model, args=config, train_dataset=data, processing_class=tokenizer, callbacks=[_bar(bar)]
            )  # fmt: skip
            trainer.remove_callback(_printer())
            trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    tail = losses[-max(1, steps // 10) :]
    return sum(tail) / len(tail)


@contextmanager
def _quiet():
    """Without the trainers' own warnings and bars."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _printer():
    from transformers import PrinterCallback

    return PrinterCallback


def _bar(bar: Progress):
    """A trainer's steps on the house's progress bar."""
    from transformers import TrainerCallback

    class Bar(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **_):
            bar.update(state.global_step, **{name: logs[name] for name in ("loss", "accuracy") if name in (logs or {})})

    return Bar()


def tokenizer_of(tokenizer):
    """A tokenizer made here as transformers wants it."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token=None
    )
