"""The images of a post-training: found in folders and lists, ordered, loaded as views."""

import hashlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from densebench.datasets.image_files import read_image
from densebench.files.regular import read_bytes
from densebench.host.errors import DensebenchError
from densebench.posttrain.distortions import Distortion
from densebench.posttrain.views import MultiCrop, PairBoxes, Views, image_generator

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MOST_UNREADABLE = 0.01
_ORDER, _STEP = 1, 2  # what a draw is for, so that no two draws share a seed


@dataclass(frozen=True)
class Photographs:
    """Image files in a fixed order."""

    files: tuple[Path, ...]
    sources: tuple[str, ...]
    most_unreadable: float = MOST_UNREADABLE  # the part that may be left out

    def too_many(self, unreadable: int) -> bool:
        """Whether so many that cannot be used end the training."""
        return too_many_unreadable(unreadable, len(self), self.most_unreadable)

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of names and sizes, in order; contents are not read."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.name}\0{file.stat().st_size}\n".encode())
        return digest.hexdigest()


def find_photographs(sources: Sequence[Path]) -> Photographs:
    """All images under the given folders, and those that text lists name, one path a line.

    Paths in a list are relative to the list's own folder. Hidden files and folders are left out.
    Each file counts once, by whichever links it is reached.

    Raises:
        DensebenchError: a source or a listed file is missing, or there is no image at all.
    """
    found: dict[str, Path] = {}
    for source in sources:
        if not source.exists():
            raise DensebenchError(f"{source}: no such folder or list of images")
        for path in _in_folder(source) if source.is_dir() else _in_list(source):
            found.setdefault(os.path.realpath(path), path)
    if not found:
        named = ", ".join(map(str, sources)) or "nothing"
        raise DensebenchError(f"no images in {named}; looked for {', '.join(SUFFIXES)}")
    return Photographs(tuple(found.values()), tuple(map(str, sources)))


def _in_folder(folder: Path) -> list[Path]:
    found: list[Path] = []
    entered: set[str] = set()  # links may lead back to where they are
    for path, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        place = os.path.realpath(path)
        if place in entered:
            folders.clear()
            continue
        entered.add(place)
        folders[:] = _shown(folders)
        found += [Path(path, name) for name in _shown(names) if name.lower().endswith(SUFFIXES)]
    return found


