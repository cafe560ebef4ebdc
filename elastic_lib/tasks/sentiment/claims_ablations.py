"""The statements of Section 6's ablations and of Appendices D and E.1, and the authors' own switches, on sentiment."""

from __future__ import annotations

import math

import pandas as pd

from elastic_lib.evidence import Evidence
from elastic_lib.evidence.measures import (
    ELASTIC,
    Effect,
    PerSeed,
    Setting,
    areas,
    best_of,
    cheaper,
    larger_area,
    largest_gap,
    minus,
    per_seed,
    reset_every,
    spread,
    tested,
)
from elastic_lib.evidence.verdicts import Claim
from elastic_lib.records.tables import Finished
from elastic_lib.tasks.sentiment.facts import ABLATIONS, FIVE, left

EVERY_ROLLOUT: Setting = ("elastic", {"ema_every": "rollout", "decay": left(0.5, 25 / 4)})
LIKE = 0.03  # areas that differ by less are called alike


def _area(evidence: Evidence, setting: Setting) -> PerSeed:
    return areas(evidence, setting[0], **setting[1])


def _alike(name: str, statement: str, where: str, measure: str, one: Setting, other: Setting) -> Claim:
    """That a switch makes no difference: the two settings' areas are within LIKE of each other."""
    measure = f"{measure}; alike: within {LIKE}"
    return Claim(f"sentiment-{name}-does-not-matter", statement, where, measure, larger_area(one, other), margin=LIKE)


def _steadier(rival: str, name: str = "elastic") -> Effect:
    """The spread of a rival over its coefficients minus that of a sweep of Elastic Reset."""
    return lambda evidence: minus(spread(evidence, ABLATIONS[rival]), spread(evidence, [ELASTIC, *ABLATIONS[name]]))


def _best_minus(name: str, setting: Setting) -> Effect:
    """The best of a sweep minus one setting of it."""
    return lambda evidence: minus(
        best_of(evidence, lambda changed: _area(evidence, ("elastic", changed)), [c for _, c in ABLATIONS[name]], max),
        _area(evidence, setting),
    )


def _explained_early(evidence: Evidence) -> PerSeed:
    """Variance of the returns that the value explains in the first ten updates after a reset minus those of the run."""
    every = reset_every(evidence)

    def early(curve: pd.DataFrame, _: Finished) -> float:
        parts = [curve[(curve["step"] > start) & (curve["step"] <= start + 10)] for start in (0, every, 2 * every)]
        means = [part["explained_variance"].mean() for part in parts]
        return sum(means[1:]) / 2 - means[0] if not any(map(math.isnan, means)) else math.nan

    return per_seed(evidence, early, "elastic")


def _final(what: str, one: Setting, other: Setting) -> Effect:
    return lambda evidence: minus(
        *(per_seed(evidence, tested(what), method, **changed) for method, changed in (one, other))
    )


def _until(number: int, rival: str, **settings) -> Effect:
    """The largest difference of validation reward to a rival's up to so many resets."""
    return lambda evidence: largest_gap(evidence, "elastic", rival, number * reset_every(evidence), **settings)


