"""`elastic export` and `elastic import`: the results of a machine as one file with checksums, for another machine.

The archive is a zip of the tables that `elastic pack` writes, with their card and digests, and nothing else: what has
another name, another size than it says or another digest is refused, and no name leads out of its folder.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from pathlib import Path

from elastic_lib.records import tables
from elastic_lib.records.files import lock, sha256, whole
from elastic_lib.records.record import others_results
from elastic_lib.records.tables import SUMS, TABLES

NAMES = (*(f"{table}.parquet" for table in TABLES), "README.md", SUMS)
LARGEST = 4 * 10**9  # bytes of all files
MEND = "ask for it again, made by `elastic export`"


def export(packed: Path, archive: Path) -> Path:
    """Puts packed results into one file, whole or not at all."""
    archive = Path(archive)
    with whole(archive) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as file:  # compressed already
        for name in NAMES:
            file.write(packed / name, name)
    return archive


def take_in(archive: Path, name: str, scale: str) -> Path:
    """Unpacks and checks the results of another machine under its name; returns their folder."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(f"a machine's name is letters, digits, '-', '.' and '_'; got {name!r}")
    if not Path(archive).is_file():
        what = "is a folder" if Path(archive).is_dir() else "is not there"
        raise FileNotFoundError(f"{archive} {what}: name a file that `elastic export` made")
    target = others_results(name, scale)
    with lock(target.with_name(f".{scale}.lock")):
        if target.exists():
            raise ValueError(f"{target} is there; remove it, or import under another name by --as")
        draft = target.with_name(f".{scale}.draft")
        shutil.rmtree(draft, ignore_errors=True)  # of one that was killed
        draft.mkdir()
        try:
            _unpack(Path(archive), draft)
            _check(Path(archive), draft, scale)
            os.replace(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return target


def _unpack(archive: Path, draft: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as file:
            held = file.infolist()
            if sorted(one.filename for one in held) != sorted(NAMES):
                odd = sorted({one.filename for one in held} ^ set(NAMES)) or ["a name twice"]
                raise ValueError(f"{archive} is no export of ours, for {', '.join(odd[:4])}: {MEND}")
            if sum(one.file_size for one in held) > LARGEST:
                raise ValueError(f"{archive} would unpack to more than {LARGEST // 10**9} GB: {MEND}")
            for one in held:
                with file.open(one) as source, (draft / one.filename).open("wb") as into:
                    shutil.copyfileobj(source, into)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{archive} is damaged ({error}): {MEND}") from None


def _check(archive: Path, draft: Path, scale: str) -> None:
    said = tables.Tables(draft).digests
    for table in TABLES:
        if said.get(f"{table}.parquet") != sha256(draft / f"{table}.parquet"):
            raise ValueError(f"{archive}: {table}.parquet is not what {SUMS} says: {MEND}")
    found, wrong = tables.packed(draft)
    for run in found.values():
        run.files()  # every file of every run comes back as it was
    if wrong or not found:
        raise ValueError(f"{archive} holds no whole run ({'; '.join(wrong)}): {MEND}")
    if scale not in (held := sorted({run.recipe()["scale"] for run in found.values()})):
        raise ValueError(f"{archive} holds runs of {', '.join(held)}, none of {scale}: add --scale {held[0]}")
