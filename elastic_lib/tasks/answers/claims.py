"""The statements of Section 7 and Appendix C, on the answers task."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from elastic_lib.evidence.evidence import Evidence, Missing
from elastic_lib.evidence.measures import (
    ELASTIC,
    Effect,
    PerSeed,
    Reset,
    areas,
    best_of,
    cheaper,
    drift_at,
    gained,
    largest_gap,
    minus,
    per_seed,
    reset_every,
    resets,
    tested,
)
from elastic_lib.evidence.verdicts import Claim
from elastic_lib.records.tables import Finished
from elastic_lib.tasks.answers.facts import JUDGES

BETAS = [{"beta": beta} for beta in (0.0, 0.02, 0.1)]  # PPO's coefficients in the full grid
LEVELS = (0.6, 0.9, 1.1)  # low, higher, high: deviations above people's answers


def _gain(curve: pd.DataFrame, record: Finished) -> float:
    """The mean gain under three reward models, as in Table 3."""
    return sum(gained(judge)(curve, record) for judge in JUDGES) / len(JUDGES)


def _over_ppo(measure: Callable[[pd.DataFrame, Finished], float]) -> Effect:
    return lambda evidence: minus(per_seed(evidence, measure, "elastic"), per_seed(evidence, measure, "ppo"))


def _at_reset(number: int, what: Callable[[Reset], float]) -> Effect:
    """what(reset) at the first, second, … reset of each seed."""
    return lambda evidence: {
        seed: what(every[number]) if len(every) > number else float("nan")
        for seed, every in resets(evidence, "elastic").items()
    }


def _kept_checkpoint(evidence: Evidence) -> PerSeed:
    """PPO's best perplexity at the reward that Elastic Reset has right after its last reset, minus the one it has."""
    ppo, found = evidence.common(evidence.label("ppo")), {}
    for seed, every in resets(evidence, "elastic").items():
        if seed in ppo and every:
            last = every[-1].after
            best = drift_at(evidence, last.task)(ppo[seed], None)
            found[seed] = best - last.drift
    return found


def _learned(what: str) -> Callable[[pd.DataFrame, Finished], float]:
    """The change of an exam's score; the exam is not sat where there is no sandbox."""

    def change(curve: pd.DataFrame, record: Finished) -> float:
        if what not in record.status().get("test", {}):
            raise Missing(f"an exam in {record.run_id}: it needs a sandbox")
        return gained(what)(curve, record)

    return change


def _beyond_adapters(_: pd.DataFrame, record: Finished) -> float:
    averaged = record.status()["averaged"]
    return averaged["parameters"] - averaged["adapters"]


