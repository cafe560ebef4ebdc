"""Three small grammars of one meaning: a `Sentence` says what is meant, and each language says it in its own order.

French elides, agrees, and puts some adjectives before the noun; German has cases, separable verbs and a verb that
stands second or last; English is simple, and free in the words and the progressive that the meaning does not settle.
"""

from elastic_lib.tasks.translation.lexicon import ASPIRATED, EATING
from elastic_lib.tasks.translation.meaning import Clause, NounPhrase, Place, Pronoun, Sentence
from elastic_lib.tasks.translation.words import Adjective

# --- French ---

HAVE_FR = ("ai", "as", "a", "avons", "avez", "ont")
MODALS_FR = {
    "want": ("veux", "veux", "veut", "voulons", "voulez", "veulent"),
    "can": ("peux", "peux", "peut", "pouvons", "pouvez", "peuvent"),
    "must": ("dois", "dois", "doit", "devons", "devez", "doivent"),
}
BEFORE_VOWEL = {"vieux": "vieil", "nouveau": "nouvel", "beau": "bel"}


def begins_with_vowel(word: str) -> bool:
    """Whether French words are elided before this one."""
    return word[0] in "aeiouhyâéèê" and word not in ASPIRATED


def _elided(word: str, following: str) -> str:
    return f"{word[:-1]}'" if begins_with_vowel(following) else word


def _agreeing_fr(adjective: Adjective, phrase: NounPhrase, noun: str) -> str:
    masculine, feminine = adjective.french
    form = masculine if phrase.noun.french_gender == "m" else feminine
    if not phrase.plural:
        return BEFORE_VOWEL.get(form, form) if begins_with_vowel(noun) else form
    if form[-1] in "sx" or adjective.position == "invariable":
        return form
    return form + ("x" if form.endswith("eau") else "s")


def _determiner_fr(phrase: NounPhrase, following: str, before_adjective: bool, negated: bool) -> list[str]:
    masculine = phrase.noun.french_gender == "m"
    if phrase.group:
        return ["un", "groupe", _elided("de", following)]
    if phrase.count:
        return [phrase.count.fr]
    if phrase.definite:
        return ["les"] if phrase.plural else [_elided("le" if masculine else "la", following)]
    if negated or (phrase.plural and before_adjective):
        return [_elided("de", following)]
    return ["des"] if phrase.plural else ["un" if masculine else "une"]


def _bare_fr(phrase: NounPhrase) -> tuple[list[str], bool]:
    """The phrase without its determiner, and whether it begins with an adjective."""
    noun, adjective = phrase.noun.french[phrase.plural], phrase.adjective
    if not adjective:
        return [noun], False
    before = adjective.position == "before"
    form = _agreeing_fr(adjective, phrase, noun)
    return ([form, noun] if before else [noun, form]), before


def phrase_fr(phrase: NounPhrase, negated: bool = False) -> list[str]:
    """The noun phrase in French; as the object of a negated verb an indefinite one takes 'de'."""
    bare, before = _bare_fr(phrase)
    words = [*_determiner_fr(phrase, bare[0], before, negated), *bare]
    if phrase.outfit is None:
        return words
    worn = phrase.outfit.phrase
    return [*words, "portant", *phrase_fr(worn)] if phrase.outfit.carried else [*words, "en", *_bare_fr(worn)[0]]


def _place_fr(place: Place) -> list[str]:
    *start, last = place.preposition.fr.split()
    phrase = phrase_fr(place.phrase)
    if last != "de":
        return [*start, last, *phrase]
    return [*start, "du", *phrase[1:]] if phrase[0] == "le" else [*start, _elided("de", phrase[0]), *phrase]


def _verb_fr(clause: Clause, person: int) -> tuple[str, list[str]]:
    """The finite verb, and what follows it."""
    he, they, participle, infinitive = clause.verb.french
    if clause.tense == "past":
        return HAVE_FR[person - 1], [participle]
    if clause.tense != "present":
        return MODALS_FR[clause.tense][person - 1], [infinitive]
    if clause.ongoing:
        return "est" if person == 3 else "sont", ["en", "train", _elided("de", infinitive), infinitive]
    return he if person == 3 else they, []


def clause_fr(clause: Clause) -> list[str]:
    """The clause in French, in which the order never changes."""
    finite, rest = _verb_fr(clause, clause.subject.person)
    verb = [_elided("ne", finite), finite, "pas", *rest] if clause.negated else [finite, *rest]
    subject = [clause.subject.words.fr] if isinstance(clause.subject, Pronoun) else phrase_fr(clause.subject)
    if subject == ["je"]:
        subject = [_elided("je", verb[0])]
    told = phrase_fr(clause.object, clause.negated) if clause.object else []
    return [*subject, *verb, *told, *(_place_fr(clause.place) if clause.place else ())]


