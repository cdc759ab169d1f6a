"""A head's training that counts in steps: validations on the way, the best head, where to go on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from densebench.host.distributed import World
from densebench.learners.normed_head import HeadSteps
from densebench.learners.resume import Checkpoint, go_on

STRETCH = 25  # steps between two checkpoints


class LongTraining:
    """What is kept of a head's training from stretch to stretch.

    Args:
        begin: makes the training anew, always the same.
        count: how many steps there are to be.
        validations: how often it is validated, at equal distances, the last time at the end.
        workdir: the folder of the checkpoint; none is written where it is None.

    Attributes:
        steps: the head with its optimiser.
        position: how many images were taken.
        scores: of the validations that are done.
    """

    def __init__(
        self, begin: Callable[[], HeadSteps], count: int, validations: int, workdir: Path | None
    ) -> None:
        self._begin, self._count, self._workdir = begin, count, workdir
        self._validations = validations
        self.steps = begin()
        self.position = 0
        self.scores: list[float] = []
        self._best: dict[str, Tensor] = {}

    @property
    def best(self) -> int:
        """The first validation with the highest score, counted from 0."""
        return int(np.argmax(self.scores))

    @property
    def best_step(self) -> int:
        """After how many steps the best head was there; all of them where none was validated."""
        return self._step_of(self.best) if self.scores else self._count

    @property
    def is_due(self) -> bool:
        """Whether the head as it is now has to be validated."""
        done = len(self.scores)
        return done < self._validations and self.steps.done >= self._step_of(done)

    @property
    def is_done(self) -> bool:
        """Whether every step was made."""
        return self.steps.done >= self._count

    @property
    def stretch(self) -> int:
        """How many steps come before the next checkpoint or validation."""
        ends = [self._count, (self.steps.done // STRETCH + 1) * STRETCH]
        if len(self.scores) < self._validations:
            ends.append(self._step_of(len(self.scores)))
        return min(ends) - self.steps.done

    def end_validation(self, score: float) -> str:
        """Note a score, keep the best head, and say so."""
        if not self.scores or score > max(self.scores):
            self._best = {k: v.clone() for k, v in self.steps.head.state_dict().items()}
        self.scores.append(score)
        return f"step {self.steps.done}/{self._count}: mIoU {100 * score:.2f}"

    def take_best(self) -> None:
        """Make the head the one that was best when it was validated."""
        self.steps.head.load_state_dict(self._best)

    def share(self, world: World) -> None:
        """Give all processes what the first one knows, but for the optimiser."""
        if world.size > 1:
            head = {name: tensor.cpu() for name, tensor in self.steps.head.state_dict().items()}
            known = head, self.steps.done, self.position, self.scores
            head, self.steps.done, self.position, self.scores = world.from_main(known)
            self.steps.head.load_state_dict(head)

    def save(self) -> None:
        """Leave a checkpoint."""
        if self._workdir is not None:
            state = {"training": self.steps.state(), "position": self.position}
            Checkpoint(self._workdir).save({**state, "scores": self.scores, "best": self._best})

    def resume(self) -> str:
        """Take up the last checkpoint of an interrupted run; one that is of no use is passed by.

        Returns:
            What was done, in a line; nothing where there is no checkpoint.
        """
        return go_on(
            self._workdir,
            self._take_up,
            self._anew,
            lambda: f"step {self.steps.done} of {self._count}",
        )

    def _anew(self) -> None:
        self.steps, self.position, self.scores, self._best = self._begin(), 0, [], {}

    def _step_of(self, validation: int) -> int:
        """After how many steps a validation is."""
        return (validation + 1) * self._count // self._validations

    def _take_up(self, state: dict[str, Any]) -> None:
        scores, done = state["scores"], state["training"]["done"]
        if not 0 < done <= self._count or len(scores) > self._validations:
            raise ValueError("another number of steps")
        if scores:
            self._begin().head.load_state_dict(state["best"])  # refuses what does not fit
        self.steps.restore(state["training"])
        self.position, self.scores, self._best = state["position"], scores, state["best"]
