"""What the README says is so: its verdicts are those of the reference, its example runs, its links lead somewhere."""

import math
import re
from dataclasses import replace
from pathlib import Path

import torch

from elastic_lib import pareto
from elastic_lib.evidence import Evidence
from elastic_lib.evidence.verdicts import summed_up
from elastic_lib.figures import costs
from elastic_lib.machine import cost
from elastic_lib.notebook.reading import versions
from elastic_lib.records.files import ROOT, read_json
from elastic_lib.records.record import MEASURED, reference_results
from elastic_lib.tasks.answers.facts import UNTOUCHED
from elastic_lib.tasks.ledger import FINDING, HEADLINES, finding, headlines, markdown, worlds
from elastic_lib.tasks.ledger import verdicts as judged

README = (ROOT / "README.md").read_text()
ON_REAL_TEXT = ["translation", "sentiment", "answers"]


def between(mark):
    return re.search(rf"<!-- {mark} -->\n(.*?)\n?<!-- /{mark} -->", README, re.S).group(1)


def test_the_claims_table_is_the_ledger_of_the_reference():
    ledger = judged("pocket", reference_results("pocket"))
    assert [v.id for v in headlines(ledger)] == list(HEADLINES)
    assert between("claims headlines") == markdown(headlines(ledger))
    assert between("tally") == f"**{summed_up(ledger)}**"
    assert f"\n**{finding(ledger)}**\n" in README


def test_the_finding_is_not_said_where_a_verdict_that_it_rests_on_is_another():
    ledger = judged("pocket", reference_results("pocket"))
    assert finding(ledger) == " ".join(sentence for sentence, _ in FINDING) and finding([]) == ""
    for said, rests_on in FINDING:
        others = " ".join(sentence for sentence, _ in FINDING if sentence != said)
        for name in rests_on:
            assert finding([replace(v, verdict="not run") if v.id == name else v for v in ledger]) == others


def test_the_words_are_those_of_the_reference():
    game = next(world for world in worlds("pocket", reference_results("pocket")) if world.task == "translation")
    rows = versions(game)
    lines = [
        "| | the Translation Game, seed 0: what it translated best |",
        "|---|---|",
        *(f"| {who} | *{said}* |" for who, said in rows),
    ]
    assert between("words") == "\n".join(lines)


def told(values: list[float], digits: int) -> str:
    """Their mean, and from the least to the most of them."""
    shown = (round(v, digits) or 0.0 for v in (sum(values) / len(values), min(values), max(values)))  # and no −0.0
    mean, *ends = (f"{v:.{digits}f}" for v in shown)
    return mean if len(values) == 1 else f"{mean} ({' to '.join(ends)})"


def ended(task: str, lines: dict[str, tuple[str, dict, str]], columns: dict[str, int]) -> list[str]:
    """A table of the real text's runs: where each line's seeds ended, and where all began."""
    evidence = Evidence(task, "lab", [reference_results("lab")])
    scores = {
        name: [run.status()[when] for run in evidence.of(method, **changed).values()]
        for name, (method, changed, when) in lines.items()
    }
    first = next(iter(evidence.of("elastic").values()))
    rows = []
    for name, reached in ({"before training": [first.status()["test_before"]]} | scores).items():
        cells = [told([one[what] for one in reached], digits) for what, digits in columns.items()]
        rows.append(f"| {' | '.join([name, *cells])} | {'' if name == 'before training' else len(reached)} |")
    return rows


def lab_rows() -> list[str]:
    """The real model's."""
    lines = {
        "PPO, β = 0.02": ("ppo", {"beta": 0.02}, "test"),
        "PPO, β = 0.1": ("ppo", {"beta": 0.1}, "test"),
        "Elastic Reset, β = 0.02, at the end": ("elastic", {"beta": 0.02}, "test"),
        "… right after its last reset": ("elastic", {"beta": 0.02}, "test_after_reset"),
    }
    return ended("sentiment", lines, {"task": 3, "drift": 1, "forward_kl": 3})


def lab_game_rows() -> list[str]:
    """The real captions'."""
    lines = {
        "Frozen English": ("frozen", {}, "test"),
        "REINFORCE": ("reinforce", {}, "test"),
        "KL to the initial speaker, β = 0.05": ("kl", {}, "test"),
        "Multitask": ("multitask", {}, "test"),
        "Elastic Reset, β = 0.001, at the end": ("elastic", {}, "test"),
        "… right after its last reset": ("elastic", {}, "test_after_reset"),
    }
    return ended("translation", lines, {"task": 1, "drift": 1, "length_ratio": 2})


