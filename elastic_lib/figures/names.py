"""What a setting is called: its method, and in words what makes it another than the method as it is by default."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from elastic_lib.recipe import Recipe

METHODS = {
    "ppo": "PPO",
    "nlpo": "NLPO",
    "frozen": "Frozen English",
    "reinforce": "REINFORCE",
    "gumbel": "Gumbel-Softmax",
    "kl": "KL to initial",
    "kl_lm": "KL to English LM",
    "multitask": "Multitask",
    "sil": "SIL",
    "elastic": "Elastic Reset",
    "to_ema": "Reset to EMA",
    "to_init": "Reset to Init",
    "track": "PPO, its EMA read out",
    "reference": "Reference Resets",
    "ema_pg": "EMA-PG",
    "elastic_reference": "Elastic + Reference Resets",
    "bema": "PPO, its BEMA read out",
    "grad_reg": "Gradient regularisation",
    "line": "PPO, a straight line to its end",
    "best_of_n": "best-of-n",
}
WORDS = {  # a setting's value in words, in the order in which they are said
    "beta": lambda beta: f"β = {beta:g}" if beta else "no KL",
    "multitask": "weight {:g}".format,
    "left": lambda share: f"{_percent(share)} of θ0 left",
    "reset_every": lambda n: f"a reset every {n} updates" if n else "a reset when one is due",
    "reference_every": "the reference moves every {} updates".format,
    "ema_reset_every": "the average restarts every {} updates".format,
    "part": {None: "all weights", "upper": "upper layers", "lower": "lower layers", "attention": "attention alone"},
    "restore": lambda share: f"{_percent(share)} of the way to where it goes",
    "restart": lambda share: f"the average {_percent(share)} of the way to θ0",
    "ema_every": {
        "step": "average moved each step",
        "epoch": "average moved each epoch",
        "rollout": "average moved each update",
    },
    "kl_anchor": {"ema": "KL to the average", "lm": "KL to an English LM", "initial": "KL to the initial model"},
    "optimizer": {"keep": "optimiser kept", "clear": "optimiser cleared"},
    "value": {"keep": "critic kept", "clear": "critic cleared"},
    "value_net": {None: "critic that learns", "reward": "frozen reward model as critic"},
    "theta0": {None: "θ0 as it is", "bfloat16": "θ0 in bfloat16"},
    "nlpo": {"as_published": "mask as published", "as_shipped": "mask that never moves"},
    "minibatch": "minibatches of {}".format,
    "samples": lambda n: "one sample a source" if n == 1 else f"{n} samples a source",
    "updates": "{} updates".format,
    "net": {"transformer": "Transformer", "lstm": "LSTM"},
    "distance": {"near": "near domains", "middle": "domains half apart", "far": "domains far apart"},
    "weights_of": lambda method: f"of {METHODS[method]}",
    "lr": "learning rate {:g}".format,
    "listener_lr": "listener's rate {:g}".format,
    "rm_bound": lambda bound: f"paid by {'a reward' if bound is None else 'an advantage'} model",
    "rehearsal": lambda weight: "no rehearsal" if weight is None else "with rehearsal",
    "replay": lambda n: "no replay" if n is None else f"the last {f'{n} updates' if n > 1 else 'update'} replayed",
    "gold_labels": "paid by a proxy of {} labels".format,
    "kl_budget": "at a KL of {:g}".format,
    "grad_penalty": "γ = {:g}".format,
    "ema_power": "weights fall by a power of {:g}".format,
    "bias_power": "read out ahead by a power of {:g}".format,
    "min_slope": "where reward over √KL rises by {:g} or less".format,
    "min_interval": "at least {} updates apart".format,
}
SUMMED = "multitask"  # Elastic Reset on top of it is a method of its own


def name_of(recipe: Recipe, among: Iterable[Recipe] = ()) -> str:
    """A setting as a legend says it: 'Elastic Reset, β = 0.01, 10% of θ0 left'.

    Among others of a figure: what all of them share goes without saying, a β only where all are of one method; and
    where those of a method differ in one thing alone, each of them says it.
    """
    among = list(among)
    values = dict(settings_of(recipe))
    alike = [other for other in among if other.method == recipe.method]
    varied = {key for other in alike for key in settings_of(other) if len({value_of(one, key) for one in alike}) > 1}
    if len(varied) == 1:
        values |= {key: value_of(recipe, key) for key in varied}
    for key in list(values) if len(among) > 1 else ():
        if len({value_of(other, key) for other in among}) == 1 and (key != "beta" or len(alike) == len(among)):
            del values[key]
    name = METHODS[recipe.method]
    if recipe.method == "elastic" and values.get(SUMMED):
        name = f"{name} + {METHODS[SUMMED]}"
        values = {key: value for key, value in values.items() if key not in ("beta", SUMMED)}
    elif recipe.method == "elastic":
        values.pop(SUMMED, None)
    return ", ".join([name, *(in_words(key, values[key]) for key in sorted(values, key=_place))])


def many(count: int, what: str) -> str:
    """'1 run', '3 runs'."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


@functools.cache
def settings_of(recipe: Recipe) -> dict[str, Any]:
    """What is said of a setting: all that was changed but what a figure's title says, and η as what it leaves of θ0."""
    known = recipe.facts
    said = {key: value for key, value in recipe.changes().items() if key not in known.UNSAID}
    for unspoken in ("base", "multitask_batch", "decay"):
        said.pop(unspoken, None)
    left = value_of(recipe, "left")
    usual = value_of(Recipe(recipe.task, recipe.method, recipe.scale, recipe.seed), "left")
    if left is not None and (usual is None or _percent(left) != _percent(usual)):
        said["left"] = left
    if recipe.method in known.SAYS_BETA:
        said["beta"] = recipe.beta
    return said


def value_of(recipe: Recipe, key: str) -> Any:
    """The value of a setting, of the recipe or of its resets; `left` is the share of θ0 in the average at a reset."""
    if key == "left":
        return recipe.left_at_reset() if getattr(recipe.reset, "reset_every", None) else None
    return getattr(recipe, key) if hasattr(recipe, key) else getattr(recipe.reset, key, None)


def in_words(key: str, value: Any) -> str:
    """A setting's value as a reader would say it."""
    words = WORDS.get(key, {})
    if callable(words):
        return words(value)
    if value in words:
        return words[value]
    return f"{key.replace('_', ' ')} {value:g}" if isinstance(value, float) else f"{key.replace('_', ' ')} {value}"


def by_coefficient(recipes: dict[str, Recipe]) -> list[str]:
    """Labels of settings with those of a method together, in the order of the coefficients that they differ in."""
    methods = list(dict.fromkeys(recipe.method for recipe in recipes.values()))
    keys = {key for recipe in recipes.values() for key in settings_of(recipe)}
    numbers = sorted((key for key in keys if key in ("beta", "multitask", "left", "reset_every")), key=_place)

    def place(label: str) -> tuple:
        recipe = recipes[label]
        return methods.index(recipe.method), *(value_of(recipe, key) or 0 for key in numbers)

    return sorted(recipes, key=place)


def _place(key: str) -> tuple[int, str]:
    return (list(WORDS).index(key) if key in WORDS else len(WORDS), key)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share >= 0.01 else f"{100 * share:.1g}%"
