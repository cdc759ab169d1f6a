"""The batches that a head is trained on and validated with, epoch by epoch."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from densebench.datasets.transforms import Transform, derived_seed
from densebench.features.source import PatchBatch, PatchSource
from densebench.host.errors import DensebenchError
from densebench.learners.batching import in_batches, last_apart
from densebench.learners.resident import Resident

ORDER_DRAWS = 2


@dataclass(frozen=True)
class Passes:
    """How a head goes through the images.

    Attributes:
        train_view: of the training images.
        val_view: of the validation images.
        batch_size: the head's, which need not be the extraction's.
        drop_last: whether the last incomplete batch of an epoch is left out.
        drop_last_val: whether that of the validation is told to be one that does not count.
        shuffle: whether an epoch has an order of its own, or the list's.
        fixed_views: how many views of an image there are in all; None for new ones every epoch.
        keep: whether a view is worth a place in the feature cache.
        seed: of orders and views.
        resident: keeps the validation's batches where they fit.
    """

    train_view: Transform
    val_view: Transform
    batch_size: int
    drop_last: bool
    drop_last_val: bool
    shuffle: bool
    fixed_views: int | None
    keep: bool
    seed: int
    resident: Resident

    def check(self, n_train: int) -> None:
        """Nothing, if there is a whole batch of training images where one is needed.

        Raises:
            DensebenchError: there is not.
        """
        if self.drop_last and n_train < self.batch_size:
            raise DensebenchError(
                f"batch_size {self.batch_size} is more than the {n_train} training images, "
                f"and incomplete batches are dropped; use --set batch_size={n_train} or fewer"
            )

    def training(self, train: PatchSource, epoch: int) -> Iterator[PatchBatch]:
        """The epoch's views in batches of the head's size; of several processes, for the first.

        Raises:
            DensebenchError: there was no batch to make a step on.
        """
        view = epoch if self.fixed_views is None else epoch % self.fixed_views
        order, n_steps = self._order(train, epoch), 0
        views = train.batches(self.train_view, self.seed, view, order, self.keep, reach="main")
        for batch in in_batches(views, self.batch_size):
            if len(batch.indices) == self.batch_size or not self.drop_last:
                n_steps += 1
                yield batch
        if not n_steps and train.world.is_main:
            raise self._nothing_to_learn_from(train)

    def validation(self, val: PatchSource) -> Iterator[tuple[PatchBatch, bool]]:
        """With each batch, whether the published training's loader drops it; each process its own.

        That is the last incomplete one, counted in images that can be read and in the list's own
        order, unless it is the only one.
        """
        if not self.drop_last_val:
            own = val.batches(self.val_view, reach="own")
            yield from ((batch, False) for batch in own)
            return
        yield from last_apart(val, self.val_view, self.batch_size)

    def validation_again(self, val: PatchSource) -> Iterator[tuple[PatchBatch, bool]]:
        """The same for one of many times, which may be read but once."""
        return self.resident.batches(lambda: self.validation(val))

    def _order(self, train: PatchSource, epoch: int) -> list[int]:
        if not self.shuffle:
            return list(train.split.order or range(len(train)))
        seed = derived_seed(self.seed, epoch, ORDER_DRAWS)
        return torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)).tolist()

    def _nothing_to_learn_from(self, train: PatchSource) -> DensebenchError:
        readable = len(train) - len(train.unreadable)
        if not readable:
            return DensebenchError(f"none of the {len(train)} training images can be read")
        return DensebenchError(
            f"only {readable} of the {len(train)} training images can be read, fewer than "
            f"batch_size {self.batch_size}, and incomplete batches are dropped; "
            f"use --set batch_size={readable} or fewer"
        )
