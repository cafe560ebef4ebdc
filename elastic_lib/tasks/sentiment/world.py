"""The pocket review world: an endless, seeded stream of film reviews whose sentences have a memory.

Names, facts, pronouns, numbers and negations must stay consistent over a whole review, so that a language model has
something to lose when it drifts. The lexicon and the sentence forms are data at the top; the code only fills them.
"""

import itertools
import random
from dataclasses import dataclass
from functools import cache
from string import Formatter
from typing import NamedTuple

# --- lexicon ---
# Words that follow 'a' start with a consonant, and no word that carries a fact is used for anything else.
# Hand-wrapped, as one word a line would bury it.
# fmt: off

MEN = ("arthur", "felix", "hugo", "ivan", "lucas", "martin", "nathan", "otto", "simon", "walter")
WOMEN = ("alice", "beatrice", "carmen", "diana", "edith", "flora", "greta", "ingrid", "naomi", "sylvia")
SURNAMES = ("archer", "brandt", "castillo", "dubois", "ekman", "ferrari", "gallagher", "hartmann", "ibsen", "jansen")
PRONOUNS = {"m": ("he", "his"), "f": ("she", "her")}
DIRECTORS, LEADS = 70, 80  # few enough for most people to return in other films

TITLE_FIRST = ("amber", "crooked", "emerald", "forgotten", "iron", "nameless", "northern", "painted", "paper",
               "restless", "scarlet", "silver", "sunken", "wandering", "whispering")
TITLE_SECOND = ("avalanche", "cathedral", "comet", "compass", "ferry", "glacier", "horizon", "labyrinth", "lantern",
                "lighthouse", "meadow", "orchard", "parade", "sparrow", "throne")
COUNTRIES = ("argentina", "belgium", "denmark", "finland", "hungary", "iceland", "italy", "mexico", "morocco", "peru",
             "portugal", "turkey")
YEARS = tuple(str(year) for year in range(1953, 2013, 3))
# genre: (roles, places)
GENRES = {
    "comedy": (("barber", "chef", "janitor", "magician"), ("crowded kitchen", "roadside motel", "village bakery")),
    "horror": (("ghost", "mummy", "psychic", "werewolf"), ("boarded attic", "misty graveyard", "ruined chapel")),
    "romance": (("cellist", "florist", "gardener", "teacher"), ("lakeside cottage", "quiet bookshop", "vineyard")),
    "spy": (("codebreaker", "courier", "diplomat", "forger"), ("consulate", "harbor casino", "train station")),
    "war": (("captain", "deserter", "gunner", "surgeon"), ("bombed factory", "field hospital", "flooded bunker")),
    "western": (("drifter", "marshal", "preacher", "tracker"), ("border saloon", "dusty valley", "mountain pass")),
}


class Aspect(NamedTuple):
    singular: tuple[str, ...]
    plural: tuple[str, ...]
    praise: tuple[str, ...]
    blame: tuple[str, ...]


ASPECTS = (
    Aspect(("acting", "casting", "chemistry"), ("performers", "portrayals"),
           ("believable", "luminous", "magnetic", "soulful"), ("flat", "hammy", "mechanical", "unconvincing")),
    Aspect(("plot", "premise", "screenplay"), ("subplots", "twists"),
           ("absorbing", "intricate", "inventive", "touching"), ("derivative", "implausible", "muddled", "shallow")),
    Aspect(("soundtrack", "theme"), ("melodies", "songs"),
           ("graceful", "hypnotic", "lovely", "stirring"), ("jarring", "monotonous", "shrill", "tuneless")),
    Aspect(("camerawork", "lighting"), ("costumes", "effects", "landscapes"),
           ("dazzling", "elegant", "sumptuous", "vivid"), ("drab", "garish", "murky", "shabby")),
    Aspect(("editing", "finale", "pacing"), ("chases", "transitions"),
           ("brisk", "fluid", "rewarding", "thrilling"), ("choppy", "exhausting", "sluggish", "tedious")),
    Aspect(("banter", "dialogue", "narration"), ("jokes", "speeches"),
           ("clever", "honest", "sparkling", "witty"), ("corny", "crude", "stilted", "tiresome")),
)

# Slots that take any of their fillers.
NEUTRAL = {
    "film": ("film", "movie", "feature"),
    "who": ("my cousin", "my grandmother", "my neighbors", "my roommate", "my students", "our children", "our friends"),
    "when": ("at a matinee", "at home", "last friday", "on holiday", "on a rainy sunday", "this week", "yesterday"),
    "very": ("deeply", "fairly", "rather", "remarkably", "thoroughly", "very"),
}
# Slots that take sides: (praise, blame). The first word of a filler is the one that tells, and tells nothing else.
POLAR = {
    "shines": (("shines", "triumphs", "commands the screen", "lifts every scene"),
               ("flounders", "overacts", "mumbles without end", "sinks every scene")),
    "finest": (("boldest", "finest", "warmest"), ("laziest", "poorest", "weakest")),
    "joy": (("joy", "revelation", "treat"), ("bore", "chore", "nuisance")),
    "moved": (("delighted", "enchanted", "moved"), ("annoyed", "bored", "irritated")),
    "excels": (("excels at it", "inspires every actor", "masters the form"),
               ("botches the form", "fails at it", "neglects every actor")),
    "adored": (("adored", "enjoyed", "loved"), ("despised", "hated", "loathed")),
    "love": (("love",), ("hate",)),
    "recommend": (("recommend",), ("miss", "skip")),
    "praise": (("applaud", "praise"), ("condemn", "pity")),
    "nine": (("nine",), ("two",)),
    "triumph": (("gem", "masterpiece", "triumph"), ("disaster", "failure", "mess")),
}

