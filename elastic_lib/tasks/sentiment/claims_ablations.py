"""The statements of Section 6's ablations and of Appendices D and E.1, and the authors' own switches, on sentiment."""

from __future__ import annotations

import math

import pandas as pd

from elastic_lib.evidence import Evidence
from elastic_lib.evidence.measures import (
    DOMINANCE,
    ELASTIC,
    HALF,
    IDEAL,
    WHOLE,
    Effect,
    Line,
    PerSeed,
    Setting,
    areas,
    cheaper,
    dominance,
    dominates,
    larger_area,
    largest_gap,
    mean,
    minus,
    more_of,
    on,
    reset_every,
    spread,
    tested,
)
from elastic_lib.evidence.verdicts import BY_CONSTRUCTION, OUR_OWN, OURS, Claim
from elastic_lib.recipe import Recipe
from elastic_lib.records.tables import Finished
from elastic_lib.tasks.sentiment.facts import ABLATIONS, FIVE, ONE_RANGE, betas, left

EVERY_ROLLOUT: Setting = ("elastic", {"ema_every": "rollout", "decay": left(0.5, 25 / 4)})
LIKE = 0.03  # areas that differ by less are called alike
SIMILAR = 0.038  # the difference of test rewards that the paper calls similar: NLPO .558, PPO .596 (Table 2)
NAMES = {"to_ema": "Reset to EMA", "to_init": "Reset to Init"}
TO_EMA, TO_INIT = Line("to_ema"), Line("to_init")


def weak_kl(evidence: Evidence) -> dict:
    """The KL that Elastic Reset has at this scale."""
    return {"beta": Recipe("sentiment", "elastic", evidence.scale, seed=0).beta}


def _alike(name: str, statement: str, where: str, measure: str, one: Setting, other: Setting) -> Claim:
    """That a switch makes no difference: the two settings' areas are within LIKE of each other."""
    name, asks = f"sentiment-{name}-does-not-matter", f"alike: within {LIKE} ({OUR_OWN})"
    return Claim(name, statement, where, measure, IDEAL, larger_area(one, other), margin=LIKE, asks=asks, apart=OURS)


def _steadier(rival: str, name: str = "elastic") -> Effect:
    """The spread of a rival over its coefficients minus that of a sweep of Elastic Reset."""
    return lambda evidence: minus(spread(evidence, ABLATIONS[rival]), spread(evidence, [ELASTIC, *ABLATIONS[name]]))


def _steadier_over_one_range(evidence: Evidence) -> PerSeed:
    """The same over the coefficients that were tried for both."""
    ppo, elastic = (spread(evidence, [(name, {"beta": beta}) for beta in ONE_RANGE]) for name in ("ppo", "elastic"))
    return minus(ppo, elastic)


def _with_a_kl_over_without(evidence: Evidence) -> PerSeed:
    """Elastic Reset with the β whose own area is the largest, over the one without a KL."""
    both = [Line("elastic", {"beta": beta}) for beta in betas("elastic", evidence.scale)]
    evidence = evidence.with_sweep(both)
    best = max(both, key=lambda line: mean(areas(evidence, line.method, **line.changed)))
    return dominance(evidence, best, Line("elastic", {"beta": 0.0}))


def _explained_early(evidence: Evidence, line: Line = ELASTIC) -> PerSeed:
    """Variance of the returns that the value explains in the first ten updates after a reset minus those of the run."""
    every = reset_every(evidence)

    def early(curve: pd.DataFrame, _: Finished) -> float:
        parts = [curve[(curve["step"] > start) & (curve["step"] <= start + 10)] for start in (0, every, 2 * every)]
        means = [part["explained_variance"].mean() for part in parts]
        return sum(means[1:]) / 2 - means[0] if not any(map(math.isnan, means)) else math.nan

    return on(evidence, early, line)


def _explained_more_than_without(evidence: Evidence) -> PerSeed:
    """The same minus that of PPO with the same KL at the same updates, which knows no reset."""
    return minus(_explained_early(evidence), _explained_early(evidence, Line("ppo", weak_kl(evidence))))


def _final(what: str, one: Setting, other: Setting) -> Effect:
    return lambda evidence: more_of(evidence, tested(what), one, other)


def _until(number: int, rival: str) -> Effect:
    """The largest difference of validation reward to a rival's with the same KL, up to so many resets."""

    def gap(evidence: Evidence) -> PerSeed:
        return largest_gap(evidence, Line("elastic"), Line(rival, weak_kl(evidence)), number * reset_every(evidence))

    return gap


