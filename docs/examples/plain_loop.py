"""A loop of one's own, torch alone: two lines more, and the KL to θ0 that shows what they do."""

import copy

import torch
from start import arguments, sentences
from transformers import AutoModelForCausalLM, AutoTokenizer

from elastic_lib import ElasticReset

RESET_EVERY = 5
chosen = arguments(steps=10, reset_every=RESET_EVERY, rate=1e-2)
policy, tokenizer = AutoModelForCausalLM.from_pretrained(chosen.model), AutoTokenizer.from_pretrained(chosen.model)
tokenizer.padding_side = "left"  # the last place is a word
initial = copy.deepcopy(policy)
words = tokenizer(sentences(16), return_tensors="pt", add_special_tokens=False, padding=True)["input_ids"]
wanted = tokenizer("good", add_special_tokens=False)["input_ids"][0]
optimizer = torch.optim.Adam(policy.parameters(), lr=chosen.rate)
er = ElasticReset(policy.parameters(), decay=chosen.decay, reset_every=RESET_EVERY)

for step in range(1, chosen.steps + 1):
    (-policy(words).logits.log_softmax(-1)[:, -1, wanted].mean()).backward()  # stands for any loss
    optimizer.step()
    optimizer.zero_grad()
    er.update()
    reset = er.tick()
    with torch.no_grad():
        ours, theirs = (model(words).logits[:, -1].log_softmax(-1) for model in (policy, initial))
    kl, left = (ours.exp() * (ours - theirs)).sum(-1).mean(), er.decay ** (step % RESET_EVERY)
    far = f"|θ-θ0| {er.distances().init:.3f}  |θ̄-θ0| {er.distances().ema_init:.3f}"
    print(f"step {step:3}  {far}  share of θ0 in θ̄ {left:4.0%}  KL {kl:.3f}{'  reset' if reset else ''}")
