"""A loop that learns nothing: where it stands depends on its step alone."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from elastic_lib.loops.resetting import Resetting
from elastic_lib.loops.stopwatch import Stopwatch


class Walk:
    """Goes on by a step each update, like those that learn; `_stand` puts the model where that step is."""

    MEANS = ()
    iteration = 0

    def __init__(self, model: nn.Module, policy: nn.Module, updates: int):
        self.model, self.updates = model, updates
        self.step, self.beta = 0, math.nan
        self.resetting, self.seconds = Resetting(policy, anchor="none"), Stopwatch()

    def _stand(self) -> None:
        raise NotImplementedError

    def update(self) -> dict[str, float]:
        """One step on."""
        self.load_state_dict({"step": self.step + 1})
        return {}

    def tick(self) -> bool:
        """Never resets."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """How far it is."""
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.step = state["step"]
        self._stand()
