"""The pocket translation world: three languages say the same thing, each by its own grammar, in every process."""

import hashlib
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from elastic_lib.tasks.translation import lexicon
from elastic_lib.tasks.translation.grammar import BE_DE, HAVE_DE, MODALS_DE, SAY
from elastic_lib.tasks.translation.meaning import (
    ANYWHERE,
    BECAUSE,
    COUNTS,
    FRAMES,
    NOUNS,
    PRONOUNS,
    WHILE,
    YESTERDAY,
    Clause,
    NounPhrase,
    Outfit,
    Place,
    Sentence,
)
from elastic_lib.tasks.translation.world import (
    DISTANCES,
    LANGUAGES,
    LONGEST,
    Caption,
    detokenise,
    generate,
    vocabulary,
)

COUNT = 20_000
STREAMS = [*(("everyday", distance) for distance in DISTANCES), ("captions", "middle")]
# German tells the entries apart where French or English does not.
NOUN = {noun.german[0]: noun for noun in NOUNS}
VERB = {verb.german[1]: verb for verb in (*lexicon.INTRANSITIVES, *lexicon.TRANSITIVES)}
QUALITY = {(quality.french[0], quality.english.options[0][0]): quality for quality in lexicon.ADJECTIVES}
JE, TU, IL, ELLE, NOUS, VOUS, ILS, ELLES = PRONOUNS
DEUX, TROIS, _ = COUNTS
DEVANT, A_COTE, _, PRES = ANYWHERE


def a(german, quality=None, **rest):
    """The noun phrase with the first English words, indefinite and singular unless told."""
    noun = NOUN[german]
    adjective = QUALITY[quality] if quality else None
    called = adjective.english.options[0][0] if adjective else ""
    return NounPhrase(noun, noun.english.options[0], adjective=adjective, english_adjective=called, **rest)


def the(german, quality=None, **rest):
    return a(german, quality, definite=True, **rest)


def some(german, quality=None, **rest):
    return a(german, quality, plural=True, **rest)


def at(phrase, preposition=None):
    return Place(phrase, preposition or phrase.noun.preposition)


def clause(subject, german, tense="present", **rest):
    verb = VERB[german]
    return Clause(subject, verb, verb.english.options[0], tense, **rest)


def wearing(phrase, clothes, carried):
    return replace(phrase, outfit=Outfit(clothes, carried, "wearing" if carried else "in"))


