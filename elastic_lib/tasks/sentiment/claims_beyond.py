"""What has been written since the paper, on its sentiment task: its successor's statements, and questions of our own.

Reference Resets (Ackermann, Noukhovitch et al., arXiv 2602.18037) move the KL's reference to the policy instead of the
policy to its average. Their theory: what is optimal against a reference that is itself optimal at β is optimal against
the first one at β/2, and so on. Two moves make three optimisations here, so β against β/3: 0.09 against 0.03, where
much of the penalty is left, and 0.03 against 0.01, where little is.

All that a claim compares comes from one folder, where one holds it: pretrained models differ from machine to machine.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from elastic_lib.evidence import Evidence
from elastic_lib.evidence.measures import (
    AVERAGE,
    DOMINANCE,
    ELASTIC,
    IDEAL,
    Effect,
    Line,
    Measure,
    PerSeed,
    Setting,
    dominance,
    highest,
    larger_area,
    lost_since_its_peak,
    minus,
    more_at_equal_kl,
    more_of,
    on,
    shares,
    tested,
    told_by_kl,
)
from elastic_lib.evidence.verdicts import OUR_OWN, OURS, Claim, no_worse
from elastic_lib.recipe import Recipe
from elastic_lib.tasks.sentiment.claims_ablations import SIMILAR
from elastic_lib.tasks.sentiment.facts import ADAPTIVE, AT_THE_HALF, FIXED, LIMITS, THUMB, paid_by_a_proxy

WHERE = "Beyond the paper"
REFERENCE, EMA_PG, BOTH, LINE, GRAD_REG = (
    Line(method) for method in ("reference", "ema_pg", "elastic_reference", "line", "grad_reg")
)
BEMA = Line("bema", {}, "ema_task", "ema_drift")
STRONG = Line("reference", {"beta": 0.09})  # of the pocket scale, for the theory; the better one is REFERENCE
BEST_OF_N = Line("best_of_n")
KL_OF = (Line("ppo", {"beta": 0.03}), ELASTIC, STRONG, AVERAGE)  # whose policies' KLs are to tell drift


def fixed(evidence: Evidence, moving: Line) -> Line:
    """PPO with a reference that stays, at β over the number of optimisations of Reference Resets."""
    moved = Recipe("sentiment", moving.method, evidence.scale, **moving.changed)
    optimisations = -(-moved.updates // moved.reference_every)  # the last one may be shorter
    return plain(evidence, round(moved.beta / optimisations, 6))


def plain(evidence: Evidence, beta: float) -> Line:
    """PPO with this β: a run whose average is only watched is one too, and with the weak KL the one that is there."""
    return Line("track") if beta == Recipe("sentiment", "track", evidence.scale).beta else Line("ppo", {"beta": beta})


def _last(what: str, moving: Line, combined: Callable[[PerSeed, PerSeed], PerSeed]) -> Effect:
    """The final test scores of Reference Resets and of the fixed reference that they are to equal."""

    def effect(evidence: Evidence) -> PerSeed:
        lines = (moving, fixed(evidence, moving))
        evidence = evidence.together(lines)
        return combined(*(on(evidence, tested(what), line) for line in lines))

    return effect


def _drift_ratio(one: PerSeed, other: PerSeed) -> PerSeed:
    return {seed: ratio - 1 for seed, ratio in shares(one, other).items()}


def _beats(subject: Line, rival_of: Callable[[Evidence], Line]) -> Effect:
    """The subject's area minus its rival's over the levels that the subject reaches."""

    def effect(evidence: Evidence) -> PerSeed:
        rival = rival_of(evidence)
        return dominance(evidence.together([subject, rival]), subject, rival)

    return effect


def razor(evidence: Evidence) -> PerSeed:
    """How much more of the drift the forward KL(π0‖π) tells than the reverse one does, as R², a number a seed."""
    told = told_by_kl(evidence.together(KL_OF), KL_OF)
    return minus(told["forward_kl"], told["reverse_kl"])


def _over(name: str, subject: Line, rival: Line, statement: str, where: str) -> Claim:
    """That one dominates another, a question that the paper never asked."""
    measure = DOMINANCE.format(NAMES[subject.method], NAMES[rival.method])
    where = f"{WHERE}: {where}"
    return Claim(f"sentiment-{name}", statement, where, measure, IDEAL, _beats(subject, lambda _: rival), apart=OURS)


NAMES = {
    "elastic": "Elastic Reset",
    "reference": "Reference Resets",
    "elastic_reference": "Elastic Reset with Reference Resets",
    "ema_pg": "EMA-PG",
    "track": "the EMA read out of PPO with the weak KL",
    "bema": "the BEMA read out of PPO with the weak KL",
    "grad_reg": "gradient regularisation",
    "line": "the straight line from θ0 to where that PPO ended",
}


def _theory(moving: Line, beta: str, more: str = "") -> list[Claim]:
    """That k optimisations at β equal one at β/k, in reward and in drift, and which one is the better tradeoff."""
    return [
        Claim(
            f"sentiment-reference-resets-equal-a-smaller-beta-in-reward{more}",
            f"In theory k optimisations at β, each against the last one's policy, equal one at β/k. With {beta}: the "
            "reward …",
            f"{WHERE}: arXiv 2602.18037, theory",
            "final test reward: Reference Resets minus PPO with a fixed reference and β over the optimisations",
            "of reward",
            _last("task", moving, minus),
            margin=SIMILAR,
            asks=f"equal: within the {SIMILAR} that the paper calls similar (Table 2)",
            apart=OURS,
        ),
        Claim(
            f"sentiment-reference-resets-equal-a-smaller-beta-in-drift{more}",
            f"… and, with {beta}, the drift.",
            f"{WHERE}: arXiv 2602.18037, theory",
            "final test perplexity of Reference Resets over that of PPO with a fixed reference and β over the "
            "optimisations, minus 1",
            "of the perplexity",
            _last("drift", moving, _drift_ratio),
            margin=0.05,
            asks=f"equal: within 5% ({OUR_OWN})",
            apart=OURS,
        ),
        Claim(
            f"sentiment-reference-resets-over-smaller-beta{more}",
            f"… yet on the way there, with {beta}, Reference Resets are the better tradeoff.",
            f"{WHERE}: arXiv 2602.18037",
            DOMINANCE.format("Reference Resets", "PPO with a fixed reference and β over the optimisations"),
            IDEAL,
            _beats(moving, lambda evidence: fixed(evidence, moving)),
            apart=OURS,
        ),
    ]


# ---- a gold reward model, whose proxy is optimised (Gao et al. 2022)

WORDS = {
    "ppo": "PPO with a weak KL",
    "stronger-kl": "PPO with a strong KL",
    "nlpo": "NLPO",
    "elastic": "Elastic Reset",
    "reference-resets": "Reference Resets",
    "best-of-n": "best-of-n",
}
OF_GOLD = "of P(positive) by gold"


def paid(evidence: Evidence, part: str) -> Line:
    """Who plays a part where a proxy pays: one of WORDS."""
    return Line(*paid_by_a_proxy(evidence.scale)[part])


def lost_of_gold(evidence: Evidence) -> PerSeed:
    """The share of its best gain in gold reward that PPO with a weak KL has lost at the end."""
    line = paid(evidence, "ppo")
    return on(evidence.together([line]), lost_since_its_peak("gold"), line)


def _of_those_paid(compare: Callable[[Line, Line], Effect], *parts: str) -> Effect:
    """A comparison of the two who play these parts."""
    return lambda evidence: compare(*(paid(evidence, part) for part in parts))(evidence)


def _more(measure: Measure, subject: Line, rival: Line) -> Effect:
    """A measure of the subject minus that of its rival."""

    def effect(evidence: Evidence) -> PerSeed:
        return more_of(evidence.together([subject, rival]), measure, subject, rival)

    return effect


def _more_within(subject: Line, rival: Line, meant: str = "task") -> Effect:
    return lambda evidence: more_at_equal_kl(subject, rival, meant)(evidence.together([subject, rival]))


def _gold(subject: str, rival: str, *asked: str) -> list[Claim]:
    """That more of what is meant comes out: at the best moment, at the end, and within the same √KL."""
    one, other = WORDS[subject], WORDS[rival]
    claims = {
        "peak": (
            f"Paid by a proxy, {one} makes more of what is meant than {other}: at the best moment of each …",
            "highest gold reward of all evaluations",
            partial(_more, highest("gold")),
        ),
        "end": (
            f"… at the end of training, {one} against {other} …",
            "final test gold reward",
            partial(_more, tested("gold")),
        ),
        "kl": (
            f"… and at the same distance from the pretrained model, {one} against {other}.",
            "gold reward of what the proxy likes best within a √KL, mean over all that both reach",
            partial(_more_within, meant="gold"),
        ),
    }
    return [
        Claim(
            f"sentiment-gold-{subject}-over-{rival}-{what}", statement, f"{WHERE}: arXiv 2210.10760",
            f"{measure}: {one} minus {other}", OF_GOLD,
            _of_those_paid(compare, subject, rival), apart=OURS,
        )
        for what, (statement, measure, compare) in claims.items()
        if what in asked or not asked
    ]  # fmt: skip


# ---- what the paper's Limitations leave open

LIMITED = {
    "average-restarted-twice-as-often": "one whose average goes back to θ0 every 12 updates, the policy to it every 25",
    "average-restarted-half-as-often": "one whose average goes back to θ0 every 50 updates, the policy to it every 25",
    "upper-layers": "one of the upper layers alone",
    "lower-layers": "one of the lower layers alone",
    "attention": "one of the attention's weights alone",
    "half-the-way-to-the-average": "one that takes the policy half the way to its average",
    "half-the-way-to-the-start": "one that takes the average half the way to θ0",
    "shrinking": "one that takes the policy half the way to θ0, with no average",
    "replay-of-one-update": "one after which it learns again from what it said in the last update before",
    "replay-of-five-updates": "one after which it learns again from what it said in the last five updates before",
}

# ---- when to reset


def _larger(one: Setting, other: Setting) -> Effect:
    """The area of one setting's frontier minus another's, of runs that were made beside each other."""
    return lambda evidence: larger_area(one, other)(evidence.together([Line(*one), Line(*other)]))


TENTH, WHEN = f"{WHERE}: the tenth question", f"{WHERE}: when to reset"
WHEN_DUE = "area of the frontier: resets when they are due minus resets at the best of the fixed intervals tried"


def _rule_of_thumb(updates: int) -> Claim:
    """That n and η of the rule do as well as the best others that were found for a run of so many updates."""
    rule, found = THUMB[updates]
    every = f"{rule[1]['reset_every']} against {found[1]['reset_every']} updates"
    return no_worse(
        f"sentiment-rule-of-thumb-{updates}",
        f"In a run of {updates} updates a reset after each third, with half of θ0 left in the average, does as well as "
        f"the best of three other intervals, {every}.",
        WHEN,
        "area of the frontier: resets by the rule of thumb minus resets at the interval that the tuning seeds chose",
        _larger(rule, found),
    )


CLAIMS = [
    *_theory(STRONG, "β = 0.09"),
    *_theory(REFERENCE, "three times the β of Elastic Reset", "-weak"),
    _over(
        "elastic-over-reference-resets",
        ELASTIC,
        REFERENCE,
        "Elastic Reset is the better tradeoff than its successor.",
        "the paper against arXiv 2602.18037",
    ),
    _over("both-over-elastic", BOTH, ELASTIC, "Both resets at once are better than Elastic Reset …", "both resets"),
    _over("both-over-reference-resets", BOTH, REFERENCE, "… and than Reference Resets.", "both resets"),
    _over(
        "elastic-over-ema-pg",
        ELASTIC,
        EMA_PG,
        "Elastic Reset is the better tradeoff than a reference that follows softly.",
        "the paper against arXiv 2602.04417",
    ),
    _over(
        "average-over-reference-resets",
        AVERAGE,
        REFERENCE,
        "The average of plain PPO, which costs nothing, is better than Reference Resets.",
        "Appendix E.2 against arXiv 2602.18037",
    ),
    _over(
        "average-over-line",
        AVERAGE,
        LINE,
        "The average of a run holds more than the straight line from its start to its end (LITI), which needs no "
        "average at all.",
        "Appendix E.2 against arXiv 2406.16768",
    ),
    _over(
        "elastic-over-line",
        ELASTIC,
        LINE,
        "Elastic Reset is the better tradeoff than the straight line from start to end of the same PPO without resets.",
        "the paper against arXiv 2406.16768",
    ),
    _over(
        "average-over-bema",
        AVERAGE,
        BEMA,
        "The average of a run holds more than BEMA's, which follows faster and is read out ahead of itself.",
        "Appendix E.2 against arXiv 2508.00180",
    ),
    Claim(
        "sentiment-gradient-regularisation-over-ppo",
        "A penalty on the norm of the gradient is the better tradeoff than the same PPO without one …",
        f"{WHERE}: arXiv 2602.18037",
        DOMINANCE.format("gradient regularisation", "PPO with the same β"),
        IDEAL,
        _beats(GRAD_REG, lambda evidence: plain(evidence, Recipe("sentiment", "grad_reg", evidence.scale).beta)),
        apart=OURS,
    ),
    _over(
        "elastic-over-gradient-regularisation",
        ELASTIC,
        GRAD_REG,
        "… and Elastic Reset than that.",
        "the paper against arXiv 2602.18037",
    ),
    *(
        Claim(
            f"sentiment-elastic-over-{name}",
            f"The whole reset, of all weights on one clock, is the better tradeoff than {LIMITED[name]}.",
            f"{WHERE}: the paper's Limitations",
            DOMINANCE.format("Elastic Reset", LIMITED[name]),
            IDEAL,
            _beats(ELASTIC, lambda _, rival=setting: Line(*rival)),
            apart=OURS,
        )
        for name, setting in LIMITS.items()
    ),
    Claim(
        "sentiment-forward-kl-tells-drift",
        "The forward KL(π0‖π) tells how much a policy has forgotten, better than the reverse one that training "
        "penalises (RL's Razor). Where true text is what π0 says, the first nearly is drift.",
        f"{WHERE}: arXiv 2509.04259",
        "R² of log perplexity on KL(π0‖π) minus that on KL(π‖π0), over the evaluations of PPO, Elastic Reset and "
        "Reference Resets",
        "of R²",
        razor,
        apart=OURS,
    ),
    *(
        Claim(
            f"sentiment-best-of-n-over-{line.method}",
            f"As far from the pretrained model, best-of-n, which trains nothing, is paid more than {name}.",
            f"{WHERE}: best-of-n",
            f"highest reward within a √KL, mean over all that both reach: best-of-n minus {name}",
            "of reward",
            _more_within(BEST_OF_N, line),
            apart=OURS,
        )
        for line, name in ((KL_OF[0], "PPO"), (ELASTIC, "Elastic Reset"))
    ),
    Claim(
        "sentiment-gold-overoptimised",
        "Paid by a proxy, PPO with a weak KL first does more of what is meant, then less.",
        f"{WHERE}: arXiv 2210.10760",
        "share of the gain in gold reward at the best moment of PPO with a weak KL that it has lost at the end",
        "of the gain",
        lost_of_gold,
        threshold=0.1,
        asks=f"more than a tenth ({OUR_OWN})",
        apart=OURS,
    ),
    *_gold("elastic", "ppo"),
    *_gold("elastic", "stronger-kl"),
    *_gold("elastic", "nlpo"),
    *_gold("elastic", "best-of-n", "peak", "kl"),
    *_gold("reference-resets", "ppo"),
    Claim(
        "sentiment-adaptive-over-fixed",
        "Resets that come when they are due, at a KL or where the reward is flat, are better than resets at the best "
        "fixed interval …",
        TENTH,
        WHEN_DUE,
        IDEAL,
        _larger(ADAPTIVE, FIXED),
        apart=OURS,
    ),
    no_worse(
        "sentiment-adaptive-like-fixed",
        "… or as good, and nobody has to say an interval.",
        TENTH,
        WHEN_DUE,
        _larger(ADAPTIVE, FIXED),
    ),
    *(_rule_of_thumb(updates) for updates in THUMB),
    no_worse(
        "sentiment-rule-of-thumb-on-a-real-model",
        "On a real model too a reset after each third, with half of θ0 left in the average, does as well as one at the "
        "half, which was better in the shorter ones of our small runs.",
        WHEN,
        "area of the frontier: resets after 8 and 16 of 24 updates minus one after 12",
        _larger(ELASTIC[:2], AT_THE_HALF),
        only_at="lab",
    ),
]