def _shown(names: list[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise DensebenchError(f"{error.filename}: cannot be listed: {error.strerror}") from error


def _in_list(file: Path) -> list[Path]:
    try:
        lines = read_bytes(file).decode("utf-8").splitlines()
    except OSError as error:
        raise DensebenchError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DensebenchError(
            f"{file}: no text; give a folder, or a list with one path a line"
        ) from error
    found = [file.parent / line.strip() for line in lines if line.strip()]
    missing = [path for path in found if not path.is_file()]
    if missing:
        raise DensebenchError(f"{file}: {len(missing)} files are missing, first {missing[0]}")
    return found


class Unreadable(NamedTuple):
    """An image that was skipped, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Sample:
    """The views of one image, and what could not be read before it; no views if nothing could."""

    index: int
    views: Views | None
    skipped: list[Unreadable]


@dataclass(frozen=True)
class Portion:
    """The part of a step's images that go through the model at once.

    `images` has one entry per view, global crops first; `distortions` what is still to be done to
    each view's images, if that is left to torch. Where so many images were skipped that the
    training must end, there are none.
    """

    indices: Int64[Tensor, " b"]
    images: list[Float[Tensor, "b 3 _ _"]] | list[UInt8[Tensor, "b _ _ 3"]]
    boxes: PairBoxes
    skipped: list[Unreadable]
    distortions: list[list[Distortion]] = field(default_factory=list)

    def pin_memory(self) -> "Portion":
        """In memory that a GPU can copy from while the host goes on; a DataLoader calls this."""
        return self._moved(Tensor.pin_memory)

    def on(self, device: torch.device) -> "Portion":
        """With images and boxes on a device, without waiting for it."""
        return self._moved(lambda tensor: tensor.to(device, non_blocking=True))

    def _moved(self, move: Callable[[Tensor], Tensor]) -> "Portion":
        boxes = PairBoxes(*map(move, self.boxes))
        return replace(self, images=[move(image) for image in self.images], boxes=boxes)


@dataclass(frozen=True)
class Schedule:
    """Which images make up which step; a function of the seed alone, so any step can be next.

    Args:
        images: how many there are.
        batch_size: images of a step, over all processes.
        seed: of the order.
        length: number of steps.
    """

    images: int
    batch_size: int
    seed: int
    length: int

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch; what is left of the images waits for another epoch's order."""
        return self.images // self.batch_size

    def epoch(self, step: int) -> int:
        """The epoch of a step, from 0."""
        return step // self.per_epoch

    def indices(self, step: int) -> list[int]:
        """The images of a step."""
        epoch, place = divmod(step, self.per_epoch)
        order = _epoch_order(self.images, self.seed, epoch)
        return order[place * self.batch_size : (place + 1) * self.batch_size].tolist()


@lru_cache(maxsize=2)
def _epoch_order(images: int, seed: int, epoch: int) -> Int64[Tensor, " n"]:
    return torch.randperm(images, generator=image_generator(seed, epoch, -_ORDER % 2**32))


class Purpose(IntEnum):
    """What is drawn in a step; what a process draws for itself (OWN + its rank) comes last."""

    REFERENCES = 0
    ENTRIES = 1
    HEAD = 2
    TEACHER_HEAD = 3
    OWN = 4


def step_seed(seed: int, step: int, purpose: int) -> int:
    """The seed of what is drawn in a step for one purpose, a number from 0 on."""
    return image_generator(seed, step, -(_STEP + purpose) % 2**32).initial_seed()


def too_many_unreadable(unreadable: int, images: int, most: float = MOST_UNREADABLE) -> bool:
    """Whether a greater part of the images than this cannot be used, or all of them."""
    return unreadable > min(most * images, images - 1)


class ViewDataset(Dataset[Sample]):
    """The views of images; an unreadable image gives its place to the next one that is not.

    An error is never raised, as it would arrive from a worker in many lines: the search ends when
    it has found too many unreadable images, which is for the trainer to tell.
    """

    def __init__(self, photographs: Photographs, views: MultiCrop, seed: int) -> None:
        self._photographs, self._views, self._seed = photographs, views, seed

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, place = key
        skipped: list[Unreadable] = []
        while not self._photographs.too_many(len(skipped)):
            try:
                image = read_image(self._photographs.files[place])
                views = self._views(image, image_generator(self._seed, epoch, place))
            except DensebenchError as error:
                skipped.append(Unreadable(str(self._photographs.files[place]), str(error)))
                place = (place + 1) % len(self._photographs)
                continue
            return Sample(place, views, skipped)
        return Sample(place, None, skipped)


def portions(
    dataset: ViewDataset,
    schedule: Schedule,
    first_step: int,
    part: tuple[int, int],
    accumulation: int,
    workers: int,
    pinned: bool = False,
) -> Iterator[list[Portion]]:
    """One list of portions per step, from `first_step` to the end.

    Args:
        dataset: the views.
        schedule: of the images.
        first_step: where to begin.
        part: this process's rank and the number of processes; each has a stretch of every step.
        accumulation: portions per step and process.
        workers: processes that load images.
        pinned: in memory that a GPU can copy from while the host goes on.
    """
    batches = _Batches(schedule, first_step, part, accumulation)
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_portion,
        worker_init_fn=_leave_interruption_to_the_parent,
        persistent_workers=workers > 0,
        pin_memory=pinned,
    )
    stream = iter(loader)
    for _ in range(first_step, schedule.length):
        yield [next(stream) for _ in range(accumulation)]


@dataclass(frozen=True)
class _Batches:
    """What a DataLoader is to load together: (epoch, image) for the images of every portion."""

    schedule: Schedule
    first_step: int
    part: tuple[int, int]
    accumulation: int

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        rank, size = self.part
        share = self.schedule.batch_size // size
        portion = share // self.accumulation
        for step in range(self.first_step, self.schedule.length):
            epoch, images = self.schedule.epoch(step), self.schedule.indices(step)
            own = images[rank * share : (rank + 1) * share]
            for start in range(0, share, portion):
                yield [(epoch, index) for index in own[start : start + portion]]


def _portion(samples: list[Sample]) -> Portion:
    indices = torch.tensor([sample.index for sample in samples])
    skipped = [bad for sample in samples for bad in sample.skipped]
    views = [sample.views for sample in samples if sample.views is not None]
    if len(views) < len(samples):
        return Portion(indices, [], PairBoxes(torch.empty(0), torch.empty(0)), skipped)
    together = default_collate([view._replace(distortions=[]) for view in views])
    boxes = PairBoxes(*together.boxes)
    distortions = [list(of_view) for of_view in zip(*(v.distortions for v in views), strict=True)]
    return Portion(indices, list(together.images), boxes, skipped, distortions)


def _leave_interruption_to_the_parent(_: int) -> None:
    """A terminal's Ctrl-C and torchrun's SIGTERM reach workers too; the parent saves first.

    It ends them itself afterwards; if it is gone without having done so, they notice and end.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