# fmt: on
# --- sentence forms ---
# A slot with a minus takes the other side's word: 'not {-quality} at all' praises with a word of blame.

OPENINGS = (
    "{title} is a {genre} {film} by {director} starring {lead} as the {role}",
    "{title} is a {year} {genre} {film} by {director} with {lead}",
    "because {lead} plays the {role} i watched {title} with {who} {when}",
    "{who} and i saw {title} by {director} {when}",
    "{lead} plays the {role} in {title} and {director} directed it",
)
FACTS = (
    "it was shot in {country} in {year}",
    "{director} finished it in {year}",
    "the producers came from {country}",
    "the {role} lives in a {place}",
)
SAME_LEAD = "{lead} was also in {other}"
SAME_DIRECTOR = "{director} also directed {other}"
PEOPLE = (
    "{lead} is the {role} and {lead_he} {shines}",
    "here {lead} does {lead_his} {finest} work in years",
    "{lead} is a {joy} and {lead_his} {role} {moved} me",
    "{director} makes {genre} films and {director_he} {excels}",
)
CLAUSES = 2 * ("the {noun} {was} {quality}", "the {noun} {was} {very} {quality}") + (
    "the {noun} {was} {quality} and {second}",
    "the {noun} {was} not {-quality} at all",
    "the {noun} {was} never {-quality}",
    "the {noun} {was} new to me and {it} {moved} me",
    "i thought the {noun} {was} {very} {quality}",
)
BODY = 2 * ("{person}", "{fact}", "{opinion}") + (
    "although {-opinion} , {opinion}",
    "{-opinion} but {opinion}",
    "{opinion} and moreover {opinion}",
)
VERDICTS = (
    "all in all i {adored} this {film}",
    "i can only {praise} this {genre} {film}",
    "i give it {nine} out of ten",
    "i would {love} to see it again",
    "i would not {-recommend} this {film}",
    "what a {triumph}",
    "{who} {adored} it too",
)
FEWEST_WORDS, MOST_WORDS = 34, 50  # a body stops at the first sentence that reaches a number drawn from this range

# --- the world ---


# Of words that praise and of words that blame; a filler's first word is the one that tells.
POSITIVE, NEGATIVE = (
    frozenset(word for aspect in ASPECTS for word in (aspect.praise, aspect.blame)[side])
    | {filler.split()[0] for sides in POLAR.values() for filler in sides[side]}
    for side in (0, 1)
)
TELLING = POSITIVE | NEGATIVE
TITLES = tuple(f"the {first} {second}" for first in TITLE_FIRST for second in TITLE_SECOND)


@dataclass(frozen=True)
class Review:
    """One review as whitespace-separated lowercase tokens, and its label: 1 positive, 0 negative."""

    text: str
    label: int


@dataclass(frozen=True)
class Film:
    """What is true of one film; genders are 'm' or 'f'."""

    title: str
    genre: str
    lead: str
    lead_gender: str
    director: str
    director_gender: str
    role: str
    place: str
    country: str
    year: str


@cache
def world(films: int = 160, seed: int = 99) -> tuple[Film, ...]:
    """The fixed films that reviews are about; a smaller world is the beginning of a larger one."""
    if not 1 <= films <= len(TITLES):
        raise ValueError(f"films must be between 1 and {len(TITLES)} (the titles that exist), got {films}")
    rng = random.Random(seed)
    genders = [(first, "m") for first in MEN] + [(first, "f") for first in WOMEN]
    people = [(f"{first} {last}", gender) for first, gender in genders for last in SURNAMES]
    rng.shuffle(people)
    directors, leads = people[:DIRECTORS], people[DIRECTORS : DIRECTORS + LEADS]
    made = []
    for title in rng.sample(TITLES, len(TITLES))[:films]:
        genre = rng.choice(tuple(GENRES))
        role, place = (rng.choice(options) for options in GENRES[genre])
        people = *rng.choice(leads), *rng.choice(directors)
        made.append(Film(title, genre, *people, role, place, rng.choice(COUNTRIES), rng.choice(YEARS)))
    return tuple(made)


def facts(films: int = 160) -> frozenset[str]:
    """The words of the world's names, titles, places, countries and years."""
    phrases = ((f.title, f.lead, f.director, f.place, f.country, f.year) for f in world(films))
    return frozenset(word for phrase in itertools.chain(*phrases) for word in phrase.split()) - {"the"}


