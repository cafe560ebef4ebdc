"""The statements of Section 7 and Appendix C, on the answers task."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from elastic_lib import pareto
from elastic_lib.cells import (
    JUDGES,
    Cells,
    Missing,
    PerSeed,
    Reset,
    areas,
    best_of,
    drift_at,
    gained,
    largest_gap,
    minus,
    per_seed,
    reset_every,
    resets,
    tested,
)
from elastic_lib.records import Record
from elastic_lib.verdicts import Claim

BETAS = [{"beta": beta} for beta in (0.0, 0.02, 0.1)]  # PPO's coefficients in the full grid
LEVELS = (0.6, 0.9, 1.1)  # low, higher, high: deviations above people's answers


def _gain(curve: pd.DataFrame, record: Record) -> float:
    """The mean gain under three reward models, as in Table 3."""
    return sum(gained(judge)(curve, record) for judge in JUDGES) / len(JUDGES)


def _over_ppo(measure: Callable[[pd.DataFrame, Record], float]) -> Callable[[Cells], PerSeed]:
    return lambda cells: minus(per_seed(cells, measure, "elastic"), per_seed(cells, measure, "ppo"))


def _at_reset(number: int, what: Callable[[Reset], float]) -> Callable[[Cells], PerSeed]:
    """what(reset) at the first, second, … reset of each seed."""
    return lambda cells: {
        seed: what(every[number]) if len(every) > number else float("nan")
        for seed, every in resets(cells, "elastic").items()
    }


def _cheaper(level: float, task: str = "task", drift: str = "drift") -> Callable[[Cells], PerSeed]:
    """How much less drift Elastic Reset pays at a reward, on held-out questions or in training."""
    return lambda cells: minus(
        *(per_seed(cells, drift_at(cells, level, task, drift), method) for method in ("ppo", "elastic"))
    )


def _kept_checkpoint(cells: Cells) -> PerSeed:
    """PPO's best perplexity at the reward that Elastic Reset has right after its last reset, minus the one it has."""
    ppo, found = cells.common(cells.label("ppo")), {}
    for seed, every in resets(cells, "elastic").items():
        if seed in ppo and every:
            last = every[-1].after
            best = pareto.drift_at(ppo[seed]["task"], ppo[seed]["drift"], last.task, cells.yardstick.better)
            found[seed] = best - last.drift
    return found


def _learned(what: str) -> Callable[[pd.DataFrame, Record], float]:
    """The change of an exam's score; the exam is not sat where there is no sandbox."""

    def change(curve: pd.DataFrame, record: Record) -> float:
        if what not in record.status().get("test", {}):
            raise Missing(f"an exam in {record.path.name}: it needs a sandbox")
        return gained(what)(curve, record)

    return change


def _beyond_adapters(_: pd.DataFrame, record: Record) -> float:
    averaged = record.status()["averaged"]
    return averaged["parameters"] - averaged["adapters"]


