"""Nested states and models as safetensors, whole files or nothing, never pickle."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from elastic_lib.records.files import whole


def save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """A model's state, tied weights and all, as a whole file or nothing."""
    write(split(tensors)[0], path)


def write(tensors: dict[str, torch.Tensor], path: Path, about: dict[str, Any] | None = None) -> None:
    """Writes a whole file or nothing; a full disk is an OSError like everywhere else. `head_of` gives `about` back."""
    try:
        with whole(path) as draft:
            draft.touch()
            mode = draft.stat().st_mode  # of any other file here; safetensors would keep it from everybody else
            save_file(tensors, draft, about and {"about": json.dumps(about, ensure_ascii=False)})
            draft.chmod(mode)
    except OSError as error:
        error.filename = str(path)  # the draft is nobody's business
        raise
    except SafetensorError as error:
        said = re.search(r"os error (\d+)", str(error))
        number = int(said[1]) if said else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from None


def split(state: dict[str, Any], prefix: str = "") -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Nested dicts as flat tensors, named by their path, and the rest in the same nesting."""
    tensors, plain = {}, {}
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            tensors[prefix + name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)  # tied ones too
        elif isinstance(value, dict):
            below, plain[name] = split(value, f"{prefix}{name}/")
            tensors |= below
        else:
            plain[name] = value
    return tensors, plain


def join(tensors: dict[str, torch.Tensor], plain: dict[str, Any]) -> dict[str, Any]:
    """The state that `split` took apart."""
    state: dict[str, Any] = plain
    for path, tensor in tensors.items():
        *folders, name = path.split("/")
        place = state
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = tensor.clone()
    return state
