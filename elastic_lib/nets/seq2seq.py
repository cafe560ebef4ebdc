"""An encoder-decoder Transformer that translates, and what it offers to the sampler.

Differences from Vaswani et al.: pre-norm, learned positions, one product for the keys and values of all decoder
layers. Everything but attention is computed for words alone, packed one behind the other, never for padding.

Every translator here (`lstm` has the other one) offers
    net.logits(source [B, S], target [B, T]) -> [N, V], one row for each word of the target, the end mark included
    net.reading(source) -> what `sampler.sample` takes as a language model; its prompt is a column of BOS
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elastic_lib.nets.fast_linear import Linear, linear
from elastic_lib.nets.gpt import PAD

BOS, EOS = 1, 2
ROUND = 64


class Layout:
    """Where packed words [N] stand in a batch: at the positions that are true in `read` [B, T], in reading order.

    N is rounded up by spare rows that repeat the first word and never learn: oneDNN compiles its products for each
    new number of rows, which costs several times the product.
    """

    def __init__(self, read: Tensor):
        self.batch, self.length = read.shape
        self.read = read.flatten()
        slots = self.read.nonzero()[:, 0]
        self.count = len(slots)
        self.slots = torch.cat([slots, slots[:1].expand(-len(slots) % ROUND)])
        self.words = self.read.cumsum(0).sub_(1).clamp_(min=0)

    def pack(self, x: Tensor) -> Tensor:
        """[B, T, ...] -> [N, ...]."""
        return x.flatten(0, 1).index_select(0, self.slots)

    def unpack(self, x: Tensor, copies: int = 1) -> Tensor:
        """[N, F] -> [B·copies, T, F]; the padding holds words too, which cost less than zeros and are masked later."""
        words = self.words.view(self.batch, -1).repeat_interleave(copies, 0)
        return x.index_select(0, words.flatten()).view(*words.shape, -1)

    def split(self, x: Tensor, parts: int, heads: int, copies: int = 1) -> Tensor:
        """[N, parts·width] -> [parts, B·copies·heads, T, width/heads]."""
        padded = self.unpack(x, copies).unflatten(-1, (parts, heads, -1))
        return padded.permute(2, 0, 3, 1, 4).reshape(parts, self.batch * copies * heads, self.length, -1)

    def merge(self, x: Tensor, heads: int, copies: int = 1) -> Tensor:
        """The inverse of `split`, for a gradient: copies add up, and the spare rows get nothing."""
        x = x.view(len(x), self.batch, copies, heads, self.length, -1)
        padded = (x[:, :, 0] if copies == 1 else x.sum(2)).permute(1, 3, 0, 2, 4)
        packed = self.pack(padded.reshape(self.batch, self.length, -1))
        packed[self.count :] = 0
        return packed


class _Attention(torch.autograd.Function):
    """Softmax attention of packed queries on packed keys and values, its gradient written out.

    At these sizes the fused kernels cost more than plain products, and autograd's slices more than the products.
    """

    @staticmethod
    def forward(ctx, x: Tensor, memory: Tensor | None, here: Layout, there: Layout, heads: int, mask: Tensor | None):
        """x [N, 3·width] attends to itself; or x [N, width] to a memory [M, 2·width]. mask [B or 1, 1, S, T or 1].

        Rows of `here` that stand side by side share a row of `there`, as many as there are.
        """
        if memory is None:
            q, k, v = here.split(x, 3, heads).unbind(0)
        else:
            (q,), (k, v) = here.split(x, 1, heads), there.split(memory, 2, heads, here.batch // there.batch)
        # [S, T], the words that are read first: a softmax over the last of so few numbers is the slower one
        scores = torch.bmm(k, q.transpose(1, 2)).mul_(q.shape[-1] ** -0.5)
        if mask is not None:
            scores.view(len(mask), -1, *scores.shape[1:]).add_(mask)
        weights = scores.softmax(1)
        ctx.save_for_backward(q, k, v, weights)
        ctx.here, ctx.there, ctx.heads, ctx.own = here, there, heads, memory is None
        return here.merge(torch.bmm(weights.transpose(1, 2), v)[None], heads)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        q, k, v, weights = ctx.saved_tensors
        (above,) = ctx.here.split(gradient, 1, ctx.heads)
        above.view(ctx.here.batch, -1, *above.shape[1:]).mul_(ctx.here.read.view(ctx.here.batch, 1, -1, 1))
        to_q = q.new_empty(3 if ctx.own else 1, *q.shape)
        to_kv = to_q[1:] if ctx.own else k.new_empty(2, *k.shape)
        torch.bmm(weights, above, out=to_kv[1])
        to_scores = torch.bmm(v, above.transpose(1, 2))
        to_scores = torch._softmax_backward_data(to_scores, weights, 1, weights.dtype).mul_(q.shape[-1] ** -0.5)
        torch.bmm(to_scores.transpose(1, 2), k, out=to_q[0])
        torch.bmm(to_scores, q, out=to_kv[0])
        to_memory = None if ctx.own else ctx.there.merge(to_kv, ctx.heads, ctx.here.batch // ctx.there.batch)
        return ctx.here.merge(to_q, ctx.heads), to_memory, None, None, None, None


def words_read(source: Tensor) -> Tensor:
    """Which positions of source [B, S] are read: words, and the first pad of a row that has no word."""
    read = source != PAD
    read[:, 0] |= ~read.any(1)
    return read


def shifted(target: Tensor) -> Tensor:
    """What a decoder reads to predict target [B, T]: BOS first, the last column dropped."""
    return torch.cat([torch.full_like(target[:, :1], BOS), target[:, :-1]], 1)


def embed(table: Tensor, words: Tensor, layout: Layout, soft: Tensor | None = None) -> Tensor:
    """[N, width] from the table [V, width]: the rows of words [B, S], or their mixture by soft [B, S, V]."""
    return F.embedding(layout.pack(words), table) if soft is None else linear(layout.pack(soft), table.t())


class Block(nn.Module):
    """Pre-norm self-attention, attention to a memory in a decoder, and a ReLU MLP, on packed words."""

    def __init__(self, width: int, heads: int, feed: int, dropout: float, decoder: bool):
        super().__init__()
        if width % heads:
            raise ValueError(f"width must be a multiple of heads; got {width} and {heads}")
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = Linear(width, 3 * width), Linear(width, width)
        if decoder:
            self.norm_cross = nn.LayerNorm(width)
            self.query, self.proj_cross = Linear(width, width), Linear(width, width)
        self.up, self.down = Linear(width, feed), Linear(feed, width)

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout else x

    def attend(self, x: Tensor, here: Layout, mask: Tensor | None) -> Tensor:
        """Adds self-attention to x [N, width]."""
        attended = _Attention.apply(self.qkv(self.norm1(x)), None, here, here, self.heads, mask)
        return x + self.drop(self.proj(attended))

    def consult(self, x: Tensor, memory: Tensor, here: Layout, there: Layout, mask: Tensor | None) -> Tensor:
        """Adds attention to a memory of keys and values [M, 2·width] to x [N, width]."""
        attended = _Attention.apply(self.query(self.norm_cross(x)), memory, here, there, self.heads, mask)
        return x + self.drop(self.proj_cross(attended))

    def think(self, x: Tensor) -> Tensor:
        """Adds the MLP to x [N, width]."""
        return x + self.drop(self.down(F.relu(self.up(self.norm2(x)))))


class Seq2Seq(nn.Module):
    """A translator with tied target embedding and output."""

    def __init__(
        self,
        source_vocabulary: int,
        target_vocabulary: int,
        width: int,
        layers: int,
        heads: int,
        feed: int,
        context: int,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.width, self.heads, self.context, self.dropout = width, heads, context, dropout
        self.source_words, self.target_words = (nn.Embedding(v, width) for v in (source_vocabulary, target_vocabulary))
        self.positions = nn.Parameter(0.02 * torch.randn(2, context, width))
        for table in (self.source_words, self.target_words):
            nn.init.normal_(table.weight, 0, width**-0.5)
        self.encoder = nn.ModuleList(Block(width, heads, feed, dropout, decoder=False) for _ in range(layers))
        self.decoder = nn.ModuleList(Block(width, heads, feed, dropout, decoder=True) for _ in range(layers))
        self.norm_source, self.norm_target = nn.LayerNorm(width), nn.LayerNorm(width)
        self.memory = Linear(width, 2 * width * layers)

    def enter(self, embedded: Tensor, side: int, layout: Layout) -> Tensor:
        """Scales word embeddings [N, width] and adds positions; side 0 is the source, 1 the target."""
        if layout.length > self.context:
            raise ValueError(f"{layout.length} words are more than the context of {self.context}")
        x = embedded * self.width**0.5 + F.embedding(layout.slots % layout.length, self.positions[side])
        return F.dropout(x, self.dropout) if self.training and self.dropout else x

    def encode(self, source: Tensor, soft: Tensor | None = None) -> tuple[Tensor, Layout, Tensor | None]:
        """Keys and values of all decoder layers [M, layers·2·width], their layout, and the mask [B, 1, S, 1]."""
        read = words_read(source)
        layout = Layout(read)
        mask = None
        if layout.count < read.numel():
            mask = self.positions.new_zeros(read.shape).masked_fill_(~read, -torch.inf)[:, None, :, None]
        x = self.enter(embed(self.source_words.weight, source, layout, soft), 0, layout)
        for block in self.encoder:
            x = block.think(block.attend(x, layout, mask))
        return self.memory(self.norm_source(x)), layout, mask

    def logits(self, source: Tensor, target: Tensor, soft: Tensor | None = None) -> Tensor:
        """Logits [N, V] of the N words of target [B, T], in reading order: of target[target != PAD].

        Pads stand behind a row's words only. A source may have several targets, side by side. `soft` [B, S, Vs] stands
        for the words of the source, whose pads count.
        """
        memory, there, mask = self.encode(source, soft)
        here = Layout(target != PAD)
        past = torch.full((here.length, here.length), -torch.inf, device=target.device).tril_(-1)[None, None]
        x = self.enter(embed(self.target_words.weight, shifted(target), here), 1, here)
        for block, part in zip(self.decoder, memory.split(2 * self.width, -1), strict=True):
            x = block.think(block.consult(block.attend(x, here, past), part, here, there, mask))
        return linear(self.norm_target(x), self.target_words.weight)[: here.count]

    def forward(self, source: Tensor, target: Tensor, soft: Tensor | None = None) -> Tensor:
        return self.logits(source, target, soft)

    @torch.no_grad()
    def reading(self, source: Tensor, copies: int = 1) -> Reading:
        """The language model of `copies` translations of each source [B, S], without dropout."""
        mode = self.training
        if not mode:  # the switch there and back costs as much as a layer
            return Reading(self, *self.encode(source), copies)
        try:
            return Reading(self.eval(), *self.encode(source), copies)
        finally:
            self.train(mode)


def step_attention(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """One query a row, q [heads, d, B], on keys and values [S, heads, d, B], mask [S, 1, B] -> [B, heads·d]."""
    # sums of products, the batch last: for one query a row, matrix products cost three times as much
    scores = (q * keys).sum(2).mul_(q.shape[1] ** -0.5)
    if mask is not None:
        scores += mask
    return (scores.softmax(0).unsqueeze(2) * values).sum(0).flatten(0, 1).t()


def project(layer: nn.Linear, x: Tensor, parts: int, heads: int) -> Tensor:
    """[B, width] -> [parts, heads, d, B]."""
    return torch.addmm(layer.bias[:, None], layer.weight, x.t()).view(parts, heads, -1, len(x))


class Cache:
    """What the decoder has read and its memory, each [S, layers, 2, heads, d, B]; `keep` leaves rows out of both."""

    def __init__(self, read: Tensor, memory: Tensor, mask: Tensor | None):
        self.read, self.memory, self.mask, self.done = read, memory, mask, 0

    def keep(self, rows: Tensor) -> None:
        """Keeps these rows of the batch, an index or a boolean mask."""
        if rows.dtype == torch.bool:
            rows = rows.nonzero()[:, 0]
        read = self.read.new_empty(*self.read.shape[:-1], len(rows))
        read[: self.done] = _columns(self.read[: self.done], rows)
        self.read, self.memory = read, _columns(self.memory, rows)
        self.mask = None if self.mask is None else _columns(self.mask, rows)


def _columns(x: Tensor, rows: Tensor) -> Tensor:
    """x[..., rows]; as a matrix, since torch copies one by one along the last of more axes."""
    return x.view(-1, x.shape[-1]).index_select(1, rows).view(*x.shape[:-1], -1)


class Reading:
    """A source that has been read: `new_cache` and `extend` as a language model has them."""

    def __init__(self, net: Seq2Seq, memory: Tensor, there: Layout, mask: Tensor | None, copies: int):
        self.net, self.batch = net, there.batch * copies
        parts = there.unpack(memory, copies).flatten(1)
        # transposed as a matrix, which is three times as fast as the same permutation of six axes
        self.memory = parts.t().contiguous().view(there.length, len(net.decoder), 2, net.heads, -1, self.batch)
        self.mask = None if mask is None else mask[:, 0, :, 0].t().repeat_interleave(copies, 1)[:, None]

    def new_cache(self, batch: int, length: int) -> Cache:
        """An empty cache for `length` words of the rows of the source."""
        if batch != self.batch:
            raise ValueError(f"{batch} rows for a source of {self.batch}")
        return Cache(self.memory.new_empty(length, *self.memory.shape[1:]), self.memory, self.mask)

    @torch.no_grad()
    def extend(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Logits after the last of the new tokens [B, T], [B, V]; the cache then holds them too."""
        for words in tokens.unbind(1):
            x = self.step(words, cache)
        return F.linear(self.net.norm_target(x), self.net.target_words.weight)

    def step(self, words: Tensor, cache: Cache) -> Tensor:
        """The last layer's state [B, width] after one more word a row, [B]."""
        net, done, heads = self.net, cache.done, self.net.heads
        x = F.embedding(words, net.target_words.weight).mul_(net.width**0.5).add_(net.positions[1, done])
        for block, read, memory in zip(net.decoder, cache.read.unbind(1), cache.memory.unbind(1), strict=True):
            qkv = project(block.qkv, block.norm1(x), 3, heads)
            read[done] = qkv[1:]
            x += block.proj(step_attention(qkv[0], read[: done + 1, 0], read[: done + 1, 1]))
            (q,) = project(block.query, block.norm_cross(x), 1, heads)
            x += block.proj_cross(step_attention(q, memory[:, 0], memory[:, 1], cache.mask))
            x += block.down(F.relu_(block.up(block.norm2(x))))
        cache.done = done + 1
        return x
