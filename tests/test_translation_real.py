"""Parallel text from local files or the hub, its failures by name, the words and the joint BPE."""

import gzip
import os
import re
import sys
import types
import warnings
from collections import Counter
from pathlib import Path

import pytest

from elastic_lib.machine import doctor
from elastic_lib.tasks.real_text import SPECIALS, local_file
from elastic_lib.tasks.translation import real as parallel
from elastic_lib.tasks.translation.moses import detokenise, normalise, prepare, tokenise
from elastic_lib.tasks.translation.real import FILES, GAME, iwslt, join_short, joint_bpe, multi30k, tatoeba

CAPTIONS = {
    "fr": ["Un chien court.", "Deux chats dorment.", "L'été arrive !"],
    "en": ["A dog runs.", "Two cats sleep.", "Summer comes!"],
    "de": ["Ein Hund läuft.", "Zwei Katzen schlafen.", "Der Sommer kommt!"],
}
COMMIT = "c" * 40  # which `main` is, where no other is named
REAL = Path(os.environ.get("ELASTIC_DATA") or "/nowhere")
needs_real_text = pytest.mark.skipif(
    not all(local_file(REAL, name) for name in FILES["multi30k"] + FILES["tatoeba"]),
    reason="real text: set ELASTIC_DATA to a folder that holds multi30k and tatoeba",
)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("ELASTIC_DATA", raising=False)
    monkeypatch.setenv("ELASTIC_MODELS", str(tmp_path / "models"))
    monkeypatch.setitem(sys.modules, "datasets", None)
    return tmp_path


def write(root, name, sentences, raw=None):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = raw if raw is not None else "".join(f"{sentence}\n" for sentence in sentences).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def captions(root, split="train", **changed):
    for language, sentences in (CAPTIONS | changed).items():
        write(root, f"multi30k/{GAME[split]}.{language}.gz", sentences)


def hub(monkeypatch, answer):
    monkeypatch.setattr("elastic_lib.tasks.hub._silence", lambda: None)
    monkeypatch.setattr("elastic_lib.tasks.hub._main", lambda *_: COMMIT)
    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=answer))


# --- corpora ---


@pytest.mark.parametrize("split", GAME)
def test_captions_come_back_row_by_row(root, split):
    captions(root, split)
    assert multi30k(split, root=root) == CAPTIONS


@pytest.mark.parametrize("load, corpus", [(tatoeba, "tatoeba"), (iwslt, "iwslt")])
def test_pairs_come_from_the_folder_that_the_environment_names(root, monkeypatch, load, corpus):
    write(root, f"{corpus}/en-de/valid.en.gz", CAPTIONS["en"])
    write(root, f"{corpus}/en-de/valid.de", CAPTIONS["de"])  # a plain file serves as well as a gzipped one
    monkeypatch.setenv("ELASTIC_DATA", str(root))
    assert load("en-de", "validation") == {"en": CAPTIONS["en"], "de": CAPTIONS["de"]}


def test_only_a_newline_ends_a_line(root):
    captions(root, fr=["a\u2028b", "c\x0bd", "e\x85f"])
    assert multi30k("train", root)["fr"] == ["a\u2028b", "c\x0bd", "e\x85f"]


def test_all_missing_files_are_named_at_once_beside_those_found(root):
    write(root, "multi30k/val.en", CAPTIONS["en"])
    with pytest.raises(FileNotFoundError) as caught:
        multi30k("validation", root=root)
    assert str(caught.value) == (
        f"{root} lacks 2 of 3 files: missing multi30k/val.fr.gz, multi30k/val.de.gz; found multi30k/val.en. "
        "Put the missing ones there, gzipped or plain (without .gz)"
    )
    with pytest.raises(FileNotFoundError, match=r"lacks 2 of 2 files: .*test\.fr\.gz.*test\.en\.gz; found none"):
        tatoeba("fr-en", "test", root / "no such")


def test_a_folder_that_is_not_there_is_named_with_every_file(root, monkeypatch):
    monkeypatch.setenv("ELASTIC_DATA", "/no/such")
    with pytest.raises(FileNotFoundError, match=r"/no/such is not a folder.*train\.fr\.gz.*train\.de\.gz"):
        multi30k("train")


