"""Known answers for what is measured."""

import math

import pytest
import torch

from elastic_lib import scores


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
