"""The paper's testable statements; their verdicts are computed from records (`verdicts`), never written by hand."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from elastic_lib.evidence import Evidence
from elastic_lib.evidence.evidence import FEWEST_SEEDS
from elastic_lib.evidence.verdicts import (
    AGAIN,
    BY_CONSTRUCTION,
    MARKS,
    OURS,
    Claim,
    Verdict,
    counted,
    judge,
    summed_up,
)
from elastic_lib.records.record import own_results, reference_results
from elastic_lib.records.tables import Tables, opened
from elastic_lib.tasks import TASKS, facts

HEADLINES = {  # what the abstract says of the method, sentence by sentence, and the row that it is judged by
    "translation-elastic-matched-over-reinforce-0": "Higher reward with less drift: at the same translation score, "
    "Elastic Reset speaks better English than training without resets.",
    "translation-task-recovers": "The model recovers quickly: soon after a reset it translates as well as before.",
    "translation-elastic-over-every-baseline": "In the Translation Game, Elastic Reset beats every baseline: "
    "REINFORCE, a KL penalty, Multitask, SIL.",
    "sentiment-elastic-over-every-baseline": "On movie reviews, Elastic Reset beats every baseline: its frontier "
    "covers more than those of PPO with any KL, and of NLPO.",
    "answers-exam-over-ppo": "On technical questions, Elastic Reset leaves a more performant model: it programs better "
    "than PPO's.",
    "answers-final-reward-better": "… and a more aligned one: three reward models give it more than PPO's.",
}
Sentence = tuple[str, dict[str, str]]
# In a few sentences, each with the verdicts that it rests on: it is said where they all are these.
FINDING: tuple[Sentence, ...] = (
    (
        "Reset a drifting language model to its own average, and the average to where it began: most of the drift is "
        "gone, some of the reward stays, and at the same score the model speaks better than after the same training "
        "without resets.",
        {
            "sentiment-reset-undoes-drift": "supported",
            "sentiment-reset-favours-drift": "supported",
            "translation-reset-repairs": "supported",
            "translation-elastic-matched-over-reinforce-0": "supported",
            "answers-held-out-50": "supported",
        },
    ),
    (
        "It is no cure-all: a well-chosen KL penalty is cheaper up to the scores that it reaches.",
        {"translation-elastic-area-over-best-kl": "refuted", "sentiment-elastic-cheaper-than-best-at-50": "refuted"},
    ),
    (
        "On technical questions little is gained.",
        {"answers-area-over-ppo": "inconclusive", "answers-exam-over-ppo": "inconclusive"},
    ),
)
MADE_BY = {"pocket": "make reproduce", "lab": "make lab"}  # of other scales: with SCALE


def claims(task: str, scale: str = "pocket") -> list[Claim]:
    """The statements on a task that can be asked at a scale, in the paper's order."""
    return [claim for claim in _of(task).CLAIMS if claim.only_at in ("", scale)]


def _of(task: str) -> Any:
    return importlib.import_module(f"elastic_lib.tasks.{task}.claims")


def every_claim(scale: str = "pocket") -> list[Claim]:
    """Those on all tasks."""
    return [claim for task in TASKS for claim in claims(task, scale)]


def worlds(
    scale: str, results: Path | None = None, tasks: Iterable[str] = TASKS, given: Mapping[str, Any] | None = None
) -> list[Evidence]:
    """What is known of each task: from the folder that is named, or from one's own results before the reference.

    Of runs with what is `given` alone, where something is.
    """
    if results is not None and not (Path(results) / "records").is_dir() and not Tables(results).there():
        raise FileNotFoundError(f"{results} holds no records; `elastic run … --results {results}` makes them")
    reference = reference_results(scale)
    folders = [own_results(scale), reference] if results is None else [results]
    sources = [opened(folder) for folder in folders]
    spare = None if any(source.folder.resolve() == reference.resolve() for source in sources) else _opened(reference)
    return [Evidence(task, scale, sources, spare, given) for task in tasks]


def _opened(folder: Path):
    """A folder that is opened when it is needed, once."""
    return cache(lambda: opened(folder))


