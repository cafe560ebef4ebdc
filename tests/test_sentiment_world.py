"""The pocket review world: what it says is true, agrees, and is the same in every process."""

import hashlib
import math
import re
import subprocess
import sys
from collections import Counter

import pytest
import torch

from elastic_lib.recipe import Recipe
from elastic_lib.tasks.bases import pretrained
from elastic_lib.tasks.sentiment import world as reviews_of
from elastic_lib.tasks.sentiment.drift_by_word import drift_by_word, kinds, token_losses
from elastic_lib.tasks.sentiment.world import NEGATIVE, NEUTRAL, POSITIVE, TITLES, facts, generate, vocabulary, world

FILMS = {film.title: film for film in world()}
# fmt: off
SINGULAR = {"acting", "casting", "chemistry", "plot", "premise", "screenplay", "soundtrack", "theme", "camerawork",
            "lighting", "editing", "finale", "pacing", "banter", "dialogue", "narration"}
PLURAL = {"performers", "portrayals", "subplots", "twists", "melodies", "songs", "costumes", "effects", "landscapes",
          "chases", "transitions", "jokes", "speeches"}
# fmt: on


@pytest.fixture(scope="module")
def reviews():
    return generate(20_000, seed=5)


def sentences(review):
    return [sentence.strip() for sentence in review.text.split(" . ")]


def film_of(review):
    return next(FILMS[phrase] for phrase in re.findall(r"the \w+ \w+", review.text) if phrase in FILMS)


def people(film):
    return (film.lead, film.lead_gender), (film.director, film.director_gender)


def polarity(clause):
    """+1 praise, -1 blame, 0 neither, with 'not' and 'never' turning it over."""
    words = clause.split()
    sides = {(word in POSITIVE) - (word in NEGATIVE) for word in words} - {0}
    assert len(sides) <= 1, clause
    return sum(sides) * (-1 if {"not", "never"} & set(words) else 1)


def view(sentence):
    """The side that a sentence takes: that of its main clause, which a concession contradicts."""
    conceded = re.fullmatch(r"although (.+) , (.+)|(.+) but (.+)", sentence)
    if conceded:
        against, main = (part for part in conceded.groups() if part)
        assert polarity(against) == -polarity(main) != 0, sentence
        return polarity(main)
    sides = {polarity(part) for part in sentence.split(" and moreover ")}
    assert len(sides) == 1, sentence
    return sides.pop()


def test_the_same_arguments_give_the_same_reviews_and_a_shorter_list_is_its_beginning(reviews):
    assert generate(200, seed=5) == reviews[:200]
    assert generate(50, seed=6) != reviews[:50]
    assert generate(50, seed=1) != generate(50, seed=-1)


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_another_process_gives_the_same_reviews(hash_seed):
    program = (
        "import hashlib; from elastic_lib.tasks.sentiment.world import generate, vocabulary;"
        "print(hashlib.sha256(repr((generate(300, 3), vocabulary())).encode()).hexdigest())"
    )
    there = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == hashlib.sha256(repr((generate(300, 3), vocabulary())).encode()).hexdigest()


def test_training_and_held_out_seeds_share_no_review():
    texts = [review.text for seed in (0, 1, 2, 10**6 + 1, 10**6 + 2) for review in generate(2_500, seed)]
    assert len(set(texts)) == len(texts)


def test_the_vocabulary_is_exactly_what_is_seen(reviews):
    seen = {word for review in reviews for word in review.text.split()}
    assert sorted(seen) == vocabulary()
    assert 370 <= len(seen) <= 390


@pytest.mark.parametrize("films", [1, 3, len(TITLES)])
def test_the_vocabulary_of_another_world_is_exactly_what_is_seen_there(films):
    seen = {word for review in generate(4_000, seed=0, films=films) for word in review.text.split()}
    assert sorted(seen) == vocabulary(films)


