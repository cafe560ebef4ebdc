"""What a sentence means before any language says it: entries of the lexicon put together, and how they are drawn.

A meaning also holds the words that English chose, because nothing else settles them.
"""

import itertools
import random
from dataclasses import dataclass, replace
from functools import cache

from elastic_lib.tasks.translation.lexicon import (
    ABSTRACTS,
    ADJECTIVES,
    ANIMALS,
    CLOTHES,
    INTRANSITIVES,
    OBJECTS,
    PEOPLE,
    PLACES,
    TRANSITIVES,
)
from elastic_lib.tasks.translation.words import Adjective, Choice, Noun, Verb, Words


@dataclass(frozen=True)
class Outfit:
    """What someone wears; French 'portant' goes with German 'mit', 'en' with 'in', and English takes either."""

    phrase: "NounPhrase"
    carried: bool
    english: str


@dataclass(frozen=True)
class NounPhrase:
    """A noun with all that belongs to it, and the words that English chose for it."""

    noun: Noun
    english: tuple[str, ...]
    plural: bool = False
    definite: bool = False
    count: Words | None = None
    adjective: Adjective | None = None
    english_adjective: str = ""
    outfit: Outfit | None = None
    group: bool = False

    @property
    def person(self) -> int:
        return 6 if self.plural and not self.group else 3


@dataclass(frozen=True)
class Pronoun:
    """A subject in three languages; persons count from 1 (je) to 6 (ils), and 'Sie' is 5."""

    words: Words
    person: int


@dataclass(frozen=True)
class Place:
    """Where something happens."""

    phrase: NounPhrase
    preposition: Words


@dataclass(frozen=True)
class Clause:
    """Who does what where; tense is past, present, want, can or must.

    `ongoing` is 'en train de' and 'gerade'; `progressive` is English alone, where either form translates either.
    """

    subject: NounPhrase | Pronoun
    verb: Verb
    english: tuple[str, ...]
    tense: str
    negated: bool = False
    ongoing: bool = False
    progressive: bool = False
    object: NounPhrase | None = None
    place: Place | None = None

    @property
    def by_animal(self) -> bool:
        return isinstance(self.subject, NounPhrase) and self.subject.noun.category == "animal"


@dataclass(frozen=True)
class Sentence:
    """A clause, what may stand before it (a frame such as 'je pense que', or a front), and a clause that follows."""

    main: Clause
    frame: Words | None = None
    front: Words | Place | None = None
    link: Words | None = None
    second: Clause | None = None


# --- what is drawn from ---

COUNTS = (Words("deux", "two", "zwei"), Words("trois", "three", "drei"), Words("quatre", "four", "vier"))
ANYWHERE = (
    Words("devant", "in front of", "vor"),
    Words("à côté de", "next to", "neben"),
    Words("derrière", "behind", "hinter"),
    Words("près de", "near", "bei"),
)
PRONOUNS = tuple(
    Pronoun(Words(*words.split()), person)
    for words, person in (
        ("je i ich", 1),
        ("tu you du", 2),
        ("il he er", 3),
        ("elle she sie", 3),
        ("nous we wir", 4),
        ("vous you Sie", 5),
        ("ils they sie", 6),
        ("elles they sie", 6),
    )
)
THIRD = tuple(pronoun for pronoun in PRONOUNS if pronoun.person in (3, 6))
YESTERDAY = Words("hier", "yesterday", "gestern")
ADVERBS = (
    Words("aujourd'hui", "today", "heute"),
    Words("maintenant", "now", "jetzt"),
    Words("souvent", "often", "oft"),
)
FRAMES = (
    Words("je pense", "i think", "ich denke"),
    Words("nous savons", "we know", "wir wissen"),
    Words("il dit", "he says", "er sagt"),
)
BECAUSE, WHILE = Words("parce", "because", "weil"), Words("pendant", "while", "während")
TENSES, TENSE_WEIGHTS = ("past", "want", "can", "must", "present"), (0.5, 0.1, 0.1, 0.1, 0.2)

NOUNS = (*PEOPLE, *ANIMALS, *OBJECTS, *CLOTHES, *PLACES, *ABSTRACTS)
CATEGORIES = ("person", "animal", "object", "clothing", "place", "abstract")
POOLS = {
    **{category: tuple(noun for noun in NOUNS if noun.category == category) for category in CATEGORIES},
    **{kind: tuple(noun for noun in OBJECTS if noun.kind == kind) for kind in ("food", "reading", "vehicle")},
    **{f"{category}'s quality": tuple(a for a in ADJECTIVES if category in a.fits) for category in CATEGORIES},
    **{f"{who}'s activity": tuple(v for v in INTRANSITIVES if who in v.subjects) for who in ("person", "animal")},
    **{f"{who}'s deed": tuple(v for v in TRANSITIVES if who in v.subjects) for who in ("person", "animal")},
}


@cache
def _cumulative_weights(pool: str, domain: str) -> list[float]:
    return list(itertools.accumulate(entry.weights[domain] for entry in POOLS[pool]))


# --- drawing ---


