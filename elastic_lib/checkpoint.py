"""The state of a run between two processes: safetensors and JSON, never pickle, and never half of either."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from elastic_lib.records import GROWING, DamagedRecord, Record, read_json, set_aside, sha256, write_json


def save(record: Record, loop, aside: dict[str, Any]) -> None:
    """A loop's state and what the run has put aside.

    Tensors first, then the JSON that names them: until it is replaced, the former checkpoint holds.
    """
    folder = record.path / "checkpoint"
    folder.mkdir(exist_ok=True)
    tensors, plain = _split({"state": loop.state_dict(), "aside": aside})
    former = {path.name for path in folder.glob("state-*.safetensors")}
    name = f"state-{loop.step}.safetensors"
    _write(tensors, folder / name)
    sizes = record.sizes()
    kept = {file: {"size": size, "sha256": _head_digest(record.path / file, size)} for file, size in sizes.items()}
    content = {"tensors": name, "sha256": sha256(folder / name), "kept": kept, "plain": plain}
    write_json(folder / "checkpoint.json", content)
    for old in former - {name}:
        (folder / old).unlink()


def save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """A model's state, tied weights and all, as a whole file or nothing."""
    _write(_split(tensors)[0], path)


def _write(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Writes a whole file or nothing; a full disk is an OSError like everywhere else."""
    draft = path.with_name(f".{path.name}")
    try:
        save_file(tensors, draft)
        os.replace(draft, path)
    except SafetensorError as error:
        number = errno.ENOSPC if f"os error {errno.ENOSPC}" in str(error) else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from None
    finally:
        draft.unlink(missing_ok=True)


def load(record: Record) -> dict[str, Any] | None:
    """What `save` left, if it is whole; a damaged record is set aside with all its files."""
    path = record.path / "checkpoint" / "checkpoint.json"
    if not path.exists():
        return None
    try:
        content = read_json(path)
        tensors = path.parent / content["tensors"]
        if not tensors.exists() or sha256(tensors) != content["sha256"]:
            raise DamagedRecord(f"{tensors} is damaged")
        for name, head in content["kept"].items():
            if _head_digest(record.path / name, head["size"]) != head["sha256"]:
                raise DamagedRecord(f"{record.path / name} is damaged")
        found = _join(load_file(tensors), content["plain"])
        if set(found) != {"state", "aside"} or set(content["kept"]) != set(GROWING):
            raise DamagedRecord(f"{path} was written by another version")
    except (DamagedRecord, KeyError, TypeError, SafetensorError) as error:
        set_aside(record.path, str(error) if isinstance(error, DamagedRecord) else f"{path} is damaged ({error})")
        return None
    sizes = {name: head["size"] for name, head in content["kept"].items()}
    return {**found, "sizes": sizes}


def _head_digest(path: Path, size: int) -> str:
    head = path.read_bytes()[:size] if path.exists() else b""
    return hashlib.sha256(head).hexdigest() if len(head) == size else "too short"


def _split(state: dict[str, Any], prefix: str = "") -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Nested dicts as flat tensors, named by their path, and the rest in the same nesting."""
    tensors, plain = {}, {}
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            tensors[prefix + name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)  # tied ones too
        elif isinstance(value, dict):
            below, plain[name] = _split(value, f"{prefix}{name}/")
            tensors |= below
        else:
            plain[name] = value
    return tensors, plain


def _join(tensors: dict[str, torch.Tensor], plain: dict[str, Any]) -> dict[str, Any]:
    """The state that `_split` took apart."""
    state: dict[str, Any] = plain
    for path, tensor in tensors.items():
        *folders, name = path.split("/")
        place = state
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = tensor.clone()
    return state
