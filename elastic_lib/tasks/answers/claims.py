"""The statements of Section 7 and Appendix C, on the answers task."""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd

from elastic_lib.evidence.evidence import Evidence, Missing
from elastic_lib.evidence.measures import (
    AVERAGE,
    DOMINANCE,
    ELASTIC,
    HALF,
    IDEAL,
    WHOLE,
    Effect,
    Line,
    PerSeed,
    Reset,
    cheaper,
    dominance,
    dominance_over_best,
    dominates,
    drifts_at,
    gained,
    larger_area,
    largest_gap,
    minus,
    per_seed,
    points,
    reset_every,
    resets,
    share,
    shares,
    tested,
)
from elastic_lib.evidence.verdicts import BY_CONSTRUCTION, OUR_OWN, OURS, Claim, no_worse
from elastic_lib.records.tables import Finished
from elastic_lib.tasks.answers.facts import BETAS, BY_THE_RULE, JUDGES, STABLE, UNTOUCHED

PPO = Line("ppo")
TRAINED = {"task": "reward", "drift": "kl"}  # what Figure 6c draws: on the samples of training
THREE_QUARTERS = 0.75
FRACTIONS = {HALF: "half", THREE_QUARTERS: "three quarters", WHOLE: "the whole"}
GAINED = "of PPO's gain"
# Paid by an advantage model, which gives other numbers, a policy is judged by a reward model that pays nobody.
UNPAID = PPO._replace(task="judge_1")
ADVANTAGE, WITH_BOTH, ELASTIC_WITH_BOTH = (
    UNPAID._replace(method=method, changed=changed) for method, changed in STABLE[1:]
)
SECOND = "Beyond the paper: arXiv 2309.10202"
BETTER, HIGH, NO_TAX = "answers-final-reward-better", "answers-high-reward-100", "answers-elastic-pays-none"


def _gain(curve: pd.DataFrame, record: Finished) -> float:
    """The mean gain under three reward models, as in Table 3."""
    return sum(gained(judge)(curve, record) for judge in JUDGES) / len(JUDGES)


def _over_ppo(measure: Callable[[pd.DataFrame, Finished], float]) -> Effect:
    return lambda evidence: minus(per_seed(evidence, measure, "elastic"), per_seed(evidence, measure, "ppo"))


def _better(
    name: str, subject: Line, rival: Line, statement: str, names: tuple[str, str], by: str = "", where: str = SECOND
) -> Claim:
    """That a tradeoff is better than another, of what came since."""

    def effect(evidence: Evidence) -> PerSeed:
        return dominance(evidence.together([subject, rival]), subject, rival)

    return Claim(f"answers-{name}", statement, where, DOMINANCE.format(*names) + by, IDEAL, effect, apart=OURS)


def _share_of_ppos(measure: Callable[[pd.DataFrame, Finished], float], sign: int = 1) -> Effect:
    """What Elastic Reset changes beyond PPO, as a share of what PPO changes."""
    return lambda evidence: shares(
        {seed: sign * value for seed, value in _over_ppo(measure)(evidence).items()}, per_seed(evidence, measure, "ppo")
    )


def _at_reset(number: int, what: Callable[[Reset], float]) -> Effect:
    """what(reset) at the first, second, … reset of each seed."""
    return lambda evidence: {
        seed: what(every[number]) if len(every) > number else float("nan")
        for seed, every in resets(evidence, "elastic").items()
    }


def _kept_checkpoint(evidence: Evidence) -> PerSeed:
    """PPO's best perplexity at the reward that Elastic Reset has right after its last reset, minus the one it has."""
    last = {seed: every[-1].after for seed, every in resets(evidence, "elastic").items() if every}
    paid = drifts_at(evidence, {seed: row["task"] for seed, row in last.items()}, points(evidence, PPO))
    return minus(paid, {seed: row["drift"] for seed, row in last.items()})