CLAIMS = [
    Claim(
        "answers-ppo-gains-reward",
        "RL makes the model's answers more helpful, as judged by the reward model.",
        "Section 7, Figure 6a, Table 3",
        "test reward after PPO minus before, mean of three reward models",
        lambda evidence: per_seed(evidence, _gain, "ppo"),
    ),
    Claim(
        "answers-ppo-drifts",
        "It drifts: perplexity on people's answers rises.",
        "Section 7, Table 3",
        "test perplexity after PPO minus before",
        lambda evidence: per_seed(evidence, gained("drift"), "ppo"),
    ),
    Claim(
        "answers-elastic-tracks-ppo",
        "Elastic Reset tracks PPO until the first reset …",
        "Section 7, Figure 6a",
        "largest difference of validation reward until then; they are one run: within 0.0001",
        lambda evidence: largest_gap(evidence, "ppo", "elastic", reset_every(evidence)),
        margin=1e-4,
    ),
    Claim(
        "answers-first-reset-costs-little",
        "… where it drops only slightly …",
        "Section 7, Figure 6a",
        "share of the reward's gain that survives the first reset; slightly: more than half survives",
        _at_reset(0, lambda reset: 1 - reset.given_up),
        threshold=0.5,
    ),
    Claim(
        "answers-second-reset-favours-drift",
        "… Around the second reset we see a much sharper drop of drift but the same approximate reward.",
        "Section 7, Figures 6a and 6b",
        "second reset: share of the drift that is undone minus share of the reward's gain that is given up",
        _at_reset(1, lambda reset: reset.undone - reset.given_up),
    ),
    Claim(
        "answers-final-drift",
        "At the end, Elastic Reset provides a non-trivial reduction in drift …",
        "Section 7, Figure 6b, Table 3",
        "final test perplexity: PPO minus Elastic Reset",
        lambda evidence: minus(
            per_seed(evidence, tested("drift"), "ppo"), per_seed(evidence, tested("drift"), "elastic")
        ),
    ),
    Claim(
        "answers-final-reward",
        "… while aligning just as well as PPO, on average over three reward models.",
        "Section 7, Table 3",
        "gain of test reward under three reward models: Elastic Reset minus PPO; as well: above −0.05",
        _over_ppo(_gain),
        threshold=-0.05,
    ),
    Claim(
        "answers-final-reward-better",
        "Elastic Reset achieves a slightly better final reward than PPO.",
        "Section 7, Table 3",
        "gain of test reward under three reward models: Elastic Reset minus PPO",
        _over_ppo(_gain),
    ),
    *(
        Claim(
            f"answers-judge-{i + 1}",
            f"… under each of the reward models: {which}.",
            "Section 7, Table 3",
            "gain of test reward: Elastic Reset minus PPO; as well: above −0.05",
            _over_ppo(gained(judge)),
            threshold=-0.05,
        )
        for i, (judge, which) in enumerate(zip(JUDGES, ("the optimised one", "a second", "a third"), strict=True))
    ),
    Claim(
        "answers-low-reward",
        "The Pareto curve shows Elastic Reset equal or slightly worse at low reward …",
        "Section 7, Figure 6c",
        f"KL a sample at training reward ≥ {LEVELS[0]:g}: PPO minus Elastic Reset; equal or slightly worse: within 0.5",
        cheaper(LEVELS[0], ELASTIC, ("ppo", {}), "reward", "kl"),
        margin=0.5,
    ),
    *(
        Claim(
            f"answers-high-reward-{round(100 * level)}",
            f"… but large improvements over PPO at higher reward; at {level:g}.",
            "Section 7, Figure 6c",
            f"KL a sample at training reward ≥ {level:g}: PPO minus Elastic Reset",
            cheaper(level, ELASTIC, ("ppo", {}), "reward", "kl"),
        )
        for level in LEVELS[1:]
    ),
    *(
        Claim(
            f"answers-held-out-{round(100 * level)}",
            f"The same on held-out questions; at {level:g}.",
            "Section 7, Figure 6c",
            f"perplexity at held-out reward ≥ {level:g}: PPO minus Elastic Reset",
            cheaper(level, ELASTIC, ("ppo", {})),
        )
        for level in LEVELS
    ),
    Claim(
        "answers-checkpoint-to-keep",
        "A checkpoint to keep: right after its last reset Elastic Reset has the better tradeoff.",
        "Section 7, Figure 6",
        "PPO's least perplexity at the held-out reward that Elastic Reset then has, minus Elastic Reset's",
        _kept_checkpoint,
    ),
    Claim(
        "answers-area-over-ppo",
        "Elastic Reset has the better Pareto curve on held-out questions.",
        "Section 7, Figure 6c",
        "hypervolume of Elastic Reset minus that of PPO, equal evaluation steps",
        lambda evidence: minus(areas(evidence, "elastic"), areas(evidence, "ppo")),
    ),
    Claim(
        "answers-area-over-best-ppo",
        "… and better than that of PPO at its best coefficient.",
        "Section 7, Figure 6c",
        "hypervolume of Elastic Reset minus that of PPO with whichever β has the largest",
        lambda evidence: minus(
            areas(evidence, "elastic"), best_of(evidence, lambda setting: areas(evidence, "ppo", **setting), BETAS, max)
        ),
    ),
    Claim(
        "answers-ppo-pays-tax",
        "Training with PPO degrades performance on programming, a large alignment tax.",
        "Section 7, Table 3",
        "pass@1 of the exam before PPO minus after",
        lambda evidence: {seed: -change for seed, change in per_seed(evidence, _learned("pass_at_1"), "ppo").items()},
    ),
    Claim(
        "answers-elastic-pays-none",
        "In contrast, Elastic Reset maintains performance …",
        "Section 7, Table 3",
        "pass@1 of the exam after Elastic Reset minus before; maintains: above −0.02",
        lambda evidence: per_seed(evidence, _learned("pass_at_1"), "elastic"),
        threshold=-0.02,
    ),
    Claim(
        "answers-elastic-bonus",
        "… even slightly improving on pass@10: an alignment bonus instead of a tax.",
        "Section 7, Table 3",
        "pass@10 of the exam after Elastic Reset minus before",
        lambda evidence: per_seed(evidence, _learned("pass_at_10"), "elastic"),
    ),
    Claim(
        "answers-exam-over-ppo",
        "Elastic Reset's model programs better than PPO's.",
        "Section 7, Table 3",
        "final pass@1 of the exam: Elastic Reset minus PPO",
        _over_ppo(_learned("pass_at_1")),
    ),
    Claim(
        "answers-no-kl-ppo-pays-tax",
        "The tax where nothing holds the model back: PPO without a KL penalty.",
        "Section 7, Table 3; Figure 16's β = 0",
        "pass@1 of the exam before PPO β=0 minus after",
        lambda evidence: {
            s: -change for s, change in per_seed(evidence, _learned("pass_at_1"), "ppo", beta=0.0).items()
        },
    ),
    Claim(
        "answers-no-kl-elastic-pays-less",
        "… and what Elastic Reset without one saves of it.",
        "Section 7, Table 3; Figure 16's β = 0",
        "final pass@1 of the exam: Elastic Reset β=0 minus PPO β=0",
        lambda evidence: minus(
            per_seed(evidence, _learned("pass_at_1"), "elastic", beta=0.0),
            per_seed(evidence, _learned("pass_at_1"), "ppo", beta=0.0),
        ),
    ),
    Claim(
        "answers-average-is-adapter",
        "Elastic Reset works out of the box with LoRA: the average holds the adapters alone.",
        "Section 7, Appendix C",
        "parameters in the average minus those of the adapters",
        lambda evidence: per_seed(evidence, _beyond_adapters, "elastic"),
        margin=0.5,
    ),
    Claim(
        "answers-elastic-over-average",
        "Elastic Reset does more than average: it beats the EMA read out of plain PPO.",
        "Appendix E.2, on this task",
        "hypervolume of Elastic Reset minus that of the EMA read out of PPO",
        lambda evidence: minus(areas(evidence, "elastic"), areas(evidence, "track", "ema_task", "ema_drift")),
    ),
]