def test_lines_that_are_not_aligned_are_counted_file_by_file(root):
    captions(root, de=CAPTIONS["de"][:2])
    with pytest.raises(ValueError, match=r"train\.fr\.gz has 3.*train\.en\.gz has 3.*train\.de\.gz has 2"):
        multi30k("train", root=root)


LONG = gzip.compress(b"".join(b"%d some words\n" % i for i in range(20_000)))


@pytest.mark.parametrize(
    "damaged", [LONG[: len(LONG) // 2], LONG[:-4], b"not gzip"], ids=["half", "no tail", "no gzip"]
)
def test_a_damaged_file_is_named(root, damaged):
    captions(root)
    path = root / "multi30k" / "train.en.gz"
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=re.escape(str(path)) + r" is truncated or corrupt after line \d+"):
        multi30k("train", root=root)


def test_a_line_that_is_not_utf8_is_named(root):
    captions(root)
    path = write(root, "multi30k/train.fr.gz", (), raw="un\nété\n".encode("latin-1"))
    with pytest.raises(ValueError, match=re.escape(f"{path}, line 2: not UTF-8")):
        multi30k("train", root=root)


@pytest.mark.parametrize("raw", [b"", b"\n \n\n"])
def test_an_empty_file_is_an_error(root, raw):
    captions(root)
    path = write(root, "multi30k/train.de.gz", (), raw=raw)
    with pytest.raises(ValueError, match=re.escape(str(path)) + " holds no sentence"):
        multi30k("train", root=root)


def test_an_empty_training_sentence_drops_its_row_in_every_language(root):
    captions(root, en=["A dog runs.", " ", "Summer comes!"])
    with pytest.warns(UserWarning, match=r"1 of 3 rows .* dropped .*train\.en\.gz, line 2") as caught:
        loaded = multi30k("train", root=root)
    assert loaded == {language: [column[0], column[2]] for language, column in CAPTIONS.items()}
    assert caught[0].filename == __file__


def test_an_evaluation_set_is_used_whole_or_not_at_all(root):
    captions(root, "test", fr=["", *CAPTIONS["fr"][1:]])
    with pytest.raises(ValueError, match=r"1 of 3 rows of the test set.*test_2016_flickr\.fr\.gz, line 1"):
        multi30k("test", root=root)


def test_rows_that_are_all_incomplete_are_an_error(root):
    captions(root, fr=["a", ""], en=["", "b"], de=["c", "d"])
    with pytest.raises(ValueError, match=r"no row of .*train\.fr\.gz.*every language"):
        multi30k("train", root=root)


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: multi30k("valid"), "unknown split 'valid'; did you mean validation"),
        (lambda: multi30k("val"), "unknown split 'val'; known: train, validation, test"),
        (lambda: tatoeba("en-fr", "train"), "unknown pair 'en-fr'; did you mean fr-en"),
        (lambda: iwslt("fr-de", "train"), "unknown pair 'fr-de'; did you mean"),
        (lambda: iwslt("fr-en", "tests"), "unknown split 'tests'; did you mean test"),
        (lambda: tokenise("a", "es"), "unknown language 'es'"),
        (lambda: prepare("a", "en", "befor"), "unknown lowercase 'befor'; did you mean before"),
    ],
)
def test_what_is_unknown_is_named_with_its_near_misses(root, call, said):
    with pytest.raises(ValueError, match=said):
        call()


# --- the hub ---


def test_the_hubs_sentences_are_split_by_their_english(root, monkeypatch):
    def load_dataset(name, config, split, revision):
        assert re.fullmatch("[0-9a-f]{40}", revision) and revision != COMMIT
        assert (name, config, split) == ("sentence-transformers/parallel-sentences-tatoeba", "en-fr", "train")
        return [{"english": f"Number {i // 2}.", "non_english": f"Nombre {i}."} for i in range(2_000)]

    hub(monkeypatch, load_dataset)
    splits = {split: tatoeba("fr-en", split) for split in ("train", "validation", "test")}
    english = {split: set(rows["en"]) for split, rows in splits.items()}
    assert sum(len(rows["fr"]) for rows in splits.values()) == 2_000
    assert (
        not english["train"] & (english["validation"] | english["test"]) and not english["validation"] & english["test"]
    )
    assert 0 < len(english["test"]) < 30 and list(splits["test"]) == ["fr", "en"]


