"""Multi-crop views of one image, and where every two of them show the same region.

The views of NeCo (vpariza/NeCo, src/neco_transforms.py), which took them from Leopart: random
resized crops, global ones first, colour jitter, greyscale, blur, normalisation; no flips. Every
draw comes from a generator of the image's own, so views depend on the seed, the epoch and the index
of the image and on nothing else.

The engine says who distorts and normalises: Pillow, as it loads the image, or torch, in batches
where the training runs (`posttrain/finishing.py`). Decoding, cropping and resizing are Pillow's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from pydantic import ConfigDict
from torch import Generator, Tensor
from torchvision.transforms import functional

from densebench.host.errors import DensebenchError
from densebench.posttrain.distortions import Adjustment, Distortion, distorted

Engine = Literal["pillow", "torch"]

_ASPECT = (3 / 4, 4 / 3)
_CROP_TRIES = 10
# A view that overlaps enough is found within a few tries; so many without one mean bad settings.
_VIEW_TRIES = 10_000


class PairBoxes(NamedTuple):
    """Where global crop c and view v show the same region: x1, y1, x2, y2, see `pair_boxes`."""

    in_global: Float[Tensor, "*b c v 4"]
    in_view: Float[Tensor, "*b v c 4"]


class Views(NamedTuple):
    """The views of one image, global crops first.

    Normalised, or by the engine "torch" in 8 bits with channels last, and what is still to be done
    to each; it is empty otherwise, and the default collation of a DataLoader stacks the rest.
    """

    images: list[Float[Tensor, "3 _ _"]] | list[UInt8[Tensor, "_ _ 3"]]
    crops: Float[Tensor, "v 4"]  # x1, y1, x2, y2 in pixels of the image
    boxes: PairBoxes
    distortions: list[Distortion]


@dataclass(frozen=True)
class ViewSettings:
    """The knobs of the views; the defaults are those published for the DINOv2 family.

    Sizes are in pixels, scales are fractions of the image's area. `min_intersection` is the part of
    the image's area that a local crop shares with every global one; global crops share twice that.
    `cut_local` lets local views have a size that patches don't divide: the patches that fit count.
    `engine` distorts and normalises.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)

    global_size: int = 518
    local_size: int = 98
    cut_local: bool = False
    global_crops: int = 2
    local_crops: int = 4
    global_scale: tuple[float, float] = (0.25, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.25)
    min_intersection: float = 0.01
    jitter: tuple[float, float, float, float] = (0.8, 0.8, 0.8, 0.2)
    jitter_probability: float = 0.8
    grey_probability: float = 0.2
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    blur_probability: float = 0.5
    engine: Engine = "pillow"

    def __post_init__(self) -> None:
        if self.engine not in get_args(Engine):
            raise DensebenchError(f"no engine {self.engine!r}: use one of {get_args(Engine)}")
        for name, most in (("global_size", 1 << 14), ("local_size", 1 << 14), ("global_crops", 99)):
            if not 1 <= getattr(self, name) <= most:
                raise DensebenchError(f"{name} is {getattr(self, name)}: give 1 to {most}")
        if not 0 <= self.local_crops <= 99 or self.global_crops + self.local_crops < 2:
            raise DensebenchError("views need two crops or more: raise local_crops")
        for name in ("global_scale", "local_scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise DensebenchError(f"{name} is ({low}, {high}): give 0 < low <= high <= 1")
        for name in ("jitter_probability", "grey_probability", "blur_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise DensebenchError(f"{name} is {getattr(self, name)}: give 0 to 1")
        if min(self.jitter) < 0 or self.jitter[3] > 0.5:
            raise DensebenchError(f"jitter is {self.jitter}: give 0 or more, for the hue up to 0.5")
        if not 0 <= self.blur_sigma[0] <= self.blur_sigma[1]:
            raise DensebenchError(f"blur_sigma is {self.blur_sigma}: give 0 <= low <= high")
        if not 0 <= self.min_intersection < 0.5:
            raise DensebenchError(
                f"min_intersection is {self.min_intersection}: give a part of the area below 0.5"
            )

    @property
    def sizes(self) -> list[int]:
        """Output size of every view, global crops first."""
        return [self.global_size] * self.global_crops + [self.local_size] * self.local_crops


class MultiCrop:
    """Makes the views of an image.

    Args:
        settings: how many, how large, how distorted.
        mean: per channel, of the backbone's normalisation.
        std: likewise.
    """

    def __init__(self, settings: ViewSettings, mean: Sequence[float], std: Sequence[float]) -> None:
        self.settings, self.mean, self.std = settings, list(mean), list(std)

    def __call__(self, image: Image.Image, generator: Generator) -> Views:
        """Draw views of an RGB image.

        Raises:
            DensebenchError: when no crops overlap as the settings ask.
        """
        crops = draw_crops(image.size, self.settings, generator)
        sizes, on_torch = self.settings.sizes, self.settings.engine == "torch"
        views, distortions = [], []
        for crop, size in zip(crops, sizes, strict=True):
            view, distortion = _cut(image, crop, size), draw_distortion(self.settings, generator)
            views.append(_pixels(view) if on_torch else self._finished(view, distortion))
            distortions += [distortion] * on_torch
        absolute = torch.tensor(crops, dtype=torch.float32)
        boxes = pair_boxes(absolute, sizes, self.settings.global_crops)
        return Views(views, absolute, boxes, distortions)

    def _finished(self, view: Image.Image, distortion: Distortion) -> Float[Tensor, "3 size size"]:
        pixels = functional.to_tensor(distorted(view, distortion))
        return functional.normalize(pixels, self.mean, self.std)


def _cut(image: Image.Image, crop: tuple[int, int, int, int], size: int) -> Image.Image:
    x1, y1, x2, y2 = crop
    return functional.resized_crop(image, y1, x1, y2 - y1, x2 - x1, [size, size])


def _pixels(view: Image.Image) -> UInt8[Tensor, "size size 3"]:
    return torch.from_numpy(np.array(view))


def image_generator(seed: int, epoch: int, index: int) -> Generator:
    """The generator of one image in one epoch; the same in whichever worker loads it."""
    state = np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)


def draw_crops(
    size: tuple[int, int], settings: ViewSettings, generator: Generator
) -> list[tuple[int, int, int, int]]:
    """Crops (x1, y1, x2, y2) of an image of (width, height), each overlapping every global one.

    Raises:
        DensebenchError: when no crops overlap as the settings ask.
    """
    least = int(size[0] * size[1] * settings.min_intersection)
    crops: list[tuple[int, int, int, int]] = []
    for view in range(settings.global_crops + settings.local_crops):
        is_global = view < settings.global_crops
        scale = settings.global_scale if is_global else settings.local_scale
        enough = 2 * least if is_global else least
        others = crops[: settings.global_crops]
        crops.append(_overlapping_crop(size, scale, others, enough, generator))
    return crops


def _overlapping_crop(
    size: tuple[int, int],
    scale: tuple[float, float],
    others: list[tuple[int, int, int, int]],
    enough: int,
    generator: Generator,
) -> tuple[int, int, int, int]:
    for _ in range(_VIEW_TRIES):
        crop = random_crop(size, scale, generator)
        if all(_intersection(crop, other) > enough for other in others):
            return crop
    raise DensebenchError(
        f"no crop of scale {scale} of an image of {size[0]}x{size[1]} pixels shares more than "
        f"{enough} pixels with every global crop: lower min_intersection or leave the image out"
    )


def _intersection(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> int:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def random_crop(
    size: tuple[int, int], scale: tuple[float, float], generator: Generator
) -> tuple[int, int, int, int]:
    """A crop (x1, y1, x2, y2) of random area and shape, as torchvision's RandomResizedCrop.

    The area is uniform in `scale` times the image's, the ratio log-uniform in (3/4, 4/3); after ten
    that don't fit, the largest centred crop of an allowed ratio.
    """
    width, height = size
    for _ in range(_CROP_TRIES):
        area = width * height * _uniform(*scale, generator)
        ratio = math.exp(_uniform(math.log(_ASPECT[0]), math.log(_ASPECT[1]), generator))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            x, y = _below(width - w + 1, generator), _below(height - h + 1, generator)
            return x, y, x + w, y + h
    w = min(width, max(1, round(height * _ASPECT[1])))
    h = min(height, max(1, round(width / _ASPECT[0])))
    x, y = (width - w) // 2, (height - h) // 2
    return x, y, x + w, y + h


def draw_distortion(settings: ViewSettings, generator: Generator) -> Distortion:
    """Colour jitter, grey, blur; each with its probability, whichever engine does it."""
    jitter: tuple[tuple[Adjustment, float], ...] = ()
    sigma = 0.0
    if _uniform(0, 1, generator) < settings.jitter_probability:
        jitter = _draw_jitter(settings.jitter, generator)
    grey = _uniform(0, 1, generator) < settings.grey_probability
    if _uniform(0, 1, generator) < settings.blur_probability:
        sigma = _uniform(*settings.blur_sigma, generator)
    return Distortion(jitter, grey, sigma)


def _draw_jitter(
    strength: tuple[float, float, float, float], generator: Generator
) -> tuple[tuple[Adjustment, float], ...]:
    """Brightness, contrast, saturation and hue in random order, as torchvision's ColorJitter."""
    drawn = []
    for kind in map(Adjustment, torch.randperm(4, generator=generator).tolist()):
        reach, centre = strength[kind], 0.0 if kind == Adjustment.HUE else 1.0
        low = -reach if kind == Adjustment.HUE else max(0.0, centre - reach)
        drawn.append((kind, _uniform(low, centre + reach, generator)))
    return tuple(drawn)


def pair_boxes(
    crops: Float[Tensor, "*b v 4"], sizes: Sequence[int], global_crops: int
) -> PairBoxes:
    """Where every global crop and every view intersect, in the pixels of the resized crops.

    Args:
        crops: x1, y1, x2, y2 in the image, global crops first.
        sizes: the size that each crop was resized to.
        global_crops: how many of them are global.

    Returns:
        `in_global[c, v]` is the intersection of c and v in global crop c's pixels, `in_view[v, c]`
        the same region in view v's.

    Raises:
        DensebenchError: when two crops do not intersect.
    """
    lead = crops[..., :global_crops, None, :]
    others = crops[..., None, :, :]
    corner = torch.maximum(lead[..., :2], others[..., :2])
    opposite = torch.minimum(lead[..., 2:], others[..., 2:])
    if not (opposite > corner).all():
        raise DensebenchError("a view does not intersect every global crop: draw other crops")
    resized = torch.tensor(sizes, dtype=crops.dtype, device=crops.device)[:, None, None]
    in_global = _rescaled(corner, opposite, lead, resized[:global_crops])
    swapped = corner.transpose(-3, -2), opposite.transpose(-3, -2)
    in_view = _rescaled(*swapped, crops[..., :, None, :], resized)
    return PairBoxes(in_global, in_view)


def _rescaled(
    corner: Tensor, opposite: Tensor, crop: Tensor, resized: Tensor
) -> Float[Tensor, "*b _ _ 4"]:
    origin, extent = crop[..., :2], crop[..., 2:] - crop[..., :2]
    points = [resized * ((point - origin) / extent) for point in (corner, opposite)]
    return torch.cat(points, dim=-1)


def _uniform(low: float, high: float, generator: Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()


def _below(limit: int, generator: Generator) -> int:
    return int(torch.randint(limit, (), generator=generator).item())