RED, NEW, OLD, BIG = ("rouge", "red"), ("nouveau", "new"), ("vieux", "old"), ("grand", "big")
BEAUTIFUL, YOUNG, ORANGE = ("beau", "beautiful"), ("jeune", "young"), ("orange", "orange")
# fmt: off
KNOWN = {
    "elided article": (
        Sentence(clause(the("Freund"), "verlieren", "past", object=the("Leiter"))),
        "l'ami a perdu l'échelle.", "the friend lost the ladder.", "der Freund hat die Leiter verloren."),
    "elided pronoun, auxiliary of motion": (
        Sentence(clause(JE, "schwimmen", "past")), "j'ai nagé.", "i swam.", "ich bin geschwommen."),
    "elided negation": (
        Sentence(clause(JE, "schlafen", "past", negated=True)),
        "je n'ai pas dormi.", "i did not sleep.", "ich habe nicht geschlafen."),
    "aspirated h": (
        Sentence(clause(IL, "kaufen", "past", object=the("Oberteil"))),
        "il a acheté le haut.", "he bought the shirt.", "er hat das Oberteil gekauft."),
    "adjectives before and after": (
        Sentence(clause(a("Frau", YOUNG), "tragen", object=a("Ball", RED))),
        "une jeune femme porte une balle rouge.", "a young woman carries a red ball.",
        "eine junge Frau trägt einen roten Ball."),
    "masculine before a vowel": (
        Sentence(clause(a("Mann", OLD), "malen", object=a("Vogel", BEAUTIFUL))),
        "un vieil homme dessine un bel oiseau.", "an old man paints a beautiful bird.",
        "ein alter Mann malt einen schönen Vogel."),
    "plural with 'de' before an adjective": (
        Sentence(clause(some("Freundin", BEAUTIFUL), "finden", object=some("Pferd", NEW))),
        "de belles amies trouvent de nouveaux chevaux.", "beautiful friends find new horses.",
        "schöne Freundinnen finden neue Pferde."),
    "invariable adjective": (
        Sentence(clause(ILS, "waschen", object=some("Auto", ORANGE))),
        "ils lavent des voitures orange.", "they wash orange cars.", "sie waschen orangefarbene Autos."),
    "neuter adjective": (
        Sentence(clause(a("Kind", BEAUTIFUL), "schieben", object=a("Fahrrad", BIG))),
        "un bel enfant pousse un grand vélo.", "a beautiful child pushes a big bike.",
        "ein schönes Kind schiebt ein großes Fahrrad."),
    "definite adjectives in three cases": (
        Sentence(clause(the("Mann", OLD), "halten", object=the("Hut", RED), place=at(the("Baum", NEW)))),
        "le vieil homme tient le chapeau rouge sous le nouvel arbre.",
        "the old man holds the red hat under the new tree.",
        "der alte Mann hält den roten Hut unter dem neuen Baum."),
    "weak noun": (
        Sentence(clause(ELLE, "beobachten", object=the("Affe"))),
        "elle observe le singe.", "she watches the monkey.", "sie beobachtet den Affen."),
    "separable verb, parted": (
        Sentence(clause(a("Mädchen"), "ansehen", object=the("Spiegel"), place=at(a("Fenster")))),
        "une fille regarde la glace à côté d'une fenêtre.", "a girl watches the mirror next to a window.",
        "ein Mädchen sieht den Spiegel neben einem Fenster an."),
    "separable verb, joined": (
        Sentence(clause(ELLES, "einsammeln", object=the("Seil")), frame=FRAMES[0]),
        "je pense qu'elles ramassent la corde.", "i think that they pick up the rope.",
        "ich denke, dass sie das Seil einsammeln."),
    "separable verb, infinitive": (
        Sentence(clause(TU, "aufheben", "must", object=the("Kiste"))),
        "tu dois soulever la caisse.", "you must lift the box.", "du musst die Kiste aufheben."),
    "verb last after 'dass'": (
        Sentence(clause(the("Arzt"), "verstehen", "want", object=the("Sprache"), negated=True), frame=FRAMES[1]),
        "nous savons que le médecin ne veut pas comprendre la langue.",
        "we know that the doctor does not want to understand the language.",
        "wir wissen, dass der Arzt die Sprache nicht verstehen will."),
    "verb last after 'weil'": (
        Sentence(clause(VOUS, "weinen", "past"), link=BECAUSE, second=clause(a("Polizist"), "laufen", "past")),
        "vous avez pleuré parce qu'un policier a couru.", "you cried because a policeman ran.",
        "Sie haben geweint, weil ein Polizist gelaufen ist."),
    "verb last after 'während'": (
        Sentence(clause(a("Katze"), "schlafen"), link=WHILE, second=clause(the("Hund"), "essen", object=a("Eis"))),
        "un chat dort pendant que le chien mange une glace.", "a cat sleeps while the dog eats an ice cream.",
        "eine Katze schläft, während der Hund ein Eis frisst."),
    "second place after an adverb": (
        Sentence(clause(NOUS, "lesen", "past", object=the("Brief")), front=YESTERDAY),
        "hier, nous avons lu la lettre.", "yesterday, we read the letter.", "gestern haben wir den Brief gelesen."),
    "second place after a place, 'im'": (
        Sentence(clause(some("Student", count=DEUX), "tanzen"), front=at(the("Park"))),
        "dans le parc, deux étudiants dansent.", "in the park, two students dance.",
        "im Park tanzen zwei Studenten."),
    "'am'": (
        Sentence(clause(ILS, "warten", place=at(the("Strand", BEAUTIFUL)))),
        "ils attendent sur la belle plage.", "they wait on the beautiful beach.", "sie warten am schönen Strand."),
    "'du' and 'beim'": (
        Sentence(clause(IL, "springen", place=at(the("Turm"), PRES)), link=BECAUSE,
                 second=clause(IL, "klettern", place=at(the("Baum"), PRES))),
        "il saute près de la tour parce qu'il grimpe près de l'arbre.",
        "he jumps near the tower because he climbs near the tree.",
        "er springt beim Turm, weil er beim Baum klettert."),
    "'du' alone": (
        Sentence(clause(IL, "singen", "can", place=at(the("Markt"), A_COTE))),
        "il peut chanter à côté du marché.", "he can sing next to the market.",
        "er kann neben dem Markt singen."),
    "'kein' and 'pas de'": (
        Sentence(clause(JE, "essen", "past", object=a("Apfel", RED), negated=True)),
        "je n'ai pas mangé de pomme rouge.", "i did not eat a red apple.", "ich habe keinen roten Apfel gegessen."),
    "'keine' and 'pas d''": (
        Sentence(clause(ILS, "erklären", "can", object=some("Geschichte", NEW), negated=True)),
        "ils ne peuvent pas expliquer de nouvelles histoires.", "they cannot explain new stories.",
        "sie können keine neuen Geschichten erklären."),
    "negation before a number": (
        Sentence(clause(ELLE, "verkaufen", "must", object=some("Kuchen", count=TROIS), negated=True)),
        "elle ne doit pas vendre trois gâteaux.", "she must not sell three cakes.",
        "sie muss nicht drei Kuchen verkaufen."),
    "ongoing": (
        Sentence(clause(a("Knirps"), "kaufen", object=some("Mütze"), ongoing=True, progressive=True)),
        "un gosse est en train d'acheter des bonnets.", "a child is buying hats.",
        "ein Knirps kauft gerade Mützen."),
    "group": (
        Sentence(clause(some("Kind", YOUNG, group=True), "ausruhen", place=at(the("Schnee")))),
        "un groupe de jeunes enfants repose dans la neige.", "a group of young children rests in the snow.",
        "eine Gruppe von jungen Kindern ruht im Schnee aus."),
    "group of a vowel": (
        Sentence(clause(some("Vogel", group=True), "essen", object=the("Kuchen"))),
        "un groupe d'oiseaux mange le gâteau.", "a group of birds eats the cake.",
        "eine Gruppe von Vögeln frisst den Kuchen."),
    "clothes with an article": (
        Sentence(clause(wearing(a("Tänzer"), a("Hose", RED), carried=True), "posieren")),
        "un danseur portant un pantalon rouge pose.", "a dancer wearing red trousers poses.",
        "ein Tänzer mit einer roten Hose posiert."),
    "clothes without an article": (
        Sentence(clause(wearing(some("Läuferin"), some("Mantel", RED), carried=False), "lachen")),
        "des coureuses en manteaux rouges rient.", "runners in red jackets laugh.",
        "Läuferinnen in roten Mänteln lachen."),
}
# fmt: on


