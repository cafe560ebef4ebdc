"""The translator of Lee, Cho and Kiela (2019): LSTMs and attention; the three methods are those of `seq2seq`.

Attention is Luong's 'general' one and follows the decoder's LSTM, which therefore reads a whole target in one call.
Each direction of the encoder has layers of its own, so that a batch needs no packed sequences: the second reads every
row from its last word to its first, and padding stands behind the words for both.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elastic_lib.nets.fast_linear import Linear, linear
from elastic_lib.nets.gpt import PAD
from elastic_lib.nets.seq2seq import Layout, shifted, words_read


def repeated(copies: int, states: Tensor, mask: Tensor, start: tuple[Tensor, Tensor]):
    """What was read of each source, so many times side by side."""
    if copies == 1:
        return states, mask, start
    start = tuple(part.repeat_interleave(copies, 1) for part in start)
    return states.repeat_interleave(copies, 0), mask.repeat_interleave(copies, 0), start


class LSTMSeq2Seq(nn.Module):
    """A translator with tied target embedding and output."""

    def __init__(
        self,
        source_vocabulary: int,
        target_vocabulary: int,
        width: int,
        layers: int,
        context: int,
        dropout: float = 0.0,
    ):
        super().__init__()
        if width % 2:
            raise ValueError(f"width must be even, half for each direction; got {width}")
        self.width, self.layers, self.context, self.dropout = width, layers, context, dropout
        self.source_words, self.target_words = (nn.Embedding(v, width) for v in (source_vocabulary, target_vocabulary))
        for table in (self.source_words, self.target_words):
            nn.init.normal_(table.weight, 0, width**-0.5)
        self.forth, self.back = (nn.LSTM(width, width // 2, layers, batch_first=True) for _ in range(2))
        self.bridge = Linear(width, 2 * layers * width)
        self.writer = nn.LSTM(width, width, layers, batch_first=True)
        self.key, self.combine = Linear(width, width, bias=False), Linear(2 * width, width)

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout else x

    def embed(self, table: Tensor, words: Tensor, soft: Tensor | None = None) -> Tensor:
        """Scaled rows of the table for words [B, S], or their mixture by soft [B, S, V]; [B, S, width]."""
        if words.shape[1] > self.context:
            raise ValueError(f"{words.shape[1]} words are more than the context of {self.context}")
        rows = F.embedding(words, table) if soft is None else linear(soft, table.t())
        return self.drop(rows * self.width**0.5)

    def encode(self, source: Tensor, soft: Tensor | None = None) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """States [B, S, width], an additive mask [B, S], and where the decoder starts, two of [layers, B, width]."""
        read = words_read(source)
        mask = torch.zeros(read.shape, device=source.device).masked_fill_(~read, -torch.inf)
        x = self.embed(self.source_words.weight, source, soft)
        position, count = torch.arange(read.shape[1], device=source.device), read.sum(1, keepdim=True)
        # reverses the words of a row and leaves its padding; the same order twice is the original
        mirror = torch.where(position < count, count - 1 - position, position)[..., None]
        forth, _ = self.forth(x)
        back, _ = self.back(x.gather(1, mirror.expand_as(x)))
        last = (count - 1)[..., None].expand(-1, -1, forth.shape[-1])
        ends = torch.cat([forth.gather(1, last), back.gather(1, last)], -1)[:, 0]
        states = torch.cat([forth, back.gather(1, mirror.expand_as(back))], -1)
        start = self.bridge(ends).tanh().unflatten(-1, (2, self.layers, -1)).permute(1, 2, 0, 3).contiguous()
        return states, mask, (start[0], start[1])

    def logits(self, source: Tensor, target: Tensor, soft: Tensor | None = None) -> Tensor:
        """Logits [N, V] of the N words of target [B, T], in reading order: of target[target != PAD].

        Pads stand behind a row's words only. A source may have several targets, side by side. `soft` [B, S, Vs] stands
        for the words of the source, whose pads count.
        """
        states, mask, start = repeated(len(target) // len(source), *self.encode(source, soft))
        written, _ = self.writer(self.embed(self.target_words.weight, shifted(target)), start)
        scores = torch.bmm(written, self.key(states).transpose(1, 2)) + mask[:, None]
        both = torch.cat([torch.bmm(scores.softmax(-1), states), written], -1)
        here = Layout(target != PAD)
        return self.speak(here.pack(both))[: here.count]

    def speak(self, both: Tensor) -> Tensor:
        """Logits [N, V] from what was read and what was written, [N, 2·width]."""
        return linear(self.drop(self.combine(both).tanh()), self.target_words.weight)

    def forward(self, source: Tensor, target: Tensor, soft: Tensor | None = None) -> Tensor:
        return self.logits(source, target, soft)

    @torch.no_grad()
    def reading(self, source: Tensor, copies: int = 1) -> Reading:
        """The language model of `copies` translations of each source [B, S], without dropout."""
        mode = self.training
        try:
            states, mask, start = repeated(copies, *self.eval().encode(source))
            return Reading(self, self.key(states), states, mask, start)
        finally:
            self.train(mode)


class Cache:
    """The decoder's state, two of [layers, B, width], and its memory; `keep` leaves rows out of both."""

    def __init__(self, memory: tuple[Tensor, ...], state: tuple[Tensor, Tensor]):
        self.memory, self.state = memory, state

    def keep(self, rows: Tensor) -> None:
        """Keeps these rows of the batch, an index or a boolean mask."""
        self.memory = tuple(part[rows] for part in self.memory)
        self.state = tuple(part[:, rows] for part in self.state)


class Reading:
    """A source that has been read: `new_cache` and `extend` as a language model has them."""

    def __init__(self, net: LSTMSeq2Seq, keys: Tensor, states: Tensor, mask: Tensor, start: tuple[Tensor, Tensor]):
        self.net, self.memory, self.start = net, (keys, states, mask), start

    def new_cache(self, batch: int, length: int) -> Cache:
        """A cache at the start of the translations; the state of an LSTM has the same size at any length."""
        if batch != len(self.memory[0]):
            raise ValueError(f"{batch} rows for a source of {len(self.memory[0])}")
        return Cache(self.memory, self.start)

    @torch.no_grad()
    def extend(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Logits after the last of the new tokens [B, T], [B, V]; the cache then holds them too."""
        net, weights = self.net, self.net.writer.all_weights
        for words in tokens.unbind(1):
            x, hidden, cells = F.embedding(words, net.target_words.weight) * net.width**0.5, [], []
            for layer, h, c in zip(weights, *cache.state, strict=True):
                x, cell = torch.lstm_cell(x, (h, c), *layer)
                hidden.append(x)
                cells.append(cell)
            cache.state = torch.stack(hidden), torch.stack(cells)
        keys, states, mask = cache.memory
        scores = torch.bmm(keys, x[..., None])[..., 0] + mask
        seen = torch.bmm(scores.softmax(-1)[:, None], states)[:, 0]
        return F.linear(net.combine(torch.cat([seen, x], -1)).tanh_(), net.target_words.weight)