def lab_answers_rows() -> list[str]:
    """The real site's: reward and perplexity of answers, and perplexity on what the task never touches."""
    lines = {
        "PPO, β = 0.02": ("ppo", {}, "test"),
        "… its EMA, read out": ("track", {}, "test_ema"),
        "Elastic Reset, β = 0.02, at the end": ("elastic", {}, "test"),
        "… right after its last reset": ("elastic", {}, "test_after_reset"),
    }
    return ended("answers", lines, {"task": 2, "drift": 1, "on_reviews": 1, "on_programs": 1, "on_sentences": 1})


def lab_matched() -> str:
    """Perplexity on validation at the highest reward that both reach, of each seed."""
    evidence = Evidence("sentiment", "lab", [reference_results("lab")])
    plain, elastic = (
        {seed: run.curve() for seed, run in evidence.of(method, beta=0.02).items()} for method in ("ppo", "elastic")
    )
    found = {"PPO": [], "Elastic Reset": []}
    for seed in sorted(plain.keys() & elastic.keys()):
        top = min(curve["task"].max() for curve in (plain[seed], elastic[seed]))
        for name, curve in (("PPO", plain[seed]), ("Elastic Reset", elastic[seed])):
            found[name].append(pareto.drift_at(curve["task"], curve["drift"], top, better="lower"))
    told = [f"{', '.join(f'{v:.0f}' for v in values)} in {name}" for name, values in found.items()]
    return f"At the highest reward that both reach on validation, perplexity is {' and '.join(told)} (by seed)."


def with_interval(verdict, digits: int, unit: str = "") -> str:
    """An effect and its interval."""
    effect, low, high = (f"{value:.{digits}f}" for value in (verdict.effect, verdict.low, verdict.high))
    return f"{effect}{unit} [{low}, {high}]"


def game_finding() -> str:
    """What became of the English of the real captions, from the verdicts' effects."""
    found = {v.id: v for v in judged("lab", reference_results("lab"), ["translation"])}
    lost, less, matched = (
        found[f"translation-{name}"]
        for name in ("reinforce-drifts", "elastic-drifts-less", "elastic-matched-over-reinforce-0")
    )

    lost, less, matched = (with_interval(verdict, 1, " BLEU") for verdict in (lost, less, matched))
    return (
        f"Without resets the English loses {lost} and its sentences get longer; Elastic Reset ends with {less} more of "
        f"it, and at the task score that a speaker reaches who never learns it has {matched} more."
    )


def answers_finding() -> str:
    """What became of text that the task never touches, from the verdicts' effects."""
    found = {v.id.removeprefix("answers-"): v for v in judged("lab", reference_results("lab"), ["answers"])}

    def rise(verdict) -> str:
        share, *ends = (100 * math.expm1(log) for log in (verdict.effect, verdict.low, verdict.high))
        return f"{share:.0f}% [{', '.join(f'{end:.0f}' for end in ends)}]"

    reviews, programs, sentences = (rise(found[f"untouched-{kind}"]) for kind in UNTOUCHED)
    less, reward = found["untouched-elastic-pays-less"], found["final-reward-better"]
    return (
        f"PPO pays: perplexity rises by {reviews} on reviews, {programs} on programs, {sentences} on sentences "
        f"(geometric means). Over the three it ends {rise(less)} above Elastic Reset's, whose reward by all three "
        f"judges is {-reward.effect:.2f} deviations [{-reward.high:.2f}, {-reward.low:.2f}] lower."
    )


def proxy_finding() -> str:
    """What a proxy that pays does to what is meant on a real model, from the verdicts' effects."""
    found = {v.id: v for v in judged("lab", reference_results("lab"), ["sentiment"])}
    lost, end = found["sentiment-gold-overoptimised"], found["sentiment-gold-elastic-over-ppo-end"]
    assert (lost.verdict, end.verdict) == ("inconclusive", "refuted")
    share = f"{100 * lost.effect:.0f}% [{100 * lost.low:.0f}, {100 * lost.high:.0f}]"
    less = f"{-end.effect:.3f} [{-end.high:.3f}, {-end.low:.3f}] less"
    rivals = [found[f"sentiment-gold-elastic-over-{name}-end"] for name in ("stronger-kl", "nlpo")]
    assert {v.verdict for v in rivals} == {"supported"}
    strong, nlpo = (f"{v.effect:.3f} [{v.low:.3f}, {v.high:.3f}] more than" for v in rivals)
    successor = [found[f"sentiment-gold-reference-resets-over-ppo-{when}"].verdict for when in ("peak", "end")]
    assert successor == ["inconclusive"] * 2
    return (
        f"PPO loses {share} of its gain in what is meant by the end (that it over-optimises is *inconclusive*), and "
        f"Elastic Reset ends with {less} of it (that it makes more is *refuted*), and with {strong} PPO with a strong "
        f"KL, which hardly leaves where it began, and {nlpo} NLPO (both *supported*). No interval parts Reference "
        "Resets from PPO."
    )