def verdicts(scale: str, results: Path | None = None, tasks: Iterable[str] = TASKS) -> list[Verdict]:
    """Every claim's verdict at a scale, of all tasks or of some."""
    return [verdict for evidence in worlds(scale, results, tasks) for verdict in judged(evidence)]


def judged(evidence: Evidence) -> list[Verdict]:
    """The verdict on every claim of a task, in the paper's order."""
    return [judge(claim, evidence) for claim in claims(evidence.task, evidence.scale)]


def against_reference(worlds: list[Evidence]) -> str:
    """One's own records beside the committed ones: how many are equal bit for bit, and where the verdicts differ."""
    own, reference = worlds[0].sources
    ours, theirs = own.runs, reference.runs
    shared = sorted(set(ours) & set(theirs))
    if not shared:
        return ""
    unlike = [n for n in shared if ours[n].status()["fingerprint"] != theirs[n].status()["fingerprint"]]
    equal = len(shared) - len(unlike)
    mine = {v.id: v.verdict for evidence in worlds for v in judged(evidence.alone(own))}
    lines = [
        f"Against the reference: {equal} of {len(shared)} records are equal bit for bit (other CPUs round otherwise)"
    ]
    if unlike:
        lines.append(f"  {_made_otherwise([(ours[name].env(), theirs[name].env()) for name in unlike])}")
    told = len(lines)
    for verdict in (v for evidence in worlds for v in judged(evidence.alone(reference))):
        if mine[verdict.id] not in (verdict.verdict, "not run"):
            lines.append(f"  {verdict.id}: {mine[verdict.id]} here, {verdict.verdict} there ({verdict.seeds} seeds)")
    return "\n".join(lines if len(lines) > told else [*lines, "  Every verdict reached here is the reference's."])


def _made_otherwise(made: list[tuple[dict, dict]]) -> str:
    """What env.json says of runs that are not equal, here and there: machine, threads, versions, the code."""
    unlike: dict[str, set[str]] = {}
    for here, there in made:
        for name in sorted(here.keys() & there.keys() - {"command", "cores"}):
            if isinstance(here[name], str | int) and here[name] != there[name]:
                unlike.setdefault(name, set()).add(f"{here[name]} here, {there[name]} there")
    if not unlike:
        return "The others were made by the same code, versions and threads on such a machine: that should not be."
    return f"The others were made otherwise: {'; '.join(f'{name} {min(said)}' for name, said in unlike.items())}."


# ---- chosen and written out


def chosen(verdicts: list[Verdict], verdict: str | None = None, search: str | None = None) -> list[Verdict]:
    """Those of one kind, and those whose text has all the words of a search, each as a whole word."""
    words = [re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE) for word in (search or "").split()]
    return [v for v in verdicts if verdict in (None, v.verdict) and all(word.search(_text(v)) for word in words)]


def headlines(verdicts: list[Verdict]) -> list[Verdict]:
    """The rows of the abstract's statements, in its order."""
    by_id = {v.id: v for v in verdicts}
    return [by_id[name] for name in HEADLINES if name in by_id]


def finding(verdicts: list[Verdict], sentences: Iterable[Sentence] = FINDING) -> str:
    """What was found, in those of the sentences that these verdicts bear out, with the effects that they speak of."""
    found, effects = {v.id: v.verdict for v in verdicts}, {v.id: v.effect for v in verdicts}
    return " ".join(said.format_map(effects) for said, rests_on in sentences if rests_on.items() <= found.items())


def found_in(evidence: Evidence, notebook: str) -> str:
    """The finding of a notebook, by its number."""
    sentences = _of(evidence.task).FINDINGS[notebook]
    asked = {name for _, rests_on in sentences for name in rests_on}
    known = [claim for claim in claims(evidence.task, evidence.scale) if claim.id in asked]
    return finding([judge(claim, evidence) for claim in known], sentences)


def _text(v: Verdict) -> str:
    return " ".join((v.id, v.statement, v.where, v.measure, v.asks))