def test_length_and_form(reviews):
    lengths = [len(review.text.split()) for review in reviews]
    assert min(lengths) >= 38 and max(lengths) <= 85
    assert 53 < sum(lengths) / len(lengths) < 56
    for review in reviews[:2_000]:
        assert re.fullmatch(r"[a-z0-9]+( [a-z0-9]+| ,| \.)* \.", review.text)


def test_no_article_stands_before_a_vowel(reviews):
    assert not [review for review in reviews if re.search(r"\ba [aeio]", review.text)]


def test_the_first_twelve_words_name_the_film_and_someone(reviews):
    names = {name for film in FILMS.values() for name in (film.lead + " " + film.director).split()}
    for review in reviews:
        prompt = review.text.split()[:12]
        assert film_of(review).title in " ".join(prompt)
        assert names & set(prompt)


def test_facts_are_true_of_the_film(reviews):
    checked = Counter()
    for review in reviews[:5_000]:
        film = film_of(review)
        for said, true in (
            (r"was shot in (\w+) in (\w+)", (film.country, film.year)),
            (r"(\w+ \w+) finished it in (\w+)", (film.director, film.year)),
            (r"producers came from (\w+)", (film.country,)),
            (r"the (\w+) lives in a ([\w ]+?) \.", (film.role, film.place)),
            (r"is a (\d+) (\w+) \w+ by (\w+ \w+) with (\w+ \w+)", (film.year, film.genre, film.director, film.lead)),
            (r"(\w+ \w+) is the (\w+)", (film.lead, film.role)),
            (r"(\w+ \w+) makes (\w+) films", (film.director, film.genre)),
        ):
            for match in re.finditer(said, review.text):
                assert match.groups() == true, review.text
                checked[said] += 1
    assert len(checked) == 7 and min(checked.values()) > 400


def test_other_films_named_share_the_person(reviews):
    checked = Counter()
    for review in reviews[:5_000]:
        film = film_of(review)
        for person, job, title in re.findall(r"(\w+ \w+) (was also in|also directed) (the \w+ \w+)", review.text):
            role = "lead" if job == "was also in" else "director"
            assert title != film.title
            assert person == getattr(film, role) == getattr(FILMS[title], role)
            checked[job] += 1
    assert min(checked["was also in"], checked["also directed"]) > 400


def test_verbs_and_pronouns_agree_with_the_number_of_the_noun(reviews):
    pairs = Counter(match for review in reviews for match in re.findall(r"the (\w+) (was|were) ", review.text))
    assert {noun for noun, _ in pairs} == SINGULAR | PLURAL
    for noun, verb in pairs:
        assert verb == ("was" if noun in SINGULAR else "were")
    again = {
        match for review in reviews for match in re.findall(r"the (\w+) \w+ new to me and (it|they) ", review.text)
    }
    assert again == {(noun, "it") for noun in SINGULAR} | {(noun, "they") for noun in PLURAL}


def test_pronouns_agree_with_the_person(reviews):
    gender = dict(pair for film in FILMS.values() for pair in people(film))
    pronouns = {"he": "m", "his": "m", "she": "f", "her": "f"}
    checked = Counter()
    for review in reviews:
        for sentence in sentences(review):
            for pronoun in pronouns.keys() & set(sentence.split()):
                named = [person for person in gender if f"{person} " in sentence]
                assert [gender[person] for person in named] == [pronouns[pronoun]], sentence
                checked[pronoun] += 1
    assert len(checked) == 4 and min(checked.values()) > 1_000


def test_genders_follow_first_names():
    firsts = {(person.split()[0], gender) for film in FILMS.values() for person, gender in people(film)}
    assert len(firsts) == len({first for first, _ in firsts}) == 20


def test_labels_are_balanced(reviews):
    assert 0.485 < sum(review.label for review in reviews) / len(reviews) < 0.515


def test_every_verdict_agrees_with_its_label(reviews):
    verdicts = Counter((view(sentences(review)[-1].removesuffix(" .")), review.label) for review in reviews)
    assert verdicts.keys() == {(1, 1), (-1, 0)}


