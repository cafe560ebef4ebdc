"""Real text from local files, its failures by name, and the tokenizers."""

import gzip
import json
import re
import subprocess
import sys
import types

import pytest

from elastic_lib.tasks import real_text as corpora
from elastic_lib.tasks.real_text import SPECIALS, bpe_tokenizer, data_root, hub_tokenizer, imdb, word_tokenizer
from elastic_lib.tasks.sentiment.world import Review, generate, vocabulary

ROWS = [
    {"text": "Great.<br /><br />Loved  it\tall!", "label": 1, "rating": 9, "id": "0_9"},
    {"text": " Dull<br>and long. ", "label": 0, "rating": 2, "id": "1_2"},
]
TEXTS = [review.text for review in generate(200, seed=0)] + ["Ünïcode – naïve café, 3.5/10!"]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("ELASTIC_DATA", raising=False)
    (tmp_path / "imdb").mkdir()
    return tmp_path


def write(root, data, split="train"):
    path = root / "imdb" / f"{split}.jsonl.gz"
    path.write_bytes(data)
    return path


def lines(*rows):
    return gzip.compress("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows).encode())


def test_reviews_come_back_clean_and_in_order(root):
    write(root, lines(*ROWS))
    assert imdb("train", root) == [Review("Great. Loved it all!", 1), Review("Dull and long.", 0)]


def test_a_file_may_be_plain(root):
    (root / "imdb" / "train.jsonl").write_bytes(gzip.decompress(lines(*ROWS)))
    assert imdb("train", root) == [Review("Great. Loved it all!", 1), Review("Dull and long.", 0)]


def test_the_environment_names_the_folder(root, monkeypatch):
    write(root, lines(ROWS[0]), "test")
    monkeypatch.setenv("ELASTIC_DATA", str(root))
    assert data_root() == root
    assert imdb("test") == [Review("Great. Loved it all!", 1)]


@pytest.mark.parametrize(
    "value, said", [(None, "ELASTIC_DATA is not set"), ("", "not set"), ("/no/such", "not a folder")]
)
def test_a_missing_data_folder_says_what_to_set(monkeypatch, value, said):
    monkeypatch.delenv("ELASTIC_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("ELASTIC_DATA", value)
    with pytest.raises(FileNotFoundError, match=said + r".*imdb/train\.jsonl\.gz"):
        data_root()


def test_a_missing_file_is_named_and_never_replaced_by_the_hub(root, monkeypatch):
    monkeypatch.setenv("ELASTIC_DATA", str(root))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(FileNotFoundError, match=r"train\.jsonl\.gz is missing: copy it there"):
        imdb("train")


def test_a_folder_that_is_named_but_missing_is_never_replaced_by_the_hub(monkeypatch):
    monkeypatch.setenv("ELASTIC_DATA", "/no/such")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(FileNotFoundError, match="not a folder"):
        imdb("train")


def test_without_local_data_the_hub_is_asked(root, monkeypatch):
    def load_dataset(name, split, revision):
        assert (name, split, len(revision)) == ("stanfordnlp/imdb", "test", 40)  # a commit, so that it stays what it is
        return ROWS

    monkeypatch.setattr("elastic_lib.tasks.hub._silence", lambda: None)
    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    assert imdb("test") == [Review("Great. Loved it all!", 1), Review("Dull and long.", 0)]


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="train, test"):
        imdb("validation")


LONG = lines(*({"text": f"{i} " * 50, "label": i % 2} for i in range(2_000)))


@pytest.mark.parametrize(
    "data",
    [
        LONG[: len(LONG) // 2],
        LONG[:-4],
        LONG[:5],
        LONG[:3000] + b"\xff" * 64 + LONG[3064:],
        LONG[:10] + b"\xff" * 64 + LONG[74:],
        LONG[:-8] + bytes(8),
        b"not gzip at all",
        LONG + b"rubbish",
    ],
    ids=["half", "no tail", "no header", "a hole", "early hole", "wrong checksum", "no gzip", "tail of rubbish"],
)
def test_a_damaged_file_is_named_with_its_line_and_what_to_do(root, data):
    path = write(root, data)
    with pytest.raises(ValueError, match=re.escape(str(path)) + r".* line \d+.*copy (it|the file) again"):
        imdb("train", root)


@pytest.mark.parametrize("data", [b"", lines()], ids=["nothing", "no line"])
def test_an_empty_file_is_an_error(root, data):
    write(root, data)
    with pytest.raises(ValueError, match=r"train\.jsonl\.gz holds no line"):
        imdb("train", root)


@pytest.mark.parametrize(
    "bad",
    [
        '{"text": "cut o',
        "",
        "[1, 2]",
        '{"text": "no label"}',
        '{"label": 1}',
        '{"text": 3, "label": 1}',
        '{"text": "unlabelled", "label": -1}',
        '{"text": "odd", "label": "1"}',
        '{"text": "odd", "label": [1]}',
    ],
)
def test_a_bad_line_is_named(root, bad):
    path = write(root, lines(ROWS[0], bad, ROWS[1]))
    with pytest.raises(ValueError, match=re.escape(f"{path}, line 2: ")):
        imdb("train", root)


def test_a_line_that_is_not_utf8_is_named(root):
    path = write(root, gzip.compress(json.dumps(ROWS[0]).encode() + b'\n{"text": "caf\xe9", "label": 1}\n'))
    with pytest.raises(ValueError, match=re.escape(f"{path}, line 2: ")):
        imdb("train", root)


def test_words_have_the_ids_after_the_specials():
    tokenizer = word_tokenizer(["b", "a", "."])
    assert [tokenizer.token_to_id(token) for token in (*SPECIALS, "b", "a", ".")] == [0, 1, 2, 3, 4, 5]
    assert tokenizer.encode("a b .").ids == [4, 3, 5]
    assert tokenizer.decode([1, 4, 3, 5, 2, 0]) == "a b ."
    assert tokenizer.decode([1, 4], skip_special_tokens=False) == "<bos> a"


def test_every_review_survives_the_word_tokenizer():
    tokenizer = word_tokenizer(vocabulary())
    for text in TEXTS[:-1]:
        ids = tokenizer.encode(text).ids
        assert len(ids) == len(text.split())
        assert tokenizer.decode(ids) == text


def test_an_unknown_word_is_an_error():
    with pytest.raises(Exception, match="UNK"):
        word_tokenizer(["a"]).encode("a zebra")


@pytest.mark.parametrize("words", [["a", "b", "a"], ["<eos>"], ["two words"], [""], [" a"]])
def test_words_that_cannot_be_tokens_are_refused(words):
    with pytest.raises(ValueError, match="distinct, without blanks"):
        word_tokenizer(words)


def test_bpe_round_trips_and_keeps_to_its_size():
    tokenizer = bpe_tokenizer(iter(TEXTS), 400)
    assert tokenizer.get_vocab_size() == 400
    assert [tokenizer.token_to_id(token) for token in SPECIALS] == [0, 1, 2]
    for text in [*TEXTS, " two  blanks\nand 日本 never seen"]:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert len(tokenizer.encode(TEXTS[0]).ids) < len(TEXTS[0]) / 2


def test_bpe_is_the_same_in_every_process():
    program = (
        "from elastic_lib.tasks.sentiment.world import generate; from elastic_lib.tasks.real_text import bpe_tokenizer;"
        "print(bpe_tokenizer([review.text for review in generate(200, 0)], 600).to_str())"
    )
    here = bpe_tokenizer(TEXTS[:-1], 600).to_str()
    for threads in ("true", "false"):
        env = {"TOKENIZERS_PARALLELISM": threads, "PYTHONPATH": ":".join(sys.path)}
        there = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
        assert there.stdout.strip() == here


def test_bpe_needs_room_for_every_byte():
    with pytest.raises(ValueError, match="at least 259"):
        bpe_tokenizer(TEXTS, 258)
    assert bpe_tokenizer(TEXTS, 259).get_vocab_size() == 259


def saved(tmp_path, **specials):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=word_tokenizer(["a", "b"]), **specials)
    tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.mark.parametrize(
    "specials, pad",
    [({"eos_token": "<eos>"}, "<eos>"), ({"eos_token": "<eos>", "pad_token": "<pad>"}, "<pad>")],
)
def test_a_hub_tokenizer_can_always_pad(tmp_path, specials, pad):
    assert hub_tokenizer(saved(tmp_path, **specials)).pad_token == pad


def test_a_hub_tokenizer_with_nothing_to_pad_with_is_refused(tmp_path):
    with pytest.raises(ValueError, match="neither a pad nor"):
        hub_tokenizer(saved(tmp_path))


def test_importing_corpora_imports_no_heavy_library():
    program = f"import sys, {corpora.__name__}; print({{'torch', 'datasets', 'transformers'}} & set(sys.modules))"
    there = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == "set()"
