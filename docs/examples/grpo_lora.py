"""GRPO on an adapter, which is all that is averaged and reset: θ0 is the model without it."""

from datasets import Dataset
from peft import LoraConfig
from start import QUIET, arguments, sentences, watch
from trl import GRPOConfig, GRPOTrainer

from elastic_lib import ElasticResetCallback

RESET_EVERY = 6
chosen = arguments(steps=12, reset_every=RESET_EVERY, rate=3e-2, real_rate=1e-4)


def reward(completions, **kwargs):  # the letter e, whatever the question: a reward that is easily hacked
    return [float(text.count("e")) for text in completions]


elastic = ElasticResetCallback(decay=chosen.decay, reset_every=RESET_EVERY)
args = GRPOConfig("out", max_steps=chosen.steps, learning_rate=chosen.rate, beta=0.01, num_generations=8, seed=1,
                  per_device_train_batch_size=16, max_completion_length=8, **QUIET)  # fmt: skip
GRPOTrainer(chosen.model, reward, args, Dataset.from_dict({"prompt": sentences(32)}), callbacks=[elastic],
            peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")).train()  # fmt: skip
elastic.trainer.save_state()  # `elastic read out` draws its frontier
watch(elastic.trainer.state.log_history, chosen.decay, "reward", "kl")
