"""Real parallel text of the Translation Game: aligned corpora and one joint BPE.

The paper plays on Multi30k (French, English, German captions of the same images) after pretraining on IWSLT; Tatoeba's
shorter sentences stand in for IWSLT. All are local files: the hub has no French captions, and IWSLT as a program only,
which today's `datasets` refuses. The test sentences that the answers task reads of Tatoeba it may ask the hub for.
"""

import hashlib
import random
import warnings
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from tokenizers import Tokenizer

from elastic_lib.recipe.rules import check_known
from elastic_lib.tasks.hub import rows_from_the_hub
from elastic_lib.tasks.real_text import asks_the_hub, bpe_tokenizer, data_root, file_lines, local_file
from elastic_lib.tasks.translation.moses import LANGUAGES

PAIRS = ("fr-en", "en-de")
GAME = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
PRETRAINING = {"train": "train", "validation": "valid", "test": "test"}
TATOEBA_ON_THE_HUB = "sentence-transformers/parallel-sentences-tatoeba@cec1343ab5a7a8befe99af4a2d0ca847b6c84743"
FILES = {
    "multi30k": tuple(f"multi30k/{split}.{language}.gz" for split in GAME.values() for language in LANGUAGES),
    **{
        corpus: tuple(
            f"{corpus}/{pair}/{split}.{language}.gz"
            for pair in PAIRS
            for split in PRETRAINING.values()
            for language in pair.split("-")
        )
        for corpus in ("tatoeba", "iwslt")
    },
}
LAYOUT = (
    f"multi30k/SPLIT.LANGUAGE.gz (SPLIT: {', '.join(GAME.values())}; LANGUAGE: {', '.join(LANGUAGES)}) and "
    f"tatoeba/PAIR/SPLIT.LANGUAGE.gz (PAIR: {', '.join(PAIRS)}; SPLIT: {', '.join(PRETRAINING.values())})"
)

# --- corpora ---


def multi30k(split: str, root: Path | None = None) -> dict[str, list[str]]:
    """The captions of 'train', 'validation' or 'test' (that of 2016) in each language, row by row the same image."""
    check_known("split", split, GAME)
    return _local(root, {language: f"multi30k/{GAME[split]}.{language}.gz" for language in LANGUAGES}, split)


def tatoeba(pair: str, split: str, root: Path | None = None) -> dict[str, list[str]]:
    """Everyday sentence pairs, 'fr-en' or 'en-de', of 'train', 'validation' or 'test'."""
    names = _pair_files("tatoeba", pair, split)
    if not asks_the_hub(root):
        return _local(root, names, split)
    (other,) = set(names) - {"en"}
    rows = rows_from_the_hub(TATOEBA_ON_THE_HUB, f"en-{other}", split="train", mend=_mend(names))
    rows = [row for row in rows if _share(row["english"]) == split]
    columns = {"en": "english", other: "non_english"}
    return _complete({language: [row[columns[language]].strip() for row in rows] for language in names}, split, names)


def iwslt(pair: str, split: str, root: Path | None = None) -> dict[str, list[str]]:
    """The paper's pretraining text, IWSLT 2017, 'fr-en' or 'en-de', of 'train', 'validation' or 'test'."""
    return _local(root, _pair_files("iwslt", pair, split), split)


def require(*corpora: str, root: Path | None = None) -> None:
    """Does nothing where these corpora are whole, else names all files that are missing and all that were found."""
    names = [name for corpus in corpora for name in FILES[corpus]]
    root = Path(root).expanduser() if root is not None else data_root(", ".join(names))
    _paths(root, names)


def _pair_files(corpus: str, pair: str, split: str) -> dict[str, str]:
    turned = "-".join(reversed(str(pair).split("-")))
    if turned in PAIRS:
        raise ValueError(f"unknown pair {pair!r}; did you mean {turned}? Its files serve both directions")
    check_known("pair", pair, PAIRS)
    check_known("split", split, PRETRAINING)
    return {language: f"{corpus}/{pair}/{PRETRAINING[split]}.{language}.gz" for language in pair.split("-")}


def _share(english: str) -> str:
    """The split of an English sentence by its hash, so that all its translations, in both pairs, share one split."""
    place = int(hashlib.sha256(english.strip().lower().encode()).hexdigest()[:8], 16) % 1000
    return "test" if place < 12 else "validation" if place < 24 else "train"