def sentence_fr(sentence: Sentence) -> list[str]:
    """The sentence in French."""
    words = clause_fr(sentence.main)
    if sentence.frame:
        words = [*sentence.frame.fr.split(), _elided("que", words[0]), *words]
    if sentence.front:
        front = _place_fr(sentence.front) if isinstance(sentence.front, Place) else [sentence.front.fr]
        words = [*front, ",", *words]
    if sentence.second:
        second = clause_fr(sentence.second)
        words += [*sentence.link.fr.split(), _elided("que", second[0]), *second]
    return [*words, "."]


# --- English ---

MODALS_EN = {"can": ("can", "cannot"), "must": ("must", "must not")}


def phrase_en(phrase: NounPhrase) -> list[str]:
    """The noun phrase in English, in the words that the meaning chose."""
    singular = not phrase.plural and phrase.english[0] != ""
    words = phrase.english[0 if singular else 1].split()
    if phrase.adjective:
        words = [phrase.english_adjective, *words]
    if phrase.group:
        words = ["a", "group", "of", *words]
    elif phrase.count:
        words = [phrase.count.en, *words]
    elif phrase.definite:
        words = ["the", *words]
    elif singular:
        # 'a uniform' and 'an umbrella' are the lexicon's only words in u-
        words = ["an" if words[0][0] in "aeio" or words[0] == "umbrella" else "a", *words]
    return [*words, phrase.outfit.english, *phrase_en(phrase.outfit.phrase)] if phrase.outfit else words


def _place_en(place: Place) -> list[str]:
    return [*place.preposition.en.split(), *phrase_en(place.phrase)]


def _verb_en(clause: Clause, person: int) -> str:
    base, he, past, present = clause.english
    third = person == 3
    do = "does" if third else "do"
    if clause.tense == "past":
        return f"did not {base}" if clause.negated else past
    if clause.tense == "want":
        return f"{do} not want to {base}" if clause.negated else f"{'wants' if third else 'want'} to {base}"
    if clause.tense != "present":
        return f"{MODALS_EN[clause.tense][clause.negated]} {base}"
    if clause.negated:
        return f"{do} not {base}"
    if clause.progressive:
        return f"{'is' if third else 'are'} {present}"
    return he if third else base


def clause_en(clause: Clause) -> list[str]:
    """The clause in English."""
    subject = [clause.subject.words.en] if isinstance(clause.subject, Pronoun) else phrase_en(clause.subject)
    told = phrase_en(clause.object) if clause.object else []
    where = _place_en(clause.place) if clause.place else []
    return [*subject, *_verb_en(clause, clause.subject.person).split(), *told, *where]


def sentence_en(sentence: Sentence) -> list[str]:
    """The sentence in English."""
    words = clause_en(sentence.main)
    if sentence.frame:
        words = [*sentence.frame.en.split(), "that", *words]
    if sentence.front:
        front = _place_en(sentence.front) if isinstance(sentence.front, Place) else [sentence.front.en]
        words = [*front, ",", *words]
    if sentence.second:
        words += [sentence.link.en, *clause_en(sentence.second)]
    return [*words, "."]


# --- German ---

HAVE_DE = ("habe", "hast", "hat", "haben", "haben", "haben")
BE_DE = ("bin", "bist", "ist", "sind", "sind", "sind")
MODALS_DE = {
    "want": ("will", "willst", "will", "wollen", "wollen", "wollen"),
    "can": ("kann", "kannst", "kann", "können", "können", "können"),
    "must": ("muss", "musst", "muss", "müssen", "müssen", "müssen"),
}
# Of each gender, and of the plural (p): nominative, accusative, dative.
CASES = ("nominative", "accusative", "dative")
THE = {"m": ("der", "den", "dem"), "f": ("die", "die", "der"), "n": ("das", "das", "dem"), "p": ("die", "die", "den")}
EIN = {"m": ("", "en", "em"), "f": ("e", "e", "er"), "n": ("", "", "em"), "p": ("e", "e", "en")}
AFTER_THE = {"m": ("e", "en", "en"), "f": ("e", "e", "en"), "n": ("e", "e", "en"), "p": ("en", "en", "en")}
AFTER_EIN = {"m": ("er", "en", "en"), "f": ("e", "e", "en"), "n": ("es", "es", "en"), "p": ("en", "en", "en")}
ALONE_PLURAL = ("e", "e", "en")
CONTRACTED = {"in": "im", "an": "am", "bei": "beim"}


