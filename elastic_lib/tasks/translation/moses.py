"""Sentences of real text as words: one spelling, a small tokeniser in the manner of Moses, and its inverse."""

import html
import re
import unicodedata
from collections.abc import Iterable

from elastic_lib.recipe.rules import check_known

LANGUAGES = ("fr", "en", "de")
LOWERCASE = ("after", "before", "never")
PLAIN = str.maketrans(
    {
        **dict.fromkeys("«»“”„‟″", '"'),
        **dict.fromkeys("’‘‚‛‹›`´′", "'"),
        **dict.fromkeys("‐‑‒–−－", "-"),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad"),
        "…": "...",
    }
)
DASH = re.compile(r"\s*(?:[—―]|(?<!-)--+(?!-)|(?<=\s)[–−](?=\s))\s*")
INSIDE_GUILLEMETS = re.compile(r"(?<=«)\s+|\s+(?=»)")
STRAY_BLANK = re.compile(r"\s+(?=[?!;:,%)\]}‽]|\.(?!\d))|(?<=[(\[{])\s+")
SINGLE_QUOTES = re.compile(r"(?<![\w'])'(?=[^\s'])(.*?)(?<=[^\s'])'(?![\w'])")
ELISION = r"(?:[cdjlmnst]|(?:jus|lors|puis|quoi)?qu)'"
WORD = r"['-]?\w+(?:(?:['\-./&@_]|(?<=\d)[,:](?=\d))\w+)*(?:-(?!\w)|'(?!\w))?"
TOKENS = {
    language: re.compile(rf"{first}\.\.+|{WORD}|[^\w\s]", re.IGNORECASE)
    for language, first in {"fr": rf"(?<!\w){ELISION}(?=[\w\"])|", "en": "", "de": ""}.items()
}
ELIDED = re.compile(ELISION, re.IGNORECASE)
COMPOUND = re.compile(r"-\w")
TIGHT_LEFT = {*"?!;:,.%)]}‽°"}
TIGHT_RIGHT = {"fr": {*"([{#"}, "en": {*"([{#$£€"}, "de": {*"([{#"}}


def normalise(text: str, language: str) -> str:
    """One spelling of quotes, dashes, dots and blanks; French loses its blanks before high punctuation."""
    check_known("language", language, LANGUAGES)
    text = unicodedata.normalize("NFC", html.unescape(text))  # Multi30k has some &amp;
    if language == "fr":  # German turns its guillemets the other way round, and sets no blanks inside them
        text = INSIDE_GUILLEMETS.sub("", text)
    text = DASH.sub(" - ", text).translate(PLAIN)
    return " ".join(STRAY_BLANK.sub("", text).split())


def tokenise(text: str, language: str) -> list[str]:
    """The words and marks of a normalised text; only French words are cut at an apostrophe (l', homme)."""
    check_known("language", language, LANGUAGES)
    if "'" in text:  # a quoted word would otherwise keep its quotes, as 'cause and players' rightly do
        text = SINGLE_QUOTES.sub(r" ' \1 ' ", text)
    return TOKENS[language].findall(text)


def detokenise(tokens: Iterable[str], language: str) -> str:
    """The text of tokens: quotes open and close in turn, marks and elided words lean on their neighbours."""
    check_known("language", language, LANGUAGES)
    pieces, opened, leans, after_mark = [], set(), True, False
    for token in tokens:
        quote, closes = token in ('"', "'"), token in opened
        if quote:
            opened ^= {token}
        # A hyphen after a mark ends a compound whose first part is quoted or abbreviated: "Stop"-Schild.
        left = (
            closes if quote else token in TIGHT_LEFT or token.startswith("..") or (after_mark and COMPOUND.match(token))
        )
        pieces.append(token if leans or left else f" {token}")
        leans = (quote and not closes) or token in TIGHT_RIGHT[language]
        after_mark = closes or token == "."
        leans = leans or (language == "fr" and ELIDED.fullmatch(token) is not None)
    return "".join(pieces)


def prepare(text: str, language: str, lowercase: str) -> str:
    """Normalised tokens joined by blanks, lowercased 'after' tokenising (the paper), 'before' (others) or 'never'.

    Moses looks at case and this tokeniser hardly does, so that 'after' and 'before' seldom differ here.
    """
    check_known("lowercase", lowercase, LOWERCASE)
    text = normalise(text, language)
    text = " ".join(tokenise(text.lower() if lowercase == "before" else text, language))
    return text.lower() if lowercase == "after" else text
