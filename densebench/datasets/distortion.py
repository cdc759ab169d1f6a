"""The photometric distortion of DINOv3's segmentation: what it draws, and what that does.

Source: facebookresearch/dinov3 at 6876159, dinov3/eval/segmentation/transforms.py.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms import functional

BRIGHTNESS = 32.0  # of 255
CONTRAST = SATURATION = (0.5, 1.5)
HUE = 0.5  # of a full turn, so that every hue can come out


@dataclass(frozen=True)
class Distortion:
    """One distortion of an image; what is None is not done.

    Attributes:
        brightness: what is added to values of 0 to 255.
        contrast: what they are multiplied by.
        saturation: 0 is grey, 1 leaves it.
        hue: in turns of the colour circle.
        contrast_first: whether the contrast comes before the saturation, or after the hue.
    """

    brightness: float | None
    contrast: float | None
    saturation: float | None
    hue: float | None
    contrast_first: bool

    @classmethod
    def drawn(cls, rng: np.random.RandomState) -> "Distortion":
        """Each with a probability of one half, drawn in the published order."""
        brightness = _perhaps(rng, -BRIGHTNESS, BRIGHTNESS)
        first = bool(rng.randint(2))
        contrast = _perhaps(rng, *CONTRAST) if first else None
        saturation = _perhaps(rng, *SATURATION)
        hue = _perhaps(rng, -HUE, HUE)
        if not first:
            contrast = _perhaps(rng, *CONTRAST)
        return cls(brightness, contrast, saturation, hue, first)

    def of(self, pixels: UInt8[Tensor, "3 h w"]) -> UInt8[Tensor, "3 h w"]:
        """The distorted image, cut to eight bits after every step."""
        if self.brightness is not None:
            pixels = _eight_bits(pixels.float() + self.brightness)
        if self.contrast_first:
            pixels = self._contrasted(pixels)
        if self.saturation is not None:
            pixels = functional.adjust_saturation(pixels, self.saturation)
        if self.hue is not None:
            pixels = functional.adjust_hue(pixels, self.hue)
        return pixels if self.contrast_first else self._contrasted(pixels)

    def _contrasted(self, pixels: UInt8[Tensor, "3 h w"]) -> UInt8[Tensor, "3 h w"]:
        return pixels if self.contrast is None else _eight_bits(pixels.float() * self.contrast)


def _perhaps(rng: np.random.RandomState, low: float, high: float) -> float | None:
    return rng.uniform(low, high) if rng.randint(2) else None


def _eight_bits(values: Float[Tensor, "3 h w"]) -> UInt8[Tensor, "3 h w"]:
    return values.clamp(0, 255).to(torch.uint8)