def rivals_finding() -> tuple[str, str]:
    """How Elastic Reset stands among the baselines on a real model, and what two of those do, from the verdicts."""
    found = {v.id.removeprefix("sentiment-"): v for v in judged("lab", reference_results("lab"), ["sentiment"])}
    every, cheaper, apart, alike = (
        found[name]
        for name in (
            "elastic-over-every-baseline",
            "elastic-cheaper-for-every-reward",
            "no-kl-explodes",
            "nlpo-like-ppo",
        )
    )
    assert {verdict.verdict for verdict in (every, cheaper, apart, alike)} == {"supported"}
    assert {found[f"elastic-cheaper-at-{part}"].verdict for part in (25, 50, 75, 100)} == {"inconclusive"}

    return (
        "Elastic Reset's frontier holds more than NLPO's as published, and than that of PPO with whichever β of 0, "
        f"0.02 and 0.1 leaves it the least, by {with_interval(every, 3)} of the ideal area (*supported*). At each "
        "quarter of the way it pays less perplexity than the cheapest PPO that gets there on every seed, by "
        f"{with_interval(cheaper, 1)} at the worst of the four (*supported*). Against β = 0.1 alone, which hardly "
        "drifts and hardly learns, that is *inconclusive*.",
        f"PPO without a KL diverges (*supported*): its perplexity ends at {with_interval(apart, 1)} times that of "
        "the start. NLPO ends about where PPO with its β does (*supported*), which hardly learns.",
    )


def resets_finding() -> str:
    """Which reset does it on a real model, and whether it needs a KL, from the verdicts' effects."""
    found = {v.id.removeprefix("sentiment-"): v for v in judged("lab", reference_results("lab"), ["sentiment"])}
    over, small = found["elastic-over-to-init"], found["kl-and-reset-best"]
    assert {over.verdict, small.verdict} == {"supported"}
    assert {found[f"elastic-{name}"].verdict for name in ("over-to-ema", "no-kl-matches-ppo")} == {"inconclusive"}
    return (
        f"Elastic Reset covers {with_interval(over, 3)} of the ideal area more than Reset to Init (*supported*), and "
        f"no interval parts it from Reset to EMA. With its small KL it covers {with_interval(small, 3)} more than "
        "without any (*supported*)"
    )


def reset_finding() -> tuple[str, str]:
    """What a reset takes back and leaves on a real model, and what the average does, from the verdicts' effects."""
    found = {v.id.removeprefix("sentiment-"): v for v in judged("lab", reference_results("lab"), ["sentiment"])}
    undone, left, better = (found[f"reset-{name}"] for name in ("undoes-drift", "costs-little-reward", "favours-drift"))
    over, cheaper = found["elastic-over-average"], found["elastic-cheaper-than-average-at-100"]
    assert [v.verdict for v in (undone, left, better, over, cheaper)] == [
        "supported", "refuted", "supported", "supported", "refuted",
    ]  # fmt: skip
    assert found["iterations-improve"].verdict == "inconclusive"
    drift, gain = (f"[{100 * v.low:.0f}, {100 * v.high:.0f}]" for v in (undone, left))
    return (
        f"**A reset** took back {100 * undone.effect:.0f}% of the drift so far {drift} and left "
        f"{100 * left.effect:.0f}% of the reward's gain {gain}: that it takes more of the one than of the other is "
        "*supported*, that it costs little reward *refuted* here, where 8 updates lie between two resets; that the "
        "same reward costs less from iteration to iteration is *inconclusive*.",
        "**The average** of the same PPO covers less than Elastic Reset (*supported*), for it gets less far; at the "
        f"highest reward that both reach it is the cheaper, by {-cheaper.effect:.1f} "
        f"[{-cheaper.high:.1f}, {-cheaper.low:.1f}].",
    )


def interval_finding() -> str:
    """Whether two resets do as well as one on a real model, from the verdict's effect."""
    found = {v.id: v for v in judged("lab", reference_results("lab"), ["sentiment"])}
    rule = found["sentiment-rule-of-thumb-on-a-real-model"]
    effect, low, high = (f"{value:+.3f}".replace("-", "−") for value in (rule.effect, rule.low, rule.high))
    return f"do as well as one at the half: {effect} [{low}, {high}] (*{rule.verdict}*)"


def line_finding() -> str:
    """What a walk from the first weights to PPO's last ones holds beside Elastic Reset, from the verdicts' effects."""
    found = {v.id: v for v in judged("lab", reference_results("lab"), ["sentiment", "answers"])}
    answers, reviews = (found[f"{task}-elastic-over-line"] for task in ("answers", "sentiment"))
    assert (answers.verdict, reviews.verdict) == ("refuted", "inconclusive")
    return (
        "Walked when the run is done, the straight line from the first weights to PPO's last ones covers more than "
        f"Elastic Reset on answers, by {-answers.effect:.3f} [{-answers.high:.3f}, {-answers.low:.3f}] of the ideal "
        "area; on reviews no interval parts them."
    )


