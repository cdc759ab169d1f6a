"""An endless stream of training crops, pass after pass in orders of their own."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from densebench.datasets.base import Split
from densebench.datasets.transforms import Transform, derived_seed
from densebench.features.source import PatchBatch, PatchSource
from densebench.host.errors import DensebenchError
from densebench.learners.batching import in_batches

ORDER_DRAWS = 2


class CropStream:
    """Crops of the training images; images that cannot be read are passed over.

    Args:
        train: the images.
        view: how they are cut.
        seed: of orders and crops.
        repeats_draws: whether the n-th image of every pass is cut with the same draws, whichever it
            is, as where loader processes start with the same seeds again in every pass.

    Attributes:
        position: how many images were taken so far; the stream goes on from there.
    """

    def __init__(
        self, train: PatchSource, view: Transform, seed: int, repeats_draws: bool = False
    ) -> None:
        self._train, self._view, self._seed = train, view, seed
        self._repeats_draws = repeats_draws
        self._pass: tuple[int, PatchSource] | None = None
        self.position = 0

    def batches(self, count: int, size: int) -> Iterator[PatchBatch]:
        """The next batches of one size; of several processes, for the first.

        Raises:
            DensebenchError: no image can be read.
        """
        yield from in_batches(self._crops(count * size), size)

    def _crops(self, wanted: int) -> Iterator[PatchBatch]:
        n = len(self._train)
        while wanted:
            number, place = divmod(self.position, n)
            taken = range(place, min(n, place + wanted))
            source, order, epoch = self._source(number)
            yield from source.batches(
                self._view,
                self._seed,
                epoch,
                [order[i] for i in taken],
                keep=False,
                reach="main",
            )
            self.position += len(taken)
            names, unreadable = source.split.names, self._train.unreadable
            wanted -= sum(names[order[i]] not in unreadable for i in taken)
            if len(unreadable) == n:
                raise DensebenchError(f"none of the {n} training images can be read")

    def _source(self, number: int) -> tuple[PatchSource, list[int], int]:
        """The images of a pass, their order and the epoch of their draws."""
        order = _order(len(self._train), self._seed, number)
        if not self._repeats_draws:
            return self._train, order, number
        # An image's draws follow from its place: the images are put where they are taken.
        if self._pass is None or self._pass[0] != number:
            split = reordered(self._train.split, order)
            self._pass = number, replace(self._train, split=split)
        return self._pass[1], list(range(len(order))), 0


def reordered(split: Split, order: list[int]) -> Split:
    """The same images in another order, without their groups."""
    return replace(
        split,
        names=tuple(split.names[i] for i in order),
        image_files=tuple(split.image_files[i] for i in order),
        mask_files=tuple(split.mask_files[i] for i in order),
        order=None,
        groups=None,
    )


def _order(n: int, seed: int, number: int) -> list[int]:
    draws = torch.Generator().manual_seed(derived_seed(seed, number, ORDER_DRAWS))
    return torch.randperm(n, generator=draws).tolist()