class _Scene(NamedTuple):
    words: dict[str, str]  # what the slots that belong to the film hold
    facts: tuple[str, ...]  # every true sentence about it


@cache
def _scenes(films: int) -> tuple[_Scene, ...]:
    """Each film with its slots and every true sentence about it."""
    return tuple(_scene(film, world(films)) for film in world(films))


def _scene(film: Film, films: tuple[Film, ...]) -> _Scene:
    words = {name: getattr(film, name) for name in Film.__dataclass_fields__}
    words["lead_he"], words["lead_his"] = PRONOUNS[film.lead_gender]
    words["director_he"] = PRONOUNS[film.director_gender][0]
    others = [other for other in films if other is not film]
    sentences = [form.format(**words) for form in FACTS]
    sentences += [SAME_LEAD.format(other=o.title, **words) for o in others if o.lead == film.lead]
    sentences += [SAME_DIRECTOR.format(other=o.title, **words) for o in others if o.director == film.director]
    return _Scene(words, tuple(sentences))


# --- the writer ---


@cache
def _slots(form: str) -> tuple[str, ...]:
    return tuple(slot for _, slot, _, _ in Formatter().parse(form) if slot)


def _fill(rng: random.Random, form: str, words: dict[str, str], praise: bool) -> str:
    """The form with the given words, and words of the lexicon that take the given side in its other slots."""
    drawn = {}
    for slot in _slots(form):
        if slot in words:
            continue
        name = slot.removeprefix("-")
        side = int(praise == (name != slot))
        drawn[slot] = rng.choice(NEUTRAL[name] if name in NEUTRAL else POLAR[name][side])
    return form.format(**words, **drawn)


def _clause(rng: random.Random, aspect: Aspect, praise: bool) -> str:
    """One opinion on one aspect of a film, its verb and pronoun agreeing with the noun's number."""
    same, other = (aspect.praise, aspect.blame) if praise else (aspect.blame, aspect.praise)
    noun = rng.choice(aspect.singular + aspect.plural)
    was, it = ("was", "it") if noun in aspect.singular else ("were", "they")
    quality, second = rng.sample(same, 2)
    words = {"noun": noun, "was": was, "it": it, "quality": quality, "second": second, "-quality": rng.choice(other)}
    return _fill(rng, rng.choice(CLAUSES), words, praise)


def _review(rng: random.Random, scene: _Scene, congruence: float) -> Review:
    label = rng.random() < 0.5
    words = scene.words | {slot: rng.choice(NEUTRAL[slot]) for slot in ("film", "who", "when")}

    def deck(cards):
        """Deals every card once before any card returns, so that a review does not repeat itself."""
        return itertools.cycle(rng.sample(cards, len(cards)))

    people, facts_left, aspects = deck(PEOPLE), deck(scene.facts), deck(ASPECTS)

    def part(slot: str, praise: bool) -> str:
        if slot == "fact":
            return next(facts_left)
        if slot == "person":
            return _fill(rng, next(people), words, praise)
        return _clause(rng, next(aspects), praise != slot.startswith("-"))

    tokens = [*_fill(rng, rng.choice(OPENINGS), words, label).split(), "."]
    enough = rng.randint(FEWEST_WORDS, MOST_WORDS)
    while len(tokens) < enough:
        shape, praise = rng.choice(BODY), label == (rng.random() < congruence)
        for word in shape.split():
            tokens += part(word[1:-1], praise).split() if word[0] == "{" else (word,)
        tokens.append(".")
    tokens += [*_fill(rng, rng.choice(VERDICTS), words, label).split(), "."]
    return Review(" ".join(tokens), int(label))


def generate(count: int, seed: int, films: int = 160, congruence: float = 0.8) -> list[Review]:
    """Reviews that depend on the arguments alone: each opinionated sentence agrees with the label with probability
    `congruence` (a concession by its main clause), the verdict always."""
    if count < 0:
        raise ValueError(f"count must be 0 or more, got {count}")
    if not 0 <= congruence <= 1:
        raise ValueError(f"congruence must be between 0 and 1, got {congruence}")
    scenes = _scenes(films)
    rng = random.Random(f"reviews {seed}")  # as a string: the integers 1 and -1 would seed the same stream
    return [_review(rng, rng.choice(scenes), congruence) for _ in range(count)]


def vocabulary(films: int = 160) -> list[str]:
    """Every word that `generate` can produce with this world, sorted; read off the forms and the lexicon."""
    scenes = _scenes(films)
    phrases = [fact for scene in scenes for fact in scene.facts]
    for form in itertools.chain(OPENINGS, PEOPLE, CLAUSES, BODY, VERDICTS):
        phrases += [literal for literal, _, _, _ in Formatter().parse(form)]
        phrases += [scene.words[slot] for slot in _slots(form) for scene in scenes if slot in scene.words]
    phrases += itertools.chain(*NEUTRAL.values(), *itertools.chain(*POLAR.values()), *itertools.chain(*ASPECTS))
    return sorted({word for phrase in phrases for word in phrase.split()} | {"was", "were", "it", "they", "."})
