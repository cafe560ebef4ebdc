"""A gold reward model and its proxy (Gao, Schulman and Hilton 2022, arXiv 2210.10760), so that what is meant is known.

The reward model of a base is the gold one. It labels a few continuations by the pretrained policy; a smaller model
learns these labels, and a policy is paid by that one. Each seed has texts and a proxy of its own. The smaller model is
a `Classifier`, or, of a finetuned encoder, one linear map of what the encoder knew before.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elastic_lib.loops.pretraining import fit
from elastic_lib.nets.gpt import Classifier

WIDTH, LAYERS, HEADS = 16, 1, 2  # of a proxy
STEPS, BATCH, LR = 300, 32, 3e-3


@torch.enable_grad()  # whoever asks for a reward first, in an evaluation too
def proxy_of(labels: Tensor, texts: Tensor, fresh: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A fresh small model that learns what gold gives a few texts [N, …], P(positive) of each, by heart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        proxy = fresh().to(texts.device)
    fit(
        proxy, lambda i: F.binary_cross_entropy_with_logits(proxy(texts[i]), labels[i]), len(texts), steps=STEPS,
        batch=BATCH, lr=LR, generator=torch.Generator().manual_seed(seed), title="proxy of the reward model",
    )  # fmt: skip
    return proxy.requires_grad_(False)


def of_words(vocabulary: int, length: int) -> Classifier:
    """A proxy that reads words of our own, as many as a text has."""
    return Classifier(vocabulary, WIDTH, LAYERS, HEADS, length)


class OnStates(nn.Linear):
    """A proxy that reads an encoder's states [N, width]: a logit each, [N]."""

    def __init__(self, width: int):
        super().__init__(width, 1)

    def forward(self, states: Tensor) -> Tensor:
        return super().forward(states).squeeze(-1)
