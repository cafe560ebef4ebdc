"""When and how a policy goes back to where it was."""

from __future__ import annotations

from dataclasses import dataclass

from elastic_lib.recipe.rules import COUNT, POSITIVE, SHARE, Rule, check_fields, one_of, setting


@dataclass(frozen=True)
class ResetPlan:
    """When and how the policy goes back; the arguments of `reset.ElasticReset` and what happens around a reset."""

    mode: str = setting(one_of("elastic", "to_ema", "to_init", "track"), "which of the two resets happen", "elastic")
    decay: float = setting(SHARE, "η of the moving average", 0.995)
    reset_every: int | None = setting(COUNT, "updates from reset to reset; none: never, or as kl_budget, min_slope say")
    kl_budget: float | None = setting(POSITIVE, "a reset is due when the KL to θ0, nats a sample, is above it")
    min_slope: float | None = setting(Rule(float), "… or when the slope of reward over √KL falls to it or below")
    min_interval: int | None = setting(COUNT, "updates between such resets at least; none: 1")
    ema_reset_every: int | None = setting(COUNT, "updates between resets of the average, on a clock of its own")
    part: str | None = setting(one_of("upper", "lower", "attention"), "which weights go back; none: all")
    ema_every: str = setting(one_of("step", "epoch", "rollout"), "the average moves after each of these", "step")
    ema_power: float | None = setting(
        POSITIVE, "BEMA: the average's t-th move has weight (10+t)^−this, not 1−η; none: no"
    )
    bias_power: float | None = setting(POSITIVE, "… and it is read out with (10+t)^−this of θ−θ0 on top")
    restore: float = setting(SHARE, "how far θ goes to θ̄", 1.0)
    restart: float = setting(SHARE, "how far θ̄ goes to θ0", 1.0)
    optimizer: str = setting(one_of("keep", "clear"), "the optimiser's moments at a reset", "keep")
    theta0: str | None = setting(one_of("bfloat16"), "precision that θ0 is kept in; none: the model's own")
    value: str = setting(one_of("keep", "clear"), "the value network at a reset", "keep")

    def __post_init__(self):
        check_fields(self)
        adapts = self.kl_budget is not None or self.min_slope is not None
        if adapts and self.reset_every is not None:
            raise ValueError("kl_budget and min_slope say when a reset is due, so that reset_every has to be none")
        if (self.ema_power is None) != (self.bias_power is None) or (self.ema_power and self.mode != "track"):
            raise ValueError(
                "ema_power and bias_power are of BEMA, which needs both, and an average to read out: track"
            )
        if self.min_interval is not None and not adapts:
            raise ValueError("min_interval is of resets that come when they are due: set kl_budget or min_slope too")

    def steps(self, updates: int) -> range:
        """After which of so many updates the policy is reset, where that is fixed; never after the last."""
        if self.mode == "track" or self.reset_every is None:
            return range(0)
        return range(self.reset_every, updates, self.reset_every)