def test_the_game_is_played_on_local_files_alone(root, monkeypatch):
    hub(monkeypatch, None)  # which has no French captions
    for read in (lambda: multi30k("train"), lambda: iwslt("fr-en", "train")):
        with pytest.raises(FileNotFoundError, match=r"ELASTIC_DATA is not set.*train\.fr\.gz.*train\.en\.gz"):
            read()


@pytest.mark.parametrize(
    "raised, kind",
    [
        (RuntimeError("Dataset scripts are no longer supported"), FileNotFoundError),
        (ConnectionError("offline"), ConnectionError),
        (FileNotFoundError("no such set"), FileNotFoundError),
        (ImportError("install torchcodec"), FileNotFoundError),
    ],
)
def test_what_the_hub_refuses_is_asked_for_as_local_files(root, monkeypatch, raised, kind):
    def load_dataset(*_, **__):
        raise raised

    hub(monkeypatch, load_dataset)
    with pytest.raises(
        kind, match=r"set it to a folder that holds tatoeba/fr-en/train\.fr\.gz, tatoeba/fr-en/train\.en\.gz"
    ):
        tatoeba("fr-en", "train")


# --- words ---


@pytest.mark.parametrize(
    "language, text, normal",
    [
        ("fr", "«\u00a0Où vas-tu\u202f?\u00a0» dit-il\u2009; «non»\u00a0!", '"Où vas-tu?" dit-il; "non"!'),
        ("fr", "L’e\u0301te\u0301…  50\u00a0%", "L'été... 50%"),
        ("de", "»Nein«, sagte er –  „gut“ — und ging.", '"Nein", sagte er - "gut" - und ging.'),
        ("de", "Pflanzen\xadteil\u200b, \t10–12 °C", "Pflanzenteil, 10-12 °C"),
        ("en", " Rock &amp; roll--loud ( very ) , at .08 . ", "Rock & roll - loud (very), at .08."),
    ],
)
def test_one_spelling_of_quotes_dashes_and_blanks(language, text, normal):
    assert normalise(text, language) == normal
    assert normalise(normal, language) == normal


WORDS = [
    ("fr", "L'homme qu'elle n'aime pas aujourd'hui.", "L' homme qu' elle n' aime pas aujourd'hui ."),
    ("fr", "C'est quelqu'un, jusqu'ici ? Va-t'en !", "C' est quelqu'un , jusqu' ici ? Va-t'en !"),
    ("fr", 'Il dit "l\'arc-en-ciel".', 'Il dit " l\' arc-en-ciel " .'),
    ("en", "He doesn't like the players' 1,000.50 cars, Mr. O'Neil's.", None),
    ("en", "At 10:30, 'Stop it!' (twice) for $5 or 5%...", "At 10:30 , ' Stop it ! ' ( twice ) for $ 5 or 5 % ..."),
    ("en", 'A T-shirt in black/white - that\'s "R&B".', 'A T-shirt in black/white - that\'s " R&B " .'),
    (
        "de",
        'Vorder- und Hinterrad, ein "Stop"-Schild: 3,5 m.',
        'Vorder- und Hinterrad , ein " Stop " -Schild : 3,5 m .',
    ),
]


@pytest.mark.parametrize("language, text, tokens", WORDS)
def test_words_and_marks_part_and_come_together(language, text, tokens):
    text = normalise(text, language)
    if tokens:
        assert tokenise(text, language) == tokens.split()
    assert detokenise(tokenise(text, language), language) == text


def test_english_contractions_possessives_and_numbers_stay_whole():
    tokens = tokenise(WORDS[3][1], "en")
    assert tokens == "He doesn't like the players' 1,000.50 cars , Mr . O'Neil's .".split()


@pytest.mark.parametrize("language", ["fr", "en", "de"])
def test_nothing_is_lost_whatever_the_text(language):
    text = normalise("'' \"a\" ``x'' <eos> 日本 ‽ l' (['é]) -- - -5 @home # a_b .. 'tis ' l'\"eau\"", language)
    assert "".join(tokenise(text, language)) == "".join(text.split())
    assert isinstance(detokenise(tokenise(text, language)[::-1], language), str)
    assert tokenise("", language) == [] and detokenise([], language) == ""


