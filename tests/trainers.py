"""A tiny model in transformers' trainers, and what the callback did to it worked out by hand.

The import takes seconds: tests import this file when they run.
"""

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

VOCABULARY = 40


def tiny(seed=0, **config):
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **sizes, **heads, **special, **config))


def save_tiny(folder):
    """The model and a tokenizer on disk, from where TRL's trainers load them."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", "<unk>", *(f"w{i}" for i in range(VOCABULARY - 3))]
    plain = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=plain, **special).save_pretrained(folder)
    tiny().save_pretrained(folder)


def texts(number=24, length=8):
    generator = torch.Generator().manual_seed(3)
    rows = torch.randint(2, VOCABULARY, (number, length), generator=generator)
    return [{"input_ids": row, "labels": row} for row in rows]


class Recorder(TrainerCallback):
    """θ after every optimiser step, before and after what the callback did with it, and θ̄."""

    def __init__(self, elastic):
        self.callback, self.before, self.after, self.ema = elastic, {}, {}, {}

    def weights(self):
        return {name: p.detach().clone() for name, p in self.callback.elastic.parameters.items()}

    def on_train_begin(self, args, state, control, **kwargs):
        self.start = self.weights()

    def on_optimizer_step(self, args, state, control, **kwargs):
        self.before[state.global_step + 1] = self.weights()

    def on_step_end(self, args, state, control, **kwargs):
        self.after[state.global_step] = self.weights()
        self.ema[state.global_step] = {name: t.clone() for name, t in self.callback.elastic.ema.items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def check_by_hand(seen, decay, resets, averaged=lambda step: True):
    """θ̄ is lerped by hand from the recorded θ; at a reset θ is that θ̄ and θ̄ is θ0, bit for bit."""
    average = seen.start
    for step, online in seen.before.items():
        if averaged(step):
            average = {name: torch.lerp(average[name].float(), p.float(), 1 - decay) for name, p in online.items()}
        assert same(seen.after[step], average if step in resets else online), step
        assert not (step in resets and same(average, online)), "a reset that would not show"
        if step in resets:
            average = seen.start
        assert same(seen.ema[step], average), step


def trainer(folder, callback, *others, model=None, data=None, optimizers=(None, None), **settings):
    settings = {"max_steps": 7, "logging_steps": 1, "save_strategy": "no", "learning_rate": 1e-2} | settings
    settings = {"per_device_train_batch_size": 2, "use_cpu": True, "disable_tqdm": True, "report_to": "none"} | settings
    return Trainer(
        model=tiny() if model is None else model,
        args=TrainingArguments(output_dir=str(folder), **settings),
        train_dataset=texts() if data is None else data,
        eval_dataset=texts(2),
        callbacks=[*others, callback],
        optimizers=optimizers,
    )


def trained(folder, callback, *others, resume=None, **settings):
    seen = Recorder(callback)
    made = trainer(folder, callback, *others, **settings)
    made.add_callback(seen)
    made.train(resume_from_checkpoint=resume)
    return made, seen


class KL(TrainerCallback):
    """Stands for a trainer that measures one."""

    def on_log(self, args, state, control, **kwargs):
        state.log_history[-1]["kl"] = 0.5 * state.global_step


def lines(made):
    """The log without what a clock says."""
    return [{k: v for k, v in line.items() if not k.startswith("train_")} for line in made.state.log_history]


def resets_logged(made):
    return [line["elastic/reset"] for line in made.state.log_history if "loss" in line]
