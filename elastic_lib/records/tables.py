"""Finished records as four tables, and reading them as if each lay in a folder of its own.

    {results}/runs.parquet      a row a run: what was set, where it ran, how it ended, and its JSON files as they were
    {results}/curves.parquet    a row an evaluation
    {results}/samples.parquet   a row a text
    {results}/paths.parquet     a row a place in weight space
    {results}/SHA256SUMS        the digests of the four

The rows of a run stand together, in the order of the lines that they were; what was empty or not there is null. Each
file that grows has a pair of functions, `curve_rows` and `curve_text` for one: what the first takes apart, the second
writes again, byte for byte. `records.packed` makes the tables.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from elastic_lib.records.files import DamagedRecord
from elastic_lib.records.record import GLOSSARY, GROWING, Record
from elastic_lib.tasks import TASKS, facts

TABLES = ("runs", "curves", "samples", "paths")
SUMS = "SHA256SUMS"
NEWER = ".packed"  # where files lie that were packed and are being moved: they count instead of those beside it
PLAIN = ("recipe.json", "env.json", "status.json")  # each a column of `runs`, as it was
MEND = "`git checkout` brings a committed one back, `elastic pack` makes it from the records"

MEASURES = GLOSSARY | {name: words for task in TASKS for name, words in facts(task).COLUMNS.items()}
TEXT, NUMBER, WHOLE = pa.string(), pa.float64(), pa.int64()
AT = (("run_id", TEXT), ("step", WHOLE), ("reset", WHOLE))
COUNTS = ("step", "iteration", "reset")
SPOKEN = ("prompt", "text", "reference", "german", "german_reference")
CURVES = pa.schema([("run_id", TEXT), *((name, WHOLE if name in COUNTS else NUMBER) for name in MEASURES)])
SAMPLES = pa.schema([*AT, ("id", WHOLE), *((name, TEXT) for name in SPOKEN), ("reward", NUMBER)])
PATHS = pa.schema([*AT, ("whose", TEXT), ("point", pa.list_(NUMBER))])
RUNS = pa.schema([(name, TEXT) for name in ("run_id", "curve_columns", "sha256", *PLAIN)])  # what reading needs of it
KNOWN = {"runs": RUNS, "curves": CURVES, "samples": SAMPLES, "paths": PATHS}


# ---- the files that grow, as rows and back


def curve_rows(run_id: str, text: str) -> pa.Table:
    """What `curve.csv` says."""
    header, *lines = text.removesuffix("\n").split("\n")
    if unknown := set(header.split(",")) - set(MEASURES):
        raise ValueError(f"columns of curve.csv without a word in the glossary: {sorted(unknown)}")
    cells = [line.split(",") for line in lines]
    columns = {name: [row[i] for row in cells] for i, name in enumerate(header.split(","))}
    columns["run_id"] = [run_id] * len(lines)
    read = {TEXT: str, WHOLE: int, NUMBER: float}
    arrays = [
        [read[field.type](cell) if cell else None for cell in columns.get(field.name, [""] * len(lines))]
        for field in CURVES
    ]
    return pa.table([pa.array(values, field.type) for values, field in zip(arrays, CURVES, strict=True)], CURVES)


def curve_text(rows: pa.Table, header: str) -> str:
    """`curve.csv` with these columns; a number is written as Python writes it."""
    columns = rows.select(header.split(",")).to_pydict().values()
    lines = (",".join("" if cell is None else repr(cell) for cell in row) for row in zip(*columns, strict=True))
    return "".join(f"{line}\n" for line in (header, *lines))


def sample_rows(run_id: str, text: str) -> pa.Table:
    """What `samples.jsonl` says."""
    return pa.Table.from_pylist([json.loads(line) | {"run_id": run_id} for line in text.split("\n")[:-1]], SAMPLES)


def sample_text(rows: pa.Table) -> str:
    """`samples.jsonl`, its keys in the order of the columns."""
    said = ({name: cell for name, cell in row.items() if cell is not None} for row in _without_run(rows).to_pylist())
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in said)


def path_rows(run_id: str, text: str) -> pa.Table:
    """What `path.csv` says."""
    cells = [line.split(",") for line in text.split("\n")[:-1]]
    rows = [(run_id, int(step), int(reset), whose, [float(x) for x in point]) for step, reset, whose, *point in cells]
    return pa.Table.from_pylist([dict(zip(PATHS.names, row, strict=True)) for row in rows], PATHS)


def path_text(rows: pa.Table) -> str:
    """`path.csv`, four digits a number."""
    placed = zip(*_without_run(rows).to_pydict().values(), strict=True)
    return "".join(
        ",".join([f"{step},{reset},{whose}", *(f"{x:.4g}" for x in point)]) + "\n"
        for step, reset, whose, point in placed
    )


def _without_run(rows: pa.Table) -> pa.Table:
    return rows.drop_columns("run_id")


# ---- reading


class Rows:
    """A table whose rows are found by run."""

    def __init__(self, table: pa.Table):
        self.table = table
        runs = table["run_id"].combine_chunks().dictionary_encode()
        names, codes = runs.dictionary.to_pylist(), np.asarray(runs.indices)
        starts = np.flatnonzero(np.diff(codes, prepend=-1)).tolist()
        ends = [*starts[1:], len(codes)]
        self.spans = {names[codes[start]]: (start, end) for start, end in zip(starts, ends, strict=False)}
        self._frames: dict[str, pd.DataFrame] = {}

    def of(self, run_id: str) -> pa.Table:
        """The rows of a run."""
        start, end = self.spans.get(run_id, (0, 0))
        return self.table.slice(start, end - start)

    def frame_of(self, run_id: str, columns: list[str]) -> pd.DataFrame:
        """Some columns of a run's rows; those of all runs are made at once, since runs have the same ones."""
        start, end = self.spans.get(run_id, (0, 0))
        if (key := ",".join(columns)) not in self._frames:
            self._frames[key] = self.table.select(columns).to_pandas()
        return self._frames[key].iloc[start:end].reset_index(drop=True)


