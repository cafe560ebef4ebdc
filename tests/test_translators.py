"""Both translators: that padding, caches and dropped rows change nothing, and that samples follow the scorer."""

import pytest
import torch
import torch.nn.functional as F

from elastic_lib.nets import sampler as decoding
from elastic_lib.nets.gpt import PAD
from elastic_lib.nets.lstm import LSTMSeq2Seq
from elastic_lib.nets.sampler import sample
from elastic_lib.nets.seq2seq import BOS, EOS, Seq2Seq

SOURCE, TARGET, BANNED = 23, 17, (PAD, BOS)


@pytest.fixture(params=["transformer", "transformer-1", "lstm", "lstm-2"])
def net(request):
    torch.manual_seed(0)
    if request.param.startswith("lstm"):
        made = LSTMSeq2Seq(SOURCE, TARGET, width=16, layers=2 if request.param[-1] == "2" else 1, context=24)
    else:
        layers = 1 if request.param[-1] == "1" else 2
        made = Seq2Seq(SOURCE, TARGET, width=16, layers=layers, heads=2, feed=32, context=24)
        made.norm_target.bias.data.copy_(made.target_words.weight.data[EOS])  # so that some rows end early
    if request.param.startswith("lstm"):  # far enough from uniform that a mistake shows
        made.target_words.weight.data.mul_(2)
    return made.eval()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(lengths, vocabulary, end=None, seed=1):
    """Random words [B, T] of these lengths, padded; each row's last word is `end` where one is given."""
    lengths = torch.tensor(lengths)
    words = torch.randint(3, vocabulary, (len(lengths), int(lengths.max())), generator=seeded(seed))
    words[torch.arange(words.shape[1]) >= lengths[:, None]] = PAD
    if end is not None:
        words[torch.arange(len(lengths)), lengths - 1] = end
    return words


def sources():
    return rows([5, 8, 3, 1, 7, 8], SOURCE)


def targets():
    return rows([4, 6, 9, 1, 2, 9], TARGET, EOS, seed=2)


def begin(batch):
    return torch.full((batch, 1), BOS)


def policy(logits, temperature=1.0):
    return (logits / temperature).index_fill(-1, torch.tensor(BANNED), -torch.inf).log_softmax(-1)


@torch.no_grad()
def scored(net, source, tokens, temperature=1.0):
    """The scorer's log-probabilities [B, T] of drawn tokens [B, 1 + T]."""
    target = tokens[:, 1:].contiguous()
    words = target != PAD
    every = policy(net.logits(source, target), temperature)
    return torch.zeros(target.shape).masked_scatter(words, every.gather(1, target[words][:, None]))


def draw(net, source, length=12, **given):
    return sample(net.reading(source), begin(len(source)), length, stop=EOS, banned=BANNED, **given)


def test_packed_logits_are_those_of_each_row_alone(net):
    source, target = sources(), targets()
    packed = net.logits(source, target)
    assert packed.shape == (int((target != PAD).sum()), TARGET)
    alone = [net.logits(s[s != PAD][None], t[t != PAD][None]) for s, t in zip(source, target, strict=True)]
    torch.testing.assert_close(packed, torch.cat(alone), rtol=0, atol=1e-5)


def test_a_transformer_by_hand():
    torch.manual_seed(3)
    net = Seq2Seq(SOURCE, TARGET, width=8, layers=1, heads=2, feed=12, context=9)
    source, target = torch.tensor([[4, 5, 6]]), torch.tensor([[7, 8, EOS]])

    def attention(q, k, v, causal=False):
        q, k, v = (x.view(1, -1, 2, 4).transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).reshape(1, -1, 8)

    def mlp(block, x):
        return x + block.down(block.up(block.norm2(x)).relu())

    (encoder,), (decoder,) = net.encoder, net.decoder
    x = net.source_words(source) * 8**0.5 + net.positions[0, :3]
    x = mlp(encoder, x + encoder.proj(attention(*encoder.qkv(encoder.norm1(x)).chunk(3, -1))))
    memory = net.memory(net.norm_source(x)).chunk(2, -1)
    x = net.target_words(torch.tensor([[BOS, 7, 8]])) * 8**0.5 + net.positions[1, :3]
    x = x + decoder.proj(attention(*decoder.qkv(decoder.norm1(x)).chunk(3, -1), causal=True))
    x = mlp(decoder, x + decoder.proj_cross(attention(decoder.query(decoder.norm_cross(x)), *memory)))
    expected = net.norm_target(x) @ net.target_words.weight.t()
    torch.testing.assert_close(net.logits(source, target), expected[0], rtol=0, atol=1e-5)


def test_gradients_of_a_transformer_are_those_of_finite_differences():
    torch.manual_seed(0)
    net = Seq2Seq(SOURCE, TARGET, width=8, layers=2, heads=2, feed=8, context=9).double()
    source, target = sources()[:3], targets()[:3]
    parameters = dict(net.named_parameters())
    direction = {name: torch.randn(p.shape, generator=seeded(), dtype=p.dtype) for name, p in parameters.items()}

    def loss(step):
        moved = {name: p.detach() + step * direction[name] for name, p in parameters.items()}
        logits = torch.func.functional_call(net, moved, (source, target))
        return F.cross_entropy(logits, target[target != PAD])

    F.cross_entropy(net(source, target), target[target != PAD]).backward()
    slope = sum((p.grad * direction[name]).sum() for name, p in parameters.items())
    torch.testing.assert_close(slope, (loss(1e-6) - loss(-1e-6)) / 2e-6, rtol=1e-5, atol=1e-7)


