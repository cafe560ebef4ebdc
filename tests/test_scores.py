"""Known answers for what is measured."""

import itertools
import math

import pytest
import torch

from elastic_lib.tasks import scores


class Uniform:
    """Every word is as likely as every other, whatever came before."""

    def __init__(self, size):
        self.size = size

    def logits(self, tokens):
        return torch.zeros(*tokens.shape, self.size)


class Favourite:
    """Gives word 1 probability ¾ and word 0 the rest."""

    def logits(self, tokens):
        return torch.tensor([0.25, 0.75]).log().expand(*tokens.shape, 2)


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary():
    rows = torch.randint(0, 7, (5, 9))
    assert scores.perplexity(Uniform(7), rows, torch.ones(5, 9, dtype=torch.bool), batch=2) == pytest.approx(7)


def test_perplexity_by_hand_counts_marked_tokens_only_and_never_the_first():
    rows = torch.tensor([[0, 1, 1, 0], [1, 0, 1, 1]])
    marks = torch.tensor([[True, True, True, False], [True, True, False, False]])
    # scored: 1, 1 of the first row and 0 of the second
    expected = math.exp(-(2 * math.log(0.75) + math.log(0.25)) / 3)
    assert scores.perplexity(Favourite(), rows, marks) == pytest.approx(expected)


@pytest.mark.parametrize(("length", "width", "stride"), [(23, 8, 4), (8, 8, 4), (5, 8, 4), (24, 8, 8), (9, 4, 1)])
def test_windows_score_every_token_once_with_the_longest_context(length, width, stride):
    rows, marks = scores.windows(torch.arange(1, length + 1), width, stride)
    assert sorted(rows[marks].tolist()) == list(range(1, length + 1))
    for row, mark in zip(rows[1:], marks[1:], strict=True):
        first = int(mark.nonzero()[0])
        assert first >= width - stride  # the tokens before it are context, scored in the window before
        assert row[0] > 0


def test_windows_refuse_a_stride_that_skips():
    with pytest.raises(ValueError, match=r"stride must lie in 1\.\.4"):
        scores.windows(torch.arange(9), 4, 5)


def test_bleu_is_sacrebleus_and_its_references_are_not_mixed_up():
    import sacrebleu

    said = ["a man sees the tree.", "two dogs run in the park.", "a woman sings."]
    true = ["a man sees a tree.", "two dogs run in a park.", "the woman sings a song."]
    expected = sacrebleu.corpus_bleu(said, [true]).score
    assert 0 < expected < 100
    assert scores.bleu(said, true) == pytest.approx(expected)
    assert scores.bleu(true, true) == pytest.approx(100)
    assert scores.bleu(said, said) == pytest.approx(100)
    assert scores.bleu(said, true) == pytest.approx(expected)
    assert scores.bleu_signature().startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")


def test_readings_by_hand():
    said = ["a dog runs .", "a dog a dog a dog"]
    found = scores.readings(said, ["a dog runs .", "a dog ."])
    # 10 words against 7; 3 + 5 pairs, of which (a dog) comes twice again and (dog a) once; 4 of 10, 4 of 8 different
    assert found == {
        "length_ratio": pytest.approx(10 / 7),
        "repeated": pytest.approx(3 / 8),
        "unended": 0.5,
        "distinct_1": pytest.approx(4 / 10),
        "distinct_2": pytest.approx(4 / 8),
    }
    nothing = scores.readings(["", ""], ["a .", "b ."])
    assert nothing["length_ratio"] == 0 and nothing["unended"] == 1 and nothing["repeated"] == 0


def test_pass_at_k_is_the_mean_over_all_subsets():
    for samples in range(1, 9):
        for correct in range(samples + 1):
            outcomes = [True] * correct + [False] * (samples - correct)
            for k in range(1, samples + 1):
                drawn = [any(subset) for subset in itertools.combinations(outcomes, k)]
                assert scores.pass_at_k(samples, correct, k) == pytest.approx(sum(drawn) / len(drawn), abs=1e-12)
    assert scores.pass_at_k(200, 7, 1) == pytest.approx(7 / 200, abs=1e-12)
    assert scores.pass_at_k(10_000, 1, 100) == pytest.approx(0.01, abs=1e-12)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ((5, 1, 6), "k must be at most samples: pass@6 needs 6 samples of each problem; got 5"),
        ((5, 6, 1), "correct must be at most samples; got 6 of 5"),
        ((-5, 0, 1), "samples must be a whole number, 0 or more; got -5"),
        ((5, -1, 1), "correct must be a whole number"),
        ((5, 1, -1), "k must be a whole number"),
        ((5, 1, 2.0), "k must be a whole number, 0 or more; got 2.0"),
        ((5, True, 1), "correct must be a whole number"),
    ],
)
def test_pass_at_k_refuses_what_is_no_count(wrong, says):
    with pytest.raises(ValueError, match=says):
        scores.pass_at_k(*wrong)
