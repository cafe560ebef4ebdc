"""Models, tokenizers and data sets by name: one of ours, a folder, or the hub's, always at a revision.

    from_the_hub("model", "smollm2-135m", Model.from_pretrained)       # from the package index: real_models.py
    from_the_hub("model", "~/my/model", Model.from_pretrained)
    from_the_hub("model", "gpt2@v1", Model.from_pretrained)            # id@revision: a branch, a tag or a commit
    from_the_hub("model", pinned("gpt2", results), …)                  # what `main` was when these results began

A branch moves, so an id that names no revision is asked for at one commit for good: that which `main` had when it was
first asked for. The file that keeps it, revisions.json, lies in the results folder, or in the cache of models where
there is none; env.json says it too.

The hub's libraries try again for a minute where there is no network. Here the hub is asked once whether it answers; if
not, what they have kept serves, or one line says what to do.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError

from elastic_lib.records.files import lock, read_json, sha256, write_json
from elastic_lib.tasks import real_models

T = TypeVar("T")
MEND = f"`elastic models` brings {' and '.join(real_models.MODELS)}, or give a folder that holds one"
PATIENCE = 3.0  # seconds
PINS = "revisions.json"


def from_the_hub(what: str, name: str, load: Callable[..., T], mend: str = MEND) -> T:
    """What `load(folder)` makes of a folder, or `load(id, revision=…)` of what the hub has."""
    folder = real_models.resolve(name)
    if folder is not None:
        try:
            return load(str(folder))
        except (OSError, ValueError, SafetensorError) as error:
            raise ValueError(f"{folder} holds no {what} that can be read ({error}): copy it there again") from error
    where, _, revision = pinned(name, what=what, mend=mend).partition("@")
    called = f"{where} (revision {revision})"
    why = _silence()
    try:
        with _offline() if why else nullcontext():
            return load(where, revision=revision)
    except ImportError:
        raise
    except Exception as error:  # gone, gated, renamed, a script, damaged; or any of its client's own, halfway
        if why or isinstance(error, ConnectionError):
            raise ConnectionError(f"cannot reach the hub for {called}: {why or error}; {mend}") from error
        raise FileNotFoundError(f"the hub's {called} cannot be had ({error}); {mend}") from error


def pinned(name: str, folder: Path | None = None, what: str = "model", mend: str = MEND) -> str:
    """The name as it is, but for an id of the hub without a revision: `id@commit`, the one it is known by in `folder`.

    Who first asks looks up what `main` is, and writes it down for all that come later.
    """
    if "@" in name or name in real_models.MODELS or real_models.resolve(name) is not None:
        return name
    path = (folder or real_models.cache()) / PINS
    key = f"datasets/{name}" if what == "data set" else name
    known = _known(path)
    if key not in known:
        with lock(path.with_name(f".{PINS}.lock")):
            known = _known(path)
            if key not in known:  # nobody asked meanwhile
                known[key] = _main(name, what, mend)
                write_json(path, dict(sorted(known.items())))
    return f"{name}@{known[key]}"


def _known(path: Path) -> dict[str, str]:
    """The commits that a folder goes by; a file that is damaged is not made anew, for that could be another commit."""
    try:
        known = read_json(path) if path.exists() else {}
        if isinstance(known, dict) and all(re.fullmatch("[0-9a-f]{40}", str(commit)) for commit in known.values()):
            return known
    except ValueError:
        pass
    raise ValueError(f"{path} is damaged: write into it again what env.json of the runs says, or remove it")


def _main(name: str, what: str, mend: str) -> str:
    """The commit that `main` is now; without an answer, the one that the hub's libraries have kept."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.file_download import repo_folder_name

    kind = "dataset" if what == "data set" else "model"
    if why := _silence():
        kept = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type=kind) / "refs" / "main"
        if kept.is_file():
            return kept.read_text().strip()
        raise ConnectionError(f"cannot reach the hub for {name}: {why}; {mend}")
    try:
        return HfApi().repo_info(name, repo_type=kind).sha
    except Exception as error:  # gone, gated, renamed; or any of its client's own, halfway
        refusal = ConnectionError if isinstance(error, ConnectionError) else FileNotFoundError
        raise refusal(f"the hub's {name} cannot be had ({error}); {mend}") from error


def rows_from_the_hub(name: str, *part: str, mend: str, most: int | None = None, **which: Any) -> Iterable[dict]:
    """The rows of a data set, or the first `most` of them."""

    try:
        from datasets import load_dataset
    except ImportError as error:
        raise FileNotFoundError(f"pip install datasets to ask the hub for {name}; {mend}") from error

    def load(where: str, revision: str) -> Iterable[dict]:
        rows = load_dataset(where, *part, **which, revision=revision)
        return rows if most is None else list(islice(rows, most))

    try:
        return from_the_hub("data set", name, load, mend)
    except ImportError as error:  # of what reads its files
        raise FileNotFoundError(f"the hub's {name} cannot be had ({error}); {mend}") from error


def used(name: str) -> dict[str, dict[str, str]]:
    """What stands behind a name, for `env.json`: weights and their sha256, or the commit that the hub gave."""
    if name in real_models.MODELS:
        model = real_models.MODELS[name]
        return {name: {"file": model.weights, "sha256": model.files[model.weights]}}
    if (folder := real_models.resolve(name)) is not None:
        files = sorted(path for kind in ("*.safetensors", "*.bin") for path in folder.glob(kind))
        return {name: {"file": ", ".join(f.name for f in files), "sha256": ", ".join(map(sha256, files))}}
    from huggingface_hub import try_to_load_from_cache

    where, _, revision = name.partition("@")
    for file in ("config.json", "adapter_config.json"):
        path = try_to_load_from_cache(where, file, revision=revision or None)
        if isinstance(path, str):
            return {name: {"commit": Path(path).parent.name}}
    return {name: {"commit": "unknown"}}


def _silence() -> str | None:
    """Why the hub does not answer, asked once by its own client, which knows the proxies; None where it does."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    why = [f"no answer from {constants.ENDPOINT} in {PATIENCE:g} s"]

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=PATIENCE)
            why.clear()
        except Exception as error:  # of whichever client the hub's library has
            why[:] = [f"{constants.ENDPOINT}: {error}"]

    asking = threading.Thread(target=ask, daemon=True)  # nothing else bounds how long a name is looked up
    asking.start()
    asking.join(PATIENCE)
    return why[0] if why else None


@contextmanager
def _offline() -> Iterator[None]:
    """Has the hub's libraries look among what they have kept alone, as HF_HUB_OFFLINE does for a whole process."""
    from huggingface_hub import constants

    places = [constants, *filter(None, [sys.modules.get("datasets.config")])]
    before = [place.HF_HUB_OFFLINE for place in places]
    for place in places:
        place.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value