class Tables:
    """The tables of a folder; each is read when it is first asked for, and only if it is what was written."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    def there(self) -> bool:
        """Whether there is anything of them."""
        return any(self.at(f"{name}.parquet").exists() for name in TABLES)

    def at(self, name: str) -> Path:
        """Where a file of them lies."""
        newer = self.folder / NEWER / name
        return newer if newer.exists() else self.folder / name

    def read(self, name: str, needed: Iterable[str]) -> pa.Table:
        """A whole table, or DamagedRecord that says what is wrong with it."""
        path = self.at(f"{name}.parquet")
        if not path.exists():
            raise DamagedRecord(f"{path} is missing; {MEND}")
        content = path.read_bytes()
        if self.digests.get(path.name) != hashlib.sha256(content).hexdigest():
            raise DamagedRecord(f"{path} is damaged, or {SUMS} beside it is: they disagree; {MEND}")
        try:
            table = pq.ParquetFile(pa.BufferReader(content)).read()
        except (pa.ArrowException, OSError):
            raise DamagedRecord(f"{path} is no table of Parquet; {MEND}") from None
        if lacking := [column for column in needed if column not in table.column_names]:
            raise DamagedRecord(f"{path} has no column {', '.join(lacking)}: another version wrote it; {MEND}")
        for field in KNOWN[name]:
            if field.name in table.column_names and not _same_type(table.field(field.name).type, field.type):
                raise DamagedRecord(
                    f"column {field.name} of {path} is no {field.type}: another version wrote it; {MEND}"
                )
        filled, what = (RUNS.names, "run_id, JSON or digest") if name == "runs" else (["run_id"], "run_id")
        if any(table[column].null_count for column in filled):
            raise DamagedRecord(f"{path} has rows without a {what}; {MEND}")
        return table

    @cached_property
    def digests(self) -> dict[str, str]:
        path = self.at(SUMS)
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
        return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}

    @cached_property
    def runs(self) -> pa.Table:
        return self.read("runs", RUNS.names)

    @cached_property
    def curves(self) -> Rows:
        return Rows(self.read("curves", ["run_id"]))

    @cached_property
    def samples(self) -> Rows:
        return Rows(self.read("samples", SAMPLES.names))

    @cached_property
    def paths(self) -> Rows:
        return Rows(self.read("paths", PATHS.names))


def _same_type(one: pa.DataType, other: pa.DataType) -> bool:
    """Whether two columns hold the same; the items of a list go by several names."""
    if pa.types.is_list(one) and pa.types.is_list(other):
        return one.value_type == other.value_type
    return one == other


class PackedRecord:
    """A finished run in tables, for readers the same as a `Record`."""

    def __init__(self, tables: Tables, row: dict[str, Any]):
        self.tables, self.run_id, self._row = tables, row["run_id"], row

    def recipe(self) -> dict[str, Any]:
        """What `Recipe.from_dict` makes the run's recipe of."""
        return json.loads(self._row["recipe.json"])

    def env(self) -> dict[str, Any]:
        """Versions, machine, threads."""
        return json.loads(self._row["env.json"])

    def status(self) -> dict[str, Any]:
        """How it ended: test scores, fingerprint, the digests of its files."""
        return json.loads(self._row["status.json"])

    def curve(self) -> pd.DataFrame:
        """One row an evaluation."""
        return self.tables.curves.frame_of(self.run_id, self._row["curve_columns"].split(","))

    def samples(self) -> pd.DataFrame:
        """What the model said to the same prompts at every evaluation."""
        rows = self.tables.samples.of(self.run_id)
        said = [name for name in rows.column_names if name != "run_id" and rows[name].null_count < len(rows)]
        return self.tables.samples.frame_of(self.run_id, said)

    def moves(self) -> pd.DataFrame:
        """Sketches of θ ("policy") and θ̄ ("average") minus θ0 at every evaluation; empty where none were kept."""
        if "path.csv" not in self.status()["files"] or self.run_id not in self.tables.paths.spans:
            return pd.DataFrame(columns=["step", "reset", "whose"])
        rows = self.tables.paths.frame_of(self.run_id, PATHS.names[1:])
        points = rows.pop("point")
        if points.isna().any() or points.map(len).nunique() > 1:
            raise DamagedRecord(f"paths.parquet of {self.tables.folder} has points of several lengths; {MEND}")
        points = np.stack(points)
        return pd.concat([rows, pd.DataFrame(points, columns=range(3, 3 + points.shape[1]))], axis=1)

    def text(self, name: str) -> str:
        """A file of its folder, as the tables have it."""
        if name == "curve.csv":
            return curve_text(self.tables.curves.of(self.run_id), self._row["curve_columns"])
        if name == "samples.jsonl":
            return sample_text(self.tables.samples.of(self.run_id))
        if name == "path.csv":
            return path_text(self.tables.paths.of(self.run_id))
        return self._row[name]

    def files(self) -> dict[str, bytes]:
        """What its folder would hold, by name; DamagedRecord where that is not what was packed."""
        digests = self.status()["files"] | {"status.json": self._row["sha256"]}
        files = {name: self.text(name).encode() for name in digests}
        for name, content in files.items():
            if hashlib.sha256(content).hexdigest() != digests[name]:
                raise DamagedRecord(f"{name} of {self.run_id} does not come back from {self.tables.folder} as it was")
        return files