def successor_finding() -> str:
    """What the paper's successor, and both resets at once, do on a real model, from the verdicts' effects."""
    found = {v.id.removeprefix("sentiment-"): v for v in judged("lab", reference_results("lab"), ["sentiment"])}
    over, both = (found[f"{name}-over-reference-resets"] for name in ("elastic", "both"))
    assert {over.verdict, both.verdict} == {"supported"}
    assert {found[name].verdict for name in ("both-over-elastic", "reference-resets-over-smaller-beta-weak")} == {
        "inconclusive"
    }

    return (
        f"Its successor, Reference Resets with three times the β and untuned, covers {with_interval(over, 3)} of the "
        "ideal area less (*supported*), and no interval parts it from PPO; both resets at once cover "
        f"{with_interval(both, 3)} more than Reference Resets alone (*supported*), and no interval parts them from "
        "Elastic Reset."
    )


def test_the_real_model_is_that_of_the_reference():
    assert between("lab").split("\n")[2:] == lab_rows()
    assert lab_matched() in README
    assert between("lab game").split("\n")[2:] == lab_game_rows()
    assert game_finding() in README
    assert answers_finding() in README
    assert all(finding in README for finding in rivals_finding())
    assert resets_finding() in README and interval_finding() in README
    assert all(finding in README for finding in reset_finding())
    assert line_finding() in README and successor_finding() in README and proxy_finding() in README
    assert between("lab answers").split("\n")[2:] == lab_answers_rows()
    assert between("lab tally") == summed_up(judged("lab", reference_results("lab"), ON_REAL_TEXT))


def bench_rows() -> list[str]:
    """What the kept benchmarks were to reach, and whether they did."""
    rows = []
    for report in costs.in_order(read_json(reference_results("bench") / MEASURED)):
        for row in costs.rows(report):
            if row.met is not None:
                reached = "met" if row.met else "**missed**"
                rows.append(
                    f"| `{report['name']}` | {row.name} | {row.measured} | {row.span} | {row.target} | {reached} |"
                )
    return rows


def test_the_benchmarks_are_those_that_were_kept():
    assert between("bench").split("\n")[2:] == bench_rows()


def what_was_measured_of_each_method() -> dict:
    """The figures of the kept benchmark `cost`."""
    return next(r for r in read_json(reference_results("bench") / MEASURED) if r["name"] == "cost")["figures"]


def cost_finding() -> str:
    """What averages and resets take by themselves, and what they take of a large policy."""
    median = {name: figure["median"] for name, figure in what_was_measured_of_each_method().items()}
    small, game, adapters = (median[f"{task} elastic: EMA and resets"] for task in cost.METHODS)
    weights, state = (median[f"GPT-2 small: {what}"] for what in ("weights", "state"))
    update, reset = (1000 * median[f"GPT-2 small: {what}"] for what in ("update", "reset"))
    return (
        f"timed by themselves, averaging and resets take {small:.2f}% (sentiment), {game:.2f}% (translation) and "
        f"{adapters:.2f}% (answers, on adapters) of one. It keeps two copies of what is trained, θ̄ and θ0; a KL to "
        "the initial model keeps one and a forward pass, and the two share θ0. With adapters both are small. On a "
        f"policy of GPT-2's size ({weights:.0f} MB) one average takes {update:.0f} ms, a reset {reset:.0f} ms and the "
        f"state {state:.0f} MB, beside {median['GPT-2 small: gradients of 8x64 tokens']:.1f} s for the gradients of "
        "8×64 tokens"
    )


def test_what_a_method_costs_is_what_was_kept():
    assert between("cost") == cost.table(what_was_measured_of_each_method())
    assert cost_finding() in README


def test_what_is_not_folded_is_short_and_the_finding_comes_first():
    shown = re.sub(r"<details>.*?</details>", "", README, flags=re.S)
    assert len(shown.split()) <= 1800
    assert shown.index("pocket_glance.png") < shown.index("```") and README.count("<details>") == README.count(
        "</details>"
    )


def test_the_example_runs_and_resets():
    code = re.search(r"```python\n(from elastic_lib import ElasticReset.*?)```", README, re.S).group(1)
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    seen = {"model": model, "optimizer": torch.optim.Adam(model.parameters()), "data": [torch.ones(3)] * 2000}
    seen |= {"loss": lambda model, batch: model(batch).square().sum(), "evaluate": lambda model: None}
    exec(code, seen)
    assert seen["elastic"].resets == 2


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_map_names_what_is_there():
    named = set(re.findall(r"(\w+\.py)", README.split("## The house")[1].split("## Speed")[0]))
    there = {path.name for path in Path(ROOT / "elastic_lib").rglob("*.py")} - {"__init__.py"}
    assert named == there
