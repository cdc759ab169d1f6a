"""A memory bank that several processes fill together, in the order in which one alone fills it."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from densebench.host.distributed import World
from densebench.learners.memory_bank import MemoryBank, Origins

IMAGES = 64  # whose rows are exchanged at once


class Gathering:
    """What the processes remember of the images of one pass.

    One process alone fills the bank at once. Of several, each keeps the rows of its own images
    until the pass is over; then all have all of them, image by image by number.

    Args:
        world: the processes.
        bank: the same in each of them.
        origins: told of every row; None where nobody asks for them.
    """

    def __init__(self, world: World, bank: MemoryBank, origins: Origins | None) -> None:
        self._world, self._bank, self._origins = world, bank, origins
        self._held: list[tuple[int, Tensor, Tensor, Tensor]] = []

    def add(
        self,
        epoch: int,
        index: int,
        patches: Int64[Tensor, " n"],
        rows: Float[Tensor, "n d"],
        counts: Int[Tensor, "n c"],
    ) -> None:
        """Remember some patches of an image, whose rows and pixel counts are given."""
        if self._world.size > 1:
            place = self._bank.empty(len(rows))
            place[0].copy_(rows)
            place[1].copy_(counts)
            self._held.append((index, patches, *place))
            return
        self._bank.add(rows, counts)
        if self._origins is not None:
            self._origins.add(index, epoch, patches)

    def end(self, epoch: int) -> None:
        """The pass is over: what every process remembers is in the bank of each."""
        if self._world.size == 1:
            return
        lengths = [(index, len(patches)) for index, patches, *_ in self._held]
        by_rank = self._world.each(lengths)
        places = self._bank.reserve(dict(sorted(image for part in by_rank for image in part)))
        for rank, images in enumerate(by_rank):
            self._exchange(rank, images, places)
        if self._origins is not None:
            kept = {index: patches for index, patches, *_ in self._held}
            everywhere = {i: p for part in self._world.each(kept) for i, p in part.items()}
            for index in sorted(everywhere):
                self._origins.add(index, epoch, everywhere[index])
        self._held = []

    def _exchange(self, source: int, images: list[tuple[int, int]], places: dict[int, int]) -> None:
        """Put the rows of one process into all banks, some images at a time."""
        for start in range(0, len(images), IMAGES):
            some = images[start : start + IMAGES]
            rows, counts = self._bank.empty(sum(length for _, length in some))
            if self._world.rank == source:
                held = self._held[start : start + IMAGES]
                rows = torch.cat([of_image[2] for of_image in held])
                counts = torch.cat([of_image[3] for of_image in held])
            for tensor in (rows, counts.view(torch.uint8)):
                if tensor.numel():
                    self._world.spread(tensor, source)
            for index, part in _parts(some):
                self._bank.put(places[index], rows[part], counts[part])


def _parts(images: list[tuple[int, int]]) -> Iterator[tuple[int, slice]]:
    """The rows of each image among those of all."""
    start = 0
    for index, length in images:
        yield index, slice(start, start + length)
        start += length
