"""The state of a run between two processes: safetensors and JSON, never pickle, and never half of either."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from elastic_lib.records.files import DamagedRecord, read_sealed, sealed, set_aside, sha256, write_json
from elastic_lib.records.record import GROWING, Record
from elastic_lib.records.tensors import join, split, write


def save(record: Record, step: int, state: dict[str, Any], aside: dict[str, Any]) -> None:
    """A loop's state after so many updates, and what the run has put aside.

    Tensors first, then the JSON that names them: until it is replaced, the former checkpoint holds.
    """
    folder = record.path / "checkpoint"
    folder.mkdir(exist_ok=True)
    tensors, plain = split({"state": state, "aside": aside})
    former = {path.name for path in folder.glob("state-*.safetensors")}
    name = f"state-{step}.safetensors"
    write(tensors, folder / name)
    sizes = record.sizes()
    kept = {file: {"size": size, "sha256": _head_digest(record.path / file, size)} for file, size in sizes.items()}
    content = {"tensors": name, "sha256": sha256(folder / name), "kept": kept, "plain": plain}
    write_json(folder / "checkpoint.json", sealed(content))
    for old in former - {name}:
        (folder / old).unlink()


def load(record: Record) -> dict[str, Any] | None:
    """What `save` left, if it is whole; a damaged record is set aside with all its files."""
    path = record.path / "checkpoint" / "checkpoint.json"
    if not path.exists():
        return None
    try:
        content = read_sealed(path)
        tensors = path.parent / content["tensors"]
        if not tensors.exists() or sha256(tensors) != content["sha256"]:
            raise DamagedRecord(f"{tensors} is damaged")
        for name, head in content["kept"].items():
            if _head_digest(record.path / name, head["size"]) != head["sha256"]:
                raise DamagedRecord(f"{record.path / name} is damaged")
        found = join(load_file(tensors), content["plain"])
        if set(found) != {"state", "aside"} or set(content["kept"]) != set(GROWING):
            raise DamagedRecord(f"{path} was written by another version")
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        set_aside(record.path, str(error) if isinstance(error, DamagedRecord) else f"{path} is damaged ({error})")
        return None
    sizes = {name: head["size"] for name, head in content["kept"].items()}
    return {**found, "sizes": sizes}


def _head_digest(path: Path, size: int) -> str:
    head = path.read_bytes()[:size] if path.exists() else b""
    return hashlib.sha256(head).hexdigest() if len(head) == size else "too short"