@pytest.mark.parametrize("congruence", [0.0, 0.5, 0.8, 1.0])
def test_opinions_agree_with_the_label_as_often_as_congruence_says(congruence):
    agree = [
        (side > 0) == bool(review.label)
        for review in generate(2_500, seed=2, congruence=congruence)
        for side in map(view, sentences(review)[1:-1])
        if side
    ]
    assert len(agree) > 5_000
    assert abs(sum(agree) / len(agree) - congruence) < 0.025


def test_openings_and_facts_take_no_side(reviews):
    for review in reviews:
        assert polarity(sentences(review)[0]) == 0
    assert not facts() & (POSITIVE | NEGATIVE)
    assert not POSITIVE & NEGATIVE
    assert set(vocabulary()) > POSITIVE | NEGATIVE | facts()


def test_words_of_facts_are_used_for_nothing_else():
    other = {word for fillers in NEUTRAL.values() for filler in fillers for word in filler.split()}
    other |= {word for film in FILMS.values() for word in (film.role, film.genre)} | SINGULAR | PLURAL
    assert not facts() & (other | {"the", "a", "in", "was", "shot", "lives"})
    assert {"1953", "portugal", "silver", "glacier", "saloon", "ingrid", "ibsen"} <= facts()


def test_negated_blame_is_praise(reviews):
    assert view("the plot was not muddled at all") == 1
    negated = [s for review in reviews[:4_000] for s in sentences(review) if re.search(r"\b(not|never)\b", s)]
    assert len(negated) > 2_000
    assert all(view(sentence.removesuffix(" .")) for sentence in negated)


def test_a_smaller_world_is_the_beginning_of_a_larger_one():
    assert world(20) == world(160)[:20]
    assert world(20, seed=1) != world(20)
    assert len({film.title for film in world(len(TITLES))}) == len(TITLES)


@pytest.mark.parametrize(
    "arguments, allowed",
    [
        ({"count": -1}, "count must be 0 or more"),
        ({"films": 0}, f"films must be between 1 and {len(TITLES)}"),
        ({"films": len(TITLES) + 1}, f"films must be between 1 and {len(TITLES)}"),
        ({"congruence": -0.1}, "congruence must be between 0 and 1"),
        ({"congruence": 1.1}, "congruence must be between 0 and 1"),
        ({"congruence": float("nan")}, "congruence must be between 0 and 1"),
    ],
)
def test_bad_arguments_are_refused_with_what_is_allowed(arguments, allowed):
    with pytest.raises(ValueError, match=allowed):
        generate(**{"count": 1, "seed": 0} | arguments)


def test_no_reviews_is_a_fine_number_of_reviews():
    assert generate(0, seed=0) == []


# ---- where drift sits in it: the parts cover the whole, and the kinds are the world's own


@pytest.fixture(scope="module")
def task(shared):
    return pretrained(Recipe("sentiment", "ppo", "smoke", 0), shared)


def test_the_parts_and_the_kinds_each_make_up_the_perplexity(task):
    lm = task.policy()
    found = drift_by_word(task, lm)
    rows = task.reviews.rows("test")
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
            words = task.reviews.tokenizer.get_vocab()
            self.lm, self.names = lm, torch.tensor([words[name] for name in kinds()["names"]])

        def logits(self, tokens, start=0):
            logits = self.lm.logits(tokens, start).clone()
            logits[..., self.names] -= 3
            return logits

    before, after = drift_by_word(task, task.policy()), drift_by_word(task, Forgetful(task.policy()))
    assert after["names"] > 5 * before["names"]
    assert all(after[kind] < 1.1 * before[kind] for kind in ("facts", "polarity", "common"))


def test_the_kinds_are_disjoint_words_of_the_world():
    every, known = kinds(), set(reviews_of.vocabulary())
    for kind, words in every.items():
        assert len(words) > 20 and words <= known, kind
    assert sum(map(len, every.values())) == len(set().union(*every.values()))
