"""Does Elastic Reset help where finetuning forgets? The comparison was written before it was run, which takes minutes.

A small Llama learns generated film reviews (old), then is finetuned on questions with an answer (new): plainly, with
ElasticResetCallback as `suggest` sets it, and by the average of the plain run, read out and never written back. What is
compared is, seed by seed, the least loss on old text among the checkpoints that are good enough on new text, at the
level that all three reach: the worst of their three best. So each may stop early. Resets help if the 95% paired
interval of plain − elastic over the seeds is above 0, and more than an average does if that of average − elastic is.
"""

import torch
from datasets import Dataset
from start import QUIET, keep, tiny
from trl import SFTConfig, SFTTrainer

from elastic_lib import ElasticResetCallback
from elastic_lib.tasks.answers import world as answers
from elastic_lib.tasks.sentiment import world as reviews

STEPS, RATES = {"old": 600, "new": 300}, {"old": 3e-3, "new": 1e-3}
SUGGESTED = ElasticResetCallback.suggest(STEPS["new"])
SETTINGS = {**QUIET, "logging_steps": 100, "per_device_train_batch_size": 16}


def texts(kind, number, seed):
    made = (reviews if kind == "old" else answers).generate(number, seed)
    return [one.text if kind == "old" else f"{one.text} {one.answers[0].text}" for one in made]


class Watched(ElasticResetCallback):
    @torch.no_grad()
    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if state.global_step % 10 == 0 or state.global_step % SUGGESTED["reset_every"] == 0:
            row = [float(model(**batch).loss) for batch in self.batches]
            with self.elastic.averaged():
                row += [float(model(**batch).loss) for batch in self.batches]
            self.rows.append([state.global_step, *(round(loss, 4) for loss in row)])  # old, new of θ; old, new of θ̄

    on_train_end = on_step_begin


def train(folder, kind, seed, *callbacks):
    args = SFTConfig(folder, max_steps=STEPS[kind], learning_rate=RATES[kind], seed=seed, **SETTINGS)
    data = Dataset.from_dict({"text": texts(kind, 16 * STEPS[kind], seed)})
    made = SFTTrainer(folder, args, train_dataset=data, callbacks=list(callbacks))
    made.train()
    return made


for seed in range(5):
    folder = tiny(words=sorted({*reviews.vocabulary(), *answers.vocabulary()}), width=64, layers=2, seed=seed)
    pretrained, found = train(folder, "old", seed), {"track": [], "elastic": []}
    pretrained.save_model(folder)
    held_out = (texts(kind, 64, 1000 + seed) for kind in STEPS)
    batches = [pretrained.processing_class(said, padding=True, return_tensors="pt") for said in held_out]
    batches = [{**one, "labels": one["input_ids"].where(one["attention_mask"] > 0, -100)} for one in batches]
    for mode, rows in found.items():
        watched = Watched(**SUGGESTED, mode=mode)
        watched.rows, watched.batches = rows, batches
        train(folder, "new", seed, watched)
    keep(f"forgetting, seed {seed}", found)
