"""Views of an image with its depth, as DINOv3's linear depth evaluation makes them.

Depth is in metres, 0 where there is none; where it must be resized, to the nearest. Source:
facebookresearch/dinov3 at 6876159, dinov3/eval/depth/transforms.py.
"""

import random
from dataclasses import dataclass

import numpy as np
import torch
import torchvision.transforms.v2.functional as vision
from jaxtyping import Float, Shaped
from PIL import Image
from torch import Tensor

from densebench.datasets.nyu_boxes import BoxName, box
from densebench.datasets.padding import centre_padded
from densebench.datasets.sizes import Size, padded_size
from densebench.datasets.transforms import BILINEAR, NEAREST, RawPair, Transform, resize_labels

BYTE = 255.0


@dataclass(frozen=True)
class DepthView(Transform):
    """The whole image at ``size``, padded to the patch size; its depth is not padded.

    Attributes:
        patch_size: what the backbone's sides must be multiples of.
        flipped: whether image and depth are mirrored.
    """

    patch_size: int = 1
    flipped: bool = False

    @property
    def shape(self) -> Size:
        """After the padding."""
        return padded_size(self.mask_shape, self.patch_size)

    @property
    def mask_shape(self) -> Size:
        """Before it."""
        return super().shape

    def _view(self, image: Image.Image, mask: Shaped[np.ndarray, "h w"], seed: int) -> RawPair:
        pixels = resized_to(vision.pil_to_tensor(image), self.mask_shape)
        depth = resize_labels(torch.from_numpy(mask)[None], self.mask_shape)[0]
        if self.flipped:
            pixels, depth = pixels.flip(-1), depth.flip(-1)
        return centre_padded(self._as_float(pixels), self.patch_size), depth

    def _as_float(self, pixels: Shaped[Tensor, "3 h w"]) -> Float[Tensor, "3 h w"]:
        return self.normalised(pixels) if pixels.dtype == torch.uint8 else self._standard(pixels)

    def _standard(self, shades: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 h w"]:
        """Shades in [0, 1] as the backbone takes them."""
        return vision.normalize(shades, list(self.mean), list(self.std))


@dataclass(frozen=True)
class Draws:
    """What chance decides of one training view; None where a change is left out.

    Attributes:
        angle: of the rotation in degrees.
        flip: whether the view is mirrored.
        corner: upper row and left column of the crop.
        gamma: exponent of the shades.
        brightness: what the shades are multiplied with.
        colours: what each channel is multiplied with.
    """

    angle: float | None
    flip: bool
    corner: tuple[int, int]
    gamma: float | None = None
    brightness: float = 1.0
    colours: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class DepthCrop(DepthView):
    """The training view: a box of the image, rotated, mirrored, cropped, its colours changed.

    Attributes:
        image_size: height and width that images of another size are brought to first.
        box: which part of the image is used.
        rotation: the largest angle in degrees.
        gamma: lowest and highest exponent.
        brightness: lowest and highest factor of all shades.
        colour: lowest and highest factor of each channel.
        probability: of the rotation, of the flip, and of the change of colours.
        gamma_of_bytes: whether the exponent acts on shades in 0..255, as published, where it
            changes how bright they are; else on those in [0, 1].
    """

    image_size: Size = (480, 640)
    box: BoxName = "nyu"
    rotation: float = 2.5
    gamma: tuple[float, float] = (0.9, 1.1)
    brightness: tuple[float, float] = (0.75, 1.25)
    colour: tuple[float, float] = (0.9, 1.1)
    probability: float = 0.5
    gamma_of_bytes: bool = True

    random = True

    def draws(self, seed: int) -> Draws:
        """What chance decides, always the same for a seed."""
        chance = random.Random(seed)
        rows, columns = (
            whole - part
            for whole, part in zip(
                box(self.box, self.image_size).size, self.mask_shape, strict=True
            )
        )
        rotates, flips, colours = (chance.random() < self.probability for _ in range(3))
        angle = chance.uniform(-self.rotation, self.rotation)
        corner = chance.randint(0, rows), chance.randint(0, columns)
        if not colours:
            return Draws(angle if rotates else None, flips, corner)
        gamma, brightness = chance.uniform(*self.gamma), chance.uniform(*self.brightness)
        red, green, blue = (chance.uniform(*self.colour) for _ in range(3))
        return Draws(
            angle if rotates else None, flips, corner, gamma, brightness, (red, green, blue)
        )

    def drawn(
        self, image: Image.Image, depth: Shaped[np.ndarray, "h w"], draws: Draws
    ) -> tuple[Float[Tensor, "3 H W"], Float[Tensor, "h w"]]:
        """The view that these draws make; not padded yet."""
        pixels = resized_to(vision.pil_to_tensor(image), self.image_size)
        metres = resize_labels(torch.from_numpy(depth)[None], self.image_size)
        cut = (..., *box(self.box, self.image_size).slices)
        shades, metres = as_shades(pixels)[cut], metres[cut]
        if draws.angle is not None:
            shades, metres = rotated(shades, metres, draws.angle)
        if draws.flip:
            shades, metres = shades.flip(-1), metres.flip(-1)
        (top, left), (height, width) = draws.corner, self.mask_shape
        window = np.s_[:, top : top + height, left : left + width]
        shades = self._recoloured(shades[window], draws)
        return self._standard(shades), metres[window][0].contiguous()

    def _view(self, image: Image.Image, mask: Shaped[np.ndarray, "h w"], seed: int) -> RawPair:
        pixels, depth = self.drawn(image, mask, self.draws(seed))
        return centre_padded(pixels, self.patch_size), depth

    def _recoloured(self, shades: Float[Tensor, "3 h w"], draws: Draws) -> Float[Tensor, "3 h w"]:
        """Gamma, brightness and colours, then cut to what a byte holds."""
        if draws.gamma is None:
            return shades
        if self.gamma_of_bytes:
            values = (shades * BYTE) ** draws.gamma
        else:
            values = shades**draws.gamma * BYTE
        values = values * draws.brightness * torch.tensor(draws.colours)[:, None, None]
        return values.clamp(0, BYTE) / BYTE


def rotated(
    shades: Float[Tensor, "3 h w"], depth: Float[Tensor, "1 h w"], angle: float
) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "1 h w"]]:
    """Image (bilinear) and depth (nearest) turned by degrees; what comes in from outside is 0."""
    return (
        vision.rotate(shades, angle, interpolation=BILINEAR, fill=0),
        vision.rotate(depth, angle, interpolation=NEAREST, fill=0),
    )


def resized_to(pixels: Shaped[Tensor, "3 h w"], size: Size) -> Shaped[Tensor, "3 H W"]:
    """Pixels of that size: as they are where they have it, else shades (bilinear, antialiased)."""
    if pixels.shape[-2:] == size:
        return pixels
    return vision.resize(as_shades(pixels), list(size), interpolation=BILINEAR, antialias=True)


def as_shades(pixels: Shaped[Tensor, "3 h w"]) -> Float[Tensor, "3 h w"]:
    """Bytes as shades in [0, 1]."""
    return vision.to_dtype(pixels, torch.float32, scale=True)