CLAIMS = [
    Claim(
        "sentiment-trunk-is-ppo",
        "A check: until its first reset Elastic Reset is PPO with its β.",
        "Section 3, by construction",
        "largest difference of validation reward until then; exactly 0",
        _until(1, "ppo", beta=0.01),
        margin=1e-9,
    ),
    Claim(
        "sentiment-one-reset-is-to-ema",
        "A check: with one reset Elastic Reset is Reset to EMA; they part at the second.",
        "Section 3, by construction",
        "largest difference of validation reward until the second reset; exactly 0",
        _until(2, "to_ema"),
        margin=1e-9,
    ),
    *(
        Claim(
            f"sentiment-five-resets-over-{rival.replace('_', '-')}",
            f"Elastic Reset combines the benefits of both and outperforms each, with five resets: {name}.",
            "Section 6, Figures 5a and 11",
            f"hypervolume of Elastic Reset minus that of {name}, five resets each",
            larger_area(("elastic", FIVE), (rival, FIVE)),
        )
        for rival, name in (("to_ema", "Reset to EMA"), ("to_init", "Reset to Init"))
    ),
    Claim(
        "sentiment-to-ema-better-at-low-reward",
        "Reset to EMA is better at lower reward because it maintains performance …",
        "Section 6, Figure 5a",
        "perplexity at reward ≥ 0.7, two resets: Reset to Init minus Reset to EMA",
        cheaper(0.7, ("to_ema", {}), ("to_init", {})),
    ),
    Claim(
        "sentiment-to-init-better-at-high-reward",
        "… whereas Reset to Init does better at higher reward because it doesn't drift as much.",
        "Section 6, Figure 5a",
        "perplexity at reward ≥ 0.9, two resets: Reset to EMA minus Reset to Init",
        cheaper(0.9, ("to_init", {}), ("to_ema", {})),
    ),
    Claim(
        "sentiment-two-resets-are-enough",
        "We didn't find improved results after 2 resets.",
        "Appendix D.1, Figure 10",
        f"hypervolume of Elastic Reset with five resets minus with two; alike: within {LIKE}",
        larger_area(("elastic", FIVE), ELASTIC),
        margin=LIKE,
    ),
    Claim(
        "sentiment-robust-to-decay",
        "Our method is quite robust to the choice of decay.",
        "Section 6, Figures 5b and 18",
        "spread of hypervolume over PPO's β (0.01 to 1) minus Elastic Reset's over η (2% to 90% of θ0 left)",
        _steadier("ppo", "decay"),
    ),
    *(
        Claim(
            f"sentiment-steadier-than-{rival}",
            f"{rival.upper()} is not robust to the choice of KL coefficient; Elastic Reset seems to be more robust.",
            "Section 6, Figures 5c, 5d, 14 and 15",
            f"spread of hypervolume over β, 10 times smaller to 10 times larger: {rival.upper()} minus Elastic Reset",
            _steadier(rival),
        )
        for rival in ("ppo", "nlpo")
    ),
    Claim(
        "sentiment-kl-and-reset-best",
        "Elastic Reset works reasonably well without a KL penalty, although the combination of the two is best.",
        "Section 6, Figure 16",
        "hypervolume of Elastic Reset with the β that has the largest minus with β=0",
        _best_minus("elastic", ("elastic", {"beta": 0.0})),
    ),
    Claim(
        "sentiment-frequency-unchanged",
        "Reset frequency: Pareto curves are essentially unchanged.",
        "Appendix D.4.1, Figure 19",
        "spread of hypervolume over resets every 10 to 37 updates; unchanged: within 0.05",
        lambda evidence: spread(evidence, [ELASTIC, *ABLATIONS["frequency"]]),
        margin=0.05,
    ),
    Claim(
        "sentiment-learned-value-less-drift",
        "The learning value function is clearly better than the frozen one: less drift for the same reward.",
        "Appendix E.1, Figure 20",
        "hypervolume of PPO β=0.1 with a value that learns minus with the frozen reward model as value",
        larger_area(("ppo", {}), ("ppo", {"value_net": "reward"})),
    ),
    Claim(
        "sentiment-learned-value-less-drift-small-kl",
        "The same where the KL holds less.",
        "Appendix E.1, Figure 20",
        "hypervolume of PPO β=0.01 with a value that learns minus with the frozen reward model as value",
        larger_area(("ppo", {"beta": 0.01}), ("ppo", {"beta": 0.01, "value_net": "reward"})),
    ),
    Claim(
        "sentiment-frozen-value-same-reward",
        "They both reach the same reward.",
        "Appendix E.1, Figure 20",
        "final test reward of PPO β=0.1: frozen value minus learned; the same: within 0.05",
        _final("task", ("ppo", {"value_net": "reward"}), ("ppo", {})),
        margin=0.05,
    ),
    Claim(
        "sentiment-value-improves",
        "Resets iteratively improve the value function: after a reset we re-train with less noise.",
        "Appendix E.1",
        "share of the returns' variance that the value explains: ten updates after a reset minus the first ten",
        _explained_early,
    ),
    Claim(
        "sentiment-kept-value-matters",
        "Maintaining the value function through a reset is what helps.",
        "Appendix E.1; the authors' switch reset_critic",
        "hypervolume of Elastic Reset with its value kept minus cleared at a reset",
        larger_area(ELASTIC, ("elastic", {"value": "clear"})),
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
