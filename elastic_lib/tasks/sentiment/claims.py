"""The statements of Section 6 and Appendix E.2, on the sentiment task.

Claims speak of roles, and each scale's numbers fill them: the strong KL is PPO's own coefficient, the weak one that of
Elastic Reset, and PPO's best is looked for among `facts.betas`.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from elastic_lib.evidence import Evidence
from elastic_lib.evidence.measures import (
    AVERAGE,
    DOMINANCE,
    ELASTIC,
    HALF,
    IDEAL,
    QUARTERS,
    WHOLE,
    Effect,
    Line,
    PerSeed,
    Points,
    cheaper,
    dominance,
    dominance_over_best,
    dominates,
    drifts_at,
    early_task,
    gained,
    least,
    levels,
    minus,
    more_of,
    more_steps,
    over_resets,
    per_seed,
    saved_over_best,
    tested,
)
from elastic_lib.evidence.verdicts import OUR_OWN, Claim
from elastic_lib.records.tables import Finished
from elastic_lib.tasks.sentiment import claims_ablations, claims_beyond
from elastic_lib.tasks.sentiment.claims_ablations import SIMILAR, weak_kl
from elastic_lib.tasks.sentiment.facts import betas

STRONG, NLPO = Line("ppo"), Line("nlpo")  # as the paper has them: with the strong KL


def weak(evidence: Evidence) -> Line:
    """PPO with the weak KL: the same training as Elastic Reset, without resets."""
    return Line("ppo", weak_kl(evidence))


def swept(evidence: Evidence) -> list[Line]:
    """PPO with each of its coefficients."""
    return [Line("ppo", {"beta": beta}) for beta in betas("ppo", evidence.scale)]


def with_a_kl(evidence: Evidence) -> list[Line]:
    return [line for line in swept(evidence) if line.changed["beta"] > 0]


def _difference(measure: Callable, one: Callable[[Evidence], Line], other: Callable[[Evidence], Line]) -> Effect:
    """What is measured on one line minus on another."""

    def effect(evidence: Evidence) -> PerSeed:
        return more_of(evidence, measure, one(evidence), other(evidence))

    return effect


def _multiplied(_: pd.DataFrame, record: Finished) -> float:
    return record.status()["test"]["drift"] / record.status()["test_before"]["drift"]


def _later_iterations(evidence: Evidence) -> PerSeed:
    """Perplexity in the first iteration minus that in the last, at the highest reward that both reach."""

    def part(pick: Callable) -> Points:
        found = {}
        for seed, curve in evidence.common(evidence.label("elastic")).items():
            rows = curve[(curve["iteration"] == pick(curve["iteration"])) | (curve["step"] == 0)]
            found[seed] = rows["task"].to_numpy(float), rows["drift"].to_numpy(float)
        return found

    first, last = part(min), part(max)
    level = levels(WHOLE, first, last)
    return minus(drifts_at(evidence, level, first), drifts_at(evidence, level, last))


def _at_every_quarter(evidence: Evidence) -> PerSeed:
    """The least that Elastic Reset saves against PPO at its best, over the quarters of the way that both go."""
    return least(saved_over_best(evidence, share, ELASTIC, swept(evidence)) for share in QUARTERS)


FRACTIONS = {0.25: "a quarter", 0.5: "half", 0.75: "three quarters", 1.0: "the whole"}
EVERY_REWARD = "sentiment-elastic-cheaper-for-every-reward"
BASELINES = "sentiment-elastic-over-every-baseline"

NO_MATTER = ("anchor", "optimiser", "cadence", "epoch", "literal-decay", "theta0-precision")
FINDINGS = {  # of a notebook: each sentence is said where the verdicts are these, with the effects that they found
    "04": (
        (
            "Elastic Reset's frontier covers more than those of PPO with any KL and of NLPO, and it ends with more "
            "reward.",
            {BASELINES: "supported", "sentiment-final-reward": "supported"},
        ),
        (
            "Up to the rewards that a PPO with a strong KL reaches, that one is cheaper.",
            {EVERY_REWARD: "refuted", "sentiment-elastic-cheaper-at-100": "refuted"},
        ),
        (
            "A reset takes back {sentiment-reset-undoes-drift:.0%} of the drift so far and leaves "
            "{sentiment-reset-costs-little-reward:.0%} of the reward's gain.",
            {"sentiment-reset-undoes-drift": "supported", "sentiment-reset-costs-little-reward": "refuted"},
        ),
    ),
    "05": (
        (
            "Of what the paper's text and its code disagree on, nothing matters: each way covers as much.",
            {f"sentiment-{name}-does-not-matter": "supported" for name in NO_MATTER},
        ),
        (
            "η may leave from 2% to 90% of θ0; over one range of β Elastic Reset varies more than PPO.",
            {"sentiment-robust-to-decay": "supported", "sentiment-steadier-than-ppo-over-one-range": "refuted"},
        ),
        (
            "With five resets it covers more than Reset to Init, and no interval parts it from Reset to EMA.",
            {
                "sentiment-five-resets-over-to-init": "supported",
                "sentiment-five-resets-over-to-ema": "inconclusive",
            },
        ),
    ),
    "08": (
        (
            "The average helps: read out of plain PPO, it is the better tradeoff.",
            {"sentiment-average-beats-online": "supported"},
        ),
        (
            "That the value function gains by resets is not seen: without them it gains more.",
            {"sentiment-value-improves-by-resets": "refuted", "sentiment-kept-value-matters": "inconclusive"},
        ),
    ),
    "09": (
        (
            "On the small reviews the straight line from θ0 to where plain PPO ended covers more than Elastic Reset, "
            "its successor Reference Resets less, both resets at once more.",
            {
                "sentiment-elastic-over-line": "refuted",
                "sentiment-elastic-over-reference-resets": "supported",
                "sentiment-both-over-elastic": "supported",
            },
        ),
        (
            "Paid by a proxy, Elastic Reset makes no more of what is meant than plain PPO.",
            {"sentiment-gold-elastic-over-ppo-peak": "refuted"},
        ),
    ),
    "10": (
        (
            "On a real language model a reset takes back {sentiment-reset-undoes-drift:.0%} of the drift so far and "
            "leaves {sentiment-reset-costs-little-reward:.0%} of the reward's gain.",
            {"sentiment-reset-undoes-drift": "supported", "sentiment-reset-costs-little-reward": "refuted"},
        ),
        (
            "Elastic Reset's frontier covers more than those of PPO with any KL that was tried and of NLPO.",
            {BASELINES: "supported"},
        ),
        (
            "Paid by a proxy, it ends with less of what is meant than PPO with its own weak KL, and with more than PPO "
            "with a strong one.",
            {
                "sentiment-gold-elastic-over-ppo-end": "refuted",
                "sentiment-gold-elastic-over-stronger-kl-end": "supported",
            },
        ),
    ),
}

CLAIMS = [
    Claim(
        "sentiment-ppo-gains-reward",
        "PPO improves the sentiment reward over the zero-shot model.",
        "Section 6, Table 2",
        "test reward after PPO with the strong KL minus before",
        "of reward",
        lambda evidence: per_seed(evidence, gained("task"), "ppo"),
    ),
    Claim(
        "sentiment-ppo-drifts",
        "Optimising the reward makes the model drift: perplexity on true reviews rises.",
        "Section 6, Table 2",
        "test perplexity after PPO with the strong KL minus before",
        "of perplexity",
        lambda evidence: per_seed(evidence, gained("drift"), "ppo"),
    ),
    Claim(
        "sentiment-no-kl-explodes",
        "PPO without a KL penalty diverges.",
        "Section 6, Appendix D.3, Figure 16",
        "final test perplexity of PPO without a KL as a multiple of the pretrained one",
        "times",
        lambda evidence: per_seed(evidence, _multiplied, "ppo", beta=0.0),
        threshold=2.0,
        asks=f"diverges: more than doubles ({OUR_OWN})",
    ),
    Claim(
        "sentiment-larger-beta-better-frontier",
        "Larger KL coefficients correspond to better Pareto curves for PPO …",
        "Section 6, Figure 5c",
        DOMINANCE.format("PPO with the strong KL", "PPO with the weak one"),
        IDEAL,
        lambda evidence: dominance(evidence, STRONG, weak(evidence)),
    ),
    Claim(
        "sentiment-larger-beta-slower",
        "… but slower training.",
        "Section 6, Figure 5c",
        "validation reward after a third of the run: PPO with the weak KL minus with the strong one",
        "of reward",
        _difference(early_task, weak, lambda _: STRONG),
        again="sentiment-elastic-faster",  # which is PPO with the weak KL until its first reset
    ),
    Claim(
        "sentiment-nlpo-like-ppo",
        "NLPO performs similarly to PPO.",
        "Section 6, Table 2, Figure 8",
        "final test reward: NLPO minus PPO, both with the strong KL",
        "of reward",
        _difference(tested("task"), lambda _: NLPO, lambda _: STRONG),
        margin=2 * SIMILAR,
        asks=f"similarly: within twice the paper's own {SIMILAR} (.558 and .596)",
    ),
    Claim(
        "sentiment-elastic-faster",
        "Elastic Reset achieves better semantic scores much faster.",
        "Section 6, Figure 4b",
        "validation reward after a third of the run, up to its first reset: Elastic Reset minus PPO with the strong KL",
        "of reward",
        _difference(early_task, lambda _: ELASTIC, lambda _: STRONG),
    ),
    Claim(
        "sentiment-reset-undoes-drift",
        "The drift is mitigated by the reset …",
        "Section 6, Figure 4a",
        "share of the drift since the start that a reset undoes, mean over resets",
        "of the drift",
        lambda evidence: over_resets(evidence, lambda reset: reset.undone),
    ),
    Claim(
        "sentiment-reset-favours-drift",
        "… by more than the reward falls …",
        "Section 6, Figure 4",
        "share of the drift that a reset undoes minus share of the reward's gain that it gives up, mean over resets",
        "of what was gained",
        lambda evidence: over_resets(evidence, lambda reset: reset.undone - reset.given_up),
        again="sentiment-reset-costs-little-reward",
    ),
    Claim(
        "sentiment-reset-costs-little-reward",
        "… and for little reward.",
        "Section 6, Figure 4",
        "share of the reward's gain that survives a reset, mean over resets",
        "of the gain",
        lambda evidence: over_resets(evidence, lambda reset: 1 - reset.given_up),
        threshold=0.5,
        asks=f"little is lost: more than half survives ({OUR_OWN})",
    ),
    Claim(
        "sentiment-iterations-improve",
        "Over the iterations the task score improves in relation to drift.",
        "Section 6, Figure 4",
        "perplexity at the highest reward that the first iteration and the last both reach: first minus last",
        "of perplexity",
        _later_iterations,
    ),
    Claim(
        BASELINES,
        "Elastic Reset outperforms all baselines on the Pareto graph.",
        "Section 6, Figure 8c, and the abstract",
        DOMINANCE.format("Elastic Reset", "the best of PPO, with any β, and NLPO"),
        IDEAL,
        lambda evidence: dominance_over_best(evidence, ELASTIC, [*swept(evidence), NLPO]),
    ),
    Claim(
        "sentiment-elastic-area-over-ppo",
        "Elastic Reset far outpaces PPO on the Pareto graph.",
        "Section 6, Figure 8c",
        DOMINANCE.format("Elastic Reset", "PPO with the strong KL, the paper's"),
        IDEAL,
        dominates(ELASTIC, STRONG),
        again=BASELINES,
    ),
    Claim(
        "sentiment-elastic-area-over-best-ppo",
        "… and PPO at its best coefficient.",
        "Section 6, Figures 5c and 8c",
        DOMINANCE.format("Elastic Reset", "PPO with whichever β leaves the least"),
        IDEAL,
        lambda evidence: dominance_over_best(evidence, ELASTIC, swept(evidence)),
        again=BASELINES,
    ),
    Claim(
        "sentiment-elastic-area-over-nlpo",
        "Elastic Reset far outpaces NLPO on the Pareto graph.",
        "Section 6, Figure 8c",
        DOMINANCE.format("Elastic Reset", "NLPO"),
        IDEAL,
        dominates(ELASTIC, NLPO),
        again=BASELINES,
    ),
    Claim(
        EVERY_REWARD,
        "Elastic Reset provides a better tradeoff of reward and drift for every reward.",
        "Section 6, Figure 8c",
        "perplexity at each quarter of the way from the start to the highest reward that both reach, the quarter with "
        "the least taken: PPO with the β that is cheapest there, of those that get there on every seed, minus Elastic "
        "Reset",
        "of perplexity",
        _at_every_quarter,
        asks="for every reward: more than none at the worst of four",
    ),
    *(
        Claim(
            f"sentiment-elastic-cheaper-at-{round(100 * share)}",
            f"Elastic Reset is the better tradeoff for every reward; at {FRACTIONS[share]} of the way, against PPO as "
            "published.",
            "Section 6, Figure 8c",
            f"perplexity at {FRACTIONS[share]} of the way from the start to the highest reward that both reach: PPO "
            "with the strong KL minus Elastic Reset",
            "of perplexity",
            cheaper(share, ELASTIC, STRONG),
            again=EVERY_REWARD,
        )
        for share in QUARTERS
    ),
    *(
        Claim(
            f"sentiment-elastic-cheaper-than-best-at-{round(100 * share)}",
            f"Elastic Reset is the better tradeoff for every reward; at {FRACTIONS[share]} of the way, against PPO at "
            "its best.",
            "Section 6, Figures 5c and 8c",
            f"perplexity at {FRACTIONS[share]} of the way from the start to the highest reward that both reach: PPO "
            "with the β that is cheapest there, of those that get there on every seed, minus Elastic Reset",
            "of perplexity",
            lambda evidence, share=share: saved_over_best(evidence, share, ELASTIC, swept(evidence)),
            again=EVERY_REWARD,
        )
        for share in QUARTERS
    ),
    Claim(
        "sentiment-elastic-no-kl-matches-ppo",
        "Elastic Reset works without a KL at all, matching PPO's best performance with one.",
        "Section 6, Appendix D.3, Figure 16",
        DOMINANCE.format("Elastic Reset without a KL", "PPO with whichever β above 0 leaves the least"),
        IDEAL,
        lambda evidence: dominance_over_best(evidence, Line("elastic", {"beta": 0.0}), with_a_kl(evidence)),
        threshold=-0.05,
        asks=f"matches: at most 0.05 below ({OUR_OWN})",
    ),
    Claim(
        "sentiment-elastic-over-to-ema",
        "Elastic Reset outperforms Reset to EMA.",
        "Section 6, Figure 5a",
        DOMINANCE.format("Elastic Reset", "Reset to EMA (they differ only after the second reset)"),
        IDEAL,
        dominates(ELASTIC, Line("to_ema")),
    ),
    Claim(
        "sentiment-elastic-over-to-init",
        "Elastic Reset outperforms Reset to Init.",
        "Section 6, Figure 5a",
        DOMINANCE.format("Elastic Reset", "Reset to Init"),
        IDEAL,
        dominates(ELASTIC, Line("to_init")),
    ),
    Claim(
        "sentiment-average-beats-online",
        "Just keeping the EMA model improves the tradeoff of PPO.",
        "Appendix E.2, Figure 21",
        DOMINANCE.format("the EMA read out of PPO with the weak KL", "its online policy"),
        IDEAL,
        dominates(AVERAGE, Line("track")),
    ),
    Claim(
        "sentiment-average-slower",
        "… but it is noticeably slower than Elastic Reset.",
        "Appendix E.2, Figure 21",
        "updates to half of the way from the start to the highest reward that both reach: the EMA read out of PPO with "
        "the weak KL minus Elastic Reset",
        "updates",
        lambda evidence: more_steps(evidence, HALF, AVERAGE, ELASTIC),
    ),
    Claim(
        "sentiment-elastic-over-average",
        "Elastic Reset does more than average: it beats the EMA read out of plain PPO.",
        "Appendix E.2, Figure 21",
        DOMINANCE.format("Elastic Reset", "the EMA read out of PPO with the weak KL"),
        IDEAL,
        dominates(ELASTIC, AVERAGE),
    ),
    *(
        Claim(
            f"sentiment-elastic-cheaper-than-average-at-{round(100 * share)}",
            f"… for every reward; at {FRACTIONS[share]} of the way.",
            "Appendix E.2, Figure 21",
            f"perplexity at {FRACTIONS[share]} of the way from the start to the highest reward that both reach: the "
            "EMA read out of PPO with the weak KL minus Elastic Reset",
            "of perplexity",
            cheaper(share, ELASTIC, AVERAGE),
            again="sentiment-elastic-over-average",
        )
        for share in (HALF, WHOLE)
    ),
    Claim(
        "sentiment-final-reward",
        "In the final test scores Elastic Reset has the higher reward …",
        "Section 6, Table 2",
        "final test reward: Elastic Reset minus PPO with the strong KL",
        "of reward",
        _difference(tested("task"), lambda _: ELASTIC, lambda _: STRONG),
    ),
    Claim(
        "sentiment-final-drift",
        "… at no higher perplexity.",
        "Section 6, Table 2",
        "final test perplexity: PPO with the strong KL minus Elastic Reset",
        "of perplexity",
        _difference(tested("drift"), lambda _: STRONG, lambda _: ELASTIC),
    ),
    *claims_ablations.CLAIMS,
    *claims_beyond.CLAIMS,
]
