"""`elastic pack` and `elastic unpack`: finished records to four tables that a stranger can read, and back to folders.

The tables, as `records.tables` describes them, are written only when every file of every run has come back out of them
byte for byte. Nothing here goes through pandas, which would make NaN of null and floats of whole numbers.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from elastic_lib.records import tables
from elastic_lib.records.card import card
from elastic_lib.records.files import DamagedRecord, lock
from elastic_lib.records.record import GROWING, Record
from elastic_lib.records.tables import CURVES, NEWER, PLAIN, SUMS, TABLES, Finished, Tables

Files = dict[str, bytes]


def pack(
    results: Path, target: Path, label: Callable[[dict], str], settings: Mapping[str, str], fewer: bool = False
) -> str:
    """Writes the finished records of `results`, folders over tables, as the tables of `target`; returns what it did.

    All of them or none: ValueError where a record is damaged or would not come back the same, and where a run of the
    tables that are there would be lost, unless `fewer` says so; one that is not done is left out, by name. `label`
    names a recipe, `settings` says what each is.
    """
    target = Path(target)
    with lock(target / ".locks" / "pack", str(target)):
        _settle(target)
        whole, begun = _whole(results)
        records = {run_id: record.files() for run_id, record in whole.items()}
        former = _former(target, set(records), fewer)
        draft = target / ".pack"
        shutil.rmtree(draft, ignore_errors=True)  # of one that was killed
        draft.mkdir()
        try:
            made = _tables(records, label, settings)
            _write(made, draft)
            _compare(records, draft)
            _put(draft / "README.md", card(made, target.name, settings).encode())
            os.replace(draft, target / NEWER)  # from here on the new ones count, whatever happens
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        _settle(target)
    size = sum((target / f"{table}.parquet").stat().st_size for table in TABLES) / 1e6
    seals = dict(zip(made["runs"]["run_id"].to_pylist(), made["runs"]["sha256"].to_pylist(), strict=True))
    new, gone = len(seals.keys() - former.keys()), len(former.keys() - seals.keys())
    other = sum(seals[run_id] != former[run_id] for run_id in seals.keys() & former.keys())
    said = f"{target}: {len(seals)} runs in {size:.1f} MB ({new} new, {other} other than before, {gone} let go)"
    return f"{said}; left out, since they are not done: {', '.join(begun)}" if begun else said


def _settle(target: Path) -> None:
    """Moves what was packed to its place; where a former process was stopped in the middle of it, the rest."""
    newer = target / NEWER
    if newer.is_dir():
        for name in (*(f"{table}.parquet" for table in TABLES), "README.md", SUMS):
            if (newer / name).exists():
                os.replace(newer / name, target / name)
        newer.rmdir()


def unpack(source: Path, run_id: str, results: Path) -> Path:
    """Gives a packed run its folder back under `results`, byte for byte; returns it."""
    found, wrong = tables.packed(source)
    if run_id not in found:
        others = (folder for folder in sorted(Path(source).parent.glob("*/")) if run_id in tables.packed(folder)[0])
        if elsewhere := next(others, None):
            raise ValueError(f"{source} has no packed run {run_id}: {elsewhere} has one, so --from {elsewhere}")
        near = difflib.get_close_matches(run_id, found, n=1)
        held = f"did you mean {near[0]}?" if near else f"it holds {len(found)}, {min(found)} first" if found else ""
        raise ValueError(f"{source} has no packed run {run_id}: {held or '; '.join(wrong) or 'it holds none'}")
    files = found[run_id].files()
    record = Record(Path(results) / "records" / run_id)
    with lock(record.path.parent / ".locks" / run_id):
        if record.path.exists():
            if all((record.path / n).is_file() and (record.path / n).read_bytes() == files[n] for n in files):
                return record.path
            raise ValueError(f"{record.path} is there and differs; move it away, or name another folder by --results")
        draft = record.path.with_name(f".{run_id}.{os.getpid()}")
        draft.mkdir()
        try:
            for name, content in files.items():
                (draft / name).write_bytes(content)
            os.replace(draft, record.path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return record.path


# ---- what is packed


def _whole(results: Path) -> tuple[dict[str, Finished], list[str]]:
    """The records of a folder, and those that are not done; ValueError names those that cannot be packed."""
    packed, wrong = tables.packed(results)
    loose, damaged = tables.folders(results)
    begun = [path.name for path in tables.lying(results) if path.name not in loose | damaged]
    wrong += damaged.values()
    wrong += [f"{run_id}/path.csv is not among the files that its status.json names" for run_id, record in loose.items()
              if (record.path / "path.csv").exists() and "path.csv" not in record.status()["files"]]  # fmt: skip
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        mend = "`elastic run` ends or mends a run; or move it away"
        raise ValueError(f"nothing was packed: {'; '.join(wrong[:5])}{more}. {mend}")
    if not packed and not loose:
        raise ValueError(f"{results} holds no finished records; `elastic run` and `make reproduce` make some")
    return dict(sorted((packed | loose).items())), begun


def _former(target: Path, runs: set[str], fewer: bool) -> dict[str, str]:
    """The runs that the target holds now, with their digests."""
    former = Tables(target)
    if not former.there():
        return {}
    try:
        held = former.runs.select(["run_id", "sha256"]).to_pydict()
    except DamagedRecord as error:
        if fewer:
            return {}
        raise ValueError(f"what {target} holds cannot be told: {error}; --fewer writes over it") from None
    held = dict(zip(held["run_id"], held["sha256"], strict=True))
    if (lost := sorted(held.keys() - runs)) and not fewer:
        raise ValueError(
            f"{target} holds {len(lost)} runs that are not among the {len(runs)} to pack ({lost[0]} first); lay them "
            "beside the others (`elastic unpack`), or let them go by --fewer"
        )
    return held


def _tables(records: dict[str, Files], label: Callable, settings: Mapping[str, str]) -> dict[str, pa.Table]:
    parts: dict[str, list[pa.Table]] = {"curves": [], "samples": [], "paths": []}
    groups = []
    for run_id, files in records.items():
        try:
            if unknown := files.keys() - {*PLAIN, *GROWING}:
                raise ValueError(f"another version left {', '.join(sorted(unknown))}")
            texts = {name: content.decode() for name, content in files.items()}
            groups.append(_row(run_id, texts, label))
            parts["curves"].append(tables.curve_rows(run_id, texts["curve.csv"]))
            parts["samples"].append(tables.sample_rows(run_id, texts["samples.jsonl"]))
            parts["paths"].append(tables.path_rows(run_id, texts.get("path.csv", "")))
        except (ValueError, TypeError, LookupError, pa.ArrowException) as error:
            raise ValueError(f"{run_id} cannot be packed ({type(error).__name__}: {error})") from None
    return {"runs": _runs(groups, list(settings))} | {
        name: pa.concat_tables(some).combine_chunks() for name, some in parts.items()
    }


def _row(run_id: str, texts: dict[str, str], label: Callable[[dict], str]) -> tuple[dict[str, Any], ...]:
    """What `runs` says of a run: who it is, what was set, where it ran, how it ended, and the files themselves."""
    recipe, env, status = (json.loads(texts[name]) for name in PLAIN)
    try:
        name = label(recipe)
    except ValueError as error:
        name = None
        warnings.warn(f"{run_id} was made by another version ({error}): packed, but without a label", stacklevel=2)
    plan = recipe.pop("reset", {})
    who = {"run_id": run_id} | {n: recipe.pop(n) for n in ("task", "method", "scale", "seed")} | {"label": name}
    where = {{"device": "ran_on"}.get(n, n): value for n, value in env.items()}
    ended = {n: value for n, value in status.items() if n not in ("files", "seal")}
    kept = {n: texts[n] for n in PLAIN}
    kept["curve_columns"] = texts["curve.csv"].partition("\n")[0]
    kept["sha256"] = hashlib.sha256(texts["status.json"].encode()).hexdigest()
    return who, recipe | plan, where, ended, kept


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested names joined by _."""
    flat = {}
    for name, value in content.items():
        flat |= _flat(value, f"{prefix}{name}_") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _runs(rows: list[tuple[dict[str, Any], ...]], settings: list[str]) -> pa.Table:
    """A column for every name that any run has, the settings in the order of the recipe."""
    columns: dict[str, pa.Array] = {}
    for group in zip(*rows, strict=True):
        every: dict[str, Any] = {}
        for one in group:
            _unite(every, one)
        flat = [_flat(one) for one in group]
        for name in sorted(_flat(every), key=lambda n: settings.index(n) if n in settings else len(settings)):
            if name in columns:
                raise ValueError(f"two things would be the column {name!r} of runs.parquet")
            columns[name] = _column([one.get(name) for one in flat])
    return pa.table(columns)


