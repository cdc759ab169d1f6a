"""Views of a split, read batch by batch, in worker processes that stay for the passes to come.

A batch comes as one block of memory, so that what workers share are few and large pieces: images
as the eight bits that they are of wherever that can be, to be normalised on the device.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from densebench.datasets.base import Split
from densebench.datasets.transforms import Transform, derived_seed
from densebench.host.cores import cores
from densebench.host.errors import DensebenchError

ALIGNMENT = 64
FEW_IMAGES = 128  # workers take longer to start than these to read: benchmarks/loading.py


@dataclass(frozen=True)
class Unreadable:
    """Stands for an image that could not be read; a worker process hands it over unraised."""

    name: str
    reason: str


@dataclass(frozen=True)
class Views:
    """Images and masks of a split under one transform, seeded image by image."""

    split: Split
    transform: Transform
    seed: int
    epoch: int

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[int, Tensor, Tensor] | Unreadable:
        """Position, normalised pixels (3, H, W) and mask (H, W)."""
        item = self.raw(index)
        if isinstance(item, Unreadable):
            return item
        return index, self.transform.normalised(item[0]), item[1]

    def raw(self, index: int) -> tuple[Tensor, Tensor] | Unreadable:
        """Pixels and mask as ``Transform.raw`` gives them."""
        try:
            image, mask = self.split.image(index), self.split.mask(index)
        except DensebenchError as error:
            return Unreadable(self.split.names[index], str(error))
        seed = derived_seed(self.seed, self.epoch, index)
        return self.transform.raw(image, mask, seed)


class Part(NamedTuple):
    """An array in a block: where it begins, its type and shape."""

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def end(self) -> int:
        """Where what comes after it may begin."""
        n_bytes = self.dtype.itemsize * torch.Size(self.shape).numel()
        return -(-(self.start + n_bytes) // ALIGNMENT) * ALIGNMENT

    def of(self, block: UInt8[Tensor, " n"]) -> Tensor:
        """The array."""
        n_bytes = self.dtype.itemsize * torch.Size(self.shape).numel()
        return block[self.start : self.start + n_bytes].view(self.dtype).view(self.shape)


@dataclass(frozen=True)
class Loaded:
    """The images of a batch that could be read, in one piece of memory, and those that could not.

    Where none could, there are no arrays.
    """

    indices: tuple[int, ...]
    unreadable: tuple[Unreadable, ...]
    block: UInt8[Tensor, " n"]
    parts: tuple[Part, ...]

    @property
    def pixels(self) -> Shaped[Tensor, "b 3 H W"]:
        """Of eight bits, or normalised."""
        return self.parts[0].of(self.block)

    @property
    def masks(self) -> Shaped[Tensor, "b H W"]:
        """What the dataset gives for them."""
        return self.parts[1].of(self.block)

    def pin_memory(self) -> "Loaded":
        """Where a GPU can fetch it; the loader asks for that by this name."""
        return replace(self, block=self.block.pin_memory())


class Batch(NamedTuple):
    """Which views of which images are to be read together."""

    transform: Transform
    seed: int
    epoch: int
    indices: tuple[int, ...]


class Reader(Dataset[Loaded]):
    """Reads batches of a split; it lies in every worker."""

    def __init__(self, split: Split) -> None:
        self._split = split

    def __getitem__(self, batch: Batch) -> Loaded:
        views = Views(self._split, batch.transform, batch.seed, batch.epoch)
        return _together([(index, views.raw(index)) for index in batch.indices])


def _together(items: Sequence[tuple[int, tuple[Tensor, Tensor] | Unreadable]]) -> Loaded:
    unreadable = tuple(item for _, item in items if isinstance(item, Unreadable))
    indices = tuple(index for index, item in items if not isinstance(item, Unreadable))
    arrays = list(zip(*(i for _, i in items if not isinstance(i, Unreadable)), strict=True))
    parts: list[Part] = []
    for same in arrays:
        shape = (len(same), *same[0].shape)
        parts.append(Part(parts[-1].end if parts else 0, same[0].dtype, shape))
    block = torch.empty(parts[-1].end if parts else 0, dtype=torch.uint8)
    for part, same in zip(parts, arrays, strict=True):
        torch.stack(same, out=part.of(block))
    return Loaded(indices, unreadable, block, tuple(parts))


class Pass:
    """The batches of the pass that is to be read; a loader asks for them at its start."""

    def __init__(self) -> None:
        self.batches: Sequence[Batch] = ()
        self.is_read = False

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


class Loader:
    """Reads the views of one split, pass by pass.

    Args:
        split: whose images are read.
        workers: processes that read ahead; none for reading as asked.
        pinned: whether batches are put where a GPU can fetch them.
    """

    def __init__(self, split: Split, workers: int = 0, pinned: bool = False) -> None:
        self._reader, self._workers, self._pinned = Reader(split), workers, pinned
        self._pass = Pass()

    def batches(self, views: Views, order: Sequence[int], size: int) -> Iterator[Loaded]:
        """The views of some images, ``size`` by ``size``, in their order."""
        how = views.transform, views.seed, views.epoch
        starts = range(0, len(order), size)
        wanted = [Batch(*how, tuple(order[start : start + size])) for start in starts]
        if self._workers and len(wanted) > 1 and not self._pass.is_read:
            yield from self._by_workers(wanted)
            return
        for batch in wanted:
            loaded = self._reader[batch]
            yield loaded.pin_memory() if self._pinned else loaded

    def _by_workers(self, wanted: Sequence[Batch]) -> Iterator[Loaded]:
        self._pass.batches, self._pass.is_read = wanted, True
        try:
            yield from self._loader
        finally:
            self._pass.is_read = False

    @cached_property
    def _loader(self) -> Iterable[Loaded]:
        return DataLoader(
            self._reader,
            batch_size=None,
            sampler=self._pass,
            num_workers=self._workers,
            pin_memory=self._pinned,
            persistent_workers=True,
        )


def default_workers(n_images: int) -> int:
    """One for each core; none where they would take longer to start than to read."""
    return cores() if n_images >= FEW_IMAGES else 0


def normalised(
    loaded: Loaded, transform: Transform, device: torch.device
) -> Float[Tensor, "b 3 H W"]:
    """The pixels of a batch on a device, as the backbone takes them."""
    return transform.normalised(loaded.pixels.to(device, non_blocking=True))
