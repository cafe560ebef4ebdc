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
    former = set(folder.glob("state-*.safetensors"))
    tensors = _write(record, f"state-{step}", "checkpoint", state, aside)
    for old in former - {tensors}:
        old.unlink()


def keep(record: Record, step: int, state: dict[str, Any], aside: dict[str, Any]) -> None:
    """The same for other runs that begin as this one does: it stays when the run is done."""
    (record.path / "checkpoint").mkdir(exist_ok=True)
    _write(record, f"after-{step}", f"after-{step}", state, aside)


def _write(record: Record, tensors_name: str, name: str, state: dict[str, Any], aside: dict[str, Any]) -> Path:
    path = record.path / "checkpoint" / f"{tensors_name}.safetensors"
    tensors, plain = split({"state": state, "aside": aside})
    write(tensors, path)
    sizes = record.sizes()
    kept = {file: {"size": size, "sha256": _head_digest(record.path / file, size)} for file, size in sizes.items()}
    content = {"tensors": path.name, "sha256": sha256(path), "kept": kept, "plain": plain}
    write_json(path.with_name(f"{name}.json"), sealed(content))
    return path


def load(record: Record) -> dict[str, Any] | None:
    """What `save` left, if it is whole; a damaged record is set aside with all its files."""
    path = record.path / "checkpoint" / "checkpoint.json"
    try:
        return _read(record, path) if path.exists() else None
    except DamagedRecord as error:
        set_aside(record.path, str(error))
        return None


def kept(record: Record, step: int) -> dict[str, Any] | None:
    """What `keep` left; nothing where it is damaged or not there, since who asks can do without."""
    path = record.path / "checkpoint" / f"after-{step}.json"
    try:
        return _read(record, path) if path.exists() else None
    except DamagedRecord:
        return None


def _read(record: Record, path: Path) -> dict[str, Any]:
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
    except DamagedRecord:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise DamagedRecord(f"{path} is damaged ({error})") from None
    sizes = {name: head["size"] for name, head in content["kept"].items()}
    return {**found, "sizes": sizes}


def _head_digest(path: Path, size: int) -> str:
    head = path.read_bytes()[:size] if path.exists() else b""
    return hashlib.sha256(head).hexdigest() if len(head) == size else "too short"