@pytest.fixture(scope="module")
def streams():
    return {(domain, distance): generate(COUNT, 5, domain, distance) for domain, distance in STREAMS}


@pytest.fixture(scope="module")
def everyday(streams):
    return streams["everyday", "middle"]


@pytest.fixture(scope="module")
def captions(streams):
    return streams["captions", "middle"]


@pytest.fixture(scope="module")
def both(everyday, captions):
    return everyday + captions


def words(caption):
    return tuple(sentence.split() for sentence in caption)


def share(stream, language, *telling):
    return sum(bool(set(telling) & set(getattr(said, language).split())) for said in stream) / len(stream)


@pytest.mark.parametrize("feature", KNOWN)
def test_known_sentences(feature):
    meaning, *known = KNOWN[feature]
    assert [detokenise(" ".join(SAY[language](meaning)), language) for language in LANGUAGES] == known


def test_the_lexicon_reads_as_a_dictionary():
    assert len(NOUNS) == len(NOUN) == 166 and len(VERB) == 54 and len(QUALITY) == 35
    assert NOUN["Junge"].german == ("Junge", "Jungen", "Jungen") and NOUN["Schnee"].uncountable
    assert NOUN["Straße"].english == NOUN["Fahrbahn"].english and NOUN["Straße"].english.free
    assert not NOUN["Fahrrad"].english.free and NOUN["Fahrrad"].english.options[0] == ("bike", "bikes")
    assert VERB["einsammeln"].prefix == "ein" and VERB["laufen"].auxiliary == "sein"
    assert VERB["einsammeln"].english.options[0] == ("pick up", "picks up", "picked up", "picking up")
    assert VERB["tanzen"].english.options == (("dance", "dances", "danced", "dancing"),)
    assert VERB["untersuchen"].english.options == (("study", "studies", "studied", "studying"),)
    assert VERB["untersuchen"].french == ("étudie", "étudient", "étudié", "étudier")
    assert VERB["spielen"].english.options == (("play", "plays", "played", "playing"),)
    assert {noun.french_gender for noun in NOUNS} == {"m", "f"} and {n.german_gender for n in NOUNS} == set("mfn")


