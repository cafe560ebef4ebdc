"""A loop of one's own on two processes: `accelerate launch --multi_gpu --num_processes 2 accelerate_loop.py`.

On CPUs too; with `--cpu` in its place accelerate silently starts one.
"""

from itertools import cycle, islice

import torch
from accelerate import Accelerator
from start import arguments, sentences
from transformers import AutoModelForCausalLM, AutoTokenizer

from elastic_lib import ElasticReset

RESET_EVERY = 5
chosen = arguments(steps=10, reset_every=RESET_EVERY, rate=1e-2)
accelerator = Accelerator(cpu=not torch.cuda.is_available())
policy, tokenizer = AutoModelForCausalLM.from_pretrained(chosen.model), AutoTokenizer.from_pretrained(chosen.model)
words = [tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"][0, :4] for text in sentences(16)]
optimizer = torch.optim.Adam(policy.parameters(), lr=chosen.rate)
accelerator.print(f"{accelerator.num_processes} processes")
data = torch.utils.data.DataLoader(words, batch_size=4)
policy, optimizer, data = accelerator.prepare(policy, optimizer, data)
er = ElasticReset(policy.parameters(), decay=chosen.decay, reset_every=RESET_EVERY)  # of the prepared model

for step, batch in enumerate(islice(cycle(data), chosen.steps), 1):
    accelerator.backward(policy(batch, labels=batch).loss)
    optimizer.step()
    optimizer.zero_grad()
    reset = False
    if accelerator.sync_gradients:  # with gradient accumulation, at optimiser steps alone
        er.update()  # on every process: all hold the same weights, so all hold the same average, and nothing is sent
        reset = er.tick()
    far = f"|θ-θ0| {er.distances().init:.3f}  |θ̄-θ0| {er.distances().ema_init:.3f}"
    accelerator.print(f"step {step:3}  {far}{'  reset' if reset else ''}")
