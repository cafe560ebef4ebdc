"""How costs grow: an update's seconds and peak memory with its sizes, and the reading of records with their number.

What grows is doubled four times, and the slope of a line through the logarithms says how its cost follows: 1 is in
proportion, 2 with the square.
"""

from __future__ import annotations

import functools
import json
import math
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elastic_lib.machine import game as bench_game
from elastic_lib.machine import timing
from elastic_lib.machine.cost import ADAPTERS, MB, NO_KL, loop_of, peaks_of, rounds_of
from elastic_lib.machine.timing import Figure
from elastic_lib.progress import Progress
from elastic_lib.recipe import Recipe
from elastic_lib.records.files import sha256
from elastic_lib.records.packed import pack
from elastic_lib.records.record import Record
from elastic_lib.records.tables import SUMS, Tables
from elastic_lib.tasks import ledger
from elastic_lib.tasks.bases import pretrained

# of which task, which of its settings, and through which values
GROWN = {
    "parameters": ("sentiment", ("lm_layers",), (2, 4, 8, 16, 32)),
    "batch": ("sentiment", ("batch", "minibatch"), (16, 32, 64, 128, 256)),
    "response length": ("sentiment", ("length",), (16, 32, 64, 128, 256)),
    "adapters": ("answers", ("lora_rank",), (2, 4, 8, 16, 32)),
}
SMALL = {
    "sentiment": dict(batch=16, minibatch=16, epochs=2, length=16, context=300, train_reviews=200, eval_prompts=16,
                      eval_reviews=16),
    "answers": dict(batch=16, minibatch=16, epochs=2),
}  # fmt: skip
RECORDS = (10, 100, 1000, 10_000)
STEEPEST = 1.1  # of all slopes
FEW_ROUNDS = 3
NOISE = 1.0  # MB, by which peaks differ from process to process


def measure() -> Iterator[tuple[str, Figure]]:
    """Of an update of PPO with Elastic Reset, and of reading records."""
    with tempfile.TemporaryDirectory() as folder:
        for what in GROWN:
            yield from _growth(what, Path(folder) / what)
        yield "records: seconds", _reading(Path(folder))


def _growth(what: str, folder: Path) -> Iterator[tuple[str, Figure]]:
    """Seconds and peak memory of an update at each size; what every process holds is no growth."""
    task, names, values = GROWN[what]
    recipes = {value: _grown(task, dict.fromkeys(names, value)) for value in values}
    bases = dict(zip(values, _bases(task, recipes.values(), folder), strict=True))
    loops = {value: loop_of(recipe, bases[value]) for value, recipe in recipes.items()}
    sizes = list(values)
    if what in ("parameters", "adapters"):
        sizes = [sum(p.numel() for p in loop.policy.parameters() if p.requires_grad) for loop in loops.values()]
    rounds = rounds_of(what, loops, size=1, count=min(FEW_ROUNDS, timing.ROUNDS))
    yield f"{what}: seconds", slope(what, sizes, list(zip(*rounds.values(), strict=True)), "s/update")
    peaks = peaks_of(what, ((value, recipes[value], bases[value]) for value in values))
    yield f"{what}: memory", slope(what, sizes, [[high / MB for (high,) in peaks.values()]], "MB", beyond=NOISE)


def _grown(task: str, settings: dict[str, int]) -> Recipe:
    """Elastic Reset without a KL, small but for what grows; its resets follow each other as its plan says."""
    settings = NO_KL[task] | SMALL[task] | settings
    if task == "sentiment":
        return timing.recipe_of("elastic", **settings)
    return Recipe(task, "elastic", bench_game.SCALE, **(ADAPTERS | settings))


def _bases(task: str, recipes: Iterable[Recipe], folder: Path) -> Iterator[Path]:
    """The models of each; adapters of all ranks sit on the same."""
    for i, recipe in enumerate(recipes):
        if task == "sentiment":
            (folder / str(i)).mkdir(parents=True)
            yield timing.random_base(recipe, folder / str(i)).base
        else:
            yield pretrained(recipe, folder).base


