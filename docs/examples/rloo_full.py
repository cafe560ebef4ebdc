"""RLOO on all weights: two resets, and stop right after the second, the policy to keep."""

from datasets import Dataset
from start import QUIET, arguments, sentences, watch
from trl import RLOOConfig, RLOOTrainer

from elastic_lib import ElasticResetCallback

RESET_EVERY = 4
chosen = arguments(steps=12, reset_every=RESET_EVERY, rate=1e-2)


def reward(completions, **kwargs):
    return [float(text.count("e")) for text in completions]


elastic = ElasticResetCallback(decay=chosen.decay, reset_every=RESET_EVERY, stop_after=2)
args = RLOOConfig("out", max_steps=chosen.steps, learning_rate=chosen.rate, beta=0.01, num_generations=4,
                  per_device_train_batch_size=8, max_completion_length=8, **QUIET)  # fmt: skip
RLOOTrainer(chosen.model, reward, args, Dataset.from_dict({"prompt": sentences(32)}), callbacks=[elastic]).train()
watch(elastic.trainer.state.log_history, chosen.decay, "reward", "kl")