@pytest.mark.parametrize("domain, distance", STREAMS)
def test_the_same_arguments_give_the_same_sentences_and_a_shorter_list_is_the_beginning(domain, distance, streams):
    assert generate(300, 5, domain, distance) == streams[domain, distance][:300]
    assert generate(0, 5, domain, distance) == []


def test_seeds_domains_and_distances_differ(everyday, captions, streams):
    assert generate(50, 6, "everyday") != everyday[:50]
    assert generate(50, 1, "everyday") != generate(50, -1, "everyday")
    assert generate(50, "test", "captions") != generate(50, "validation", "captions")
    assert not set(captions[:1_000]) & set(everyday[:1_000])
    assert streams["everyday", "near"] != streams["everyday", "far"]
    assert all(generate(50, 5, "captions", distance) == captions[:50] for distance in DISTANCES)


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_another_process_gives_the_same_sentences(hash_seed):
    program = (
        "import hashlib; from elastic_lib.tasks.translation.world import generate, vocabulary;"
        "print(hashlib.sha256(repr((generate(300, 3, 'everyday'), vocabulary('de'))).encode()).hexdigest())"
    )
    there = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    here = repr((generate(300, 3, "everyday"), vocabulary("de")))
    assert there.stdout.strip() == hashlib.sha256(here.encode()).hexdigest()


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_vocabulary_is_closed_and_hardly_larger_than_what_is_seen(language, streams):
    seen = {word for stream in streams.values() for said in stream for word in getattr(said, language).split()}
    known = vocabulary(language)
    assert seen <= set(known)
    assert known == sorted(set(known))
    assert len(known) - len(seen) < 10
    assert len(known) == {"fr": 708, "en": 633, "de": 695}[language]


def test_form_and_length(streams):
    for stream in streams.values():
        for said in stream:
            for language, sentence in zip(LANGUAGES, said, strict=True):
                tokens = sentence.split()
                assert sentence == " ".join(tokens) and tokens[-1] == "." and tokens.count(".") == 1
                assert 3 <= len(tokens) <= LONGEST
                assert "_" not in sentence and ("'" not in sentence or language == "fr")
    for domain, means in (("everyday", (9.0, 8.2, 8.3)), ("captions", (10.6, 9.6, 9.2))):
        lengths = [sum(map(len, column)) / COUNT for column in zip(*map(words, streams[domain, "middle"]), strict=True)]
        assert lengths == pytest.approx(means, abs=0.1)


def test_numbers_agree_in_the_three_languages(captions, both):
    for count in COUNTS:
        assert all(len({s.split().count(word) for s, word in zip(said, count, strict=True)}) == 1 for said in both)
        assert share(captions, "en", count.en) > 0.05


def test_places_negations_and_what_goes_on_agree_in_the_three_languages(everyday, captions, both):
    def times(sentence, pattern):
        return len(re.findall(pattern, sentence))

    for fr, en, de in both:
        assert times(fr, r"\bpas\b") == times(en, r"\b(not|cannot)\b") == times(de, r"\b(nicht|kein(e|en)?)\b")
        assert times(fr, r"\ben train\b") == times(de, r"\bgerade\b")
        assert times(fr, r"\bprès d") == times(en, r"\bnear\b") == times(de, r"\bbei(m?)\b")
        assert times(fr, r"\bderrière\b") == times(en, r"\bbehind\b") == times(de, r"\bhinter\b")
        assert times(fr, r"\bcôté d") == times(en, r"\bnext to\b") == times(de, r"\bneben\b")
    assert 0.1 < share(everyday, "fr", "pas") < 0.3 and share(captions, "fr", "pas") == 0


def test_elision_is_never_forgotten_and_never_overdone(both):
    for said in both:
        assert not re.search(r"\b(le|la|je|ne|de|que) (?!haut)[aeiouhâéê]", said.fr), said.fr
        assert not re.search(r"(?<!\S)(l|j|n|d|qu)' ([^aeiouhâéê]|haut)", said.fr), said.fr