def test_no_position_reads_its_own_word_or_a_later_one(net):
    source, target = sources()[:1], rows([9], TARGET, EOS)
    before = net.logits(source, target)
    for t in range(8):
        changed = target.clone()
        changed[0, t] = 3 + (changed[0, t] - 2) % (TARGET - 3)
        after = net.logits(source, changed)
        torch.testing.assert_close(after[: t + 1], before[: t + 1], rtol=0, atol=1e-6)
        assert ((after - before)[t + 1 :].abs().amax(-1) > 1e-6).all()


def test_padding_changes_nothing(net):
    source, target = sources(), targets()
    wider = [F.pad(x, (0, 5), value=PAD) for x in (source, target)]
    torch.testing.assert_close(net.logits(*wider), net.logits(source, target), rtol=0, atol=1e-5)
    drawn, again = (draw(net, x, generator=seeded()) for x in (source, wider[0]))
    assert torch.equal(drawn.tokens, again.tokens)


def test_a_row_without_a_word_is_finite_however_wide(net):
    source, target = sources(), targets()
    source[2] = PAD
    net.logits(source, target).square().mean().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
    empty = torch.zeros(6, 4, dtype=torch.long)
    torch.testing.assert_close(net.logits(empty, target), net.logits(empty[:, :1], target), rtol=0, atol=1e-5)
    assert draw(net, empty, generator=seeded()).logp.isfinite().all()


