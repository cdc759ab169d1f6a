"""A pass that comes again, kept on the GPU if it fits there."""

from collections.abc import Callable, Iterable, Iterator

import torch

from densebench.features.source import PatchBatch
from densebench.host.device import free_on_gpu
from densebench.host.distributed import World

GPU_SHARE = 0.3
Told = tuple[PatchBatch, bool]


class Resident:
    """The batches of a pass, each with what is told of it, read once and kept with their patches.

    Where they do not fit in any of the processes, in none of them are they kept: a pass is one that
    all make, or none. A processor has them in its files' cache already, so that none are kept.

    Args:
        device: where they are kept.
        world: the processes that make the pass together.
    """

    def __init__(self, device: torch.device, world: World) -> None:
        self._device, self._world = device, world
        self._kept: list[Told] = []
        self._is_whole = self._is_given_up = False

    def batches(self, read: Callable[[], Iterable[Told]]) -> Iterator[Told]:
        """Those that are kept, or else those that are read."""
        if self._is_whole:
            yield from self._kept
            return
        room = 0 if self._is_given_up else self._room()
        for batch, told in read():
            room -= batch.patches.nbytes
            if room >= 0:
                patches = batch.patches.to(self._device)
                self._kept.append((PatchBatch(batch.indices, patches, batch.masks), told))
            yield batch, told
        if not self._is_given_up:
            self._is_whole = all(self._world.each(room >= 0))
            self._is_given_up = not self._is_whole
        if self._is_given_up:
            self._kept = []

    def _room(self) -> int:
        return int(GPU_SHARE * free_on_gpu(self._device))