def test_lowercase_after_before_and_never():
    assert prepare("L’Été arrive !", "fr", "never") == "L' Été arrive !"
    assert prepare("L’Été arrive !", "fr", "after") == prepare("L’Été arrive !", "fr", "before") == "l' été arrive !"


def test_a_text_can_never_spell_a_special_token():
    assert not any(special in prepare(f"a {' '.join(SPECIALS)} b", "en", "never") for special in SPECIALS)


# --- models' input ---


def prepared():
    return [prepare(text, language, "after") for language, texts in CAPTIONS.items() for text in texts]


def test_the_joint_bpe_gives_back_any_prepared_text():
    tokenizer = joint_bpe(iter(prepared() * 5), 300)
    assert [tokenizer.token_to_id(special) for special in SPECIALS] == [0, 1, 2]
    assert tokenizer.get_vocab_size() == 300
    for text in [*prepared(), "日本 never seen – œuvre", "", " two  blanks "]:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    ids = tokenizer.encode("a dog runs .").ids
    assert tokenizer.decode([1, *ids, 2, 0, 0]) == "a dog runs ."


def test_a_word_is_the_same_tokens_first_or_later_and_never_part_of_two_words():
    tokenizer = joint_bpe(prepared() * 5, 400)
    assert tokenizer.encode("dog runs dog").ids == [
        *tokenizer.encode("dog").ids,
        *tokenizer.encode("runs").ids,
        *tokenizer.encode("dog").ids,
    ]
    assert all("Ġ" not in token[1:] for token in tokenizer.get_vocab() if token != "Ġ")


def test_short_pairs_are_joined_in_twos_and_threes_each_used_once():
    pairs = [(f"s{i}", f"t{i}") for i in range(1_000)]
    joined = join_short(pairs, seed=1)
    assert Counter(len(source.split()) for source, _ in joined) == {1: 550, 2: 150, 3: 50}
    assert all(
        [word[1:] for word in source.split()] == [word[1:] for word in target.split()] for source, target in joined
    )
    assert sorted(word for source, _ in joined for word in source.split()) == sorted(source for source, _ in pairs)
    assert joined == join_short(pairs, seed=1) != join_short(pairs, seed=2)
    assert pairs[0] == ("s0", "t0")


def test_joining_has_its_limits():
    pairs = [("a", "b"), ("c", "d")]
    assert sorted(join_short(pairs, 0, 0, 0)) == pairs
    assert join_short([], 0) == []
    assert len(join_short(pairs, 0, 1, 0)) == 1
    with pytest.raises(ValueError, match="at most 1"):
        join_short(pairs, 0, 0.8, 0.3)


# --- the doctor ---


def test_the_doctor_names_what_is_missing_of_a_corpus(root, monkeypatch):
    captions(root)
    captions(root, "validation")
    monkeypatch.setenv("ELASTIC_DATA", str(root))
    found = {finding.what: finding for finding in doctor._data()}
    assert found["real text: multi30k"].found == "6 of 9 files"
    assert "multi30k/test_2016_flickr.de.gz" in found["real text: multi30k"].mend
    assert "train" not in found["real text: multi30k"].mend
    assert found["real text: tatoeba"].found == "0 of 12 files" and not found["real text: iwslt"].mend
    monkeypatch.delenv("ELASTIC_DATA")
    (only,) = doctor._data()
    assert "imdb/" in only.mend and "multi30k/" in only.mend and "tatoeba/" in only.mend


# --- real text ---


@needs_real_text
def test_the_real_captions_are_aligned_and_whole():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counts = {split: {len(column) for column in multi30k(split, root=REAL).values()} for split in GAME}
    assert counts == {"train": {29_000}, "validation": {1_014}, "test": {1_000}}


@needs_real_text
def test_real_sentences_come_back_from_their_tokens():
    corpora = [multi30k("validation", root=REAL), tatoeba("fr-en", "test", REAL), tatoeba("en-de", "test", REAL)]
    for corpus in corpora:
        for language, column in corpus.items():
            normal = [normalise(text, language) for text in column]
            same = [detokenise(tokenise(text, language), language) == text for text in normal]
            assert sum(same) > 0.995 * len(same)


@needs_real_text
def test_the_local_split_follows_the_rule_that_the_hub_is_split_by():
    for split in ("validation", "test"):
        assert {parallel._share(text) for text in tatoeba("en-de", split, REAL)["en"]} == {split}