def summary(verdicts: list[Verdict]) -> str:
    """What the abstract says, with a mark for what became of it, and how many statements came out each way."""
    lines = [f"{verdicts[0].scale}: what the abstract says of Elastic Reset"]
    for v in headlines(verdicts):
        lines += [f"{_coloured(v)} {HEADLINES[v.id]}", f"    {_told(v)}"]
    lines += ["", summed_up(verdicts)]
    if all(v.verdict == "not run" for v in verdicts):
        scale = verdicts[0].scale
        made_by = MADE_BY.get(scale, f"make reproduce SCALE={scale}")
        lines += [f"There are no records of scale {scale} that a claim could be judged on: `{made_by}` makes them."]
    return "\n".join(lines)


def table(verdicts: list[Verdict]) -> str:
    """Every row for a terminal: by task, those that count before the others, and what shows one again below it."""
    lines = []
    shown = {v.id for v in counted(verdicts)}
    for task in TASKS:
        of_task = [v for v in verdicts if v.id.startswith(f"{task}-")]
        if not of_task:
            continue
        lines += ["", facts(task).TITLE]
        for v in counted(of_task):
            lines += _row(v)
            lines += [line for other in of_task if other.again == v.id for line in _row(other, AGAIN)]
        lines += [line for v in of_task if v.again and v.again not in shown for line in _row(v, AGAIN)]
        for why, heading in APART.items():
            rows = [line for v in of_task if v.apart == why for line in _row(v)]
            lines += ["", f"{facts(task).TITLE}, not counted: {heading}", *rows] if rows else []
    return "\n".join(lines[1:] if lines else ["no claims"])


APART = {BY_CONSTRUCTION: "what holds by construction", OURS: "questions of our own"}


def _row(v: Verdict, aside: str = "") -> list[str]:
    indent, head = ("    ", f"{aside}: ") if aside else ("", "")
    words = [f"{indent}{_coloured(v, v.verdict)}  {head}{v.id}", f"{indent}    {v.where}: {v.statement}"]
    if v.verdict == "not run":
        return [f"{words[0]}  ({v.note})"]
    return [*words, f"{indent}    {_told(v)}", f"{indent}    {v.measure}. Asked: {v.asks}."]


def _told(v: Verdict) -> str:
    """The number, in what, against what, on how many seeds, whose."""
    if v.verdict == "not run":
        return f"not run: {v.note}"
    note = f"; {v.note}" if v.note else ""
    return f"{v.numbers()}, claimed: {v.claimed()}; {v.seeds} seed{'s' * (v.seeds != 1)}; records: {v.records}{note}"


INKS = {"supported": "38;5;36", "refuted": "38;5;166", "inconclusive": "38;5;103", "not run": "2"}


def _coloured(v: Verdict, words: str = "") -> str:
    """The mark of a verdict, in colour where a terminal shows it."""
    text = " ".join(filter(None, (MARKS[v.verdict], words)))
    plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR")
    return text if plain else f"\x1b[{INKS[v.verdict]}m{text}\x1b[0m"


def brief(verdicts: list[Verdict]) -> str:
    """A line for each statement that could be judged; it says so where that rests on the reference's records."""
    rows = [v for v in counted(verdicts) if v.verdict != "not run"]
    lines = [summed_up(verdicts)]
    if any(0 < v.seeds < FEWEST_SEEDS for v in rows):
        lines.append(f"Fewer than {FEWEST_SEEDS} seeds decide nothing: what stands there is the effect so far.")
    for v in rows:
        whose = f" (records: {v.records})" if "the reference" in v.records else ""
        lines.append(f"{_coloured(v, v.verdict)}: {v.statement} {v.numbers()}{whose}")
    return "\n".join(lines)


def markdown(verdicts: list[Verdict]) -> str:
    """Claims as the README shows them; those of the abstract in its sentences."""
    lines = ["| | the paper says | effect [95% interval], claimed | seeds |", "|---|---|---|---|"]
    for v in verdicts:
        said, verdict = HEADLINES.get(v.id, v.statement), f"{MARKS[v.verdict]} **{v.verdict}**"
        lines.append(f"| {verdict} | {said} | {v.numbers()}, {v.claimed()} | {v.seeds} |")
    return "\n".join(lines)
