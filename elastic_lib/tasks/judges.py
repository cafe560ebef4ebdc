"""Reward models that read words: a published classifier as it is, or a pretrained encoder that is finetuned here."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elastic_lib import losses
from elastic_lib.loops.pretraining import fit
from elastic_lib.nets import transformers_lm
from elastic_lib.tasks import real_text
from elastic_lib.tasks.hub import from_the_hub
from elastic_lib.tasks.sentiment.world import Review

READ = 256  # tokens of a text
FEWEST, MOST = 10, 44  # words of a crop: around what prompts and completions have
BATCH = 64
AS_IT_IS = "a classifier that is to judge as it is takes rm_steps=none"


class FinetunedEncoder(nn.Module):
    """A pretrained encoder, the mean of its states, and one number: a logit, that a text is positive or is preferred.

    Its lower half stays as it was, which makes a step a third cheaper.
    """

    def __init__(self, name: str, device: torch.device):
        super().__init__()
        self.tokenizer = real_text.hub_tokenizer(name)
        load = functools.partial(transformers_lm.load, kind="", device=torch.device("cpu"), add_pooling_layer=False)
        try:
            self.encoder = from_the_hub("encoder", name, load).to(device)
            layers = self.encoder.encoder.layer
        except (TypeError, AttributeError):  # `load` is of many kinds of model
            raise ValueError(f"{name} is no encoder in BERT's layout; {AS_IT_IS}") from None
        if any("SequenceClassification" in kind for kind in self.encoder.config.architectures or ()):
            warnings.warn(
                f"{name} is a classifier, of which the encoder alone is taken and finetuned; {AS_IT_IS}", stacklevel=2
            )
        self.head = nn.Linear(self.encoder.config.hidden_size, 1, device=device)
        for part in (self.encoder.embeddings, *layers[: len(layers) // 2]):
            part.requires_grad_(False)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Logits of texts, [B]."""
        return self.head(self.states(texts)).squeeze(-1)

    def states(self, texts: Sequence[str]) -> Tensor:
        """The mean of the states of each text, [B, width]."""
        read = self.tokenizer(list(texts), return_tensors="pt", padding=True, truncation=True, max_length=READ)
        read = read.to(self.head.weight.device)
        there = read["attention_mask"][..., None]
        states = self.encoder(**read).last_hidden_state
        return (states * there).sum(1) / there.sum(1)

    def learn_sides(self, reviews: Sequence[Review], generator: torch.Generator, **how) -> float:
        """Learns the sides of crops that begin anywhere in a review; those of a batch are of one length."""

        def loss_of(rows: Tensor) -> Tensor:
            words = int(torch.randint(FEWEST, MOST + 1, (), generator=generator))
            texts = [_crop(reviews[row].text.split(), words, generator) for row in rows.tolist()]
            labels = torch.tensor([float(reviews[row].label) for row in rows.tolist()])
            return F.binary_cross_entropy_with_logits(self(texts), labels.to(self.head.weight.device))

        return fit(self, loss_of, len(reviews), generator=generator, **how)

    def learn_order(
        self, pairs: Sequence[tuple[str, str]], generator: torch.Generator, bound: float | None = None, **how
    ) -> float:
        """Learns from (better, worse) to give the better text more; with a `bound` as an advantage model does."""

        def loss_of(rows: Tensor) -> Tensor:
            better, worse = zip(*(pairs[row] for row in rows.tolist()), strict=True)
            given = self([*better, *worse]).split(len(better))
            return losses.preferred(*given) + (0.0 if bound is None else losses.beyond_bound(*given, bound))

        return fit(self, loss_of, len(pairs), generator=generator, **how)

    @torch.no_grad()
    def accuracy(self, reviews: Sequence[Review], words: int | None = None) -> float:
        """Share of reviews, or of their first words, whose side it tells."""
        right = 0
        for i in range(0, len(reviews), BATCH):
            part = reviews[i : i + BATCH]
            given = self([" ".join(review.text.split()[:words]) for review in part])
            right += sum(int((logit > 0) == bool(review.label)) for logit, review in zip(given, part, strict=True))
        return right / len(reviews)


def _crop(words: list[str], count: int, generator: torch.Generator) -> str:
    """So many words of a text, half of the times its first."""
    last = max(len(words) - count, 0)
    anywhere, start = torch.rand(2, generator=generator).tolist()
    begin = int(start * (last + 1)) if anywhere < 0.5 else 0
    return " ".join(words[begin : begin + count])


class PublishedClassifier:
    """A transformers text classifier: P of its positive class."""

    def __init__(self, name: str, device: torch.device):
        self.tokenizer = real_text.hub_tokenizer(name)
        load = functools.partial(transformers_lm.load, kind="SequenceClassification", device=torch.device("cpu"))
        self.model = from_the_hub("classifier", name, load).to(device)
        labels = {label.upper(): i for i, label in self.model.config.id2label.items()}
        named = labels.get("POSITIVE", labels.get("POS"))
        if named is None and len(labels) != 2:
            raise ValueError(
                f"{name} tells {', '.join(labels)}: a judge has a class POSITIVE or POS, or two, the second of them"
            )
        self.positive = 1 if named is None else named

    def __call__(self, texts: Sequence[str]) -> Tensor:
        read = self.tokenizer(list(texts), return_tensors="pt", padding=True, truncation=True).to(self.model.device)
        return self.model(**read).logits.softmax(-1)[:, self.positive]
