"""What is done to a view beside cropping it, and how Pillow does it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from PIL import Image, ImageFilter
from torchvision.transforms import functional


class Adjustment(IntEnum):
    """What jitter changes; the numbers are the places of their strengths."""

    BRIGHTNESS = 0
    CONTRAST = 1
    SATURATION = 2
    HUE = 3


@dataclass(frozen=True)
class Distortion:
    """What is done to one view, in this order.

    `jitter` has the adjustments in their order with their factors (of the hue: a part of the
    circle) and is empty where there is none; `sigma` is the blur's, in pixels, 0 without.
    """

    jitter: tuple[tuple[Adjustment, float], ...] = ()
    grey: bool = False
    sigma: float = 0.0


_PILLOW: dict[Adjustment, Callable[[Image.Image, float], Image.Image]] = {
    Adjustment.BRIGHTNESS: functional.adjust_brightness,
    Adjustment.CONTRAST: functional.adjust_contrast,
    Adjustment.SATURATION: functional.adjust_saturation,
    Adjustment.HUE: functional.adjust_hue,
}


def distorted(image: Image.Image, distortion: Distortion) -> Image.Image:
    """An RGB image, distorted by Pillow."""
    for kind, factor in distortion.jitter:
        image = _PILLOW[kind](image, factor)
    if distortion.grey:
        image = functional.rgb_to_grayscale(image, num_output_channels=3)
    if distortion.sigma:
        image = image.filter(ImageFilter.GaussianBlur(distortion.sigma))
    return image
