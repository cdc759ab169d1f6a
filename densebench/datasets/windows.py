"""Windows that slide over an image of true aspect ratio, as images of a split of their own.

Source: facebookresearch/dinov3 at 6876159, dinov3/eval/segmentation/inference.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torchvision.transforms.v2.functional as vision
from jaxtyping import Shaped
from PIL import Image
from torch.nn.functional import interpolate

from densebench.datasets.aspect_crops import FittedTransform, resized_shape
from densebench.datasets.base import Mask, Split
from densebench.datasets.sizes import Size
from densebench.datasets.transforms import RawPair
from densebench.files.hashes import content_hash, content_hashes

SCALED_UNIT = 32  # a shorter side below the image's own is rounded up to a multiple of it


class Box(NamedTuple):
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, the ends left out."""

    top: int
    bottom: int
    left: int
    right: int


class Sliding(NamedTuple):
    """How windows go over an image.

    Attributes:
        shorter: the image's shorter side once it is resized.
        crop: side of a window; 0 for one window that is the whole image.
        stride: from a window to the next.
        flipped: whether the image is flipped before.
    """

    shorter: int
    crop: int
    stride: int
    flipped: bool = False


def scaled_side(side: int, scale: float) -> int:
    """The shorter side at a scale of the test."""
    scaled = int(scale * side)
    return scaled if scale >= 1 else -(-scaled // SCALED_UNIT) * SCALED_UNIT


def window_shape(shape: Size, crop: int) -> Size:
    """Height and width of the windows in an image of that shape.

    A square of the shorter side where both are below ``crop``; where one is, as low as that.
    """
    if max(shape) < crop:
        return min(shape), min(shape)
    return min(shape[0], crop), min(shape[1], crop)


def window_boxes(shape: Size, crop: int, stride: int) -> list[Box]:
    """The windows row by row; the last of a row or a column is flush with the border."""
    window = window_shape(shape, crop)
    side = crop if max(shape) >= crop else window[0]
    tops, lefts = (
        [
            min(i * stride, length - cut)
            for i in range(max(length - side + stride - 1, 0) // stride + 1)
        ]
        for length, cut in zip(shape, window, strict=True)
    )
    return [Box(top, top + window[0], left, left + window[1]) for top in tops for left in lefts]


@dataclass(frozen=True)
class Windows(Split):
    """Windows of one shape of some images of a split; an item is one of them, without a mask.

    Attributes:
        parents: the place of each window's image in its own split.
        shapes: height and width at which that image is resized.
        boxes: which part of that each window is.
        flipped: whether the image is flipped before.
    """

    parents: tuple[int, ...] = ()
    shapes: tuple[Size, ...] = ()
    boxes: tuple[Box, ...] = ()
    flipped: bool = False
    _last: dict[tuple[str, Size], Image.Image] = field(default_factory=dict, compare=False)

    @property
    def window(self) -> Size:
        """Height and width of every window."""
        box = self.boxes[0]
        return box.bottom - box.top, box.right - box.left

    @cached_property
    def _of_image(self) -> dict[int, list[int]]:
        places: dict[int, list[int]] = {}
        for place, parent in enumerate(self.parents):
            places.setdefault(parent, []).append(place)
        return places

    def of(self, images: Sequence[int]) -> list[int]:
        """The places of the windows of some images of the split, in their order."""
        return [place for image in images for place in self._of_image.get(image, [])]

    def image(self, i: int) -> Image.Image:
        """The i-th window, RGB.

        Raises:
            DensebenchError: the image cannot be read.
        """
        known = self.image_files[i], self.shapes[i]
        if known not in self._last:  # the windows of an image come one after the other
            height, width = self.shapes[i]
            whole = super().image(i).resize((width, height), Image.Resampling.BILINEAR)
            if self.flipped:
                whole = whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            self._last.clear()
            self._last[known] = whole
        box = self.boxes[i]
        return self._last[known].crop((box.left, box.top, box.right, box.bottom))

    def mask(self, i: int) -> Mask:
        """A single pixel: windows are looked at, and scored as images."""
        return np.zeros((1, 1), self.target.dtype)

    def fingerprint(self, hashes: Mapping[str, str] | None = None) -> str:
        """Of the images and of the windows."""
        known = content_hashes(dict.fromkeys(self.files)) if hashes is None else hashes
        cut = [self.shapes, self.boxes, self.flipped]
        return content_hash([super().fingerprint(known), cut])


def windows_of(split: Split, shapes: Mapping[int, Size], sliding: Sliding) -> list[Windows]:
    """All windows of some images of a split, one split of windows for each shape that they have.

    Args:
        split: the images.
        shapes: height and width of those that are looked at, by their places.
        sliding: how windows go over them.
    """
    groups: dict[Size, list[tuple[int, Size, Box]]] = {}
    for image, shape in shapes.items():
        large = resized_shape(shape, sliding.shorter)
        for box in _boxes(large, sliding):
            window = box.bottom - box.top, box.right - box.left
            groups.setdefault(window, []).append((image, large, box))
    return [_windows(split, found, sliding.flipped) for found in groups.values()]


def _boxes(shape: Size, sliding: Sliding) -> list[Box]:
    if not sliding.crop:
        return [Box(0, shape[0], 0, shape[1])]
    return window_boxes(shape, sliding.crop, sliding.stride)


def _windows(split: Split, found: Sequence[tuple[int, Size, Box]], flipped: bool) -> Windows:
    parents, shapes, boxes = zip(*found, strict=True)
    own = {f.name: getattr(split, f.name) for f in fields(Split)}
    whole = Windows(**own)
    return replace(
        whole,
        names=tuple(
            f"{split.names[i]} {box.top},{box.left}" for i, box in zip(parents, boxes, strict=True)
        ),
        image_files=tuple(split.image_files[i] for i in parents),
        mask_files=tuple(split.mask_files[i] for i in parents),
        order=None,
        groups=None,
        parents=parents,
        shapes=shapes,
        boxes=boxes,
        flipped=flipped,
    )


@dataclass(frozen=True)
class Window(FittedTransform):
    """A window as it is; or, of the mode ``whole``, an image stretched to a square.

    Attributes:
        stretched: whether the normalised image is resized to ``size``, as torch does it.
    """

    stretched: bool = False

    @property
    def mask_shape(self) -> Size:
        """That of a window's mask."""
        return 1, 1

    def _view(self, image: Image.Image, mask: Shaped[np.ndarray, "h w"], seed: int) -> RawPair:
        pixels = vision.pil_to_tensor(image)
        if self.stretched:
            size = self.view_shape
            whole = self.normalised(pixels)[None]
            pixels = interpolate(whole, size=size, mode="bilinear", align_corners=False)[0]
        return self.fitted(pixels), torch.from_numpy(mask)
