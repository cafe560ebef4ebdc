"""`elastic read`: a training run of one's own, what it says of drift, and the n and η to begin with.

Reads what a transformers or TRL trainer keeps (`trainer_state.json`, or the folder of a run or a checkpoint), or a CSV
with a column of rewards and one of KLs, a row a step.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from elastic_lib import starting_point
from elastic_lib.figures.own_run import picture

NAMES = {  # what trainers call each; the first that is there is taken
    "reward": ("reward", "rewards/mean", "objective/scores", "env/reward_mean", "eval_reward"),
    "kl": ("kl", "objective/kl", "kl/mean", "actor/kl", "eval_kl"),
    "step": ("step", "global_step", "update", "episode"),
}
FEWEST = 9  # lines: three for each third of a run
DEAR = 4.0  # times as much √KL for a reward at the end as at the start
NEAR, FAR = 0.9, 0.05  # the way of the average from θ0, as a share of the policy's: no average, and no movement


def read(path: Path) -> pd.DataFrame:
    """Step, reward and KL of a log, by row, and what a callback of ours said there."""
    path = Path(path)
    if path.is_dir():
        states = sorted(path.glob("**/trainer_state.json"), key=lambda found: found.stat().st_mtime)
        if not states:
            raise FileNotFoundError(f"{path} holds no trainer_state.json: name the folder of a run, or a CSV")
        path = states[-1]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: name a trainer_state.json, the folder of a run, or a CSV")
    table = _state(path) if path.suffix == ".json" else _csv(path)
    found = {what: next((name for name in names if name in table), None) for what, names in NAMES.items()}
    for what in ("reward", "kl"):
        if found[what] is None:
            known = ", ".join(map(str, table.columns)) or "none"
            raise ValueError(f"{path} has no column {' or '.join(NAMES[what])}; its columns: {known}")
    if found["step"] is None:
        table["step"], found["step"] = np.arange(1, len(table) + 1), "step"
    log = pd.DataFrame({what: pd.to_numeric(table[name], errors="coerce") for what, name in found.items()})
    told = [name for name in table if str(name).startswith("elastic/")]
    log[told] = table[told].apply(pd.to_numeric, errors="coerce")
    log = log.replace([np.inf, -np.inf], np.nan)
    if "elastic/reset" in log:  # perhaps on a line without a reward, which the next one then counts
        so_far = log["elastic/reset"].fillna(0).cumsum()
        so_far = so_far[log[["reward", "kl", "step"]].notna().all(axis=1)]
        log["elastic/reset"] = so_far.diff().fillna(so_far)
    log = log.dropna(subset=["reward", "kl", "step"]).reset_index(drop=True)
    if len(log) < FEWEST:
        raise ValueError(
            f"{path} has {len(log)} lines with a reward and a KL; {FEWEST} are the fewest that tell something"
        )
    return log


def _state(path: Path) -> pd.DataFrame:
    try:
        return pd.DataFrame(json.loads(path.read_text(encoding="utf-8"))["log_history"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is no trainer_state.json: it has no log_history") from None


def _csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path).rename(columns={"reset": "elastic/reset"})  # as a record of ours calls it
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as CSV ({error})") from None


def said(log: pd.DataFrame) -> list[str]:
    """What a log says, in sentences."""
    steps = int(log["step"].iloc[-1])
    first, last = _third(log, 0), _third(log, 2)
    resets = int(log["elastic/reset"].fillna(0).sum()) if "elastic/reset" in log else 0
    lines = [
        f"{len(log)} lines up to step {steps}: reward {log['reward'].iloc[0]:.3g} → {log['reward'].iloc[-1]:.3g}, "
        f"KL {log['kl'].iloc[0]:.3g} → {log['kl'].iloc[-1]:.3g}, {resets} resets."
    ]
    lines += _drift(first, last) if not resets else []
    return [*lines, *_average(log), *_advice(log, steps, resets)]


def _third(log: pd.DataFrame, i: int) -> tuple[float, float]:
    """The gain of reward and of √KL within a third of the run, between means of its first and last part."""
    part = np.array_split(np.arange(len(log)), 3)[i]
    rows = log.iloc[part]
    edge = max(1, len(rows) // 3)
    start, end = rows.iloc[:edge].mean(numeric_only=True), rows.iloc[-edge:].mean(numeric_only=True)
    return end["reward"] - start["reward"], np.sqrt(max(end["kl"], 0)) - np.sqrt(max(start["kl"], 0))


def _drift(first: tuple[float, float], last: tuple[float, float]) -> list[str]:
    (gain, paid), (late_gain, late_paid) = first, last
    if gain <= 0 or paid <= 0:
        return ["In the first third the reward did not rise with the KL: there is nothing to reset yet."]
    if late_paid <= 0:
        return ["No drift: the KL does not grow any more in the last third."]
    if late_gain <= 0:
        return ["Drift: in the last third the KL still grows and the reward does not."]
    dear = (late_paid / late_gain) / (paid / gain)
    if dear > DEAR:
        return [f"Drift: in the last third a reward costs {dear:.1f} times as much √KL as in the first."]
    return [f"Little drift: in the last third a reward costs {dear:.1f} times as much √KL as in the first."]


def _average(log: pd.DataFrame) -> list[str]:
    """Whether the average is one: neither θ itself nor θ0, right before a reset is due."""
    names = ("elastic/distance_init", "elastic/distance_ema_init")
    if any(name not in log for name in names):
        return []
    ways = log[list(names)].dropna()
    ways = ways[ways[names[0]] > 0]
    if not len(ways):
        return []
    share = float((ways[names[1]] / ways[names[0]]).max())
    if share > NEAR:
        return [f"The average does nothing: it went {share:.0%} of the policy's way from θ0. A larger η makes it one."]
    if share < FAR:
        return [
            f"The average stays at θ0: it went {share:.0%} of the policy's way. A reset throws all away; a smaller η."
        ]
    return [f"The average went up to {share:.0%} of the policy's way from θ0."]


def _advice(log: pd.DataFrame, steps: int, resets: int) -> list[str]:
    n, decay = starting_point(max(1, steps))
    begin = "Go on from there" if resets else "To begin with"
    return [
        f"{begin}: ElasticResetCallback(decay={decay:.4f}, reset_every={n}): two resets in such a run, and half of θ0 "
        "left in the average at each. Then look at the frontier, not at the last reward."
    ]


def main(path: Path, out: Path) -> None:
    """Says it, and draws the frontier."""
    if out.exists() and out.resolve() == Path(path).resolve():
        raise ValueError(f"the picture would take the place of the log {path}: give --out another name")
    log = read(path)
    print("\n".join(said(log)))
    picture(log, str(path)).write_html(out)
    print(f"Its frontier: {out}")