# ---- wherever a record lies

Finished = Record | PackedRecord


class Results(NamedTuple):
    """The finished records of a results folder by run_id."""

    folder: Path
    runs: dict[str, Finished]


def opened(source: Path | Results) -> Results:
    """A results folder with its records, each checked once; one that is open already is not opened again."""
    return source if isinstance(source, Results) else Results(Path(source), load(source))


def load(results: Path) -> dict[str, Finished]:
    """The finished records under `results`, folders over tables; what is damaged is named and left out."""
    found, wrong = packed(results)
    loose, damaged = folders(results)
    for complaint in (*wrong, *(f"{error}; `elastic run` makes it again" for error in damaged.values())):
        warnings.warn(f"left out: {complaint}", stacklevel=2)
    return dict(sorted((found | loose).items()))


def folders(results: Path) -> tuple[dict[str, Record], dict[str, str]]:
    """Records that lie in folders: the finished ones, and what is wrong with those that are damaged."""
    found, damaged = {}, {}
    for path in lying(results):
        try:
            if Record(path).done():
                found[path.name] = Record(path)
        except DamagedRecord as error:
            damaged[path.name] = str(error)
    return found, damaged


def lying(results: Path) -> list[Path]:
    """The folders of records, finished or not; none that was set aside."""
    every = sorted((Path(results) / "records").glob("*/"))
    return [path for path in every if not path.name.startswith(".") and ".damaged-" not in path.name]


def packed(results: Path) -> tuple[dict[str, PackedRecord], list[str]]:
    """Records that lie in tables, and what is wrong with those that cannot be read."""
    tables = Tables(results)
    if not tables.there():
        return {}, []
    try:
        runs, curves = tables.runs, tables.curves.table.column_names
    except DamagedRecord as error:
        return {}, [str(error)]
    rows = runs.select(RUNS.names).to_pylist()
    found, lacking, wrong = {}, {}, []
    for row in rows:
        if why := _odd(row):
            wrong.append(f"a run of {tables.folder / 'runs.parquet'} {why}; {MEND}")
        elif missing := [name for name in row["curve_columns"].split(",") if name not in curves]:
            lacking.setdefault(", ".join(missing), []).append(row["run_id"])
        else:
            found[row["run_id"]] = PackedRecord(tables, row)
    path = tables.folder / "curves.parquet"
    return found, wrong + [
        f"{len(names)} of {len(rows)} runs, {names[0]} first: {path} has no column {columns}; {MEND}"
        for columns, names in lacking.items()
    ]


def _odd(row: dict[str, str]) -> str:
    """What is wrong with a row of `runs` that nobody of ours wrote, '' where nothing is."""
    run_id = row["run_id"]
    if Path(run_id).name != run_id or run_id.startswith(".") or "\0" in run_id:
        return f"has a name that leads out of its folder, {run_id!r}"
    try:
        recipe, env, status = (json.loads(row[name]) for name in PLAIN)
    except (ValueError, RecursionError):
        return f"({run_id}) has files that are no JSON"
    files = status.get("files") if isinstance(status, dict) else None
    if not (isinstance(recipe, dict) and isinstance(env, dict) and isinstance(files, dict)):
        return f"({run_id}) says nothing of its files"
    if unknown := set(files) - {*PLAIN, *GROWING}:
        return f"({run_id}) has files of another version, {', '.join(sorted(unknown))}"
    return ""