def _frozen_value(evidence: Evidence) -> PerSeed:
    kl = weak_kl(evidence)
    return dominance(evidence, Line("ppo", kl), Line("ppo", kl | {"value_net": "reward"}))


CLAIMS = [
    Claim(
        "sentiment-trunk-is-ppo",
        "A check: until its first reset Elastic Reset is PPO with its β.",
        "Section 3, by construction",
        "largest difference of validation reward until then",
        "of reward",
        _until(1, "ppo"),
        margin=1e-9,
        asks="exactly 0",
        apart=BY_CONSTRUCTION,
    ),
    Claim(
        "sentiment-one-reset-is-to-ema",
        "A check: with one reset Elastic Reset is Reset to EMA; they part at the second.",
        "Section 3, by construction",
        "largest difference of validation reward until the second reset",
        "of reward",
        _until(2, "to_ema"),
        margin=1e-9,
        asks="exactly 0",
        apart=BY_CONSTRUCTION,
    ),
    *(
        Claim(
            f"sentiment-five-resets-over-{rival.replace('_', '-')}",
            f"Elastic Reset combines the benefits of both and outperforms each, with five resets: {NAMES[rival]}.",
            "Section 6, Figures 5a and 11",
            DOMINANCE.format("Elastic Reset", f"{NAMES[rival]}, five resets each"),
            IDEAL,
            dominates(Line("elastic", FIVE), Line(rival, FIVE)),
            again=f"sentiment-elastic-over-{rival.replace('_', '-')}",
        )
        for rival in NAMES
    ),
    Claim(
        "sentiment-to-ema-better-at-low-reward",
        "Reset to EMA is better at lower reward because it maintains performance …",
        "Section 6, Figure 5a",
        "perplexity at half of the way from the start to the highest reward that both reach, two resets: Reset to Init "
        "minus Reset to EMA",
        "of perplexity",
        cheaper(HALF, TO_EMA, TO_INIT),
    ),
    Claim(
        "sentiment-to-init-better-at-high-reward",
        "… whereas Reset to Init does better at higher reward because it doesn't drift as much.",
        "Section 6, Figure 5a",
        "perplexity at the highest reward that both reach, two resets: Reset to EMA minus Reset to Init",
        "of perplexity",
        cheaper(WHOLE, TO_INIT, TO_EMA),
    ),
    Claim(
        "sentiment-two-resets-are-enough",
        "We didn't find improved results after 2 resets.",
        "Appendix D.1, Figure 10",
        "hypervolume of Elastic Reset with two resets minus with five",
        IDEAL,
        larger_area(ELASTIC, ("elastic", FIVE)),
        threshold=-LIKE,
        asks=f"not improved: five are at most {LIKE} above two ({OUR_OWN})",
    ),
    Claim(
        "sentiment-robust-to-decay",
        "Our method is quite robust to the choice of decay.",
        "Section 6, Figures 5b and 18",
        "largest minus smallest hypervolume: PPO's over β (0.01 to 1) minus Elastic Reset's over η (2% to 90% of θ0 "
        "left)",
        IDEAL,
        _steadier("ppo", "decay"),
        asks="robust: spreads less than PPO does over its own coefficient",
    ),
    *(
        Claim(
            f"sentiment-steadier-than-{rival}",
            f"{rival.upper()} is not robust to the choice of KL coefficient; Elastic Reset seems to be more robust.",
            "Section 6, Figures 5c, 5d, 14 and 15",
            "largest minus smallest hypervolume over β, 10 times smaller to 10 times larger: "
            f"{rival.upper()}'s minus Elastic Reset's",
            IDEAL,
            _steadier(rival),
        )
        for rival in ("ppo", "nlpo")
    ),
    Claim(
        "sentiment-steadier-than-ppo-over-one-range",
        "A control: over one range for both, β from 0 to 0.1, Elastic Reset is the more robust.",
        "Section 6, Figures 5c and 15",
        "largest minus smallest hypervolume over β of 0, 0.01, 0.03 and 0.1: PPO's minus Elastic Reset's",
        IDEAL,
        _steadier_over_one_range,
        apart=OURS,
    ),
    Claim(
        "sentiment-kl-and-reset-best",
        "Elastic Reset works reasonably well without a KL penalty, although the combination of the two is best.",
        "Section 6, Appendix D.3, Figure 16",
        DOMINANCE.format("Elastic Reset with the β whose own is the largest", "Elastic Reset without a KL"),
        IDEAL,
        _with_a_kl_over_without,
    ),
    Claim(
        "sentiment-frequency-unchanged",
        "Reset frequency: Pareto curves are essentially unchanged.",
        "Appendix D.4.1, Figure 19",
        "largest minus smallest hypervolume over resets every 10 to 37 updates",
        IDEAL,
        lambda evidence: spread(evidence, [ELASTIC, *ABLATIONS["frequency"]]),
        margin=0.05,
        asks=f"unchanged: within 0.05 ({OUR_OWN})",
    ),
    Claim(
        "sentiment-learned-value-less-drift",
        "The learning value function is clearly better than the frozen one: less drift for the same reward.",
        "Appendix E.1, Figure 20",
        DOMINANCE.format("PPO with the strong KL and a value that learns", "with the frozen reward model as value"),
        IDEAL,
        dominates(Line("ppo"), Line("ppo", {"value_net": "reward"})),
    ),
    Claim(
        "sentiment-learned-value-less-drift-small-kl",
        "The same where the KL holds less.",
        "Appendix E.1, Figure 20",
        DOMINANCE.format("PPO with the weak KL and a value that learns", "with the frozen reward model as value"),
        IDEAL,
        _frozen_value,
        again="sentiment-learned-value-less-drift",
    ),
    Claim(
        "sentiment-frozen-value-same-reward",
        "They both reach the same reward.",
        "Appendix E.1, Figure 20",
        "final test reward of PPO with the strong KL: frozen value minus learned",
        "of reward",
        _final("task", ("ppo", {"value_net": "reward"}), ("ppo", {})),
        margin=SIMILAR,
        asks=f"the same: within the {SIMILAR} that the paper calls similar (Table 2)",
    ),
    Claim(
        "sentiment-value-improves",
        "Resets iteratively improve the value function: after a reset we re-train with less noise.",
        "Appendix E.1",
        "share of the returns' variance that the value explains: ten updates after a reset minus the first ten",
        "of the variance",
        _explained_early,
    ),
    Claim(
        "sentiment-value-improves-by-resets",
        "A reset improves it more than the same training without resets does by then.",
        "Appendix E.1",
        "the same share: ten updates after a reset minus the first ten, in Elastic Reset minus in PPO with its KL",
        "of the variance",
        _explained_more_than_without,
        apart=OURS,
    ),
    Claim(
        "sentiment-kept-value-matters",
        "Maintaining the value function through a reset is what helps.",
        "Appendix E.1; the authors' switch reset_critic",
        DOMINANCE.format("Elastic Reset with its value kept", "with it cleared at a reset"),
        IDEAL,
        dominates(ELASTIC, Line("elastic", {"value": "clear"})),
    ),
    _alike(
        "optimiser",
        "Text and code: Adam's moments are kept at a reset; clearing them does not matter.",
        "the authors' switch reset_opt",
        "hypervolume of Elastic Reset with Adam's moments cleared minus kept",
        ("elastic", {"optimizer": "clear"}),
        ELASTIC,
    ),
    _alike(
        "cadence",
        "Text and code: the average moves after every step or once a rollout, as much of θ0 left; it does not matter.",
        "Section 3 against the authors' IMDB code",
        "hypervolume with an average once a rollout minus every gradient step",
        EVERY_ROLLOUT,
        ELASTIC,
    ),
    _alike(
        "epoch",
        "Text and code: the average moves after every step or every PPO epoch, as much of θ0 left; it does not matter.",
        "Section 3 against the authors' code",
        "hypervolume with an average every PPO epoch minus every gradient step, two an epoch",
        ABLATIONS["two minibatches"][1],
        ABLATIONS["two minibatches"][0],
    ),
    _alike(
        "literal-decay",
        "Text and code: η = 0.995 once a rollout, as their code has it, leaves 88% of θ0; it does not matter.",
        "Section 6 against the authors' IMDB code",
        "hypervolume with η = 0.995 once a rollout minus 0.993 every gradient step",
        ("elastic", {"ema_every": "rollout", "decay": 0.995}),
        ELASTIC,
    ),
    _alike(
        "anchor",
        "Text and code: the KL is against the initial model, or against the average; it does not matter.",
        "Section 6 against the authors' winning configuration",
        "hypervolume with the KL against the average minus against the initial model",
        ("elastic", {"kl_anchor": "ema"}),
        ELASTIC,
    ),
    _alike(
        "theta0-precision",
        "θ0 may be kept in half precision.",
        "the paper is silent",
        "hypervolume with θ0 in bfloat16 minus in float32",
        ("elastic", {"theta0": "bfloat16"}),
        ELASTIC,
    ),
]
