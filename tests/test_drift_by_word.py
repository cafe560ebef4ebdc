"""Where drift sits: the parts cover the whole, and the kinds are the world's own."""

import math

import pytest
import torch

from elastic_lib.recipe import Recipe
from elastic_lib.tasks.bases import pretrained
from elastic_lib.tasks.sentiment import world
from elastic_lib.tasks.sentiment.drift_by_word import drift_by_word, kinds, token_losses


@pytest.fixture(scope="module")
def task(shared):
    return pretrained(Recipe("sentiment", "ppo", "smoke", 0), shared)


def test_the_parts_and_the_kinds_each_make_up_the_perplexity(task):
    lm = task.policy()
    found = drift_by_word(task, lm)
    rows = task.rows("test")
    texts, scored = rows.modelled[: task.recipe.eval_reviews], rows.scored[: task.recipe.eval_reviews, 1:]
    loss = token_losses(lm, texts)
    assert math.exp(float(loss[scored].mean())) == pytest.approx(task.perplexity(lm, "test"), rel=1e-5)
    first, last = task.recipe.prompt, task.recipe.prompt + task.recipe.length
    assert found["prompt"] == pytest.approx(math.exp(float(loss[:, :first][scored[:, :first]].mean())), rel=1e-5)
    assert found["tail"] == pytest.approx(math.exp(float(loss[:, last:][scored[:, last:]].mean())), rel=1e-5)
    assert set(found) == {"prompt", "completion", "tail", "names", "facts", "polarity", "common"}


def test_a_model_that_forgets_names_is_found_out(task):
    class Forgetful(torch.nn.Module):
        def __init__(self, lm):
            super().__init__()
            words = task.tokenizer.get_vocab()
            self.lm, self.names = lm, torch.tensor([words[name] for name in kinds()["names"]])

        def logits(self, tokens, start=0):
            logits = self.lm.logits(tokens, start).clone()
            logits[..., self.names] -= 3
            return logits

    before, after = drift_by_word(task, task.policy()), drift_by_word(task, Forgetful(task.policy()))
    assert after["names"] > 5 * before["names"]
    assert all(after[kind] < 1.1 * before[kind] for kind in ("facts", "polarity", "common"))


def test_the_kinds_are_disjoint_words_of_the_world():
    every, known = kinds(), set(world.vocabulary())
    for kind, words in every.items():
        assert len(words) > 20 and words <= known, kind
    assert sum(map(len, every.values())) == len(set().union(*every.values()))