def _learned_share(what: str) -> Callable[[pd.DataFrame, Finished], float]:
    """That change as a share of the score before."""
    return lambda curve, record: share(_learned(what)(curve, record), record.status()["test_before"][what])


def _learned(what: str) -> Callable[[pd.DataFrame, Finished], float]:
    """The change of an exam's score; the exam is not sat where there is no sandbox."""

    def change(curve: pd.DataFrame, record: Finished) -> float:
        if what not in record.status().get("test", {}):
            raise Missing(f"programs that {record.run_id} wrote and a sandbox ran")
        return gained(what)(curve, record)

    return change


def _tax(kind: str) -> Callable[[pd.DataFrame, Finished], float]:
    """By how much perplexity rose on text that the task never touches, as a logarithm: +0.1 is a tenth more."""
    return lambda curve, record: math.log(
        tested(f"on_{kind}")(curve, record) / tested(f"on_{kind}", "test_before")(curve, record)
    )


def _mean_tax(curve: pd.DataFrame, record: Finished) -> float:
    return sum(_tax(kind)(curve, record) for kind in UNTOUCHED) / len(UNTOUCHED)


def _negated(values: PerSeed) -> PerSeed:
    return {seed: -value for seed, value in values.items()}


def _beyond_adapters(_: pd.DataFrame, record: Finished) -> float:
    averaged = record.status()["averaged"]
    return averaged["parameters"] - averaged["adapters"]


FINDINGS = {  # of a notebook: each sentence is said where the verdicts are these, with the effects that they found
    "06": (
        (
            "Half of the way up in held-out reward Elastic Reset speaks a little better than PPO; it ends with a "
            "little less reward.",
            {"answers-held-out-50": "supported", "answers-final-reward-better": "refuted"},
        ),
        (
            "PPO pays no alignment tax here; without a KL it loses {answers-no-kl-ppo-pays-tax:.2f} of pass@1, and "
            "Elastic Reset saves {answers-no-kl-elastic-pays-less:.2f} of that.",
            {
                "answers-ppo-pays-tax": "refuted",
                "answers-no-kl-ppo-pays-tax": "supported",
                "answers-no-kl-elastic-pays-less": "supported",
            },
        ),
    ),
}

