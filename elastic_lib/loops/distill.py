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

from elastic_lib.loops.optimiser import Optimiser, descend
from elastic_lib.loops.reinforce import NEVER, Game, Players, pair_loss
from elastic_lib.nets.sampler import sample
from elastic_lib.nets.seq2seq import BOS, EOS


class Distillation:
    """A game whose players are replaced by their students in `tick`; otherwise the game itself.

    A generation of teachers plays for `teacher_updates`, students imitate for `student_steps` at the rate `lr`; none
    takes over after the last of `updates`.
    """

    MEANS = Game.MEANS

    def __init__(
        self, game: Game, students: Players, *, teacher_updates: int, student_steps: int, lr: float, updates: int
    ):
        self.game, self.students = game, students
        self.teacher_updates, self.student_steps, self.lr, self.updates = teacher_updates, student_steps, lr, updates
        self.iteration = 0
        self.beta, self.seconds, self.resetting = game.beta, game.seconds, game.resetting

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
        if self.step >= self.updates or self.step % self.teacher_updates:
            return False
        with self.seconds("update"):
            self._imitate()
        self.model.load_state_dict(self.students.state_dict())
        self.game.speaker_optimiser.clear()
        self.game.listener_optimiser.clear()
        self.iteration += 1
        return True

    def _imitate(self) -> None:
        game, settings = self.game, self.game.settings
        more = dict(weight_decay=settings.weight_decay, clip=settings.grad_clip, betas=(0.9, 0.98))
        pupils: list[tuple[nn.Module, Optimiser]] = [
            (net, Optimiser(net, self.lr, **more)) for net in (self.students.speaker, self.students.listener)
        ]
        for _ in range(self.student_steps):
            french, german = game.sentences(settings.batch, game.generator)
            english = self._likeliest(french)
            for (net, optimiser), pair in zip(pupils, ((french, english), (english, german)), strict=True):
                descend(pair_loss(net, *pair), self.step, optimiser)

    @torch.no_grad()
    def _likeliest(self, french: Tensor) -> Tensor:
        start = torch.full((len(french), 1), BOS, device=french.device)
        reading = self.model.speaker.reading(french)
        return sample(reading, start, self.game.settings.length, stop=EOS, banned=NEVER, greedy=True).tokens[:, 1:]

    def state_dict(self) -> dict[str, Any]:
        """The game's state and the students'."""
        return {**self.game.state_dict(), "students": dict(self.students.state_dict()), "iteration": self.iteration}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.game.load_state_dict(state)
        self.students.load_state_dict(state["students"])
        self.iteration = state["iteration"]
