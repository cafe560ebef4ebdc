"""The runs behind the figures: the core ones, which `make reproduce` makes, and every setting of the reference."""

from __future__ import annotations

from elastic_lib.recipe import METHODS, SCALES, Recipe
from elastic_lib.settings import unknown

GAME_METHODS = ("frozen", "reinforce", "kl", "kl_lm", "multitask", "to_init", "to_ema", "elastic")
ELASTIC_KL = ("elastic", {"beta": 0.05})  # Elastic Reset on top of a KL as strong as that of KL alone
ELASTIC_MULTITASK = ("elastic", {"beta": 0.0, "multitask": 1.0, "multitask_batch": 32})
LSTM = ("frozen", "reinforce", "kl_lm", "multitask", "sil", "elastic")
SWEEPS = {  # Figures 12, 13 and 17; the middle value of each is the method's own
    "kl": [{"beta": beta} for beta in (0.005, 0.05, 0.2)],
    "kl_lm": [{"beta": beta} for beta in (0.005, 0.05, 0.2)],
    "multitask": [{"multitask": weight} for weight in (0.1, 1.0, 3.0)],
    "elastic": [{"beta": beta} for beta in (0.0, 0.001, 0.01, 0.05)],
    "decay": [{"decay": round(share ** (1 / 140), 5)} for share in (0.9, 0.5, 0.1, 0.001)],
}

COEFFICIENTS = ("beta", "multitask", "multitask_batch", "decay")  # what a sweep or a sum of methods may change


def faithful(method: str) -> dict:
    """The paper's regime of the game: one sample a source, two resets, at 0.46 and 0.92 of the run."""
    resets = dict(decay=0.99749, reset_every=276) if "mode" in METHODS["translation"][method] else {}
    return dict(samples=1, **resets)


def long(method: str) -> dict:
    """Twice as long, resets twice as far apart: what differs after the second reset has room to show."""
    resets = dict(decay=0.99753, reset_every=280) if "mode" in METHODS["translation"][method] else {}
    return dict(updates=1260, **resets)


LONG = ("frozen", "reinforce", "to_init", "to_ema", "elastic")


def left(share: float, every: int = 25) -> float:
    """The η a gradient step, four an update, that leaves such a share of θ0 in the average at a reset."""
    return round(share ** (1 / (4 * every)), 5)


FIVE = dict(reset_every=13, decay=left(0.5, 13))  # five resets in the 75 updates
ABLATIONS = {  # of the sentiment task: Section 6, Appendices D and E, and what nobody has published
    "five resets": [(method, FIVE) for method in ("elastic", "to_ema", "to_init")],
    "decay": [("elastic", {"decay": left(share)}) for share in (0.02, 0.1, 0.25, 0.75, 0.9)],
    "ppo": [("ppo", {"beta": beta}) for beta in (0.01, 0.03, 0.1, 0.3, 1.0)],
    "nlpo": [("nlpo", {"beta": beta}) for beta in (0.01, 0.03, 0.1, 0.3, 1.0)],
    "elastic": [("elastic", {"beta": beta}) for beta in (0.001, 0.003, 0.01, 0.03, 0.1)],
    "no kl": [(method, {"beta": 0.0}) for method in ("ppo", "nlpo", "elastic")],
    "frequency": [("elastic", dict(reset_every=n, decay=left(0.5, n))) for n in (10, 15, 37)],
    "cadence": [("elastic", {"ema_every": "rollout", "decay": decay}) for decay in (left(0.5, 25 / 4), 0.995)],
    "two minibatches": [  # with one, every gradient step is a PPO epoch
        ("elastic", {"minibatch": 32, "decay": left(0.5, 50)}),
        ("elastic", {"minibatch": 32, "ema_every": "epoch", "decay": left(0.5)}),
    ],
    "anchor": [("elastic", {"kl_anchor": "ema"})],
    "cleared": [("elastic", {name: "clear"}) for name in ("optimizer", "value")],
    "theta0": [("elastic", {"theta0": "bfloat16"})],
    "value": [("ppo", {"value_net": "reward"}), ("ppo", {"beta": 0.01, "value_net": "reward"})],
}
CORE = {
    "sentiment": [
        *(("ppo", {"beta": beta}) for beta in (0.1, 0.03, 0.01, 0.0)),
        ("nlpo", {}),
        *(("elastic", {"beta": beta}) for beta in (0.01, 0.001)),
        *((method, {}) for method in ("to_ema", "to_init", "track")),
    ],
    "translation": [(method, {}) for method in GAME_METHODS],
    "answers": [(method, {}) for method in ("ppo", "elastic", "track")],
}
_SWEPT = [
    *((method, value) for method in ("kl", "kl_lm", "multitask", "elastic") for value in SWEEPS[method]),
    *(("elastic", value) for value in SWEEPS["decay"]),
]
_DISTANT = [*((m, {}) for m in ("frozen", "reinforce", "kl", "kl_lm", "multitask", "elastic")), ELASTIC_KL]
FULL = {
    "sentiment": [
        *CORE["sentiment"],
        ("nlpo", {"nlpo": "as_shipped"}),
        *(setting for settings in ABLATIONS.values() for setting in settings),
    ],
    "translation": [
        *CORE["translation"],
        *((method, {"net": "lstm"}) for method in LSTM),
        *((method, {}) for method in ("gumbel", "sil")),
        ELASTIC_KL,
        ELASTIC_MULTITASK,
        *((method, faithful(method)) for method in (*GAME_METHODS, "sil")),
        *((method, long(method)) for method in LONG),
        *((method, settings | {"distance": distance}) for distance in ("near", "far") for method, settings in _DISTANT),
        *_SWEPT,
    ],
    "answers": [
        *CORE["answers"],
        *(("ppo", {"beta": beta}) for beta in (0.0, 0.1)),
        ("elastic", {"beta": 0.0}),
        *((method, {}) for method in ("to_ema", "to_init")),
    ],
}


def fits(task: str, scale: str, changed: dict) -> bool:
    """Whether a scale's batch can be cut into the minibatches of a setting."""
    return SCALES[scale][task].get("batch", 0) % changed.get("minibatch", 1) == 0


def grid(task: str, scale: str = "pocket", seeds: int = 3, full: bool = False) -> list[Recipe]:
    """The runs behind the figures of a task: the core ones, or every setting."""
    if task not in CORE:
        raise ValueError(unknown("task", task, CORE))
    cells = [(m, changed) for m, changed in (FULL if full else CORE)[task] if fits(task, scale, changed)]
    runs = (Recipe(task, method, scale, seed, **changed) for method, changed in cells for seed in range(seeds))
    return list({run.run_id: run for run in runs}.values())  # a sweep holds the method's own value too
