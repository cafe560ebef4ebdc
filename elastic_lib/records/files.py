"""Files that are whole or not there: written in one go, known by their digest, locked by the kernel."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what a disk without locks says
ROOT = Path(__file__).resolve().parents[2]  # of the project, where it runs from a clone


class DamagedRecord(ValueError):
    """A record or checkpoint that is not what was written."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A draft beside `path` that takes its place once all is written; where that fails, nothing stays of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes a whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as draft, draft.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def user_cache(name: str) -> Path:
    """A folder of ours in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "elastic-reset" / name


def read_json(path: Path) -> Any:
    """The content of a JSON file; a clear error where it is cut short."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedRecord(f"{path} is not whole JSON ({error})") from None


def head_of(path: Path) -> dict[str, Any]:
    """What a safetensors file of ours says about itself (`tensors.write`), without reading its numbers."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            head = json.loads(file.read(min(length, os.path.getsize(path))))
        return json.loads(head["__metadata__"]["about"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedRecord(f"{path} is damaged, or no file of this project's: {error!r}") from None


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The content with a digest of itself, by which a reader knows whether it is what was written."""
    body = {name: value for name, value in content.items() if name != "seal"}
    return body | {"seal": hashlib.sha256(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")).hexdigest()}


def read_sealed(path: Path) -> dict[str, Any]:
    """A JSON object that `sealed` made, or one of before there were seals; DamagedRecord where it was changed since."""
    content = read_json(path)
    if not isinstance(content, dict) or ("seal" in content and sealed(content) != content):
        raise DamagedRecord(f"{path} is damaged")
    return content


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def set_aside(path: Path, why: str) -> Path:
    """Renames a damaged file or folder out of the way and says so."""
    number = 1
    while (target := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(target)
    warnings.warn(f"{why}; set aside as {target.name}, made again", stacklevel=2)
    return target


@contextmanager
def lock(path: Path, what: str = "") -> Iterator[None]:
    """Only one process at a time gets past it; the kernel frees it when that process dies, however it dies.

    Who has to wait for `what` is told for whom: the file names the process that has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b", buffering=0) as file:
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if what:
                    holder = path.read_text(encoding="utf-8", errors="replace") or "another process"
                    print(f"{what}: {holder} is at it; waiting for it to end", file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            error.filename = str(path)
            raise
        with suppress(OSError):  # a full disk keeps nobody from his work
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