def _noun_de(phrase: NounPhrase, case: str) -> str:
    nominative, plural, oblique = phrase.noun.german
    if not phrase.plural:
        return nominative if case == "nominative" else oblique
    return plural + "n" if case == "dative" and plural[-1] not in "ns" else plural


def phrase_de(phrase: NounPhrase, case: str, negated: bool = False) -> list[str]:
    """The noun phrase in German; as the object of a negated verb an indefinite one takes 'kein'."""
    if phrase.group:
        return ["eine", "Gruppe", "von", *_counted_de(phrase, "dative", negated=False)]
    words = _counted_de(phrase, case, negated)
    if phrase.outfit:
        words += ["mit" if phrase.outfit.carried else "in", *phrase_de(phrase.outfit.phrase, "dative")]
    return words


def _counted_de(phrase: NounPhrase, case: str, negated: bool) -> list[str]:
    """Determiner, adjective and noun; the less the determiner tells, the more the adjective's ending does."""
    gender, index = "p" if phrase.plural else phrase.noun.german_gender, CASES.index(case)
    if phrase.definite:
        determiner, ending = [THE[gender][index]], AFTER_THE[gender][index]
    elif phrase.plural and (phrase.count or not negated):
        determiner, ending = [phrase.count.de] if phrase.count else [], ALONE_PLURAL[index]
    else:
        determiner, ending = [("kein" if negated else "ein") + EIN[gender][index]], AFTER_EIN[gender][index]
    adjective = [phrase.adjective.german + ending] if phrase.adjective else []
    return [*determiner, *adjective, _noun_de(phrase, case)]


def _place_de(place: Place) -> list[str]:
    preposition, phrase = place.preposition.de, phrase_de(place.phrase, "dative")
    if phrase[0] == "dem" and preposition in CONTRACTED:
        return [CONTRACTED[preposition], *phrase[1:]]
    return [preposition, *phrase]


def _verb_de(clause: Clause) -> tuple[str, str, str]:
    """The finite verb, what stands at the end of a main clause, and both as they end a subordinate clause."""
    verb, person = clause.verb, clause.subject.person - 1
    he, infinitive, participle = (EATING.get(form, form) if clause.by_animal else form for form in verb.german)
    if clause.tense == "present":
        finite = he if clause.subject.person == 3 else infinitive.removeprefix(verb.prefix)
        return finite, verb.prefix, verb.prefix + finite
    if clause.tense == "past":
        finite, end = (HAVE_DE if verb.auxiliary == "haben" else BE_DE)[person], participle
    else:
        finite, end = MODALS_DE[clause.tense][person], infinitive
    return finite, end, f"{end} {finite}"


def _object_de(clause: Clause) -> list[str]:
    """The object and the negation, which an indefinite object takes up as 'kein' and a counted one follows."""
    if clause.object is None:
        return ["nicht"] if clause.negated else []
    words = phrase_de(clause.object, "accusative", clause.negated)
    if not clause.negated:
        return words
    if clause.object.count:
        return ["nicht", *words]
    return [*words, "nicht"] if clause.object.definite else words


def clause_de(clause: Clause, front: list[str] | None = None, subordinate: bool = False) -> list[str]:
    """The clause in German: its verb stands second, after whatever is in front, or last if it is subordinate."""
    finite, end, last = _verb_de(clause)
    pronoun = isinstance(clause.subject, Pronoun)
    subject = [clause.subject.words.de] if pronoun else phrase_de(clause.subject, "nominative")
    middle = [*(["gerade"] if clause.ongoing else ()), *_object_de(clause)]
    middle += _place_de(clause.place) if clause.place else []
    if subordinate:
        return [*subject, *middle, *last.split()]
    start = [*front, finite, *subject] if front else [*subject, finite]
    return [*start, *middle, *end.split()]


def sentence_de(sentence: Sentence) -> list[str]:
    """The sentence in German."""
    front = None
    if sentence.front:
        front = _place_de(sentence.front) if isinstance(sentence.front, Place) else [sentence.front.de]
    words = clause_de(sentence.main, front, subordinate=sentence.frame is not None)
    if sentence.frame:
        words = [*sentence.frame.de.split(), ",", "dass", *words]
    if sentence.second:
        words += [",", sentence.link.de, *clause_de(sentence.second, subordinate=True)]
    return [*words, "."]


SAY = {"fr": sentence_fr, "en": sentence_en, "de": sentence_de}
