"""A depth head's training over shuffled epochs: what was done, and where to go on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from densebench.datasets.transforms import Transform, derived_seed
from densebench.features.source import PatchBatch, PatchSource
from densebench.host.distributed import World
from densebench.host.errors import DensebenchError
from densebench.learners.batching import in_batches
from densebench.learners.depth_training import DepthTraining
from densebench.learners.resume import Checkpoint, go_on, share_head

ORDER_DRAWS = 4


class DepthSteps:
    """What is kept of a training from epoch to epoch.

    Args:
        begin: makes the training anew, always the same.
        batch_size: images of a step; what is left of an epoch is left out.
        seed: of orders and views.
        workdir: the folder of the checkpoint; none is written where it is None.

    Attributes:
        training: the head with its optimiser.
        losses: the mean of each epoch that is done.
    """

    def __init__(
        self, begin: Callable[[], DepthTraining], batch_size: int, seed: int, workdir: Path | None
    ) -> None:
        self._begin, self._batch_size, self._seed = begin, batch_size, seed
        self._workdir, self.training = workdir, begin()
        self.losses: list[float] = []

    def batches(
        self, train: PatchSource, view: Transform, epoch: int, left: int
    ) -> Iterator[PatchBatch]:
        """At most ``left`` batches of an epoch; of several processes, for the first."""
        draws = torch.Generator().manual_seed(derived_seed(self._seed, epoch, ORDER_DRAWS))
        order = torch.randperm(len(train), generator=draws).tolist()
        wanted = order[: min(left, len(order) // self._batch_size) * self._batch_size]
        views = train.batches(view, self._seed, epoch, wanted, keep=False, reach="main")
        for batch in in_batches(views, self._batch_size):
            if len(batch.indices) == self._batch_size:
                yield batch

    def check(self, n_train: int) -> None:
        """Nothing, if there are images for a step.

        Raises:
            DensebenchError: there are not.
        """
        if n_train < self._batch_size:
            raise DensebenchError(
                f"batch_size {self._batch_size} is more than the {n_train} training images, and "
                f"incomplete batches are dropped; use --set batch_size={max(1, n_train)} or fewer"
            )

    def end(self, loss: float) -> None:
        """Note an epoch's loss, and leave a checkpoint."""
        self.losses.append(loss)
        if self._workdir is not None:
            state = {"training": self.training.state(), "losses": self.losses}
            Checkpoint(self._workdir).save(state)

    def share(self, world: World) -> None:
        """Give the first process's head to all."""
        share_head(self.training.head, world)

    def resume(self) -> str:
        """Take up the last checkpoint of an interrupted run; one that is of no use is passed by.

        Returns:
            What was done, in a line; nothing where there is no checkpoint.
        """
        return go_on(self._workdir, self._take_up, self._anew, lambda: f"step {self.training.done}")

    def _anew(self) -> None:
        self.training, self.losses = self._begin(), []

    def _take_up(self, state: dict[str, Any]) -> None:
        losses = [float(loss) for loss in state["losses"]]
        self.training.restore(state["training"])
        self.losses = losses