def _unite(whole: dict[str, Any], part: dict[str, Any]) -> None:
    """Adds the names that are new, those within a name beside the others there."""
    for name, value in part.items():
        if isinstance(value, dict):
            _unite(whole.setdefault(name, {}), value)
        else:
            whole.setdefault(name, value)


def _column(values: list[Any]) -> pa.Array:
    """Values in their own type; in JSON where there are several."""
    kinds = {type(value) for value in values if value is not None}
    for known, kind in (({bool}, pa.bool_()), ({int}, pa.int64()), ({int, float}, pa.float64()), ({str}, pa.string())):
        if kinds <= known:
            return pa.array(values, kind)
    return pa.array([value if value is None else json.dumps(value, ensure_ascii=False) for value in values])


# ---- written, and looked at again


def _write(made: dict[str, pa.Table], draft: Path) -> None:
    """The tables and their digests; what repeats as numbers of a dictionary, which numbers of a curve do not."""
    repeats = {"curves": [field.name for field in CURVES if not pa.types.is_floating(field.type)]}
    sums = ""
    for name, table in made.items():
        path = draft / f"{name}.parquet"
        how = dict(compression="zstd", compression_level=19, dictionary_pagesize_limit=2**26, data_page_size=2**26)
        pq.write_table(table, path, use_dictionary=repeats.get(name, True), row_group_size=max(len(table), 1), **how)
        sums += f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
    _put(draft / SUMS, sums.encode())


def _compare(records: dict[str, Files], draft: Path) -> None:
    """Reads the tables as anybody will, and refuses what does not come back out of them byte for byte."""
    found, wrong = tables.packed(draft)
    if wrong:
        raise DamagedRecord("; ".join(wrong))
    for run_id, files in records.items():
        for name, content in files.items():
            if (back := found[run_id].text(name).encode()) != content:
                lines = zip_longest(content.split(b"\n"), back.split(b"\n"))
                number, (was, would_be) = next((i, both) for i, both in enumerate(lines, 1) if both[0] != both[1])
                raise ValueError(
                    f"{run_id} cannot be packed: line {number} of {name}, {_short(was)}, would come back as "
                    f"{_short(would_be)}; only what this version writes can be told from its values"
                )


def _short(line: bytes | None) -> str:
    text = repr("" if line is None else line.decode())
    return text if len(text) <= 100 else f"{text[:60]} … {text[-35:]}"


def _put(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
