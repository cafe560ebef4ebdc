"""`elastic read`: a training run of one's own, what it says of drift, and the n and η to begin with.

Reads what a transformers or TRL trainer keeps (`trainer_state.json`, or the folder of a run or a checkpoint), or a CSV
with a column of rewards and one of KLs, a row a step.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from elastic_lib import starting_point
from elastic_lib.figures.own_run import picture

NAMES = {  # what trainers call each, with "train/" before it or without; the first that is there is taken
    "reward": ("reward", "rewards/mean", "objective/scores", "env/reward_mean", "eval_reward"),
    "kl": ("kl", "objective/kl", "kl/mean", "actor/kl", "eval_kl"),
    "step": ("step", "global_step", "update"),  # optimiser steps: an episode is a sample, wandb's _step is a line
}
RESET = re.compile(r"elastic(_\d+)?/reset")
FEWEST = 9  # lines: three for each third of a run
DEAR = 4.0  # times as much √KL for a reward at the end as at the start
NEAR, FAR = 0.9, 0.05  # the way of the average from θ0, as a share of the policy's: no average, and no movement


def find(path: Path) -> Path:
    """The log that is meant: of a run's folder, the checkpoint that has come furthest."""
    path = Path(path)
    if path.is_dir() and (curve := path / "curve.csv").is_file():
        return curve  # of a record of ours
    if path.is_dir():
        states = sorted(path.glob("**/trainer_state.json"))
        if not states:
            raise FileNotFoundError(f"{path} holds no trainer_state.json: name the folder of a run, or a CSV")
        runs = sorted({at.parent.parent if at.parent.name.startswith("checkpoint-") else at.parent for at in states})
        if len(runs) > 1:
            raise ValueError(f"{path} holds {len(runs)} runs: name one of them, {runs[0]} or {runs[1]}, say")
        path = max(states, key=_steps_done)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: name a trainer_state.json, the folder of a run, or a CSV")
    return path


def read(path: Path) -> pd.DataFrame:
    """Step, reward and KL of a log, by row, and what a callback of ours said there; `counted`: no steps were told."""
    path = find(path)
    table = _state(path) if path.suffix == ".json" else _csv(path)
    table = table.rename(
        columns={f"train/{name}": name for names in NAMES.values() for name in names if name not in table}
    )
    found = {what: next((name for name in names if name in table), None) for what, names in NAMES.items()}
    for what in ("reward", "kl"):
        if found[what] is None:
            known = ", ".join(map(str, table.columns)) or "none"
            raise ValueError(f"{path} has no column {' or '.join(NAMES[what])}; its columns: {known}")
    if counted := found["step"] is None:
        table["step"], found["step"] = np.arange(1, len(table) + 1), "step"
    log = pd.DataFrame({what: pd.to_numeric(table[name], errors="coerce") for what, name in found.items()})
    told = _of_the_callback_that_resets(table)
    log[list(told)] = table[list(told.values())].apply(pd.to_numeric, errors="coerce")
    log = log.replace([np.inf, -np.inf], np.nan).sort_values("step", kind="stable")
    alike = pd.DataFrame({"step": log["step"], "has": log.notna().apply(tuple, axis=1)})  # one may be of an evaluation
    log = log[log["step"].isna() | ~alike.duplicated(keep="last")]  # a resumed run logs some steps again
    if "elastic/reset" in log:  # perhaps on a line without a reward, which the next one then counts
        so_far = log["elastic/reset"].fillna(0).cumsum()
        so_far = so_far[log[["reward", "kl", "step"]].notna().all(axis=1)]
        log["elastic/reset"] = so_far.diff().fillna(so_far)
    log = log.dropna(subset=["reward", "kl", "step"]).reset_index(drop=True)
    if len(log) < FEWEST:
        raise ValueError(
            f"{path} has {len(log)} lines with a reward and a KL; {FEWEST} are the fewest that tell something"
        )
    log.attrs["counted"] = counted
    return log


def _of_the_callback_that_resets(table: pd.DataFrame) -> dict[str, str]:
    """The columns of the one of our callbacks that resets most, by the names that a first one gives them."""
    resets = {
        name: pd.to_numeric(table[name], errors="coerce").sum() for name in map(str, table) if RESET.fullmatch(name)
    }
    if not resets:
        return {}
    prefix = max(resets, key=resets.get).removesuffix("reset")
    return {name.replace(prefix, "elastic/", 1): name for name in map(str, table) if name.startswith(prefix)}


def _steps_done(state: Path) -> int:
    try:
        return int(json.loads(state.read_text(encoding="utf-8"))["global_step"])
    except (ValueError, KeyError, TypeError):
        return -1  # read alone, it says what is wrong with it


def _state(path: Path) -> pd.DataFrame:
    try:
        return pd.DataFrame(json.loads(path.read_text(encoding="utf-8"))["log_history"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is no trainer_state.json: it has no log_history") from None


def _csv(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as CSV ({error})") from None
    named = any(RESET.fullmatch(str(name)) for name in table)
    return table if named else table.rename(columns={"reset": "elastic/reset"})  # as a record of ours calls it


def said(log: pd.DataFrame) -> list[str]:
    """What a log says, in sentences."""
    steps = int(log["step"].iloc[-1])
    first, last = _third(log, 0), _third(log, 2)
    resets = int(log["elastic/reset"].fillna(0).sum()) if "elastic/reset" in log else 0
    lines = [
        f"{len(log)} lines up to step {steps}: reward {log['reward'].iloc[0]:.3g} → {log['reward'].iloc[-1]:.3g}, "
        f"KL {log['kl'].iloc[0]:.3g} → {log['kl'].iloc[-1]:.3g}, {resets} resets."
    ]
    if log.attrs["counted"]:
        lines.append(
            f"No column of optimiser steps ({', '.join(NAMES['step'])}): lines are counted in their place, so multiply "
            "the n below by the steps from one line to the next."
        )
    lines += _drift(first, last) if not resets else []
    return [*lines, *_average(log), *_advice(steps, resets)]


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


def _advice(steps: int, resets: int) -> list[str]:
    n, _ = starting_point(max(1, steps))
    begin = "Go on from there" if resets else "To begin with"
    return [
        f"{begin}: ElasticResetCallback(decay=decay_for(left=0.5, moves={n}), reset_every={n}): two resets in such a "
        "run, and half of θ0 left in the average at each. Then look at the frontier, not at the last reward."
    ]


def main(path: Path, out: Path) -> None:
    """Says it, and draws the frontier."""
    found = find(path)
    if out.exists() and out.resolve() == found.resolve():
        raise ValueError(f"the picture would take the place of the log {found}: give --out another name")
    log = read(found)
    print(f"{found}:", *said(log), sep="\n")
    picture(log, str(found)).write_html(out)
    print(f"Its frontier: {out}")
