"""Seeded Iterated Learning (Lu et al. 2020): teachers play the game for k1 updates, then students who were never paid
imitate them for k2 steps and take their place.

The student speaker learns its teacher's likeliest English; the student listener learns the true German from that
English. Students are seeded from the last students, the first from the pretrained models. A teacher's optimiser starts
afresh with each generation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from elastic_lib.loops.learning import adam, descend
from elastic_lib.loops.reinforce import Game, Players, pair_loss
from elastic_lib.nets.gpt import PAD
from elastic_lib.nets.sampler import sample
from elastic_lib.nets.seq2seq import BOS, EOS
from elastic_lib.recipe import Recipe


class Distillation:
    """A game whose players are replaced by their students in `tick`; otherwise the game itself."""

    MEANS = Game.MEANS

    def __init__(self, recipe: Recipe, task):
        self.recipe, self.task = recipe, task
        self.game = Game(recipe, task)
        self.students = Players(task.speaker(), task.listener())
        self.iteration = 0
        self.beta, self.seconds, self.elastic = self.game.beta, self.game.seconds, None

    @property
    def model(self) -> Players:
        """What is evaluated: the teachers, who are last generation's students."""
        return self.game.model

    @property
    def step(self) -> int:
        """Updates of the game so far; imitation is not counted."""
        return self.game.step

    def update(self) -> dict[str, float]:
        """One update of the teachers."""
        return self.game.update()

    def tick(self) -> bool:
        """True if the students learned from the teachers and took their place. A run never ends on that."""
        if self.step >= self.recipe.updates or self.step % self.recipe.sil_teacher:
            return False
        with self.seconds("update"):
            self._imitate()
        self.model.load_state_dict(self.students.state_dict())
        self.game.speaker_optimiser.state.clear()
        self.game.listener_optimiser.state.clear()
        self.iteration += 1
        return True

    def _imitate(self) -> None:
        recipe = self.recipe
        optimisers = [adam(net, recipe.sil_lr, recipe.weight_decay, betas=(0.9, 0.98)) for net in self._pair()]
        for _ in range(recipe.sil_student):
            french, german = self.task.game(recipe.batch, self.game.generator)
            english = self._likeliest(french)
            for student, optimiser, pair in zip(
                self._pair(), optimisers, ((french, english), (english, german)), strict=True
            ):
                optimiser.zero_grad()
                pair_loss(student, *pair).backward()
                descend(student, optimiser, recipe.grad_clip, self.step)

    def _pair(self) -> tuple[nn.Module, nn.Module]:
        return self.students.speaker, self.students.listener

    @torch.no_grad()
    def _likeliest(self, french: Tensor) -> Tensor:
        start = torch.full((len(french), 1), BOS, device=french.device)
        reading = self.model.speaker.reading(french)
        return sample(reading, start, self.recipe.length, stop=EOS, banned=(PAD, BOS), greedy=True).tokens[:, 1:]

    def state_dict(self) -> dict[str, Any]:
        """The game's state and the students'."""
        return {**self.game.state_dict(), "students": dict(self.students.state_dict()), "iteration": self.iteration}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.game.load_state_dict(state)
        self.students.load_state_dict(state["students"])
        self.iteration = state["iteration"]
