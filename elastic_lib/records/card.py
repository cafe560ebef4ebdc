"""The page beside packed records: what the tables are, where the runs come from, what each column means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import groupby

import pyarrow as pa

from elastic_lib.records.record import GLOSSARY
from elastic_lib.records.tables import PLAIN, SUMS, TABLES
from elastic_lib.tasks import TASKS, facts

ROW = dict(runs="a run", curves="an evaluation", samples="a text", paths="a place in weight space")
AT = {
    "run_id": "the run: {task}-{method}-s{seed}-{8 hex of all that is set}",
    "step": "updates made so far",
    "reset": "1 right after a reset, else 0",
}
RUNS = {
    "run_id": f"{AT['run_id']}; the key of all four tables",
    "task": "which experiment of the paper",
    "method": "which algorithm",
    "scale": "which set of sizes",
    "seed": "of all that is random in a run",
    "label": "the method and what was changed of it; null where another version made the run",
    "command": "makes the run again",
    "commit": "of the project, that made it",
    "machine": "the processor",
    "cores": "that the machine has",
    "ran_on": "cpu, or the name of the GPU",
    "threads": "of a process",
    "processes": "that shared the run",
    "bleu": "signature of the score",
    "status": "done: nothing else is packed",
    "step": "updates made",
    "fingerprint": "digest of curve and samples without the seconds and, in later versions, without the KLs to the "
    "pretrained model: equal where two runs are equal bit for bit",
    "curve_columns": "those of `curves` that the run has, in the order of its curve.csv",
    "sha256": "of status.json, which holds the digest of each other file",
}
RUNS |= dict.fromkeys(("python", "torch", "transformers", "tokenizers", "safetensors", "sacrebleu", "numpy", "pandas"),
                      "version") | dict.fromkeys(PLAIN, "the file as it was, byte for byte")  # fmt: skip
BEGUN = {
    "test_before_": "on the test split, before training",
    "test_after_reset_": "on the test split, right after the last reset",
    "test_ema_": "on the test split, at the end, of the average θ̄",
    "test_": "on the test split, at the end",
    "where_before_": "perplexity of test reviews before training, by part of the review and by kind of word",
    "where_end_": "the same at the end",
    "averaged_": "numbers that are averaged, those of adapters among them, and all of the model",
    "began_": "the run whose first updates this one took over, which are its own too, and how many",
    "pretrained_": "how good the pretrained models were that the run started from",
}
SAMPLES = {
    "id": "number of the prompt",
    "prompt": "what the policy was given",
    "text": "what it made of that",
    "reference": "of translation: what it should have made of it",
    "german": "of translation: what the listener made of `text`",
    "german_reference": "of translation: what the listener should have made of it",
    "reward": "of sentiment and answers: what the reward model gives `text`",
}
PATHS = {
    "whose": "policy: of θ; average: of θ̄",
    "point": "its way from θ0, as sums of weights under random signs that all runs share: lengths and angles are kept",
}


def card(made: dict[str, pa.Table], name: str, settings: Mapping[str, str]) -> str:
    """What a stranger reads first; `settings` says what each of a run means."""
    configs = "".join(f"- config_name: {table}\n  data_files: {table}.parquet\n" for table in TABLES)
    runs = made["runs"].to_pylist()
    files = [(f"[{n}.parquet]({n}.parquet)", ROW[n], f"{len(table):,}") for n, table in made.items()]
    parts = [
        f"---\npretty_name: 'Elastic Reset: runs of {name}'\nconfigs:\n{configs}---",
        f"# Elastic Reset: runs of `{name}`",
        f"{len(runs)} finished runs of the experiments of *Language Model Alignment with Elastic Reset* (NeurIPS "
        "2023), made again at other scales: what was set, each evaluation, what the models said at it, and where they "
        "lay in weight space. `elastic pack` writes all files here.",
        _table(("file", "a row is", "rows"), files),
        '```python\nimport pandas as pd\n\nruns = pd.read_parquet("runs.parquet")\n'
        'curves = pd.read_parquet("curves.parquet").merge(runs[["run_id", "label", "seed"]], on="run_id")\n```',
        "Null is what a run does not have: a setting, a measure. A row with `reset` = 1 is an extra one, right after a "
        "reset, at the step of the row before: leave it out where methods are compared. "
        f"`sha256sum -c {SUMS}` tells whether the tables are whole; `elastic unpack --from DIR RUN_ID`, where DIR is "
        "this folder, gives a run its folder back, byte for byte: another folder may hold another run of the same id, "
        "made elsewhere. `elastic claims` judges the paper's claims.",
        "## Where the runs come from",
        _table(("task", "runs", "scale", "seeds", "methods"), _by_task(runs)),
        f"Made by the commits {_counted(runs, 'commit')} on {_counted(runs, 'machine')}. The setting `corpus` says "
        "where the text comes from.",
    ]
    for table, content in made.items():
        told = [(field.name, field.type, _words(table, field.name, settings)) for field in content.schema]
        alike = [[*some] for _, some in groupby(told, key=lambda one: one[1:])]
        rows = [(", ".join(f"`{column}`" for column, *_ in some), *some[0][1:]) for some in alike]
        parts += [f"## {table}.parquet", _table(("column", "type", "what it is"), rows)]
    return "\n\n".join(parts) + "\n"


def _by_task(runs: list[dict]) -> list[tuple]:
    rows = []
    for task, some in groupby(sorted(runs, key=lambda run: str(run["task"])), key=lambda run: run["task"]):
        its = [*some]
        others = (", ".join(map(str, sorted({run[n] for run in its}))) for n in ("scale", "seed", "method"))
        rows.append((task, len(its), *others))
    return rows


def _counted(runs: list[dict], name: str) -> str:
    return ", ".join(f"{value} ({count})" for value, count in Counter(run.get(name) for run in runs).most_common())


def _words(table: str, column: str, settings: Mapping[str, str]) -> str:
    """What a column is."""
    if table == "curves" and column != "run_id":
        return _measure(column)
    if table == "runs":
        begun = next((words for start, words in BEGUN.items() if column.startswith(start)), "")
        return settings.get(column) or RUNS.get(column) or begun
    return (AT | SAMPLES | PATHS)[column]


def _measure(column: str) -> str:
    """What a column of a curve is, by task where tasks differ."""
    said = {task: facts(task).COLUMNS[column] for task in TASKS if column in facts(task).COLUMNS}
    if len(set(said.values())) == 1 and column not in GLOSSARY:
        return next(iter(said.values()))
    general = [GLOSSARY[column]] if column in GLOSSARY and len(said) < len(TASKS) else []
    return "; ".join([*general, *(f"of {task}: {words}" for task, words in said.items())])


def _table(heads: tuple[str, ...], rows: list[tuple]) -> str:
    cells = ([str(cell).replace("|", r"\|").replace("<", "&lt;") for cell in row] for row in rows)
    lines = [heads, ("---",) * len(heads), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
