"""The pocket translation world: an endless, seeded stream of sentences in French, English and German at once.

Pretraining reads everyday sentences, the game is played on captions of images: other words, other shapes. A meaning is
drawn from the lexicon first, then said in each language, so that the three always mean the same.
"""

import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import NamedTuple

from elastic_lib.tasks.translation.grammar import SAY, begins_with_vowel
from elastic_lib.tasks.translation.lexicon import ADJECTIVES, ANIMALS, INTRANSITIVES, TRANSITIVES
from elastic_lib.tasks.translation.meaning import (
    ADVERBS,
    ANYWHERE,
    BECAUSE,
    COUNTS,
    FRAMES,
    NOUNS,
    PRONOUNS,
    TENSES,
    THIRD,
    WHILE,
    YESTERDAY,
    Clause,
    Narrator,
    NounPhrase,
    Outfit,
    Place,
    Sentence,
)
from elastic_lib.tasks.translation.words import DOMAINS, Adjective, Noun, Verb

LANGUAGES = ("fr", "en", "de")
DISTANCES = {"near": 0.4, "middle": 0.1, "far": 0.02}  # the share of everyday sentences that are built like captions
LONGEST = 16  # tokens, in any language


class Caption(NamedTuple):
    """One meaning in three languages, as tokens between blanks; the last token is '.'."""

    fr: str
    en: str
    de: str


def _check(what: str, given: object, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise ValueError(f"{what} must be one of {', '.join(allowed)}, got {given!r}")


def _captions(seed: int | str, domain: str, share: float) -> Iterator[Caption]:
    """The endless stream of sentences that are short enough."""
    # A string, as the integers 1 and -1 would seed the same stream.
    narrator = Narrator(random.Random(f"captions {domain} {seed}"), domain)
    while True:
        like_a_caption = domain == "captions" or narrator.chance(share)
        meaning = narrator.caption() if like_a_caption else narrator.everyday_sentence()
        said = [SAY[language](meaning) for language in LANGUAGES]
        if max(map(len, said)) <= LONGEST:
            yield Caption(*map(" ".join, said))


def generate(count: int, seed: int | str, domain: str, distance: str = "middle") -> list[Caption]:
    """Sentences of 'everyday' or 'captions', from the arguments alone; a longer list starts with a shorter one.

    The distance says how seldom an everyday sentence is built like a caption; captions are the same at any.
    """
    if count < 0:
        raise ValueError(f"count must be 0 or more, got {count}")
    _check("domain", domain, DOMAINS)
    _check("distance", distance, tuple(DISTANCES))
    return list(itertools.islice(_captions(seed, domain, DISTANCES[distance]), count))


def detokenise(text: str, language: str) -> str:
    """Tokens as normal text: no blank before a comma or full stop, and none after an elided French word."""
    _check("language", language, LANGUAGES)
    text = re.sub(r" (?=[.,](?: |$))", "", text)
    return re.sub(r"(?<!\S)((?:l|d|n|j|qu)') ", r"\1", text) if language == "fr" else text


# --- every word ---


def _phrases(noun: Noun, adjective: Adjective | None = None) -> Iterator[NounPhrase]:
    """The noun in either number, with either article, in all of its English words."""
    qualities = [words[0] for words in adjective.english.options] if adjective else [""]
    for english, quality, plural, definite in itertools.product(
        noun.english.options, qualities, (False, True), (False, True)
    ):
        if not noun.uncountable or (definite and not plural):
            yield NounPhrase(noun, english, plural, definite, adjective=adjective, english_adjective=quality)


def _every_phrase() -> Iterator[NounPhrase]:
    """Each noun alone, and each adjective with one noun of every kind that it can agree with."""
    for noun in NOUNS:
        yield from _phrases(noun)
    for adjective in ADJECTIVES:
        kinds = {
            (noun.category, noun.french_gender, noun.german_gender, begins_with_vowel(noun.french[0])): noun
            for noun in NOUNS
            if noun.category in adjective.fits and not noun.uncountable
        }
        for noun in kinds.values():
            yield from _phrases(noun, adjective)


def _roles(phrase: NounPhrase, clause: Clause) -> Iterator[Clause]:
    """The clause with the phrase in each part that it can play there."""
    category = phrase.noun.category
    if category in ("person", "animal"):
        yield replace(clause, subject=phrase)
        if phrase.plural and not phrase.definite:
            yield replace(clause, subject=replace(phrase, group=True))
    if category != "person":
        for negated in (False, True):
            yield replace(clause, object=phrase, negated=negated)
    if category == "place" and not phrase.plural:
        for preposition in (phrase.noun.preposition, *ANYWHERE):
            yield replace(clause, place=Place(phrase, preposition))
    if category == "clothing" and not phrase.definite:
        wearer = next(_phrases(NOUNS[0]))
        for carried, english in ((False, "in"), (True, "wearing")):
            yield replace(clause, subject=replace(wearer, outfit=Outfit(phrase, carried, english)))


def _conjugations(verb: Verb) -> Iterator[Clause]:
    """The verb in every tense, with every subject and all of its English words."""
    animals = tuple(_phrases(ANIMALS[0])) if "animal" in verb.subjects else ()
    for english, subject, tense, negated, ongoing in itertools.product(
        verb.english.options, (*PRONOUNS, *animals), TENSES, (False, True), (False, True)
    ):
        if tense == "present" and subject.person not in (3, 6):
            continue
        if not ongoing or (tense == "present" and not negated):
            yield Clause(subject, verb, english, tense, negated, ongoing, progressive=ongoing)


def _specimens() -> Iterator[Sentence]:
    """Sentences that together hold every word: each entry in each form that a part it can play asks for."""
    plain = next(_conjugations(INTRANSITIVES[0]))
    yield from (Sentence(plain, frame=frame) for frame in FRAMES)
    yield from (Sentence(plain, front=adverb) for adverb in (YESTERDAY, *ADVERBS))
    yield from (
        Sentence(plain, link=link, second=replace(plain, subject=third)) for link in (BECAUSE, WHILE) for third in THIRD
    )
    few = next(phrase for phrase in _phrases(NOUNS[0]) if phrase.plural)
    yield from (Sentence(replace(plain, subject=replace(few, count=count))) for count in COUNTS)
    for phrase in _every_phrase():
        yield from map(Sentence, _roles(phrase, plain))
    for verb in (*INTRANSITIVES, *TRANSITIVES):
        for clause in _conjugations(verb):
            yield Sentence(clause)
            yield Sentence(clause, frame=FRAMES[0])


@cache
def _vocabulary(language: str) -> tuple[str, ...]:
    return tuple(sorted({word for specimen in _specimens() for word in SAY[language](specimen)}))


def vocabulary(language: str) -> list[str]:
    """Every word that `generate` can produce in a language, sorted; read off the lexicon and the grammar."""
    _check("language", language, LANGUAGES)
    return list(_vocabulary(language))