def slope(what: str, sizes: list[int], rounds: list[Sequence[float]], unit: str, beyond: float | None = None) -> Figure:
    """The exponent that a cost grows with, fitted in each round; of what is `beyond` the least, if asked.

    Beyond means by more than this, which is no growth, and both counted from the smallest size.
    """
    middle = [statistics.median(costs) for costs in zip(*rounds, strict=True)]
    curve = {"over": what, "unit": unit, "sizes": sizes, "costs": middle, "beyond": beyond is not None}
    curve["fitted"] = _points(sizes, middle, beyond)
    slopes = [_exponent(_points(sizes, costs, beyond)) for costs in rounds]
    return timing.at_most(timing.figure(slopes, "slope"), STEEPEST) | {"curve": curve}


def _points(sizes: list[int], costs: Sequence[float], beyond: float | None) -> list[tuple[float, float]]:
    points = zip(sizes, costs, strict=True)
    if beyond is None:
        return list(points)
    return [(x - sizes[0], y - costs[0]) for x, y in points if y - costs[0] > beyond and x > sizes[0]]


def _exponent(points: list[tuple[float, float]]) -> float:
    """0 where there is no line to fit, since nothing grew."""
    xs, ys = ([math.log(point[i]) for point in points] for i in range(2))
    return statistics.linear_regression(xs, ys).slope if len(points) > 1 else 0.0


def _reading(folder: Path) -> Figure:
    """Seconds until the runs of a packed folder are known by setting, and each curve was read, by their number."""
    one, seconds = _packed(folder / "one"), []
    with Progress("records", len(RECORDS)) as bar:
        for count in (RECORDS[0], *RECORDS):  # the first reading of all imports what the others find
            many = _repeated(one, count, folder / f"{len(seconds)}")
            seconds.append(timing.seconds(functools.partial(_read, many)))
            bar.update(len(seconds) - 1)
    return slope("records", list(RECORDS), [seconds[1:]], "s")


def _read(results: Path) -> None:
    (evidence,) = ledger.worlds("smoke", results, ["sentiment"])
    for by_seed in evidence.found.values():
        for record in by_seed.values():
            evidence.curve(record)


def _packed(folder: Path) -> Tables:
    """A record as short as a run of `smoke` leaves, in tables."""
    recipe = Recipe("sentiment", "elastic", "smoke")
    record = Record.of(recipe, folder)
    record.start(recipe, {"commit": "unknown"}, None)
    for step in range(0, recipe.updates + 1, recipe.eval_every):
        row = dict(step=step, iteration=0, reset=0, task=0.5, drift=2.0)
        record.add(row, [{"id": i, "prompt": "a prompt", "text": "and what follows it"} for i in range(4)])
    record.finish(fingerprint="none")
    pack(folder, folder / "packed", lambda stored: Recipe.from_dict(stored).label(), {})
    return Tables(folder / "packed")


def _repeated(one: Tables, count: int, folder: Path) -> Path:
    """Tables of as many runs, each the same run with another seed and name."""
    folder.mkdir()
    (run,) = one.runs.to_pylist()
    recipe = json.loads(run["recipe.json"])
    names = [f"{run['run_id']}-{seed}" for seed in range(count)]
    runs = [run | {"run_id": name, "recipe.json": json.dumps(recipe | {"seed": seed})}
            for seed, name in enumerate(names)]  # fmt: skip
    made = {"runs": pa.Table.from_pylist(runs, one.runs.schema)}
    for table, rows in (("curves", one.curves.table), ("samples", one.samples.table), ("paths", one.paths.table)):
        every = rows.take(np.tile(np.arange(len(rows)), count))
        column = pa.array(np.repeat(np.array(names, object), len(rows)), pa.string())
        made[table] = every.set_column(every.column_names.index("run_id"), "run_id", column)
    for table, rows in made.items():
        pq.write_table(rows, folder / f"{table}.parquet")
    paths = [folder / f"{table}.parquet" for table in made]
    (folder / SUMS).write_text("".join(f"{sha256(path)}  {path.name}\n" for path in paths))
    return folder