CLAIMS = [
    Claim(
        "stack-ppo-gains-reward",
        "RL makes the model's answers more helpful, as judged by the reward model.",
        "Section 7, Figure 6a, Table 3",
        "test reward after PPO minus before, mean of three reward models",
        lambda cells: per_seed(cells, _gain, "ppo"),
    ),
    Claim(
        "stack-ppo-drifts",
        "It drifts: perplexity on people's answers rises.",
        "Section 7, Table 3",
        "test perplexity after PPO minus before",
        lambda cells: per_seed(cells, gained("drift"), "ppo"),
    ),
    Claim(
        "stack-elastic-tracks-ppo",
        "Elastic Reset tracks PPO until the first reset …",
        "Section 7, Figure 6a",
        "largest difference of validation reward until then; they are one run: within 0.0001",
        lambda cells: largest_gap(cells, "ppo", "elastic", reset_every(cells)),
        margin=1e-4,
    ),
    Claim(
        "stack-first-reset-costs-little",
        "… where it drops only slightly …",
        "Section 7, Figure 6a",
        "share of the reward's gain that survives the first reset; slightly: more than half survives",
        _at_reset(0, lambda reset: 1 - reset.given_up),
        threshold=0.5,
    ),
    Claim(
        "stack-second-reset-favours-drift",
        "… Around the second reset we see a much sharper drop of drift but the same approximate reward.",
        "Section 7, Figures 6a and 6b",
        "second reset: share of the drift that is undone minus share of the reward's gain that is given up",
        _at_reset(1, lambda reset: reset.undone - reset.given_up),
    ),
    Claim(
        "stack-final-drift",
        "At the end, Elastic Reset provides a non-trivial reduction in drift …",
        "Section 7, Figure 6b, Table 3",
        "final test perplexity: PPO minus Elastic Reset",
        lambda cells: minus(per_seed(cells, tested("drift"), "ppo"), per_seed(cells, tested("drift"), "elastic")),
    ),
    Claim(
        "stack-final-reward",
        "… while aligning just as well as PPO, on average over three reward models.",
        "Section 7, Table 3",
        "gain of test reward under three reward models: Elastic Reset minus PPO; as well: above −0.05",
        _over_ppo(_gain),
        threshold=-0.05,
    ),
    Claim(
        "stack-final-reward-better",
        "Elastic Reset achieves a slightly better final reward than PPO.",
        "Section 7, Table 3",
        "gain of test reward under three reward models: Elastic Reset minus PPO",
        _over_ppo(_gain),
    ),
    *(
        Claim(
            f"stack-judge-{i + 1}",
            f"… under each of the reward models: {which}.",
            "Section 7, Table 3",
            "gain of test reward: Elastic Reset minus PPO; as well: above −0.05",
            _over_ppo(gained(judge)),
            threshold=-0.05,
        )
        for i, (judge, which) in enumerate(zip(JUDGES, ("the optimised one", "a second", "a third"), strict=True))
    ),
    Claim(
        "stack-low-reward",
        "The Pareto curve shows Elastic Reset equal or slightly worse at low reward …",
        "Section 7, Figure 6c",
        f"KL a sample at training reward ≥ {LEVELS[0]:g}: PPO minus Elastic Reset; equal or slightly worse: within 0.5",
        _cheaper(LEVELS[0], "reward", "kl"),
        margin=0.5,
    ),
    *(
        Claim(
            f"stack-high-reward-{round(100 * level)}",
            f"… but large improvements over PPO at higher reward; at {level:g}.",
            "Section 7, Figure 6c",
            f"KL a sample at training reward ≥ {level:g}: PPO minus Elastic Reset",
            _cheaper(level, "reward", "kl"),
        )
        for level in LEVELS[1:]
    ),
    *(
        Claim(
            f"stack-held-out-{round(100 * level)}",
            f"The same on held-out questions; at {level:g}.",
            "Section 7, Figure 6c",
            f"perplexity at held-out reward ≥ {level:g}: PPO minus Elastic Reset",
            _cheaper(level),
        )
        for level in LEVELS
    ),
    Claim(
        "stack-checkpoint-to-keep",
        "A checkpoint to keep: right after its last reset Elastic Reset has the better tradeoff.",
        "Section 7, Figure 6",
        "PPO's least perplexity at the held-out reward that Elastic Reset then has, minus Elastic Reset's",
        _kept_checkpoint,
    ),
    Claim(
        "stack-area-over-ppo",
        "Elastic Reset has the better Pareto curve on held-out questions.",
        "Section 7, Figure 6c",
        "hypervolume of Elastic Reset minus that of PPO, equal evaluation steps",
        lambda cells: minus(areas(cells, "elastic"), areas(cells, "ppo")),
    ),
    Claim(
        "stack-area-over-best-ppo",
        "… and better than that of PPO at its best coefficient.",
        "Section 7, Figure 6c",
        "hypervolume of Elastic Reset minus that of PPO with whichever β has the largest",
        lambda cells: minus(
            areas(cells, "elastic"), best_of(cells, lambda setting: areas(cells, "ppo", **setting), BETAS, max)
        ),
    ),
    Claim(
        "stack-ppo-pays-tax",
        "Training with PPO degrades performance on programming, a large alignment tax.",
        "Section 7, Table 3",
        "pass@1 of the exam before PPO minus after",
        lambda cells: {seed: -change for seed, change in per_seed(cells, _learned("pass_at_1"), "ppo").items()},
    ),
    Claim(
        "stack-elastic-pays-none",
        "In contrast, Elastic Reset maintains performance …",
        "Section 7, Table 3",
        "pass@1 of the exam after Elastic Reset minus before; maintains: above −0.02",
        lambda cells: per_seed(cells, _learned("pass_at_1"), "elastic"),
        threshold=-0.02,
    ),
    Claim(
        "stack-elastic-bonus",
        "… even slightly improving on pass@10: an alignment bonus instead of a tax.",
        "Section 7, Table 3",
        "pass@10 of the exam after Elastic Reset minus before",
        lambda cells: per_seed(cells, _learned("pass_at_10"), "elastic"),
    ),
    Claim(
        "stack-exam-over-ppo",
        "Elastic Reset's model programs better than PPO's.",
        "Section 7, Table 3",
        "final pass@1 of the exam: Elastic Reset minus PPO",
        _over_ppo(_learned("pass_at_1")),
    ),
    Claim(
        "stack-no-kl-ppo-pays-tax",
        "The tax where nothing holds the model back: PPO without a KL penalty.",
        "Section 7, Table 3; Figure 16's β = 0",
        "pass@1 of the exam before PPO β=0 minus after",
        lambda cells: {s: -change for s, change in per_seed(cells, _learned("pass_at_1"), "ppo", beta=0.0).items()},
    ),
    Claim(
        "stack-no-kl-elastic-pays-less",
        "… and what Elastic Reset without one saves of it.",
        "Section 7, Table 3; Figure 16's β = 0",
        "final pass@1 of the exam: Elastic Reset β=0 minus PPO β=0",
        lambda cells: minus(
            per_seed(cells, _learned("pass_at_1"), "elastic", beta=0.0),
            per_seed(cells, _learned("pass_at_1"), "ppo", beta=0.0),
        ),
    ),
    Claim(
        "stack-average-is-adapter",
        "Elastic Reset works out of the box with LoRA: the average holds the adapters alone.",
        "Section 7, Appendix C",
        "parameters in the average minus those of the adapters",
        lambda cells: per_seed(cells, _beyond_adapters, "elastic"),
        margin=0.5,
    ),
    Claim(
        "stack-elastic-over-average",
        "Elastic Reset does more than average: it beats the EMA read out of plain PPO.",
        "Appendix E.2, on this task",
        "hypervolume of Elastic Reset minus that of the EMA read out of PPO",
        lambda cells: minus(areas(cells, "elastic"), areas(cells, "track", "ema_task", "ema_drift")),
    ),
]
