"""DPO: the reference stays θ0, and the policy goes back towards it at each reset."""

from datasets import Dataset
from start import QUIET, arguments, sentences, watch
from trl import DPOConfig, DPOTrainer

from elastic_lib import ElasticResetCallback

RESET_EVERY = 4
chosen = arguments(steps=8, reset_every=RESET_EVERY, rate=1e-2)
pairs = {"prompt": sentences(32), "chosen": sentences(32, 5), "rejected": sentences(32, 11)}
pairs |= {side: [f" {text}" for text in pairs[side]] for side in ("chosen", "rejected")}
elastic = ElasticResetCallback(decay=chosen.decay, reset_every=RESET_EVERY)
args = DPOConfig("out", max_steps=chosen.steps, learning_rate=chosen.rate, per_device_train_batch_size=8, **QUIET)
DPOTrainer(chosen.model, args=args, train_dataset=Dataset.from_dict(pairs), callbacks=[elastic]).train()
# rewards/chosen is β·log(π/π0) of the chosen answers: where it falls with a rising margin, the policy unlearns both
watch(elastic.trainer.state.log_history, chosen.decay, "rewards/margins", "rewards/chosen")
