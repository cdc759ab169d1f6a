"""Batches that several processes extract in turn, and how they come to those that want them.

Of each round, the k-th batch is that of process k. So every image is extracted in the very batch in
which one process alone would extract it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from densebench.host.distributed import World

# Which processes are given a batch: all of them, the first one, or whoever extracted it.
Reach = Literal["all", "main", "own"]
Part = tuple[Int64[Tensor, " b"], Float[Tensor, "b h w d"], Shaped[Tensor, "b H W"]]


@dataclass(frozen=True)
class Shapes:
    """What one image gives: patches (h, w, D) in float32, and a mask."""

    patches: tuple[int, int, int]
    mask: tuple[int, int]
    mask_type: torch.dtype

    def empty(self, n_images: int) -> tuple[Float[Tensor, "b h w d"], Shaped[Tensor, "b H W"]]:
        """Place for some images."""
        mask = torch.empty(n_images, *self.mask, dtype=self.mask_type)
        return torch.empty(n_images, *self.patches), mask


class Rounds:
    """The share of each process in a pass through some images.

    Args:
        world: the processes.
        size: images of a batch.
    """

    def __init__(self, world: World, size: int) -> None:
        self._world, self.size = world, size

    def own(self, order: Sequence[int]) -> list[int]:
        """The images that this process extracts, in their order."""
        batches = range(self._world.rank * self.size, len(order), self._world.size * self.size)
        return [index for start in batches for index in order[start : start + self.size]]

    def exchanged(
        self,
        order: Sequence[int],
        extracted: Iterable[Part | None],
        shapes: Shapes,
        unreadable: dict[str, str],
        reach: Reach,
    ) -> Iterator[Part]:
        """What is wanted here of the batches of all, in their order.

        Every process goes through it to the end.

        Args:
            order: the images of all.
            extracted: the own batches, without what cannot be read; None for an empty one.
            shapes: of what an image gives.
            unreadable: names and reasons, found while ``extracted`` is gone through; those that
                other processes find are added before the round's batches are given.
            reach: which processes are given the batches.
        """
        own = iter(extracted)
        per_round = self._world.size * self.size
        for start in range(0, len(order), per_round):
            wanted = torch.tensor(order[start : start + per_round])
            mine = next(own, None)
            read = self._read(wanted, mine, unreadable)
            for rank in range(self._world.size):
                batch = slice(rank * self.size, (rank + 1) * self.size)
                indices = wanted[batch][read[batch]]
                part = mine if rank == self._world.rank else None
                if len(indices) and (moved := self._moved(rank, indices, part, shapes, reach)):
                    yield moved

    def _read(
        self, wanted: Int64[Tensor, " n"], mine: Part | None, unreadable: dict[str, str]
    ) -> Tensor:
        """Which images of a round could be read; why others could not is told to all."""
        read = torch.zeros(len(wanted), dtype=torch.int64)
        if mine is not None:
            read[torch.isin(wanted, mine[0])] = 1
        self._world.sum(read)
        if not read.all():
            for found in self._world.each(dict(unreadable)):
                unreadable |= found
        return read.bool()

    def _moved(
        self,
        rank: int,
        indices: Int64[Tensor, " b"],
        mine: Part | None,
        shapes: Shapes,
        reach: Reach,
    ) -> Part | None:
        """The batch of one process, if it is wanted here."""
        if reach == "own" or (reach == "main" and rank == 0):
            return mine
        if reach == "main" and mine is None and not self._world.is_main:
            return None
        if mine is None:
            patches, masks = shapes.empty(len(indices))
        else:
            # A copy: of a tensor made in inference mode, an exchange is refused as a change.
            patches, masks = mine[1].cpu().clone().contiguous(), mine[2].contiguous()
        for tensor in (patches, masks.view(torch.uint8)):
            if reach == "main":
                self._world.hand_over(tensor, rank)
            else:
                self._world.spread(tensor, rank)
        return (indices, patches, masks) if reach == "all" or self._world.is_main else None
