"""Records to tables, in the figures' names and order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from elastic_lib.cells import Cells, area
from elastic_lib.figures import LOOKS, Setting, chosen, name_of


def final_scores(cells: Cells, settings: Iterable[Setting]) -> pd.DataFrame:
    """Final test scores and hypervolume of each setting, mean ± standard error over seeds (Table 2)."""
    labels = sorted(
        chosen(cells, settings), key=lambda x: (list(LOOKS).index(cells.recipes[x].method), -cells.recipes[x].beta)
    )
    rows = []
    for label in labels:
        average = cells.recipes[label].method == "track"
        tests = [record.status()["test_ema" if average else "test"] for record in cells.found[label].values()]
        columns = ("ema_task", "ema_drift") if average else ("task", "drift")
        shares = [area(curve, *columns) for curve in cells.common(label).values()]
        rows.append((name_of(cells, label), *_test_scores(tests), _plus_minus(pd.Series(shares)), len(tests)))
    if labels:
        before = [record.status()["test_before"] for record in cells.found[labels[0]].values()]
        rows.insert(0, ("Zero-shot", *_test_scores(before), "0", len(before)))
    heads = ["method", "↑ sentiment", "↓ perplexity", "↑ hypervolume", "seeds"]
    return pd.DataFrame(rows, columns=heads).set_index("method")


def _test_scores(tests: list[dict[str, float]]) -> tuple[str, str]:
    table = pd.DataFrame(tests)
    return _plus_minus(table["task"]), _plus_minus(table["drift"])


def _plus_minus(values: pd.Series) -> str:
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{values.mean():.3f} ± {error:.3f}"
