"""Supervised finetuning on new text: what it forgets of the old (the eval loss), and what a reset brings back."""

from datasets import Dataset
from start import QUIET, arguments, sentences, watch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from elastic_lib import ElasticResetCallback

RESET_EVERY = 4
chosen = arguments(steps=8, reset_every=RESET_EVERY, rate=1e-2)
model, tokenizer = AutoModelForCausalLM.from_pretrained(chosen.model), AutoTokenizer.from_pretrained(chosen.model)
old = Dataset.from_dict({"text": sentences(32, length=8)})
new = Dataset.from_dict({"text": [" ".join(reversed(text.split())) for text in old["text"]]})


def finetune(data, steps, callbacks=(), **more):
    args = SFTConfig("out", max_steps=steps, learning_rate=chosen.rate, per_device_train_batch_size=8, **QUIET, **more)
    made = SFTTrainer(model, args, train_dataset=data, eval_dataset=old, processing_class=tokenizer,
                      callbacks=list(callbacks))  # fmt: skip
    made.train()
    return made.state.log_history


finetune(old, steps=20)  # the θ0 of what follows knows the old text
elastic = ElasticResetCallback(decay=chosen.decay, reset_every=RESET_EVERY)
log = finetune(new, chosen.steps, [elastic], eval_strategy="steps", eval_steps=1)
watch(log, chosen.decay, "loss", "eval_loss")
