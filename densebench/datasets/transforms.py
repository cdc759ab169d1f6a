"""Paired transforms of an image and its mask, as the published protocols define them.

A mask is what the dataset's target gives: class indices, depths. It is resized to the nearest.

A transform is a frozen dataclass: its fields are all that changes its output, and stand in the
feature cache's key and in the run record. Randomness comes from the seed of the call alone.
"""

import random
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torchvision.transforms.v2.functional as vision
from jaxtyping import Float, Shaped
from PIL import Image
from torch import Tensor
from torchvision.transforms import ColorJitter, InterpolationMode, RandomApply, RandomResizedCrop

from densebench.datasets.sizes import Size, as_size

Triple = tuple[float, float, float]
Pair = tuple[Float[Tensor, "3 H W"], Shaped[Tensor, "H W"]]
RawPair = tuple[Shaped[Tensor, "3 H W"], Shaped[Tensor, "H W"]]

BILINEAR = InterpolationMode.BILINEAR
NEAREST = InterpolationMode.NEAREST


@dataclass(frozen=True)
class Transform(ABC):
    """A view of ``size`` pixels; ``mean`` and ``std`` are those of pixels in [0, 1].

    ``size`` is the side of a square, or a height and a width.
    """

    size: int | Size
    mean: Triple
    std: Triple

    random = False

    @property
    def shape(self) -> Size:
        """Height and width of the pixels that the backbone is given."""
        return as_size(self.size)

    @property
    def mask_shape(self) -> Size:
        """Height and width of the mask; as the pixels', unless a view says otherwise."""
        return self.shape

    def spec(self) -> dict[str, Any]:
        """The name and every field, for keys and records."""
        return {"transform": type(self).__name__, **asdict(self)}

    def __call__(self, image: Image.Image, mask: Shaped[np.ndarray, "h w"], seed: int = 0) -> Pair:
        """The view of an RGB image and its mask; random ones follow ``seed``."""
        pixels, labels = self.raw(image, mask, seed)
        return self.normalised(pixels), labels

    def raw(self, image: Image.Image, mask: Shaped[np.ndarray, "h w"], seed: int = 0) -> RawPair:
        """The view, of eight bits where only the normalisation is left to be done."""
        return self._view(image, mask, seed)

    def normalised(self, pixels: Shaped[Tensor, "*b 3 H W"]) -> Float[Tensor, "*b 3 H W"]:
        """Pixels of ``raw`` as the backbone takes them, one image or many, on any device."""
        if pixels.dtype != torch.uint8:
            return pixels
        shades = vision.to_dtype(pixels, torch.float32, scale=True)
        return vision.normalize(shades, list(self.mean), list(self.std), inplace=True)

    @abstractmethod
    def _view(self, image: Image.Image, mask: Shaped[np.ndarray, "h w"], seed: int) -> RawPair:
        """Pixels of eight bits, or normalised ones, and the mask."""


@dataclass(frozen=True)
class Squash(Transform):
    """Resize without keeping the aspect ratio: the validation view of square protocols.

    The image is resized by Pillow (bilinear, antialiased). Nearest resizing of the mask rounds
    down in torch (open-hummingbird-eval) and to pixel centres in Pillow (NeCo's evaluations).
    """

    centred_mask: bool = False
    resampling: ClassVar[Image.Resampling] = Image.Resampling.BILINEAR

    def _view(self, image: Image.Image, mask: Shaped[np.ndarray, "h w"], seed: int) -> RawPair:
        width_first = self.shape[::-1]
        pixels = vision.pil_to_tensor(image.resize(width_first, self.resampling))
        if self.centred_mask:
            resized = Image.fromarray(mask).resize(width_first, Image.Resampling.NEAREST)
            return pixels, torch.from_numpy(np.array(resized))
        return pixels, resize_labels(torch.from_numpy(mask)[None], self.shape)[0]


@dataclass(frozen=True)
class BicubicSquash(Squash):
    """The same with a bicubic image, and the mask by Pillow: the only view of CAPI's evaluation."""

    centred_mask: bool = True
    resampling: ClassVar[Image.Resampling] = Image.Resampling.BICUBIC

    def normalised(self, pixels: Shaped[Tensor, "*b 3 H W"]) -> Float[Tensor, "*b 3 H W"]:
        """To the last bit as published: divided by 255, where the others are multiplied."""
        shades = pixels.to(torch.float32).div_(255)
        return vision.normalize(shades, list(self.mean), list(self.std), inplace=True)


@dataclass(frozen=True)
class JitteredCrop(Transform):
    """The memory's training view of open-hummingbird-eval: colour jitter, then a resized crop.

    The crop is cut from the normalised image and resized in torch (bilinear, antialiased). Areas
    above 1 cannot fit, so that ``scale`` (0.5, 2) is about (0.5, 1) in effect.
    """

    scale: tuple[float, float] = (0.5, 2.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    jitter: float = 0.1
    jitter_probability: float = 0.5

    random = True

    def _view(self, image: Image.Image, mask: Shaped[np.ndarray, "h w"], seed: int) -> RawPair:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for channel in ("brightness", "contrast", "saturation", "hue"):
                jitter = ColorJitter(**{channel: self.jitter})
                image = RandomApply([jitter], p=self.jitter_probability)(image)
            box = RandomResizedCrop.get_params(image, list(self.scale), list(self.ratio))
        side = list(self.shape)
        whole = self.normalised(vision.pil_to_tensor(image))
        pixels = vision.resized_crop(whole, *box, side, BILINEAR, antialias=True)
        labels = vision.resized_crop(torch.from_numpy(mask)[None], *box, side, NEAREST)
        return pixels, labels[0]


@dataclass(frozen=True)
class FlippedCrop(Transform):
    """The linear head's training view of NeCo: a resized crop cut by Pillow, then a flip."""

    scale: tuple[float, float] = (0.8, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip_probability: float = 0.5

    random = True

    def _view(self, image: Image.Image, mask: Shaped[np.ndarray, "h w"], seed: int) -> RawPair:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            box = RandomResizedCrop.get_params(image, list(self.scale), list(self.ratio))
        side = list(self.shape)
        image = vision.resized_crop(image, *box, side, BILINEAR)
        labels = np.array(vision.resized_crop(Image.fromarray(mask), *box, side, NEAREST))
        pixels = vision.pil_to_tensor(image)
        if random.Random(seed).random() < self.flip_probability:
            pixels, labels = pixels.flip(-1), labels[:, ::-1].copy()
        return pixels, torch.from_numpy(labels)


def resize_labels(labels: Shaped[Tensor, "b h w"], size: int | Size) -> Shaped[Tensor, "b H W"]:
    """Nearest resizing that rounds down, as ``torch.nn.functional.interpolate``."""
    shape = as_size(size)
    if labels.shape[-2:] == shape:
        return labels
    return torch.nn.functional.interpolate(labels[:, None], size=shape, mode="nearest")[:, 0]


def derived_seed(*parts: int) -> int:
    """A seed of its own for each combination of parts: run seed, epoch, image and so on.

    Seeding image by image makes views independent of order, batch and worker.
    """
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
