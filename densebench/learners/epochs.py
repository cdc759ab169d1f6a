"""A head's training epoch by epoch: the score after each, the best head, and where to go on."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from densebench.host.distributed import World
from densebench.learners.heads import HeadTraining
from densebench.learners.resume import Checkpoint, go_on, share_head


class Epochs:
    """What is kept of a head's training from epoch to epoch.

    Args:
        begin: makes the training anew, always the same.
        count: how many epochs there are to be.
        workdir: the folder of the checkpoint; none is written where it is None.

    Attributes:
        training: the head with its optimiser.
        scores: of the epochs that are done.
    """

    def __init__(self, begin: Callable[[], HeadTraining], count: int, workdir: Path | None) -> None:
        self._begin, self._count, self._workdir = begin, count, workdir
        self.training = begin()
        self.scores: list[float] = []
        self._best: dict[str, Tensor] = {}

    @property
    def best(self) -> int:
        """The first epoch with the highest score, counted from 0."""
        return int(np.argmax(self.scores))

    def end(self, score: float) -> None:
        """Note an epoch's score, keep the best head, and leave a checkpoint."""
        if not self.scores or score > max(self.scores):
            self._best = {k: v.clone() for k, v in self.training.head.state_dict().items()}
        self.scores.append(score)
        if self._workdir is not None:
            state = {"training": self.training.state(), "history": self.scores}
            Checkpoint(self._workdir).save({**state, "best": self._best})

    def take_best(self) -> None:
        """Make the head the one of the best epoch."""
        self.training.head.load_state_dict(self._best)

    def share(self, world: World) -> None:
        """Give the first process's head to all."""
        share_head(self.training.head, world)

    def resume(self) -> str:
        """Take up the last checkpoint of an interrupted run; one that is of no use is passed by.

        It was written after an epoch: what was done of the next one is done again.

        Returns:
            What was done, in a line; nothing where there is no checkpoint.
        """
        return go_on(
            self._workdir,
            self._take_up,
            self._anew,
            lambda: f"epoch {len(self.scores)} of {self._count}",
        )

    def _anew(self) -> None:
        self.training, self.scores, self._best = self._begin(), [], {}

    def _take_up(self, state: dict[str, Any]) -> None:
        scores = state["history"]
        if not 0 < len(scores) <= self._count or not all(map(math.isfinite, scores)):
            raise ValueError("another number of epochs, or what is no score")
        self._begin().head.load_state_dict(state["best"])  # refuses what does not fit
        self.training.restore(state["training"])
        self.scores, self._best = [float(score) for score in scores], state["best"]
