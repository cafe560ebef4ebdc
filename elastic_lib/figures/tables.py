"""Records to tables, in the figures' names and order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from elastic_lib import pareto
from elastic_lib.evidence.evidence import Evidence, Missing
from elastic_lib.evidence.measures import Setting, areas, minus, reset_every, spread
from elastic_lib.figures.names import METHODS, name_of
from elastic_lib.figures.style import areas_shown, chosen, look_of_policy
from elastic_lib.recipe.rules import check_known

KEPT = ", right after its last reset"


def paper(evidence: Evidence, number: int) -> pd.DataFrame:
    """One of the paper's tables: ours, with its numbers in columns of their own, or above where its rows are others."""
    known = evidence.facts.TABLES
    check_known(f"table of {evidence.task}", number, known)
    table = KINDS[known[number].kind](evidence, known[number].settings)
    published = known[number].published
    if table.empty:
        return table
    if not {name.split(", β")[0] for name in map(str, table.index)} & set(published):
        theirs = pd.DataFrame.from_dict(published, orient="index", columns=table.columns)
        ours = table.rename(lambda base: f"ours, base {base}").astype(str)
        return pd.concat([theirs, ours]).rename_axis("")
    return beside(table, published)


def beside(table: pd.DataFrame, published: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    """Our table with the paper's numbers in columns of their own, where it has them."""
    width = len(next(iter(published.values())))
    theirs = [published.get(name.split(", β")[0] if KEPT not in name else "", ("",) * width) for name in table.index]
    for i in range(width):
        table.insert(2 * i + 1, f"paper: {table.columns[2 * i]}", [row[i] for row in theirs])
    return table


def by_distance(evidence: Evidence, rivals: Iterable[Setting]) -> pd.DataFrame:
    """Hypervolume of Elastic Reset minus each rival's [95% interval], at each distance between the domains."""
    rows = {}
    for method, settings in rivals:
        for distance in ("near", "middle", "far"):
            where = {} if distance == "middle" else {"distance": distance}
            try:
                over = minus(areas(evidence, "elastic", **where), areas(evidence, method, **settings, **where))
            except Missing:
                continue
            low, high = pareto.interval(over.values())
            name = name_of(evidence.recipes[evidence.label(method, **settings, **where)])
            rows.setdefault(name, {})[distance] = f"{np.mean(list(over.values())):+.3f} [{low:+.3f}, {high:+.3f}]"
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("Elastic Reset minus")


def final_scores(evidence: Evidence, settings: Iterable[Setting]) -> pd.DataFrame:
    """Final test scores and hypervolume of each setting, mean ± standard error over seeds (Tables 1, 2 and 4)."""
    known = evidence.facts
    labels = sorted(
        chosen(evidence, settings),
        key=lambda x: (list(METHODS).index(evidence.recipes[x].method), -evidence.recipes[x].beta),
    )
    rows = []
    for label in labels:
        average = evidence.recipes[label].reads_average
        tests = [record.status()["test_ema" if average else "test"] for record in evidence.found[label].values()]
        shares = [*areas_shown(evidence, label).values()]
        rows.append(
            (name_of(evidence.recipes[label]), *_scores(tests, known.DIGITS), _plus_minus(shares, 3), len(tests))
        )
        stops = [record.status().get("test_after_reset") for record in evidence.found[label].values()]
        if all(stops) and evidence.recipes[label].reset is not None:
            rows.append((name_of(evidence.recipes[label]) + KEPT, *_scores(stops, known.DIGITS), "", len(stops)))
    if labels:
        before = [record.status()["test_before"] for record in evidence.found[labels[0]].values()]
        rows.insert(0, (known.UNTRAINED, *_scores(before, known.DIGITS), "0", len(before)))
    return pd.DataFrame(rows, columns=["method", *known.HEADS, "↑ hypervolume", "seeds"]).set_index("method")


def alignment(evidence: Evidence, settings: Iterable[Setting]) -> pd.DataFrame:
    """Gain under three reward models (mean ± deviation over them), perplexity, and the exam in percent (Table 3)."""
    rows, heads = [], ["method", "↑ Δ reward", "↓ perplexity", "↑ pass@1, %", "↑ pass@10, %", "seeds"]
    for label in chosen(evidence, settings):
        every = [record.status() for record in evidence.found[label].values()]
        if not rows:
            rows.append(("Zero-shot", "0", *_drift_and_exam(every, "test_before"), len(every)))
        for when, added in (("test", ""), ("test_after_reset", KEPT)):
            if all(when in status for status in every):
                gains = [np.mean([s[when][j] - s["test_before"][j] for s in every]) for j in evidence.facts.JUDGES]
                row = (name_of(evidence.recipes[label]) + added, f"{np.mean(gains):.2f} ± {np.std(gains, ddof=1):.2f}")
                rows.append((*row, *_drift_and_exam(every, when), len(every)))
    return pd.DataFrame(rows, columns=heads).set_index("method")


def untouched(evidence: Evidence, settings: Iterable[Setting]) -> pd.DataFrame:
    """Perplexity on text that the task never touches: before, at the end, and right after the last reset."""
    rows, kinds = [], evidence.facts.UNTOUCHED
    for label in chosen(evidence, settings):
        every = [record.status() for record in evidence.found[label].values()]
        name = name_of(evidence.recipes[label])
        ends = {
            name: "test_ema" if evidence.recipes[label].reads_average else "test",
            name + KEPT: "test_after_reset",
        }
        for said, when in (ends if rows else {evidence.facts.UNTRAINED: "test_before"} | ends).items():
            if all(f"on_{kinds[0]}" in status.get(when, {}) for status in every):
                scores = (_plus_minus([status[when][f"on_{kind}"] for status in every], 1) for kind in kinds)
                rows.append((said, *scores, len(every)))
    heads = ["method", *(f"↓ perplexity on {kind}" for kind in kinds), "seeds"]
    return pd.DataFrame(rows, columns=heads).set_index("method")


def _drift_and_exam(every: list[dict], when: str) -> tuple[str, str, str]:
    drift = _plus_minus([status[when]["drift"] for status in every], 3)
    if not all("pass_at_1" in status[when] for status in every):
        return drift, "not sat", "not sat"
    exam = (_plus_minus([100 * status[when][f"pass_at_{k}"] for status in every], 1) for k in (1, 10))
    return drift, *exam


def judges(evidence: Evidence, settings: Iterable[Setting]) -> pd.DataFrame:
    """Accuracy of the three reward models on held-out pairs, and what finetuning reached, by base."""
    rows = {}
    for label in chosen(evidence, settings):
        for record in evidence.found[label].values():
            models = record.env()["pretrained"]
            accuracy = [round(models[part]["accuracy"], 3) for part in evidence.facts.PARTS[1:]]
            rows[record.recipe()["base"]] = [round(models["lm"]["perplexity"], 3), *accuracy]
    heads = ["↓ perplexity", *(f"↑ accuracy of reward model {i}" for i in (1, 2, 3))]
    return pd.DataFrame.from_dict(rows, orient="index", columns=heads).rename_axis("base").sort_index()


def calibration(evidence: Evidence, settings: Iterable[Setting]) -> pd.DataFrame:
    """Of judges of the same pairs, by base: accuracy and calibration."""
    rows = {}
    for label in chosen(evidence, settings):
        for record in evidence.found[label].values():
            base, models = record.recipe()["base"], record.env()["pretrained"]
            for i, part in enumerate(evidence.facts.PARTS[1:], 1):
                kind = f"advantage model {i}" if i == 1 else f"reward model {i}"
                scores = (100 * models[part][name] for name in ("accuracy", "calibration_error"))
                rows[base, kind] = [f"{score:.1f}" for score in scores]
    heads = ["↑ accuracy, %", "↓ calibration error, %"]
    index = pd.MultiIndex.from_tuples(list(rows), names=["base", "judge"]) if rows else pd.Index([], name="base")
    return pd.DataFrame(list(rows.values()), index, heads).sort_index()


def robustness(evidence: Evidence, sweeps: dict[str, list[Setting]]) -> pd.DataFrame:
    """Hypervolume over each sweep: the worst setting, the best, and the spread between the two on a seed [95%]."""
    rows = {}
    for name, settings in sweeps.items():
        try:
            apart = spread(evidence, settings)
        except Missing:
            continue
        swept = (areas(evidence, method, **changed) for method, changed in settings)
        means = sorted(float(np.mean([v[seed] for seed in apart])) for v in swept)
        low, high = pareto.interval(apart.values())
        rows[name] = (
            f"{means[0]:.3f}",
            f"{means[-1]:.3f}",
            f"{np.mean(list(apart.values())):.3f} [{low:.3f}, {high:.3f}]",
            len(settings),
        )
    heads = ["worst", "best", "↓ spread on a seed [95%]", "settings"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=heads).rename_axis("swept")


PLACES = {  # in a review, and kinds of word
    "prompt": "prompt",
    "completion": "completion",
    "tail": "tail",
    "names": "names",
    "facts": "facts",
    "polarity": "words that take sides",
    "common": "all others",
}


def where_drift_sits(evidence: Evidence, settings: Iterable[Setting]) -> pd.DataFrame:
    """Final test perplexity over the pretrained one, by part of a review and by kind of word, mean over seeds."""
    rows = {}
    for label in chosen(evidence, settings):
        found = [record.status().get("where") for record in evidence.found[label].values()]
        if all(found):
            rows[name_of(evidence.recipes[label])] = {
                name: round(float(np.mean([w["end"][part] / w["before"][part] for w in found])), 2)
                for part, name in PLACES.items()
                if part in found[0]["before"]
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("perplexity, end over start")


def turns(evidence: Evidence, settings: Iterable[Setting]) -> pd.DataFrame:
    """The cosine between the way walked in the first iteration and in each later one, mean over seeds ± error.

    1: the same direction through weight space, 0: at right angles. Without resets: of as many updates.
    """
    rows = {}
    for label in chosen(evidence, settings):
        plan = evidence.recipes[label].reset
        every = (plan and plan.reset_every) or reset_every(evidence)
        moves = [record.moves() for record in evidence.found[label].values()]
        if all(map(len, moves)):
            walked = [_walked(kept, every) for kept in moves]
            cosines = [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in others] for a, *others in walked]
            name = look_of_policy(evidence, label).name
            rows[name] = [_plus_minus(column, 2) for column in zip(*cosines, strict=True)]
    heads = ["1st and 2nd iteration", "1st and 3rd iteration"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=heads).rename_axis("cosine")


def _walked(moves: pd.DataFrame, every: int) -> list[np.ndarray]:
    """Where the policy got to in each of three iterations, from where it began it."""
    policy = moves[moves["whose"] == "policy"].drop(columns="whose").astype(float)
    found = []
    for start in (0, every, 2 * every):
        begun = policy[policy["step"] == start].iloc[-1]  # after the reset, where there is one
        ended = policy[(policy["step"] <= start + every) & (policy["step"] > start) & (policy["reset"] == 0)].iloc[-1]
        found.append((ended - begun).iloc[2:].to_numpy())
    return found


def combined_scores(evidence: Evidence, settings: Iterable[Setting]) -> pd.DataFrame:
    """Change of FR→EN (drift), of FR→EN→DE (task) and their sum, on test (Table 6)."""
    rows = []
    for label in chosen(evidence, settings):
        every = [record.status() for record in evidence.found[label].values()]
        changes = [{n: s["test"][n] - s["test_before"][n] for n in ("drift", "task")} for s in every]
        both = [change["drift"] + change["task"] for change in changes]
        ends = _scores([s["test"] for s in every], 1)[::-1]
        columns = [_plus_minus([change[n] for change in changes], 1) for n in ("drift", "task")]
        rows.append((name_of(evidence.recipes[label]), *ends, *columns, _plus_minus(both, 1), len(every)))
    heads = ["method", "↑ FR→EN", "↑ FR→EN→DE", "↑ drift", "↑ performance", "↑ combined", "seeds"]
    return pd.DataFrame(rows, columns=heads).set_index("method")


def pretrained(evidence: Evidence, settings: Iterable[Setting]) -> pd.DataFrame:
    """BLEU of the pretrained translators on their own domain and on the game's (Table 5), by base."""
    rows = {}
    for label in chosen(evidence, settings):
        for record in evidence.found[label].values():
            models = record.env()["pretrained"]
            scores = [models[part][name] for part in ("speaker", "listener") for name in ("bleu", "bleu_captions")]
            rows[record.recipe()["base"]] = [round(score, 1) for score in scores]
    heads = ["FR→EN", "FR→EN, captions", "EN→DE", "EN→DE, captions"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=heads).rename_axis("base").sort_index()


def minutes(evidence: Evidence, settings: Iterable[Setting]) -> pd.DataFrame:
    """Where the time of a whole run went, in minutes, means of seeds, and on what machine."""
    spent = {"sampling": "t_sample", "rewards, KL, values": "t_score", "gradient steps": "t_update"}
    spent |= {"averages, resets": "t_ema", "evaluation": "t_eval"}
    rows = {}
    for label in chosen(evidence, settings):
        every = list(evidence.found[label].values())
        last = pd.DataFrame([run.curve().iloc[-1] for run in every])[[*spent.values()]] / 60
        ran_on = "{machine}, {device}, threads: {threads} of {cores}"
        machines = {ran_on.format(**run.env()) for run in every}
        row = {part: f"{last[column].mean():.1f}" for part, column in spent.items()}
        whole = last.sum(axis=1)
        row |= {"all of it": f"{whole.mean():.0f} ({whole.min():.0f} to {whole.max():.0f})"}
        rows[name_of(evidence.recipes[label])] = row | {"on": "; ".join(sorted(machines)), "seeds": len(every)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("minutes a run")


def _scores(tests: list[dict[str, float]], digits: int) -> tuple[str, str]:
    return tuple(_plus_minus([test[name] for test in tests], digits) for name in ("task", "drift"))


def _plus_minus(values: list[float], digits: int) -> str:
    """Mean ± standard error; of a single seed its value alone."""
    mean = f"{np.mean(values):.{digits}f}"
    return f"{mean} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.{digits}f}" if len(values) > 1 else mean


KINDS = {made.__name__: made for made in (final_scores, alignment, pretrained, combined_scores)}