def _mend(names: dict[str, str]) -> str:
    files = ", ".join(names.values())
    return f"ELASTIC_DATA is not set, so no file was looked up: set it to a folder that holds {files} (.gz or plain)"


def _paths(root: Path, names: Iterable[str]) -> list[Path]:
    """Where the files lie, or one error that names all that are missing and all that were found."""
    paths = {name: local_file(root, name) for name in names}
    missing = [name for name, path in paths.items() if path is None]
    if missing:
        found = [str(path.relative_to(root)) for path in paths.values() if path]
        raise FileNotFoundError(
            f"{root} lacks {len(missing)} of {len(paths)} files: missing {', '.join(missing)}; found "
            f"{', '.join(found) or 'none'}. Put the missing ones there, gzipped or plain (without .gz)"
        )
    return list(paths.values())


def _local(root: Path | None, names: dict[str, str], split: str) -> dict[str, list[str]]:
    root = Path(root).expanduser() if root is not None else data_root(", ".join(names.values()))
    paths = dict(zip(names, _paths(root, names.values()), strict=True))
    columns = {language: _sentences(path) for language, path in paths.items()}
    if len({len(column) for column in columns.values()}) > 1:
        counts = ", ".join(f"{paths[language]} has {len(column)}" for language, column in columns.items())
        raise ValueError(f"the lines are not aligned: {counts}. Copy the files again from one source")
    return _complete(columns, split, {language: str(path) for language, path in paths.items()})


def _sentences(path: Path) -> list[str]:
    lines = []
    for number, line in enumerate(file_lines(path), start=1):
        try:
            lines.append(line.decode().strip())
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}, line {number}: not UTF-8 ({error}): copy the file again from its source, or mend that line"
            ) from error
    if not any(lines):
        raise ValueError(f"{path} holds no sentence: copy it again from its source")
    return lines


def _complete(columns: dict[str, list[str]], split: str, where: dict[str, str]) -> dict[str, list[str]]:
    """The rows that no language leaves empty: a training set may lose some, an evaluation set is used whole."""
    rows = list(zip(*columns.values(), strict=True))
    holes = [(number, row) for number, row in enumerate(rows, start=1) if not all(row)]
    if len(holes) == len(rows):
        raise ValueError(f"no row of {', '.join(where.values())} has a sentence in every language")
    if not holes:
        return columns
    number, row = holes[0]
    empty = [where[language] for language, sentence in zip(columns, row, strict=True) if not sentence]
    first = f"first {', '.join(empty)}, line {number}"
    if split != "train":
        raise ValueError(
            f"{len(holes)} of {len(rows)} rows of the {split} set have an empty sentence ({first}), and scores are of "
            "whole sets: mend the line, or delete it in every language"
        )
    warnings.warn(
        f"{len(holes)} of {len(rows)} rows have an empty sentence and are dropped in every language ({first})",
        stacklevel=4,
    )
    kept = [row for row in rows if all(row)]
    return {language: list(column) for language, column in zip(columns, zip(*kept, strict=True), strict=True)}


# --- models' input ---


def joint_bpe(texts: Iterable[str], size: int) -> Tokenizer:
    """One BPE for all languages over prepared texts, so that names and numbers are the same tokens in each."""
    return bpe_tokenizer(texts, size, at_blanks=True)


def join_short(
    pairs: list[tuple[str, str]], seed: int, twos: float = 0.3, threes: float = 0.15
) -> list[tuple[str, str]]:
    """The pairs in a new order, a share `twos` of them joined in twos and `threes` in threes, each used once.

    Without long examples a model never trains the positions that longer sentences need.
    """
    if min(twos, threes) < 0 or twos + threes > 1:
        raise ValueError(f"twos and threes are shares of the pairs, together at most 1; got {twos} and {threes}")
    shuffled = list(pairs)
    generator = random.Random(seed)
    generator.shuffle(shuffled)
    in_twos, in_threes = int(twos * len(shuffled)) // 2 * 2, int(threes * len(shuffled)) // 3 * 3
    edges = [*range(0, in_twos, 2), *range(in_twos, in_twos + in_threes, 3)]
    edges += [*range(in_twos + in_threes, len(shuffled) + 1)]
    joined = [
        tuple(" ".join(side) for side in zip(*shuffled[start:end], strict=True)) for start, end in pairwise(edges)
    ]
    generator.shuffle(joined)
    return joined
