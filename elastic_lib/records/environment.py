"""What the numbers of a record depend on beside its recipe and its task: versions, the commit, the machine."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

LIBRARY = Path(__file__).parents[1]
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "sacrebleu", "numpy", "pandas")


def environment(device: torch.device, processes: int = 1) -> dict[str, Any]:
    """What a run is made by and on."""
    return {
        "commit": _commit() or "unknown",
        "code": code(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "machine": _processor(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "processes": processes,
    }


def _commit() -> str:
    git = ["git", "-C", str(LIBRARY), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:  # a slim container has none
        return ""


@functools.cache
def code() -> str:
    """Of the library's files, whether they were committed or not."""
    digest = hashlib.sha256()
    for path in sorted(LIBRARY.rglob("*.py")):
        digest.update(f"{path.relative_to(LIBRARY)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
