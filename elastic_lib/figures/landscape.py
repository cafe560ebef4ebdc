"""A toy of two weights on which the methods of Section 3 can be seen to walk, in numpy alone.

    reward    R(θ) = 1 − ½ Σ ((θ−goal) / reward_widths)²       what is climbed, by noisy gradients
    drift     D(θ) = ½ (x / a)² + ½ ((y − bend·x²) / b)²       −log density of language, 0 at θ0 = (0, 0)
    KL        ½ (x / a)² + ½ (y / b)²                          what a KL to θ0 sees: the drift, where bend is 0

Reward comes mostly from x, for which language has room (a); y pays little and costs much (b). All of it is quadratic,
so that nothing here is owed to a clever shape.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from elastic_lib import pareto
from elastic_lib.recipe.rules import COEFFICIENT, COUNT, POSITIVE, SHARE, WHOLE, Rule, check_known

METHODS = ("sgd", "kl", "ema", "elastic", "to_ema", "to_init")
RULES = dict(steps=COUNT, lr=POSITIVE, noise=COEFFICIENT, beta=COEFFICIENT, decay=SHARE, every=COUNT, seed=WHOLE)
GOOD = 2.0  # drift up to here is good language: it holds 1 − e⁻² of the density where bend is 0
MATCHED = 0.85  # the reward at which drifts are compared


@dataclass(frozen=True)
class Landscape:
    """A reward whose optimum lies outside the region of good language around θ0."""

    goal: tuple[float, float] = (2.0, 1.5)
    reward_widths: tuple[float, float] = (2.0, 5.0)
    language_widths: tuple[float, float] = (1.5, 0.5)
    bend: float = 0.0

    def __post_init__(self):
        for name in ("goal", "reward_widths", "language_widths"):
            pair = getattr(self, name)
            if np.shape(pair) != (2,):
                raise ValueError(f"{name} must be two numbers, of x and of y; got {pair!r}")
            for number in pair:
                (Rule(float) if name == "goal" else POSITIVE).check(name, number)
        Rule(float).check("bend", self.bend)

    def reward(self, theta: np.ndarray) -> np.ndarray:
        """R of points [..., 2]."""
        return 1 - 0.5 * (((theta - np.array(self.goal)) / self.reward_widths) ** 2).sum(-1)

    def drift(self, theta: np.ndarray) -> np.ndarray:
        """D of points [..., 2]."""
        x, y = theta[..., 0], theta[..., 1]
        a, b = self.language_widths
        return 0.5 * (x / a) ** 2 + 0.5 * ((y - self.bend * x**2) / b) ** 2

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """Of the reward, without noise."""
        return (np.array(self.goal) - theta) / np.square(self.reward_widths)

    def pull(self, theta: np.ndarray) -> np.ndarray:
        """The gradient of the KL to θ0."""
        return theta / np.square(self.language_widths)


@dataclass(frozen=True)
class Walk:
    """Where a method has been: a row for each step, and one more right after each reset, as in a record's curve."""

    method: str
    step: np.ndarray
    reset: np.ndarray
    theta: np.ndarray
    average: np.ndarray
    reward: np.ndarray
    drift: np.ndarray

    @property
    def shown(self) -> np.ndarray:
        """The weights that one would use: θ, or θ̄ where the average is read out."""
        return self.average if self.method == "ema" else self.theta

    @property
    def resets(self) -> list[int]:
        """After which steps θ went back."""
        return self.step[self.reset].tolist()

    def until(self, step: int) -> Walk:
        """The same walk so far."""
        kept = self.step <= step
        return Walk(self.method, *(column[kept] for column in list(vars(self).values())[1:]))

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Reward and drift, one point a step for every method: more points would flatter a frontier."""
        return self.reward[~self.reset], self.drift[~self.reset]

    def area(self) -> float:
        """Of the frontier, as a share of the ideal: the best reward for no drift is 1, no gain is 0."""
        reward, drift = self.points()
        return pareto.hypervolume(reward, drift, (reward[0], GOOD), "lower") / ((1 - reward[0]) * GOOD)

    def drift_at(self, level: float = MATCHED) -> float:
        """The least drift among the points with such a reward; nan where it never got there."""
        return pareto.drift_at(*self.points(), level, "lower")


def walk(
    landscape: Landscape, method: str, steps: int = 300, lr: float = 0.1, noise: float = 0.7, beta: float = 0.05,
    decay: float = 0.993, every: int = 100, seed: int = 0,
) -> Walk:  # fmt: skip
    """Climbs the reward from θ0 by noisy gradients: the same noise for every method of one seed."""
    check_known("method of the toy", method, METHODS)
    for name, value in dict(steps=steps, lr=lr, noise=noise, beta=beta, decay=decay, every=every, seed=seed).items():
        RULES[name].check(name, value)
    shakes = np.random.default_rng(seed).normal(scale=noise, size=(steps, 2))
    theta = average = theta0 = np.zeros(2)
    rows = [(0, False, theta, average)]
    for step in range(1, steps + 1):
        uphill = landscape.gradient(theta) + shakes[step - 1]
        if method == "kl":
            uphill = uphill - beta * landscape.pull(theta)
        theta = theta + lr * uphill
        average = decay * average + (1 - decay) * theta
        rows.append((step, False, theta, average))
        if step % every or step == steps or method not in ("elastic", "to_ema", "to_init"):
            continue
        if method == "elastic":
            theta = average
            average = theta0
        elif method == "to_ema":
            theta = average
        else:
            theta = average = theta0
        rows.append((step, True, theta, average))
    step, reset, theta, average = (np.array(column) for column in zip(*rows, strict=True))
    shown = average if method == "ema" else theta
    return Walk(method, step, reset, theta, average, landscape.reward(shown), landscape.drift(shown))


def walks(landscape: Landscape, methods: Iterable[str] = METHODS, **settings) -> list[Walk]:
    return [walk(landscape, method, **settings) for method in methods]
