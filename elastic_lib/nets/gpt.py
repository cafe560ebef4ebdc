"""A small GPT, the value network beside it, and the bidirectional classifier that rewards it.

Differences from GPT-2: exact GELU (on a CPU its tanh form costs 2.5 times as much), no dropout, and the last block
computes only the positions that are asked for, since PPO never looks at the logits of the prompt.

Every language model here has the three methods that the sampler and the loops use:
    lm.logits(tokens [B, T], start) -> [B, T-start, V]
    lm.new_cache(batch, length) -> cache
    lm.extend(tokens [B, T], cache) -> logits after the last token [B, V]
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elastic_lib.nets.fast_linear import Linear, linear

PAD = 0


def padded(texts: Sequence[Sequence[int]], width: int | None = None) -> Tensor:
    """Token rows [N, T] of texts of any length, pads behind them; cut at `width`, or as wide as the longest."""
    rows = torch.full((len(texts), width or max(map(len, texts))), PAD, dtype=torch.long)
    for row, ids in zip(rows, texts, strict=True):
        row[: len(ids[:width])] = torch.tensor(ids[:width])
    return rows


class Block(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, width: int, heads: int, causal: bool):
        super().__init__()
        if width % heads:
            raise ValueError(f"width must be a multiple of heads; got {width} and {heads}")
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = Linear(width, 3 * width), Linear(width, width)
        self.up, self.down = Linear(width, 4 * width), Linear(4 * width, width)
        std = 0.05 if width <= 200 else 0.02
        for layer in (self.qkv, self.proj, self.up, self.down):
            nn.init.normal_(layer.weight, 0, std)
            nn.init.zeros_(layer.bias)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each [B, heads, T, width/heads]."""
        batch, length, width = x.shape
        parts = self.qkv(self.norm1(x)).split(width, -1)
        return tuple(part.view(batch, length, self.heads, -1).transpose(1, 2) for part in parts)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Adds what attention read and the MLP to the residual stream x [B, T, width]."""
        x = x + self.proj(attended.transpose(1, 2).reshape(x.shape))
        return x + self.down(F.gelu(self.up(self.norm2(x))))

    def forward(self, x: Tensor, mask: Tensor | None = None, start: int = 0) -> Tensor:
        """[B, T, width] -> [B, T-start, width]; keys and values of the first `start` positions are still read."""
        q, k, v = self.project(x)
        if start:
            mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril_()[start:]
            return self.finish(x[:, start:], F.scaled_dot_product_attention(q[:, :, start:], k, v, attn_mask=mask))
        return self.finish(x, F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal))

    def extend(self, x: Tensor, keys: Tensor, values: Tensor, done: int) -> Tensor:
        """Reads new positions x [B, T, width] after `done` cached ones; several at once only into an empty cache."""
        q, k, v = self.project(x)
        end = done + x.shape[1]
        keys[:, :, done:end], values[:, :, done:end] = k, v
        if x.shape[1] > 1:
            return self.finish(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))
        return self.finish(x, F.scaled_dot_product_attention(q, keys[:, :, :end], values[:, :, :end]))


class Cache:
    """Keys and values of every block for `length` positions, and how many of them are filled."""

    def __init__(self, blocks: nn.ModuleList, batch: int, length: int):
        weight = blocks[0].qkv.weight
        heads, width = blocks[0].heads, weight.shape[1]
        shape = (2, batch, heads, length, width // heads)
        self.layers = [torch.empty(shape, device=weight.device, dtype=weight.dtype) for _ in blocks]
        self.done = 0


class GPT(nn.Module):
    """A causal language model with tied embeddings."""

    def __init__(self, vocabulary: int, width: int, layers: int, heads: int, context: int):
        super().__init__()
        self.context, self.width = context, width
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        nn.init.normal_(self.tokens.weight, 0, 0.05 if width <= 200 else 0.02)
        nn.init.normal_(self.positions.weight, 0, 0.02)
        self.blocks = nn.ModuleList(Block(width, heads, causal=True) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def hidden(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Final states of positions `start` and later, [B, T-start, width]."""
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks[:-1]:
            x = block(x)
        return self.norm(self.blocks[-1](x, start=start))

    def logits(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Next-token logits after positions `start` and later, [B, T-start, V]."""
        return linear(self.hidden(tokens, start), self.tokens.weight)

    def forward(self, tokens: Tensor, start: int = 0) -> Tensor:
        return self.logits(tokens, start)

    def new_cache(self, batch: int, length: int) -> Cache:
        """An empty cache for `length` positions of `batch` rows."""
        return Cache(self.blocks, batch, length)

    def extend(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Logits after the last of the new tokens [B, T], [B, V]; the cache then holds them too."""
        done, end = cache.done, cache.done + tokens.shape[1]
        x = self.tokens(tokens) + self.positions.weight[done:end]
        for block, (keys, values) in zip(self.blocks, cache.layers, strict=True):
            x = block.extend(x, keys, values, done)
        cache.done = end
        return linear(self.norm(x[:, -1]), self.tokens.weight)


class Value(nn.Module):
    """A separate network of the policy's shape that predicts the return from every position."""

    def __init__(self, trunk: GPT):
        super().__init__()
        self.trunk, self.head = trunk, nn.Linear(trunk.width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Values of positions `start` and later, [B, T-start]."""
        return self.head(self.trunk.hidden(tokens, start)).squeeze(-1)


class ValueHead(nn.Linear):
    """A value from a policy's own states [..., width], in the place of a network; at first 0 everywhere."""

    def __init__(self, width: int):
        super().__init__(width, 1)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, states: Tensor) -> Tensor:
        return super().forward(states.float())


class Classifier(nn.Module):
    """A bidirectional encoder with mean pooling: the logit that a text [B, T] is positive, [B]; pads are not read."""

    def __init__(self, vocabulary: int, width: int, layers: int, heads: int, context: int):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        nn.init.normal_(self.tokens.weight, 0, 0.05)
        nn.init.normal_(self.positions.weight, 0, 0.02)
        self.blocks = nn.ModuleList(Block(width, heads, causal=False) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        read = tokens != PAD
        mask = None if bool(read.all()) else read[:, None, None, :]
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        pooled = (self.norm(x) * read[..., None]).sum(1) / read.sum(1, keepdim=True)
        return self.head(pooled).squeeze(-1)
