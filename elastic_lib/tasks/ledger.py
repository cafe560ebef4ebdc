"""The paper's testable statements; their verdicts are computed from records (`verdicts`), never written by hand."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path

from elastic_lib.evidence import Evidence
from elastic_lib.evidence.verdicts import MARKS, Claim, Verdict, judge, tally
from elastic_lib.records.record import own_results, reference_results
from elastic_lib.records.tables import Tables, opened
from elastic_lib.tasks import TASKS

HEADLINES = (  # what the paper is remembered for: chosen by its abstract and conclusions, whatever became of it here
    "translation-reinforce-drifts",
    "translation-elastic-drifts-less",
    "translation-elastic-nearly-best-task",
    "translation-elastic-keeps-english",
    "translation-reset-repairs",
    "translation-elastic-area-over-reinforce",
    "translation-elastic-area-over-kl-lm",
    "translation-elastic-area-over-multitask",
    "sentiment-reset-undoes-drift",
    "sentiment-reset-costs-little-reward",
    "sentiment-elastic-area-over-ppo",
    "sentiment-elastic-area-over-best-ppo",
    "sentiment-elastic-area-over-nlpo",
    "sentiment-elastic-cheaper-at-70",
    "sentiment-elastic-over-to-ema",
    "sentiment-elastic-over-to-init",
    "sentiment-robust-to-decay",
    "sentiment-steadier-than-ppo",
    "sentiment-kl-and-reset-best",
    "sentiment-elastic-over-average",
    "answers-final-drift",
    "answers-final-reward-better",
    "answers-high-reward-90",
    "answers-ppo-pays-tax",
    "answers-elastic-pays-none",
)


def claims(task: str) -> list[Claim]:
    """The statements on a task, in the paper's order."""
    return importlib.import_module(f"elastic_lib.tasks.{task}.claims").CLAIMS


def every_claim() -> list[Claim]:
    """All of them."""
    return [claim for task in TASKS for claim in claims(task)]


def worlds(scale: str, results: Path | None = None, tasks: Iterable[str] = TASKS) -> list[Evidence]:
    """What is known of each task: from the folder that is named, or from one's own results before the reference."""
    if results is not None and not (Path(results) / "records").is_dir() and not Tables(results).there():
        raise FileNotFoundError(f"{results} holds no records; `elastic run … --results {results}` makes them")
    folders = [own_results(scale), reference_results(scale)] if results is None else [results]
    sources = [opened(folder) for folder in folders]
    return [Evidence(task, scale, sources) for task in tasks]


def verdicts(scale: str, results: Path | None = None, tasks: Iterable[str] = TASKS) -> list[Verdict]:
    """Every claim's verdict at a scale, of all tasks or of some."""
    return [verdict for evidence in worlds(scale, results, tasks) for verdict in judged(evidence)]


def judged(evidence: Evidence) -> list[Verdict]:
    """The verdict on every claim of a task, in the paper's order."""
    return [judge(claim, evidence) for claim in claims(evidence.task)]


def against_reference(worlds: list[Evidence]) -> str:
    """One's own records beside the committed ones: how many are equal bit for bit, and where the verdicts differ."""
    own, reference = worlds[0].sources
    ours, theirs = own.runs, reference.runs
    shared = sorted(set(ours) & set(theirs))
    if not shared:
        return ""
    equal = sum(ours[name].status()["fingerprint"] == theirs[name].status()["fingerprint"] for name in shared)
    mine = {v.id: v.verdict for evidence in worlds for v in judged(evidence.alone(own))}
    lines = [
        f"Against the reference: {equal} of {len(shared)} records are equal bit for bit (other CPUs round otherwise)"
    ]
    for verdict in (v for evidence in worlds for v in judged(evidence.alone(reference))):
        if mine[verdict.id] not in (verdict.verdict, "not run"):
            lines.append(f"  {verdict.id}: {mine[verdict.id]} here, {verdict.verdict} there ({verdict.seeds} seeds)")
    return "\n".join(lines if len(lines) > 1 else [*lines, "  Every verdict reached here is the reference's."])


# ---- written out


def table(verdicts: list[Verdict]) -> str:
    """The ledger for a terminal."""
    lines = []
    for v in verdicts:
        lines += [
            f"{MARKS[v.verdict]} {v.verdict:<13}{v.id:<40}{v.numbers():<30}{v.seeds} seeds, claimed: {v.claimed()}"
        ]
        lines += [f"  {v.where}: {v.statement}" + (f" ({v.note})" if v.note else "")]
    return "\n".join([*lines, f"{verdicts[0].scale}: {tally(verdicts)}" if verdicts else "no claims"])


def markdown(verdicts: list[Verdict]) -> str:
    """The ledger as the README shows it."""
    lines = ["| claim of the paper | verdict | effect [95% interval] | claimed | seeds |", "|---|---|---|---|---|"]
    for v in verdicts:
        how = f"{v.measure}; {v.note}" if v.note else v.measure
        lines.append(f"| {v.statement} *{how}* | **{v.verdict}** | {v.numbers()} | {v.claimed()} | {v.seeds} |")
    return "\n".join(lines)
