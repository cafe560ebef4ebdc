"""Files that are whole or not there: written in one go, known by their digest, locked by the kernel."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]  # of the project, where it runs from a clone


class DamagedRecord(ValueError):
    """A record or checkpoint that is not what was written."""


def write_json(path: Path, content: Any) -> None:
    """Writes a whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


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
def lock(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Only one process at a time gets past it; the kernel frees it when that process dies, however it dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
