"""What an entry of the trilingual lexicon is, and how its line is read; `lexicon` explains the notation."""

import re
from dataclasses import dataclass
from typing import NamedTuple

DOMAINS = ("everyday", "captions")


class Words(NamedTuple):
    """One meaning that is said in the same way wherever it appears."""

    fr: str
    en: str
    de: str


class Choice(NamedTuple):
    """The English words for one meaning, each as the tuple of its forms; free: any is as good as any other."""

    options: tuple[tuple[str, ...], ...]
    free: bool


@dataclass(frozen=True, eq=False)
class Noun:
    """A noun; forms are (singular, plural), '' where there is none, and German adds the oblique singular."""

    category: str
    french: tuple[str, str]
    french_gender: str
    english: Choice
    german: tuple[str, str, str]
    german_gender: str
    weights: dict[str, float]
    kind: str = ""
    preposition: Words | None = None

    @property
    def uncountable(self) -> bool:
        """Such a noun is always singular and definite."""
        return not self.french[1]


@dataclass(frozen=True, eq=False)
class Adjective:
    """An adjective; the French forms are (masculine, feminine), the English ones have one form each."""

    french: tuple[str, str]
    position: str
    english: Choice
    german: str
    weights: dict[str, float]
    fits: frozenset[str]


@dataclass(frozen=True, eq=False)
class Verb:
    """A verb: French (il, ils, participle, infinitive), English (base, he, past, -ing), German (er, infinitive,
    participle), and the nouns it goes with: categories of subjects, categories or kinds of objects."""

    french: tuple[str, str, str, str]
    english: Choice
    german: tuple[str, str, str]
    prefix: str
    auxiliary: str
    weights: dict[str, float]
    subjects: frozenset[str]
    objects: tuple[str, ...]


def _forms(text: str) -> tuple[str, ...]:
    return tuple("" if form.strip() == "-" else form.strip() for form in text.split(","))


def _columns(line: str) -> list[str]:
    return [column.strip() for column in line.split("|")]


def _choice(text: str, forms=_forms) -> Choice:
    free = "~" in text
    return Choice(tuple(forms(option) for option in text.split("~" if free else ";")), free)


def _weights(text: str) -> dict[str, float]:
    return dict(zip(DOMAINS, map(float, text.split(",")), strict=True))


def nouns(category: str, table: str) -> tuple[Noun, ...]:
    """The nouns of one category from their table."""
    return tuple(_noun(category, *_columns(line)) for line in table.splitlines())


def _noun(category: str, french: str, english: str, german: str, weights: str, last: str = "") -> Noun:
    *forms, french_gender = _forms(french)
    singular, plural, german_gender, *oblique = _forms(german)
    return Noun(
        category,
        tuple(forms),
        french_gender,
        _choice(english),
        (singular, plural, *(oblique or [singular])),
        german_gender,
        _weights(weights),
        kind="" if category == "place" else last,
        preposition=Words(*_forms(last)) if category == "place" else None,
    )


def adjectives(table: str) -> tuple[Adjective, ...]:
    """The adjectives from their table."""
    return tuple(_adjective(*_columns(line)) for line in table.splitlines())


def _adjective(french: str, english: str, german: str, weights: str, fits: str) -> Adjective:
    masculine, feminine, position = _forms(french)
    forms = (masculine, feminine)
    return Adjective(forms, position, _choice(english), german, _weights(weights), frozenset(fits.split()))


def verbs(table: str) -> tuple[Verb, ...]:
    """The verbs from their table."""
    return tuple(_verb(*_columns(line)) for line in table.splitlines())


def _verb(french: str, english: str, german: str, weights: str, subjects: str, objects: str = "") -> Verb:
    he, infinitive, perfect = _forms(german)
    finite, _, prefix = he.partition(" ")
    return Verb(
        _french_conjugation(french),
        _choice(english, _english_conjugation),
        (finite, infinitive, perfect.removeprefix("ist ")),
        prefix,
        "sein" if perfect.startswith("ist ") else "haben",
        _weights(weights),
        frozenset(subjects.split()),
        tuple(objects.split()),
    )


def _french_conjugation(text: str) -> tuple[str, ...]:
    forms = _forms(text)
    stem = forms[-1].removesuffix("er")
    return forms if len(forms) > 1 else (f"{stem}e", f"{stem}ent", f"{stem}é", forms[0])


def _english_conjugation(text: str) -> tuple[str, ...]:
    """(base, he, past, -ing) from what the lexicon gives; of 'pick up' only the first word changes."""
    base, *irregular = _forms(text)
    verb, blank, particle = base.partition(" ")
    stem = re.sub(r"(?<![aeiou])y$", "i", verb).removesuffix("e")
    third = verb + "s" if verb.endswith("e") else stem + ("es" if re.search("(i|s|sh|ch|x)$", stem) else "s")
    past = irregular[0] if irregular else stem + "ed"
    present = irregular[1] if len(irregular) > 1 else verb.removesuffix("e") + "ing"
    return tuple(form + blank + particle for form in (verb, third, past, present))
