"""What every reader gives: a split of images with their masks, and the two splits of a dataset."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from densebench.datasets.classes import Colour
from densebench.datasets.fingerprint import sample_fingerprint
from densebench.datasets.image_files import image_size, read_image
from densebench.datasets.targets import Target
from densebench.files.hashes import content_hashes
from densebench.host.errors import DensebenchError

SplitName = Literal["train", "val"]
Mask = Shaped[np.ndarray, "h w"]


class MaskReader(Protocol):
    """How a mask file becomes the target's values; picklable, so that loader workers can use it."""

    def read(self, file: Path) -> Mask:
        """The value of every pixel; of labels the class index, or the ignore index."""
        ...

    def rules(self, file: Path) -> bytes:
        """All that decides the mask of ``file`` beside the file's own content."""
        ...


@dataclass(frozen=True)
class Split:
    """Images and masks by sorted name. Files are read when asked for, one at a time.

    Attributes:
        name: which of the two splits it is.
        names: sorted, unique.
        image_files: one path a name.
        mask_files: one path a name.
        reader: how a mask file is read.
        target: what the masks' values mean.
        order: positions into ``names`` in the order of the list that named them; None where that
            is the sorted one.
        groups: what each image belongs to (a video, a city), one a name; images of one group are
            no independent draws.
    """

    name: SplitName
    names: tuple[str, ...]
    image_files: tuple[str, ...]
    mask_files: tuple[str, ...]
    reader: MaskReader
    target: Target
    order: tuple[int, ...] | None = None
    groups: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def classes(self) -> tuple[str, ...]:
        """Of labels, the names of the classes by index."""
        return self.target.classes

    @property
    def ignore_index(self) -> int:
        """Of labels, the one that no score counts."""
        return int(self.target.void)

    @property
    def files(self) -> list[str]:
        """Every image and every mask."""
        return [*self.image_files, *self.mask_files]

    @property
    def listed(self) -> list[str]:
        """The names in the order of their list."""
        return list(self.names) if self.order is None else [self.names[i] for i in self.order]

    def image(self, i: int) -> Image.Image:
        """The i-th image, RGB.

        Raises:
            DensebenchError: the file cannot be read.
        """
        return read_image(Path(self.image_files[i]))

    def mask(self, i: int) -> Mask:
        """The i-th mask, ``(height, width)`` of its image: values of the target's type.

        Raises:
            DensebenchError: the file cannot be read, is no mask, holds an id that is no class, or
                is not of its image's size or of the target's type.
        """
        file = Path(self.mask_files[i])
        mask = self.reader.read(file)
        width, height = image_size(Path(self.image_files[i]))
        if mask.shape != (height, width):
            raise DensebenchError(
                f"{file}: the mask is {mask.shape[1]}x{mask.shape[0]} pixels and its image "
                f"{self.image_files[i]} is {width}x{height}; they must be of one size"
            )
        if mask.dtype != self.target.dtype:
            raise DensebenchError(
                f"{file}: read as {mask.dtype}, but its dataset gives {self.target.kind} in "
                f"{self.target.dtype}; its reader is wrong"
            )
        return mask

    def subset(self, names: Iterable[str]) -> "Split":
        """The same split with only these names.

        Raises:
            DensebenchError: a name that the split has not, or no name at all.
        """
        wanted = set(names)
        unknown = sorted(wanted.difference(self.names))
        if unknown:
            raise DensebenchError(f"the {self.name} split has no image named '{unknown[0]}'")
        if not wanted:
            raise DensebenchError(f"a subset of the {self.name} split needs at least one name")
        kept = [i for i, name in enumerate(self.names) if name in wanted]
        place = {old: new for new, old in enumerate(kept)}
        order = None if self.order is None else tuple(place[i] for i in self.order if i in place)
        return replace(
            self,
            names=tuple(self.names[i] for i in kept),
            image_files=tuple(self.image_files[i] for i in kept),
            mask_files=tuple(self.mask_files[i] for i in kept),
            order=None if order == tuple(range(len(kept))) else order,
            groups=None if self.groups is None else tuple(self.groups[i] for i in kept),
        )

    def fingerprint(self, hashes: Mapping[str, str] | None = None) -> str:
        """SHA-256 (hex) of the names, the content of every file and what their values mean.

        The order of the list counts where it is not the sorted one. Neither dates nor places
        count, so that a copy elsewhere has the same fingerprint. ``hashes`` are the contents' by
        path, where they are known already.

        Raises:
            DensebenchError: a file cannot be read.
        """
        rules = [self.reader.rules(Path(file)) for file in self.mask_files]
        return sample_fingerprint(
            names=self.names,
            image_files=self.image_files,
            mask_files=self.mask_files,
            mask_rules=rules,
            meaning=self.target.meaning(),
            hashes=content_hashes(self.files) if hashes is None else hashes,
            order=self.order,
        )


def list_order(listed: Sequence[str]) -> tuple[int, ...] | None:
    """The ``order`` of a split whose list names its images so; None where that is sorted."""
    positions = {name: i for i, name in enumerate(sorted(listed))}
    order = tuple(positions[name] for name in listed)
    return None if order == tuple(range(len(order))) else order


@dataclass(frozen=True)
class Dataset:
    """A training and a validation split that share their target.

    ``group_name`` says what the groups of its images are, in the plural: ``sequences``, ``cities``.
    """

    kind: str
    root: Path
    target: Target
    palette: tuple[Colour, ...]
    train: Split
    val: Split
    group_name: str | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Of labels, the names of the classes by index."""
        return self.target.classes

    @property
    def ignore_index(self) -> int:
        """Of labels, the one that no score counts."""
        return int(self.target.void)
