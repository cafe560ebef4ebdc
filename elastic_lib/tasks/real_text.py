"""Real text and tokenizers: local files first, in the layout that `data_root` names, else the Hugging Face hub."""

import gzip
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from elastic_lib.tasks.hub import from_the_hub, rows_from_the_hub
from elastic_lib.tasks.sentiment.world import Review

SPECIALS = ("<pad>", "<bos>", "<eos>")  # ids 0, 1, 2 in every tokenizer made here
IMDB_SPLITS = ("train", "test")
IMDB_ON_THE_HUB = "stanfordnlp/imdb@e6281661ce1c48d982bc483cf8a173c1bbeb5d31"
IMDB = {split: f"imdb/{split}.jsonl.gz" for split in IMDB_SPLITS}
LAYOUT = f"{IMDB['train']} and {IMDB['test']} (a JSON object with 'text' and 'label' on each line)"
MEND = "copy the file again from its source, or mend or delete that line"
LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


def data_root(layout: str = LAYOUT) -> Path:
    """The folder of local data that ELASTIC_DATA names; `layout` tells an error what it should hold."""
    named = os.environ.get("ELASTIC_DATA", "")
    if not named:
        raise FileNotFoundError(f"ELASTIC_DATA is not set: set it to a folder that holds {layout}")
    root = Path(named).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"ELASTIC_DATA={named} is not a folder: set it to a folder that holds {layout}")
    return root


def asks_the_hub(root: Path | None = None) -> bool:
    """Whether text comes from the hub: no folder is named, neither here nor by ELASTIC_DATA."""
    return root is None and not os.environ.get("ELASTIC_DATA")


def imdb(split: str, root: Path | None = None) -> list[Review]:
    """The IMDB reviews of 'train' or 'test', from `root` or ELASTIC_DATA, or from the hub where neither is given."""
    if split not in IMDB_SPLITS:
        raise ValueError(f"split must be one of {', '.join(IMDB_SPLITS)}, got {split!r}")
    if asks_the_hub(root):
        mend = f"set ELASTIC_DATA to a folder that holds {LAYOUT}"
        rows = rows_from_the_hub(IMDB_ON_THE_HUB, split=split, mend=mend)
        return [Review(_plain(row["text"]), row["label"]) for row in rows]
    return [_review(row, where) for row, where in json_lines(root, IMDB[split])]


def _plain(text: str) -> str:
    return " ".join(LINE_BREAK.sub(" ", text).split())


def _review(row: dict[str, Any], where: str) -> Review:
    if not is_text(row.get("text")) or row.get("label") not in (0, 1):
        raise ValueError(f"{where}: needs a 'text' that is a string and a 'label' that is 0 or 1: {MEND}")
    return Review(_plain(row["text"]), int(row["label"]))


def is_text(value: object) -> bool:
    """Whether it is text that can be written down: JSON can also say half of a character, which no tokenizer takes."""
    return isinstance(value, str) and not re.search(r"[\ud800-\udfff]", value)


def local_file(root: Path, name: str) -> Path | None:
    """The file of this name under `root`, gzipped before plain, or None."""
    paths = (Path(root) / name, Path(root) / name.removesuffix(".gz"))
    return next((path for path in paths if path.is_file()), None)


def json_lines(root: Path | None, name: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of a file of JSON lines, each with the words for where it stands."""
    root = Path(root).expanduser() if root is not None else data_root(name)
    path = local_file(root, name)
    if path is None:
        raise FileNotFoundError(f"{root / name} is missing: copy it there, gzipped or plain (without .gz)")
    number = 0
    for number, line in enumerate(file_lines(path), start=1):
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}: not JSON ({error}): {MEND}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{where}: not a JSON object: {MEND}")
        yield row, where
    if not number:
        raise ValueError(f"{path} holds no line: copy it again from its source")


def file_lines(path: Path) -> Iterator[bytes]:
    """The lines of a plain or gzipped file; the end of a gzipped one is only reached when its checksum is right."""
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as lines:
            for line in lines:
                number += 1
                yield line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is truncated or corrupt after line {number} ({error}): copy it again from its source"
        ) from error


def word_tokenizer(words: Iterable[str]) -> Tokenizer:
    """One token a word of a closed vocabulary: any other word is an error, never silently an <unk>."""
    vocabulary = [*SPECIALS, *words]
    odd = [word for word, times in Counter(vocabulary).items() if times > 1 or word.split() != [word]]
    if odd:
        raise ValueError(f"words must be distinct, without blanks and not in {SPECIALS}: got {odd[:5]}")
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(vocabulary)}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(list(SPECIALS))
    return tokenizer


def bpe_tokenizer(texts: Iterable[str], size: int, at_blanks: bool = False) -> Tokenizer:
    """A byte-level BPE of at most `size` tokens that can spell any text; `at_blanks` for text that is cut into words.

    It has fewer tokens where the texts run out of pairs.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    smallest = len(SPECIALS) + len(alphabet)
    if size < smallest:
        raise ValueError(f"size must be at least {smallest} ({len(SPECIALS)} specials and every byte), got {size}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if at_blanks:
        # The blank before the first word makes it the same tokens there as inside a sentence.
        tokenizer.normalizer = normalizers.Prepend(" ")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(" ", "merged_with_next"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIALS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def hub_tokenizer(name: str):
    """The tokenizer of a transformers model, padding with its end-of-text token if it has no other."""
    from transformers import AutoTokenizer

    tokenizer = from_the_hub("tokenizer", name, AutoTokenizer.from_pretrained)
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ValueError(f"the tokenizer {name!r} has neither a pad nor an end-of-text token to pad with")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
