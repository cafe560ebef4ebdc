"""The paper's testable statements; their verdicts are computed from records (`verdicts`), never written by hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from elastic_lib import claims_ablations, claims_answers, claims_sentiment, claims_translation, records
from elastic_lib.cells import Cells
from elastic_lib.verdicts import Verdict, judge

OF_TASK = {  # in the paper's order
    "translation": claims_translation.CLAIMS,
    "sentiment": claims_sentiment.CLAIMS + claims_ablations.CLAIMS,
    "answers": claims_answers.CLAIMS,
}
CLAIMS = [claim for claims in OF_TASK.values() for claim in claims]

HEADLINES = (  # what the paper is remembered for: chosen by its abstract and conclusions, whatever became of it here
    "game-reinforce-drifts",
    "game-elastic-drifts-less",
    "game-elastic-nearly-best-task",
    "game-elastic-keeps-english",
    "game-reset-repairs",
    "game-elastic-area-over-reinforce",
    "game-elastic-area-over-kl-lm",
    "game-elastic-area-over-multitask",
    "imdb-reset-undoes-drift",
    "imdb-reset-costs-little-reward",
    "imdb-elastic-area-over-ppo",
    "imdb-elastic-area-over-best-ppo",
    "imdb-elastic-area-over-nlpo",
    "imdb-elastic-cheaper-at-70",
    "imdb-elastic-over-to-ema",
    "imdb-elastic-over-to-init",
    "imdb-robust-to-decay",
    "imdb-steadier-than-ppo",
    "imdb-kl-and-reset-best",
    "imdb-elastic-over-average",
    "stack-final-drift",
    "stack-final-reward-better",
    "stack-high-reward-90",
    "stack-ppo-pays-tax",
    "stack-elastic-pays-none",
)


def sources(scale: str, results: Path | None = None) -> list[Path]:
    """The folder that was named, or one's own results before the reference."""
    if results is not None:
        if not (Path(results) / "records").is_dir():
            raise FileNotFoundError(f"{results} holds no records; `elastic run … --results {results}` makes them")
        return [Path(results)]
    return [records.own_results(scale), records.reference_results(scale)]


def ledger(scale: str, results: Path | None = None, tasks: Iterable[str] = tuple(OF_TASK)) -> list[Verdict]:
    """Every claim's verdict at a scale, of all tasks or of some."""
    folders, verdicts = sources(scale, results), []
    for task in tasks:
        verdicts += judged(Cells(task, scale, folders))
    return verdicts


def judged(cells: Cells) -> list[Verdict]:
    """The verdict on every claim of a task, in the paper's order."""
    return [judge(claim, cells) for claim in OF_TASK[cells.task]]


def against_reference(scale: str) -> str:
    """One's own records beside the committed ones: how many are equal bit for bit, and where the verdicts differ."""
    own, reference = records.own_results(scale), records.reference_results(scale)
    ours, theirs = records.load(own), records.load(reference)
    shared = sorted(set(ours) & set(theirs))
    if not shared:
        return ""
    equal = sum(ours[name].status()["fingerprint"] == theirs[name].status()["fingerprint"] for name in shared)
    mine = {v.id: v.verdict for v in ledger(scale, own)}
    lines = [
        f"Against the reference: {equal} of {len(shared)} records are equal bit for bit (other CPUs round otherwise)"
    ]
    for verdict in ledger(scale, reference):
        if mine[verdict.id] not in (verdict.verdict, "not run"):
            lines.append(f"  {verdict.id}: {mine[verdict.id]} here, {verdict.verdict} there ({verdict.seeds} seeds)")
    return "\n".join(lines if len(lines) > 1 else [*lines, "  Every verdict reached here is the reference's."])