@pytest.mark.parametrize("temperature", [1.0, 0.8])
def test_sampler_and_scorer_agree_with_rows_dropped_or_not(net, temperature, monkeypatch):
    source = sources().repeat(6, 1)
    given = {"length": 20, "temperature": temperature}
    cache = type(net.reading(source).new_cache(len(source), 2))
    keep, left = cache.keep, []
    monkeypatch.setattr(cache, "keep", lambda self, rows: (left.append(len(rows)), keep(self, rows)))
    drawn = draw(net, source, generator=seeded(), **given)
    assert len(left) > 1
    assert all(4 * after <= 3 * before for before, after in zip([36, *left], left, strict=False))
    every = scored(net, source, drawn.tokens, temperature)
    torch.testing.assert_close(drawn.logp, every, rtol=0, atol=1e-5)
    monkeypatch.delattr(cache, "keep")
    whole = draw(net, source, generator=seeded(), **given)
    assert torch.equal(whole.tokens, drawn.tokens)
    torch.testing.assert_close(whole.logp, drawn.logp, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows_kept", [torch.tensor([4, 1, 2]), torch.tensor([False, True, True, False, True, False])])
def test_a_cache_keeps_the_rows_it_is_told_to(net, rows_kept):
    reading = net.reading(sources())
    whole, part = reading.new_cache(6, 3), reading.new_cache(6, 3)
    reading.extend(begin(6), whole)
    reading.extend(begin(6), part)
    part.keep(rows_kept)
    words = torch.arange(3, 9)[:, None]
    expected = reading.extend(words, whole)[rows_kept]
    torch.testing.assert_close(reading.extend(words[rows_kept], part), expected, rtol=0, atol=1e-5)
    both = reading.extend(torch.cat([begin(6), words], 1), reading.new_cache(6, 3))
    torch.testing.assert_close(both[rows_kept], expected, rtol=0, atol=1e-5)


def test_where_a_row_ends(net):
    source = sources().repeat(6, 1)
    drawn = draw(net, source, length=5, generator=seeded())
    words = drawn.tokens[:, 1:]
    assert torch.equal(drawn.tokens[:, :1], begin(36))
    assert ((words == EOS).sum(1) == 1).all()
    ended = (words == EOS).cumsum(1).bool()
    assert torch.equal(words == PAD, ended & (words != EOS))
    assert not (words == BOS).any()
    assert not drawn.logp[words == PAD].any()
    assert (drawn.logp[words != PAD] < 0).all()
    assert {1, 5} <= set((words != PAD).sum(1).tolist())  # some end at once, some are made to


def test_asking_seldom_as_on_a_gpu_changes_nothing(net, monkeypatch):
    source = sources().repeat(6, 1)
    often = draw(net, source, length=21, generator=seeded())
    start = decoding._Drawn.__init__

    def seldom(self, *given):
        start(self, *given)
        self.every, self.droppable = 8, False

    monkeypatch.setattr(decoding._Drawn, "__init__", seldom)
    for length in (21, 3):
        drawn = draw(net, source, length=length, generator=seeded())
        shortest = draw(net, source[:2], length=length, generator=seeded(), greedy=True)
        assert (shortest.tokens != PAD).any(0).all()
        assert (drawn.tokens != PAD).any(0).all()
        if length == 21:
            assert torch.equal(drawn.tokens, often.tokens)
            torch.testing.assert_close(drawn.logp, often.logp, rtol=0, atol=1e-5)


def test_the_result_is_as_long_as_its_longest_row(net):
    drawn = sample(net.reading(sources()), begin(6), 12, stop=EOS, banned=[w for w in range(TARGET) if w != EOS])
    assert drawn.tokens.tolist() == [[BOS, EOS]] * 6
    assert drawn.logp.shape == (6, 1)
    with pytest.raises(ValueError, match="end a row"):
        sample(net.reading(sources()), begin(6), 12, stop=EOS, banned=(EOS,))


def test_greedy_takes_the_likeliest_word_at_each_step_and_no_random_number(net):
    source = sources()
    before = torch.get_rng_state()
    tokens = draw(net, source, greedy=True).tokens
    assert torch.equal(torch.get_rng_state(), before)
    for row, read in zip(tokens, source, strict=True):
        words = row[1:][row[1:] != PAD]
        best = policy(net.logits(read[None], words[None])).argmax(-1)
        assert torch.equal(words[:11], best[:11])
        assert words[-1] == EOS


def test_exact_one_hots_read_as_words_and_pass_gradients(net):
    source, target = sources(), targets()
    soft = F.one_hot(source, SOURCE).float().requires_grad_()
    mixed = net.logits(source, target, soft)
    torch.testing.assert_close(mixed, net.logits(source, target), rtol=0, atol=1e-5)
    mixed.log_softmax(-1)[:, EOS].sum().backward()
    read = soft.grad.abs().sum(-1)
    assert (read[source != PAD] > 0).all()
    assert not read[source == PAD].any()


def test_parameters_may_be_handed_in(net):
    source, target = sources(), targets()
    doubled = {name: 2 * p.detach() for name, p in net.named_parameters()}
    handed = torch.func.functional_call(net, doubled, (source, target))
    assert (handed - net.logits(source, target)).abs().max() > 1e-3
    net.load_state_dict(doubled)
    torch.testing.assert_close(net.logits(source, target), handed, rtol=0, atol=1e-6)


def test_the_same_seed_draws_the_same(net):
    first, again, other = (draw(net, sources(), generator=seeded(s)).tokens for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_draws_follow_the_distribution(net):
    draws, source = 20000, sources()[:1]
    pair = draw(net, source.expand(draws, -1), length=3, generator=seeded()).tokens[:, 1:3]
    common = int(pair[:, 0].bincount()[EOS + 1 :].argmax()) + EOS + 1
    with torch.no_grad():
        expected = policy(net.logits(source, torch.tensor([[common, EOS]]))).exp()
    for words, every in zip((pair[:, 0], pair[pair[:, 0] == common, 1]), expected, strict=True):
        counts, error = words.bincount(minlength=TARGET) / len(words), (every * (1 - every) / len(words)).sqrt()
        assert len(words) > 1000
        assert ((counts - every).abs() <= 5 * error + 1e-9).all()


def test_several_translations_of_a_source_equal_those_of_its_copies(net):
    source, target = sources(), torch.cat([targets(), targets().flip(0)])
    several = source.repeat_interleave(2, 0)
    torch.testing.assert_close(net.logits(source, target), net.logits(several, target), rtol=0, atol=1e-5)
    gradients = []
    for given in (source, several):
        net.zero_grad()
        net.logits(given, target).log_softmax(-1)[:, EOS].sum().backward()
        gradients.append([p.grad.clone() for p in net.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    drawn = [
        sample(reading, begin(12), 12, stop=EOS, banned=BANNED, generator=seeded())
        for reading in (net.reading(source, copies=2), net.reading(several))
    ]
    assert torch.equal(drawn[0].tokens, drawn[1].tokens)
    torch.testing.assert_close(drawn[0].logp, drawn[1].logp, rtol=0, atol=1e-5)


def test_dropout_is_for_training_alone():
    torch.manual_seed(0)
    for net in (
        Seq2Seq(SOURCE, TARGET, 16, 1, 2, 32, 24, dropout=0.5),
        LSTMSeq2Seq(SOURCE, TARGET, 16, 1, 24, dropout=0.5),
    ):
        pair = sources(), targets()
        assert not torch.equal(net.logits(*pair), net.logits(*pair))
        assert torch.equal(*(draw(net, sources(), generator=seeded()).tokens for _ in range(2)))
        assert net.training
        net.eval()
        assert torch.equal(net.logits(*pair), net.logits(*pair))


def test_what_cannot_be_is_refused(net):
    with pytest.raises(ValueError, match="context"):
        net.logits(torch.full((1, 25), 3), torch.tensor([[EOS]]))
    with pytest.raises(ValueError, match="rows"):
        sample(net.reading(sources()), begin(5), 3)
    with pytest.raises(ValueError, match="multiple"):
        Seq2Seq(SOURCE, TARGET, 10, 1, 3, 32, 24)
    with pytest.raises(ValueError, match="even"):
        LSTMSeq2Seq(SOURCE, TARGET, 9, 1, 24)