def test_english_articles_suit_the_next_word(both):
    articles = {pair for said in both for pair in re.findall(r"\b(an?) (\w+)", said.en)}
    assert all((article == "an") == (word[0] in "aeio" or word == "umbrella") for article, word in articles)


def test_german_subordinate_clauses_end_in_the_finite_verb(both):
    finite = {form for forms in (HAVE_DE, BE_DE, *MODALS_DE.values()) for form in forms}
    for verb in VERB.values():
        finite |= {verb.prefix + verb.german[0], verb.german[1], *lexicon.EATING.values()}
    ends = [said.de.split()[-2] for said in both if re.search(", (dass|weil|während) ", said.de)]
    assert len(ends) > 5_000 and set(ends) <= finite
    assert {"hat", "bin", "musst", "will", "ansieht", "einsammelt", "läuft", "frisst"} <= set(ends)


def test_english_loses_what_french_and_german_keep(captions):
    called = {("rue", "Straße"): set(), ("route", "Fahrbahn"): set()}
    for fr, en, de in captions:
        streets = [pair for pair in called if pair[0] in fr.split()]
        assert streets == [pair for pair in called if pair[1] in de.split()]
        if len(streets) == 1:
            called[streets[0]] |= {"street", "road"} & set(en.split())
    assert all(words == {"street", "road"} for words in called.values())


def test_synonyms_are_more_common_in_captions(everyday, captions):
    main, synonym = (
        ("bike", "seller", "policeman", "sidewalk", "city"),
        ("bicycle", "vendor", "officer", "pavement", "town"),
    )
    for stream, expected in ((everyday, 0.25), (captions, 0.45)):
        tokens = Counter(token for said in stream for token in said.en.split())
        usual, other = (sum(tokens[word] for word in side) for side in (main, synonym))
        assert other / (usual + other) == pytest.approx(expected, abs=0.04)


def test_distances_order_the_share_of_sentences_built_like_captions(captions, streams):
    def like_captions(stream):
        return share(stream, "fr", "portant", "pendant", "groupe")

    shares = [like_captions(streams["everyday", distance]) for distance in ("far", "middle", "near")]
    assert shares == sorted(shares) and shares[0] > 0
    assert shares[2] / shares[1] == pytest.approx(DISTANCES["near"] / DISTANCES["middle"], rel=0.25)
    assert shares[1] / shares[0] == pytest.approx(DISTANCES["middle"] / DISTANCES["far"], rel=0.35)
    assert like_captions(captions) > 0.15


@pytest.mark.parametrize(
    "language, tokens, text",
    [
        ("fr", "je pense qu' il n' a pas d' ami .", "je pense qu'il n'a pas d'ami."),
        ("fr", "aujourd'hui , j' ai lu l' histoire .", "aujourd'hui, j'ai lu l'histoire."),
        ("fr", "l' l' l' . . l'", "l'l'l'.. l'"),
        ("en", "today , i ran .", "today, i ran."),
        ("en", "l' a .b , .", "l' a .b,."),
        ("de", "er sagt , dass sie läuft .", "er sagt, dass sie läuft."),
        ("de", "", ""),
    ],
)
def test_detokenise(language, tokens, text):
    assert detokenise(tokens, language) == text


def test_detokenised_sentences_hold_the_same_letters(everyday, captions):
    for said in captions[:500] + everyday[:500]:
        for language, sentence in zip(LANGUAGES, said, strict=True):
            text = detokenise(sentence, language)
            assert text.replace(" ", "") == sentence.replace(" ", "")
            assert not re.search(r" [.,]|' ", text)


@pytest.mark.parametrize(
    "call, allowed",
    [
        (lambda: generate(-1, 0, "captions"), "count must be 0 or more"),
        (lambda: generate(1, 0, "caption"), "domain must be one of everyday, captions"),
        (lambda: generate(0, 0, "captions", "close"), "distance must be one of near, middle, far"),
        (lambda: vocabulary("it"), "language must be one of fr, en, de"),
        (lambda: detokenise("ciao .", "it"), "language must be one of fr, en, de"),
    ],
)
def test_bad_arguments_are_refused_with_what_is_allowed(call, allowed):
    with pytest.raises(ValueError, match=allowed):
        call()


def test_a_caption_names_its_languages(captions):
    assert isinstance(captions[0], Caption) and Caption._fields == LANGUAGES
