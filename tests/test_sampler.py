"""The sampler: that it agrees with the scorer, draws from the right distribution, and drops a hub model in."""

import pytest
import torch

from elastic_lib.losses import nlpo_mask
from elastic_lib.nets import transformers_lm
from elastic_lib.nets.gpt import GPT, PAD, Classifier, Value
from elastic_lib.nets.sampler import _draw, logp_of, sample
from elastic_lib.nets.transformers_lm import CausalLM

BANNED = (0, 1, 2)


@pytest.fixture
def lm():
    torch.manual_seed(0)
    net = GPT(vocabulary=30, width=16, layers=2, heads=2, context=24)
    torch.nn.init.normal_(net.tokens.weight, 0, 0.5)
    return net


@pytest.fixture
def hub_lm():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=30, n_positions=24, n_embd=16, n_layer=2, n_head=2)
    return CausalLM(GPT2LMHeadModel(config).eval(), pad=None)


def prompts(rows=5, width=4, seed=1):
    return torch.randint(3, 30, (rows, width), generator=torch.Generator().manual_seed(seed))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("net", ["lm", "hub_lm"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampler_and_scorer_agree(net, temperature, request):
    model = request.getfixturevalue(net)
    drawn = sample(model, prompts(), 9, generator=seeded(), temperature=temperature, banned=BANNED)
    with torch.no_grad():
        scored, every = logp_of(model, drawn.tokens, 4, temperature=temperature, banned=BANNED)
    assert drawn.tokens.shape == (5, 13)
    assert torch.equal(drawn.tokens[:, :4], prompts())
    torch.testing.assert_close(drawn.logp, scored, rtol=0, atol=1e-4)
    torch.testing.assert_close(every.exp().sum(-1), torch.ones(5, 9))
    assert not torch.isin(drawn.tokens, torch.tensor(BANNED)).any()


@pytest.mark.parametrize("net", ["lm", "hub_lm"])
def test_the_cache_changes_nothing(net, request):
    model, rows = request.getfixturevalue(net), prompts(width=8)
    with torch.no_grad():
        whole = model.logits(rows, 3)
        cache = model.new_cache(5, 8)
        steps = [model.extend(rows[:, :4], cache)] + [model.extend(rows[:, t : t + 1], cache) for t in range(4, 8)]
    torch.testing.assert_close(whole, torch.stack(steps, 1), rtol=0, atol=1e-5)


def test_logits_from_a_start_are_those_of_the_whole(lm):
    rows = prompts(width=10)
    with torch.no_grad():
        torch.testing.assert_close(lm.logits(rows)[:, 6:], lm.logits(rows, 6), rtol=0, atol=1e-5)


def test_draws_follow_the_distribution(lm):
    rows = prompts(1).expand(20000, 4)
    drawn = sample(lm, rows, 1, generator=seeded(), banned=BANNED)
    with torch.no_grad():
        _, every = logp_of(lm, drawn.tokens[:1], 4, banned=BANNED)
    counts = torch.bincount(drawn.tokens[:, 4], minlength=30) / 20000
    expected = every[0, 0].exp()
    error = (expected * (1 - expected) / 20000).sqrt()
    assert ((counts - expected).abs() <= 5 * error + 1e-9).all()
    assert (counts > 0).sum() > 10


def test_top_k_and_top_p_narrow_the_draw_but_not_logp(lm):
    rows = prompts(1).expand(2000, 4)
    with torch.no_grad():
        logits = lm.logits(rows[:1])[0, -1].index_fill(0, torch.tensor(BANNED), -torch.inf)
    for given, allowed in (
        ({"top_k": 3}, logits.topk(3).indices),
        ({"top_p": 0.5}, nlpo_mask(logits, 0.5).nonzero()[:, 0]),
    ):
        drawn = sample(lm, rows, 1, generator=seeded(), banned=BANNED, **given)
        assert set(drawn.tokens[:, 4].tolist()) == set(allowed.tolist())
        first = drawn.tokens[0, 4]
        assert drawn.logp[0, 0].item() == pytest.approx(logits.log_softmax(-1)[first].item(), abs=1e-5)


def test_a_mask_model_narrows_both(lm):
    torch.manual_seed(5)
    mask_lm = GPT(vocabulary=30, width=16, layers=1, heads=2, context=24)
    drawn = sample(
        lm, prompts(), 6, generator=seeded(), banned=BANNED, mask_lm=mask_lm, mask_top_p=0.4, mask_min_keep=2
    )
    assert drawn.mask.shape == (5, 6, 30)
    assert drawn.mask.gather(-1, drawn.tokens[:, 4:, None]).all()
    assert not drawn.mask[..., :3].any()
    with torch.no_grad():
        logits = mask_lm.logits(drawn.tokens[:, :-1], 3).index_fill(-1, torch.tensor(BANNED), -torch.inf)
        masked, _ = logp_of(lm, drawn.tokens, 4, banned=BANNED, mask=drawn.mask)
        free, _ = logp_of(lm, drawn.tokens, 4, banned=BANNED)
    assert torch.equal(drawn.mask, nlpo_mask(logits, 0.4, 2))
    torch.testing.assert_close(drawn.logp, masked, rtol=0, atol=1e-4)
    assert (masked >= free - 1e-6).all()
    assert (masked > free + 1e-3).any()


def test_a_search_finds_the_word_that_counting_finds():
    logits = torch.randn(2000, 40, generator=seeded()) * 4
    logits[:, ::3] = -torch.inf
    uniform = torch.rand(2000, generator=seeded(1))
    uniform[:9], uniform[9:20] = 0, 1 - 2**-24
    reach = logits.softmax(-1).cumsum(-1)
    counted = (reach <= uniform[:, None] * reach[:, -1:]).sum(-1, keepdim=True).clamp_(max=39)
    assert torch.equal(_draw(logits, uniform), counted)
    assert logits.gather(-1, counted).isfinite().all()


def test_stop_ends_rows_of_a_language_model_too(lm):
    rows, free = prompts(40), sample(lm, prompts(40), 9, generator=seeded(), banned=BANNED)
    drawn = sample(lm, rows, 9, generator=seeded(), banned=BANNED, stop=7)
    for ended, other in zip(drawn.tokens[:, 4:].tolist(), free.tokens[:, 4:].tolist(), strict=True):
        expected = [*other[:8], 7][: other.index(7) + 1 if 7 in other else 9]
        assert ended == expected + [PAD] * (9 - len(expected))
    with torch.no_grad():
        scored, _ = logp_of(lm, torch.where(drawn.tokens == PAD, 9, drawn.tokens), 4, banned=BANNED)
    torch.testing.assert_close(drawn.logp, scored * (drawn.tokens[:, 4:] != PAD), rtol=0, atol=1e-5)


def test_what_was_drawn_lies_as_it_was_drawn_and_may_be_learned_from(lm):
    """A row with room for 9 words that ends before: a sum over it has the same last bits as in place."""
    third = sample(lm, prompts(1), 9, generator=seeded()).tokens[0, 6]
    drawn = sample(lm, prompts(1), 9, generator=seeded(), stop=int(third))
    assert drawn.logp.shape[1] <= 3 and drawn.logp.stride() == (9, 1) and drawn.tokens.stride() == (13, 1)
    assert not drawn.logp.is_inference() and not drawn.tokens.is_inference()


def test_greedy_is_the_likeliest_word_of_the_scorer(lm):
    drawn = sample(lm, prompts(), 6, greedy=True, banned=BANNED)
    with torch.no_grad():
        _, every = logp_of(lm, drawn.tokens, 4, banned=BANNED)
    assert torch.equal(drawn.tokens[:, 4:], every.argmax(-1))
    torch.testing.assert_close(drawn.logp, every.amax(-1), rtol=0, atol=1e-4)


def test_the_same_seed_draws_the_same(lm):
    same = [sample(lm, prompts(), 6, generator=seeded(3)).tokens for _ in range(2)]
    assert torch.equal(*same)
    assert not torch.equal(same[0], sample(lm, prompts(), 6, generator=seeded(4)).tokens)


def test_the_value_starts_at_zero_and_learns(lm):
    value = Value(lm)
    rows = prompts(width=9)
    assert value(rows, 4).shape == (5, 5)
    assert not value(rows).any()
    value(rows, 4).sum().backward()
    assert value.head.weight.grad.abs().sum() > 0


def test_the_classifier_reads_both_ways_and_no_pads():
    torch.manual_seed(0)
    net = Classifier(vocabulary=30, width=16, layers=1, heads=2, context=24)
    rows = prompts(width=9)
    padded = torch.cat([rows, torch.full((5, 6), PAD)], 1)
    with torch.no_grad():
        torch.testing.assert_close(net(rows), net(padded), rtol=0, atol=1e-5)
        changed = rows.clone()
        changed[:, -1] = 3 + (changed[:, -1] - 2) % 27
        assert ((net(changed) - net(rows)).abs() > 1e-6).all()


@pytest.mark.parametrize(("inside", "outside"), [(16, 48), (64, 16)])
def test_linear_layers_equal_torch_ones_forward_and_backward(inside, outside):
    from elastic_lib.nets.fast_linear import FEWEST_ROWS, Linear

    torch.manual_seed(0)
    ours, theirs = Linear(inside, outside), torch.nn.Linear(inside, outside)
    theirs.load_state_dict(ours.state_dict())
    for rows in (FEWEST_ROWS // 8, FEWEST_ROWS // 8 - 1):  # just enough rows for the fast path, and just too few
        x = torch.randn(8, rows, inside)
        results = []
        for layer in (ours, theirs):
            layer.zero_grad()
            given = x.clone().requires_grad_()
            out = layer(given)
            (out * out.detach().cos()).sum().backward()
            results.append((out, given.grad, layer.weight.grad, layer.bias.grad))
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


def test_a_part_of_a_batch_in_half_precision_meets_the_weight_once():
    from elastic_lib.nets.fast_linear import linear

    x, weight = torch.randn(5, 7, 16).bfloat16(), torch.randn(9, 16).bfloat16()
    with torch.autograd.profiler.profile() as seen:
        out = linear(x[:, 2:], weight)
    torch.testing.assert_close(out.float(), x[:, 2:].float() @ weight.float().t(), rtol=2e-2, atol=0.1)
    assert "aten::bmm" not in {event.key for event in seen.key_averages()}  # which copies it for each of the rows


def test_what_lies_below_the_adapters_is_computed_once_and_changes_nothing():
    torch.manual_seed(0)
    model = transformers_lm.llama("CausalLM", vocabulary=30, width=16, layers=4, heads=2, context=24).eval()
    adapted = transformers_lm.adapted(model, 2, 4, ["q_proj", "down_proj"], seed=0, last=2)
    for p in adapted.parameters():
        if p.requires_grad:
            torch.nn.init.normal_(p, 0, 0.3)
    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert {name.split(".")[2] for name in trained} == {"2", "3"}
    lm, calls = CausalLM(adapted), []
    adapted.model.layers[0].register_forward_hook(lambda *_: calls.append(1))
    padded = torch.cat([torch.full((5, 2), PAD), prompts()], 1)
    for rows in (prompts(), prompts(seed=2), padded):
        calls.clear()
        first, again = lm.hidden(rows, 1), lm.hidden(rows, 1)
        assert len(calls) == 1
        whole = adapted.model(rows, use_cache=False, **transformers_lm.reading(rows)).last_hidden_state[:, 1:]
        torch.testing.assert_close(first, whole)
        assert torch.equal(first, again)
        gradients = [
            torch.autograd.grad(x.square().sum(), [p for p in lm.parameters() if p.requires_grad])
            for x in (first, whole)
        ]
        torch.testing.assert_close(*gradients)
    anchor = {name: torch.zeros_like(p) for name, p in lm.named_parameters() if p.requires_grad}
    without = torch.func.functional_call(lm, anchor, (prompts(),))
    for p in lm.parameters():
        if p.requires_grad:
            torch.nn.init.zeros_(p)
    assert torch.equal(lm(prompts()), without)


def test_adapters_in_more_layers_than_there_are_is_refused():
    model = transformers_lm.llama("CausalLM", vocabulary=30, width=16, layers=2, heads=2, context=24)
    with pytest.raises(ValueError, match="lora_layers is 3, and the model has 2 layers"):
        transformers_lm.adapted(model, 2, 4, ["q_proj"], seed=0, last=3)