class Narrator:
    """Draws meanings of one domain; its structure is a caption's or an everyday sentence's, sentence by sentence."""

    def __init__(self, rng: random.Random, domain: str):
        self.rng, self.domain = rng, domain
        self.everyday = domain == "everyday"

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def entry(self, pool: str) -> Noun | Adjective | Verb:
        return self.rng.choices(POOLS[pool], cum_weights=_cumulative_weights(pool, self.domain))[0]

    def english(self, choice: Choice) -> tuple[str, ...]:
        """Any of the words between which English is free, else the main one, or now and then a synonym."""
        options = choice.options
        if choice.free:
            return self.rng.choice(options)
        if len(options) == 1 or not self.chance(0.25 if self.everyday else 0.45):
            return options[0]
        return self.rng.choice(options[1:])

    def phrase(
        self, pool: str, adjective: float, plural: float = 0.3, definite: float | None = None, counts: bool = True
    ) -> NounPhrase:
        """A phrase with a noun of a pool; the numbers are the chances of an adjective, the plural and the article."""
        noun = self.entry(pool)
        many = self.chance(plural) and not noun.uncountable
        the = self.chance((0.65 if self.everyday else 0.1) if definite is None else definite) or noun.uncountable
        count = None
        if many and not the and counts and self.chance(0.2 if self.everyday else 0.6):
            count = self.rng.choice(COUNTS)
        quality = self.entry(f"{noun.category}'s quality") if self.chance(adjective) else None
        called = self.english(quality.english)[0] if quality else ""
        return NounPhrase(noun, self.english(noun.english), many, the, count, quality, called)

    def dressed(self, phrase: NounPhrase) -> NounPhrase:
        """The same person or people in clothes."""
        carried, english = self.chance(0.5), self.rng.choice(("in", "wearing"))
        # 'en vestes' has no room for a number
        clothes = self.phrase("clothing", 0.8, plural=0.5 if phrase.plural else 0, definite=0, counts=carried)
        return replace(phrase, outfit=Outfit(clothes, carried, english))

    def place(self) -> Place:
        phrase = self.phrase("place", adjective=0.3, plural=0)
        return Place(phrase, self.rng.choice(ANYWHERE) if self.chance(0.25) else phrase.noun.preposition)

    def caption_clause(self, dressed: bool = True, place: float = 1) -> Clause:
        """What an image shows: someone new, perhaps in clothes, who is doing something somewhere."""
        subject = self.phrase("person" if self.chance(0.8) else "animal", 0.35, definite=0.06)
        if subject.noun.category == "person" and self.chance(0.35) and dressed:
            subject = self.dressed(subject)
        verb, thing = self.action(subject, transitive=0.55, abstract=0)
        where = self.place() if self.chance((0.55 if thing else 0.9) * place) else None
        return self.clause(subject, verb, "present", thing, where)

    def everyday_clause(self) -> Clause:
        """What people tell: who did, does, can, must or wants to do something, or does not."""
        tense = self.rng.choices(TENSES, TENSE_WEIGHTS)[0]
        if self.chance(0.4 if tense == "present" else 0.65):
            subject = self.rng.choice(THIRD if tense == "present" else PRONOUNS)
        else:
            subject = self.phrase("person" if self.chance(0.93) else "animal", 0.2)
        verb, thing = self.action(subject, transitive=0.75, abstract=0.6)
        where = self.place() if self.chance(0.2) else None
        return self.clause(subject, verb, tense, thing, where, negated=self.chance(0.25))

    def action(
        self, subject: NounPhrase | Pronoun, transitive: float, abstract: float
    ) -> tuple[Verb, NounPhrase | None]:
        """A verb that fits the subject and perhaps its object, an abstract one where it may be with that chance."""
        who = subject.noun.category if isinstance(subject, NounPhrase) else "person"
        if not self.chance(0.2 if who == "animal" else transitive):
            return self.entry(f"{who}'s activity"), None
        verb = self.entry(f"{who}'s deed")
        kind = self.rng.choice(verb.objects)
        if "abstract" in verb.objects and self.chance(abstract):
            kind = "abstract"
        elif kind == "abstract" and not abstract:
            kind = verb.objects[0]
        return verb, self.phrase(kind, adjective=0.35)

    def clause(
        self,
        subject: NounPhrase | Pronoun,
        verb: Verb,
        tense: str,
        thing: NounPhrase | None,
        where: Place | None,
        negated: bool = False,
    ) -> Clause:
        """The clause with what is left to draw: how it is going on, in French and German or in English."""
        ongoing = tense == "present" and not negated and self.chance(0.4)
        english, progressive = self.english(verb.english), self.chance(0.5)
        return Clause(subject, verb, english, tense, negated, ongoing, progressive, thing, where)

    def caption(self) -> Sentence:
        """A sentence as captions have them: mostly one clause, seldom a place in front, a group, or two at once."""
        shape = self.rng.random()
        if shape < 0.12:
            main = self.caption_clause(place=0.4)
            return Sentence(main, link=WHILE, second=self.caption_clause(dressed=False, place=0.3))
        clause = self.caption_clause()
        if shape < 0.22 and clause.place:
            return Sentence(replace(clause, place=None), front=clause.place)
        if shape < 0.32 and clause.subject.plural and not clause.subject.outfit:
            return Sentence(replace(clause, subject=replace(clause.subject, group=True, definite=False, count=None)))
        return Sentence(clause)

    def everyday_sentence(self) -> Sentence:
        """A sentence as people say them: half of them one clause, the others framed, dated or explained."""
        clause, shape = self.everyday_clause(), self.rng.random()
        if shape < 0.2:
            return Sentence(clause, frame=self.rng.choice(FRAMES))
        if shape < 0.4:
            when = (YESTERDAY, *ADVERBS) if clause.tense == "past" else ADVERBS
            return Sentence(clause, front=self.rng.choice(when))
        if shape < 0.5:
            return Sentence(clause, link=BECAUSE, second=self.everyday_clause())
        return Sentence(clause)
