"""When and how a policy goes back to where it was."""

from __future__ import annotations

from dataclasses import dataclass

from elastic_lib.recipe.rules import COUNT, SHARE, check_fields, one_of, setting


@dataclass(frozen=True)
class ResetPlan:
    """When and how the policy goes back; the arguments of `reset.ElasticReset` and what happens around a reset."""

    mode: str = setting(one_of("elastic", "to_ema", "to_init", "track"), "which of the two resets happen", "elastic")
    decay: float = setting(SHARE, "η of the moving average", 0.995)
    reset_every: int | None = setting(COUNT, "updates from reset to reset; none: never")
    ema_reset_every: int | None = setting(COUNT, "updates between resets of the average, on a clock of its own")
    ema_every: str = setting(one_of("step", "epoch", "rollout"), "the average moves after each of these", "step")
    restore: float = setting(SHARE, "how far θ goes to θ̄", 1.0)
    restart: float = setting(SHARE, "how far θ̄ goes to θ0", 1.0)
    optimizer: str = setting(one_of("keep", "clear"), "the optimiser's moments at a reset", "keep")
    theta0: str | None = setting(one_of("bfloat16"), "precision that θ0 is kept in; none: the model's own")
    value: str = setting(one_of("keep", "clear"), "the value network at a reset", "keep")

    def __post_init__(self):
        check_fields(self)

    def steps(self, updates: int) -> range:
        """After which of so many updates the policy is reset; never after the last."""
        if self.mode == "track" or self.reset_every is None:
            return range(0)
        return range(self.reset_every, updates, self.reset_every)