CLAIMS = [
    Claim(
        "answers-ppo-gains-reward",
        "RL makes the model's answers more helpful, as judged by the reward model.",
        "Section 7, Figure 6a, Table 3",
        "test reward after PPO minus before, mean of three reward models",
        "deviations",
        lambda evidence: per_seed(evidence, _gain, "ppo"),
    ),
    Claim(
        "answers-ppo-drifts",
        "It drifts: perplexity on people's answers rises.",
        "Section 7, Table 3",
        "test perplexity after PPO minus before",
        "of perplexity",
        lambda evidence: per_seed(evidence, gained("drift"), "ppo"),
    ),
    Claim(
        "answers-elastic-tracks-ppo",
        "Elastic Reset tracks PPO until the first reset …",
        "Section 7, Figure 6a",
        "largest difference of validation reward until then",
        "deviations",
        lambda evidence: largest_gap(evidence, PPO, ELASTIC, reset_every(evidence)),
        margin=1e-4,
        asks="they are one run",
        apart=BY_CONSTRUCTION,
    ),
    Claim(
        "answers-first-reset-costs-little",
        "… where it drops only slightly …",
        "Section 7, Figure 6a",
        "share of the reward's gain that survives the first reset",
        "of the gain",
        _at_reset(0, lambda reset: 1 - reset.given_up),
        threshold=0.5,
        asks=f"slightly: more than half survives ({OUR_OWN})",
    ),
    Claim(
        "answers-second-reset-favours-drift",
        "… Around the second reset we see a much sharper drop of drift but the same approximate reward.",
        "Section 7, Figures 6a and 6b",
        "second reset: share of the drift that is undone minus share of the reward's gain that is given up",
        "of what was gained",
        _at_reset(1, lambda reset: reset.undone - reset.given_up),
    ),
    Claim(
        "answers-final-drift",
        "At the end, Elastic Reset provides a non-trivial reduction in drift …",
        "Section 7, Figure 6b, Table 3",
        "rise of test perplexity that Elastic Reset spares, as a share of PPO's own rise",
        "of PPO's rise",
        _share_of_ppos(gained("drift"), -1),
        threshold=0.13,
        asks="non-trivial: more than half of the paper's own 26% (4.43 to 4.62 and 4.57)",
    ),
    Claim(
        "answers-final-drift-lower",
        "… while maintaining lower perplexity on the data.",
        "Section 7, Table 3",
        "final test perplexity: PPO minus Elastic Reset",
        "of perplexity",
        lambda evidence: minus(
            per_seed(evidence, tested("drift"), "ppo"), per_seed(evidence, tested("drift"), "elastic")
        ),
        again="answers-final-drift",
    ),
    Claim(
        "answers-final-reward",
        "… while aligning just as well as PPO, on average over three reward models.",
        "Section 7, Table 3",
        "gain of test reward under three reward models: Elastic Reset's minus PPO's, as a share of PPO's",
        GAINED,
        _share_of_ppos(_gain),
        threshold=-0.09,
        asks="as well: short of it by no more than half of the 18.5% that the paper calls better (.81 and .96)",
        again=BETTER,
    ),
    Claim(
        BETTER,
        "Elastic Reset achieves a slightly better final reward than PPO.",
        "Section 7, Table 3, and the abstract: more aligned",
        "gain of test reward under three reward models: Elastic Reset minus PPO",
        "deviations",
        _over_ppo(_gain),
    ),
    *(
        Claim(
            f"answers-judge-{i + 1}",
            f"… under each of the reward models: {which}.",
            "Section 7, Table 3",
            "gain of test reward: Elastic Reset's minus PPO's, as a share of PPO's",
            GAINED,
            _share_of_ppos(gained(judge)),
            threshold=-0.09,
            asks="as well: short of it by no more than half of the 18.5% that the paper calls better (.81 and .96)",
            again=BETTER,
        )
        for i, (judge, which) in enumerate(zip(JUDGES, ("the optimised one", "a second", "a third"), strict=True))
    ),
    Claim(
        "answers-low-reward",
        "The Pareto curve shows Elastic Reset equal or slightly worse at low reward …",
        "Section 7, Figure 6c",
        "KL a sample at half of the way from the start to the highest training reward that both reach: PPO minus "
        "Elastic Reset",
        "nats",
        cheaper(HALF, ELASTIC._replace(**TRAINED), PPO._replace(**TRAINED)),
        margin=0.5,
        asks=f"equal or slightly worse: within 0.5 ({OUR_OWN})",
    ),
    *(
        Claim(
            f"answers-high-reward-{round(100 * part)}",
            f"… but large improvements over PPO at higher reward; at {FRACTIONS[part]} of the way.",
            "Section 7, Figure 6c",
            f"KL a sample at {FRACTIONS[part]} of the way from the start to the highest training reward that both "
            "reach: PPO minus Elastic Reset",
            "nats",
            cheaper(part, ELASTIC._replace(**TRAINED), PPO._replace(**TRAINED)),
            again="" if part == WHOLE else HIGH,
        )
        for part in (THREE_QUARTERS, WHOLE)
    ),
    *(
        Claim(
            f"answers-held-out-{round(100 * part)}",
            f"The same on held-out questions; at {FRACTIONS[part]} of the way.",
            "Section 7, Figure 6c",
            f"perplexity at {FRACTIONS[part]} of the way from the start to the highest held-out reward that both "
            "reach: PPO minus Elastic Reset",
            "of perplexity",
            cheaper(part, ELASTIC, PPO),
            again="answers-low-reward" if part == HALF else HIGH,
        )
        for part in FRACTIONS
    ),
    Claim(
        "answers-checkpoint-to-keep",
        "A checkpoint to keep: right after its last reset Elastic Reset has the better tradeoff.",
        "ours, after Section 7",
        "PPO's least perplexity at the held-out reward that Elastic Reset then has, minus Elastic Reset's",
        "of perplexity",
        _kept_checkpoint,
        apart=OURS,
    ),
    Claim(
        "answers-area-over-ppo",
        "Elastic Reset has the better Pareto curve on held-out questions.",
        "Section 7, Figure 6c",
        DOMINANCE.format("Elastic Reset", "PPO"),
        IDEAL,
        dominates(ELASTIC, PPO),
    ),
    Claim(
        "answers-area-over-best-ppo",
        "… and better than that of PPO at its best coefficient.",
        "Section 7, Figure 6c",
        DOMINANCE.format("Elastic Reset", "PPO with whichever β leaves the least"),
        IDEAL,
        lambda evidence: dominance_over_best(evidence, ELASTIC, [Line("ppo", {"beta": beta}) for beta in BETAS]),
        again="answers-area-over-ppo",  # the paper has one coefficient here, the same for both methods
    ),
    Claim(
        "answers-ppo-pays-tax",
        "Training with PPO degrades performance on programming, a large alignment tax.",
        "Section 7, Table 3",
        "pass@1 of the exam that PPO loses, as a share of what it was before",
        "of pass@1",
        lambda evidence: _negated(per_seed(evidence, _learned_share("pass_at_1"), "ppo")),
        threshold=0.145,
        asks="large: more than half of the paper's own 29% (11.0 to 7.8)",
    ),
    Claim(
        NO_TAX,
        "In contrast, Elastic Reset maintains performance …",
        "Section 7, Table 3",
        "pass@1 of the exam that Elastic Reset gains, as a share of what it was before",
        "of pass@1",
        lambda evidence: per_seed(evidence, _learned_share("pass_at_1"), "elastic"),
        threshold=-0.145,
        asks="maintains: loses less than half of the 29% that PPO loses in the paper (11.0 to 7.8)",
    ),
    Claim(
        "answers-elastic-bonus",
        "… even slightly improving on pass@10: an alignment bonus instead of a tax.",
        "Section 7, Table 3",
        "pass@10 of the exam after Elastic Reset minus before",
        "pass@10",
        lambda evidence: per_seed(evidence, _learned("pass_at_10"), "elastic"),
    ),
    Claim(
        "answers-exam-over-ppo",
        "Elastic Reset's model programs better than PPO's.",
        "Section 7, Table 3, and the abstract: more performant",
        "final pass@1 of the exam: Elastic Reset minus PPO",
        "pass@1",
        _over_ppo(_learned("pass_at_1")),
    ),
    Claim(
        "answers-no-kl-ppo-pays-tax",
        "The tax where nothing holds the model back: PPO without a KL penalty.",
        "ours, after Section 7",
        "pass@1 of the exam before PPO without a KL minus after",
        "pass@1",
        lambda evidence: _negated(per_seed(evidence, _learned("pass_at_1"), "ppo", beta=0.0)),
        apart=OURS,
    ),
    Claim(
        "answers-no-kl-elastic-pays-less",
        "… and what Elastic Reset without one saves of it.",
        "ours, after Section 7",
        "final pass@1 of the exam: Elastic Reset minus PPO, both without a KL",
        "pass@1",
        lambda evidence: minus(
            per_seed(evidence, _learned("pass_at_1"), "elastic", beta=0.0),
            per_seed(evidence, _learned("pass_at_1"), "ppo", beta=0.0),
        ),
        apart=OURS,
    ),
    *(
        Claim(
            f"answers-untouched-{kind}",
            f"A tax on a real model: PPO makes it worse at text that the task never touches, {what}.",
            "ours, after Section 7",
            "logarithm of test perplexity after PPO over that before",
            "of log perplexity",
            lambda evidence, kind=kind: per_seed(evidence, _tax(kind), "ppo"),
            apart=OURS,
            only_at="lab",
        )
        for kind, what in zip(UNTOUCHED, ("film reviews", "programs", "plain sentences"), strict=True)
    ),
    Claim(
        "answers-untouched-elastic-pays-less",
        "… and Elastic Reset pays less of it, on average over the three.",
        "ours, after Section 7",
        "logarithm of test perplexity after training over that before, mean of three kinds: PPO minus Elastic Reset",
        "of log perplexity",
        lambda evidence: minus(per_seed(evidence, _mean_tax, "ppo"), per_seed(evidence, _mean_tax, "elastic")),
        apart=OURS,
        only_at="lab",
    ),
    Claim(
        "answers-average-is-adapter",
        "Elastic Reset works out of the box with LoRA: the average holds the adapters alone.",
        "Section 7, Appendix C",
        "parameters in the average minus those of the adapters",
        "parameters",
        lambda evidence: per_seed(evidence, _beyond_adapters, "elastic"),
        margin=0.5,
        asks="none",
        apart=BY_CONSTRUCTION,
    ),
    Claim(
        "answers-elastic-over-average",
        "Elastic Reset does more than average: it beats the EMA read out of plain PPO.",
        "ours, after Appendix E.2",
        DOMINANCE.format("Elastic Reset", "the EMA read out of PPO"),
        IDEAL,
        dominates(ELASTIC, AVERAGE),
        apart=OURS,
    ),
    no_worse(
        "answers-rule-of-thumb",
        "How often belongs to the run, not to the task: a reset after each third, with half of θ0 left in the average, "
        "does as well as what was chosen for answers, one after 40 of 90 updates and one after 80, with a tenth left.",
        "Beyond the paper: when to reset",
        "area of the frontier: resets by the rule of thumb minus resets as they were chosen for the task",
        larger_area(BY_THE_RULE, ELASTIC),
        only_at="pocket",
    ),
    _better(
        "rehearsal-over-ppo",
        Line(*STABLE[0]),
        PPO,
        "Selective rehearsal stabilises PPO: rehearsing the best of what it said at first is the better tradeoff.",
        ("PPO with rehearsal", "PPO"),
    ),
    _better(
        "advantage-model-over-reward-model",
        ADVANTAGE,
        UNPAID,
        "An advantage model stabilises PPO: paid by one, it is the better tradeoff than paid by a reward model …",
        ("PPO paid by an advantage model", "PPO paid by a reward model"),
        ", both by a reward model that pays neither",
    ),
    _better(
        "both-over-ppo",
        WITH_BOTH,
        UNPAID,
        "… and with rehearsal too.",
        ("PPO paid by an advantage model, with rehearsal", "PPO"),
        ", both by a reward model that pays neither",
    ),
    _better(
        "elastic-over-both",
        ELASTIC._replace(task="judge_1"),
        WITH_BOTH,
        "Elastic Reset alone is the better tradeoff than these two …",
        ("Elastic Reset", "PPO paid by an advantage model, with rehearsal"),
        ", both by a reward model that pays neither",
    ),
    _better(
        "elastic-with-both-over-elastic",
        ELASTIC_WITH_BOTH,
        ELASTIC._replace(task="judge_1"),
        "… and gains by them.",
        ("Elastic Reset paid by an advantage model, with rehearsal", "Elastic Reset"),
        ", both by a reward model that pays neither",
    ),
    *(
        _better(
            f"elastic-over-{short}",
            ELASTIC,
            Line(method),
            f"Elastic Reset is the better tradeoff than {name}.",
            ("Elastic Reset", name),
            where=f"Beyond the paper: arXiv {number}",
        )
        for short, method, name, number in (
            ("reference-resets", "reference", "Reference Resets, its successor", "2602.18037"),
            ("ema-pg", "ema_pg", "EMA-PG, whose reference follows softly", "2602.04417"),
            ("line", "line", "the straight line from start to end of the same PPO without resets", "2406.16768"),
        )
    ),
]
