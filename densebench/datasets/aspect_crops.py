"""Training crops of true aspect ratio, as DINOv3's linear segmentation takes them.

The image is resized to a random size, a crop is cut in which no class has nearly everything, and
flipped and distorted. Source: facebookresearch/dinov3 at 6876159, dinov3/eval/segmentation.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torchvision.transforms.v2.functional as vision
from jaxtyping import Float, Shaped, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from densebench.datasets.distortion import Distortion
from densebench.datasets.sizes import Size
from densebench.datasets.transforms import RawPair, Transform, Triple, resize_labels

TRIES = 10  # crops that are looked at; the one after them is taken unseen


@dataclass(frozen=True)
class FittedTransform(Transform):
    """A view of any size, brought to multiples of the patch at the right and at the bottom.

    Values are normalised as DINOv3 does it, in 0..255.

    Attributes:
        patch: side of a patch in pixels.
        drops: whether pixels beyond the last whole patch are dropped, as DINOv3's own patch
            embedding does; else zeros are put beside them, after normalising.
    """

    patch: int = 1
    drops: bool = True

    @property
    def view_shape(self) -> Size:
        """The view's own height and width."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @property
    def mask_shape(self) -> Size:
        """That of the view."""
        return self.view_shape

    @property
    def shape(self) -> Size:
        """What of it, or of it and zeros, the backbone is given."""
        height, width = (fitted_side(side, self.patch, self.drops) for side in self.view_shape)
        return height, width

    def normalised(self, pixels: Shaped[Tensor, "*b 3 H W"]) -> Float[Tensor, "*b 3 H W"]:
        """Pixels of ``raw`` as the backbone takes them."""
        if pixels.dtype != torch.uint8:
            return pixels
        return shades_normalised(pixels, self.mean, self.std)

    def fitted(self, pixels: Shaped[Tensor, "3 h w"]) -> Shaped[Tensor, "3 H W"]:
        """The view, or the part of it that there is, at ``shape``; normalised if it is padded."""
        height, width = self.shape
        kept = pixels[:, :height, :width]
        missing = width - kept.shape[2], height - kept.shape[1]
        if not any(missing):
            return kept
        return pad(self.normalised(kept), (0, missing[0], 0, missing[1]))


@dataclass(frozen=True)
class AspectCrop(FittedTransform):
    """The training view of DINOv3's linear segmentation.

    Attributes:
        shorter: of which the shorter side of the resized image is a random multiple.
        ratios: the range of that multiple.
        largest_share: a crop in which a class has as much of the labelled pixels is drawn again.
        flip: the probability of a flip.
        distorts: whether colours are distorted.
        void: the label of no class, which padding is given too.
    """

    shorter: int = 512
    ratios: tuple[float, float] = (0.5, 2.0)
    largest_share: float = 0.75
    flip: float = 0.5
    distorts: bool = True
    void: int = 255

    random = True

    def _view(self, image: Image.Image, mask: Shaped[np.ndarray, "h w"], seed: int) -> RawPair:
        """Always normalised: of a batch some are padded, and some are not."""
        rng = np.random.RandomState(seed)
        low, high = self.ratios
        shorter = int(self.shorter * (low + (high - low) * rng.rand()))
        pixels, labels = resized(image, mask, shorter)
        height, width = self.mask_shape
        tries = crop_tries(rng, labels, (height, width), self.void, self.largest_share)
        rows, columns = (
            slice(at, at + side) for at, side in zip(tries[-1], (height, width), strict=True)
        )
        pixels, labels = pixels[:, rows, columns], labels[rows, columns]
        if rng.rand() < self.flip:
            pixels, labels = pixels.flip(-1), labels.flip(-1)
        if self.distorts:
            pixels = Distortion.drawn(rng).of(pixels)
        missing = (0, width - labels.shape[1], 0, height - labels.shape[0])
        return self.fitted(self.normalised(pixels)), pad(labels, missing, value=self.void)


def fitted_side(side: int, patch: int, drops: bool) -> int:
    """The largest multiple of the patch that is at most a side, or the smallest that is no less."""
    return side // patch * patch if drops else -(-side // patch) * patch


def resized_shape(shape: Size, shorter: int) -> Size:
    """Height and width at which the shorter side is as asked; the longer one is rounded."""
    height, width = shape
    if height < width:
        return shorter, int(shorter * width / height + 0.5)
    return int(shorter * height / width + 0.5), shorter


def resized(
    image: Image.Image, mask: Shaped[np.ndarray, "h w"], shorter: int
) -> tuple[UInt8[Tensor, "3 H W"], Shaped[Tensor, "H W"]]:
    """The image resized by Pillow (bilinear, antialiased), the mask to the nearest below."""
    shape = resized_shape((image.height, image.width), shorter)
    pixels = vision.pil_to_tensor(image.resize(shape[::-1], Image.Resampling.BILINEAR))
    return pixels, resize_labels(torch.from_numpy(mask)[None], shape)[0]


def crop_tries(
    rng: np.random.RandomState,
    labels: Shaped[Tensor, "h w"],
    size: Size,
    void: int,
    largest_share: float,
) -> list[Size]:
    """Rows above and columns left of the crops that are looked at; the last one is taken.

    A crop is drawn again where it shows fewer than two classes, or one class has
    ``largest_share`` or more of its labelled pixels.
    """
    margins = [max(side - cut, 0) for side, cut in zip(labels.shape, size, strict=True)]
    tries: list[Size] = []
    while len(tries) <= TRIES:
        top, left = (int(rng.randint(0, margin + 1)) for margin in margins)
        tries.append((top, left))
        if _is_mixed(labels[top : top + size[0], left : left + size[1]], void, largest_share):
            break
    return tries


def _is_mixed(labels: Shaped[Tensor, "h w"], void: int, largest_share: float) -> bool:
    pixels = torch.bincount(labels[labels != void].long())
    return bool((pixels > 0).sum() > 1 and pixels.max() / pixels.sum().double() < largest_share)


def shades_normalised(
    pixels: UInt8[Tensor, "*b 3 h w"], mean: Triple, std: Triple
) -> Float[Tensor, "*b 3 h w"]:
    """Pixels less ``mean``, by ``std``, both of [0, 1], computed in 0..255 as DINOv3 does."""
    middle, spread = (
        torch.tensor([255.0 * value for value in values], device=pixels.device)[:, None, None]
        for values in (mean, std)
    )
    return (pixels.float() - middle) / spread
