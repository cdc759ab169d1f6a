"""Hand-made patch descriptors: the floor of every table, with no weights to download.

All constants are fixed and nothing is fitted on data. Retrieval compares directions from the
origin, so each part is centred: a patch of average brightness, contrast and orientation lies at 0.
"""

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from densebench.backbones.base import DenseBackbone
from densebench.cards import BackboneCard
from densebench.host.device import one_thread
from densebench.host.errors import DensebenchError

# To be raised with every change of a formula; the constants below enter the fingerprint themselves.
VERSION = 2
MEAN_CENTRE = 0.45
SPREAD_CENTRE = 0.10
BINS = 9
SCALES = (1, 2)
NEIGHBOURHOODS = (1, 3)
HISTOGRAM_FLOOR = 0.01
ENERGY_FLOOR = 0.005
ENERGY_CENTRE = 0.03
ENERGY_WEIGHT = 0.3
COLOUR_WEIGHT = 0.5
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class _Descriptor(DenseBackbone):
    """A descriptor of images in [0, 1], behind a backbone's interface.

    Images are described one by one, each on one thread: torch computes the last few elements of a
    tensor, and of each thread's part of it, by another routine than the rest, so that the last bit
    of a feature would depend on the batch's size and on the number of threads.
    """

    def __init__(self, card: BackboneCard, embed_dim: int) -> None:
        super().__init__(
            card.name, card.patch_size, embed_dim, mean=card.mean, std=card.std, card=card
        )

    def patch_map(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
        """The descriptor of every patch."""
        with one_thread():
            maps = [self.described(self.plain(image[None])) for image in images]
        return torch.cat(maps).permute(0, 2, 3, 1).to(images.dtype)

    @abstractmethod
    def described(self, images: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "1 d h w"]:
        """The descriptor of every patch of an image in [0, 1]."""

    def plain(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        """The images in [0, 1], in float32, that the caller normalised."""
        images = images.float()
        mean, std = images.new_tensor(self.mean), images.new_tensor(self.std)
        return images * std.view(3, 1, 1) + mean.view(3, 1, 1)


class RgbPatches(_Descriptor):
    """Mean and spread of the colour of each patch: 6 numbers.

    R, G, B mean minus ``MEAN_CENTRE``, then R, G, B standard deviation (of the population) minus
    ``SPREAD_CENTRE``; images in [0, 1].
    """

    def __init__(self, card: BackboneCard) -> None:
        super().__init__(card, embed_dim=6)

    def choices(self) -> dict[str, object]:
        """The descriptor's version and constants."""
        return {"rgb": VERSION, "centres": [MEAN_CENTRE, SPREAD_CENTRE]}

    def described(self, images: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "1 6 h w"]:
        """The descriptor of every patch."""
        return colour(images, self.patch_size)


class HogPatches(_Descriptor):
    """Oriented gradients and colour of each patch and of the 3x3 patches around it: 52 numbers.

    For each scale in ``SCALES`` (luma as it is, and averaged over 2x2 pixels) and each
    neighbourhood in ``NEIGHBOURHOODS`` (the patch, 3x3 patches as far as they lie in the image):

    - 9 numbers: the histogram of gradient orientation in [0, pi), magnitude-weighted and shared
      linearly between the two nearest bins, bin i centred at i pi / 9; divided by its sum (both
      with a floor, so that a flat patch is uniform); square root, minus that of a uniform one.
    - 1 number: ``ENERGY_WEIGHT`` times the log of the mean magnitude over ``ENERGY_CENTRE``.

    Then, for each neighbourhood, ``COLOUR_WEIGHT`` times the mean of the 6 numbers of
    `RgbPatches`. Gradients are central differences per pixel of their scale, with the border
    repeated. After Dalal and Triggs, "Histograms of oriented gradients for human detection" (2005).
    """

    def __init__(self, card: BackboneCard) -> None:
        size = len(NEIGHBOURHOODS) * (len(SCALES) * (BINS + 1) + 6)
        super().__init__(card, embed_dim=size)
        if card.patch_size % max(SCALES):
            raise DensebenchError(f"card {card.name}: 'hog' needs an even patch_size")

    def choices(self) -> dict[str, object]:
        """The descriptor's version and constants."""
        return {
            "hog": VERSION,
            "centres": [MEAN_CENTRE, SPREAD_CENTRE, ENERGY_CENTRE],
            "layout": [BINS, *SCALES, *NEIGHBOURHOODS],
            "floors": [HISTOGRAM_FLOOR, ENERGY_FLOOR],
            "weights": [ENERGY_WEIGHT, COLOUR_WEIGHT, *LUMA],
        }

    def described(self, images: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "1 d h w"]:
        """The descriptor of every patch."""
        luma = (images * images.new_tensor(LUMA).view(3, 1, 1)).sum(dim=1, keepdim=True)
        maps = [orientations(reduced(luma, s), self.patch_size // s) for s in SCALES]
        parts = [normalised(around(m, n)) for m in maps for n in NEIGHBOURHOODS]
        tint = COLOUR_WEIGHT * colour(images, self.patch_size)
        parts += [around(tint, n) for n in NEIGHBOURHOODS]
        return torch.cat(parts, dim=1)


def colour(images: Float[Tensor, "b 3 H W"], patch: int) -> Float[Tensor, "b 6 h w"]:
    """Centred mean and standard deviation of the colour of each patch."""
    batch, _, height, width = images.shape
    blocks = images.reshape(batch, 3, height // patch, patch, width // patch, patch)
    mean = blocks.mean(dim=(3, 5), keepdim=True)
    # Not as E[x^2] - E[x]^2, whose cancellation would give a flat patch a spread.
    spread = (blocks - mean).square().mean(dim=(3, 5)).sqrt()
    return torch.cat([mean[:, :, :, 0, :, 0] - MEAN_CENTRE, spread - SPREAD_CENTRE], dim=1)


def orientations(luma: Float[Tensor, "b 1 H W"], patch: int) -> Float[Tensor, "b bins h w"]:
    """Mean gradient magnitude of each patch in each orientation bin."""
    wide = functional.pad(luma, (1, 1, 1, 1), mode="replicate")
    right = (wide[:, :, 1:-1, 2:] - wide[:, :, 1:-1, :-2]) / 2
    down = (wide[:, :, 2:, 1:-1] - wide[:, :, :-2, 1:-1]) / 2
    magnitude = torch.hypot(right, down)
    position = torch.atan2(down, right) * (BINS / math.pi)
    bins = []
    for index in range(BINS):  # one by one: all at once would take nine images' memory
        distance = torch.remainder(position - index + BINS / 2, BINS) - BINS / 2
        bins.append(functional.avg_pool2d(magnitude * (1 - distance.abs()).clamp(min=0), patch))
    return torch.cat(bins, dim=1)


def normalised(histogram: Float[Tensor, "b bins h w"]) -> Float[Tensor, "b bins+1 h w"]:
    """Centred square roots of the bins' shares, and the centred log of their sum."""
    energy = histogram.sum(dim=1, keepdim=True)
    shares = (histogram + HISTOGRAM_FLOOR / BINS) / (energy + HISTOGRAM_FLOOR)
    strength = ENERGY_WEIGHT * ((energy + ENERGY_FLOOR) / ENERGY_CENTRE).log()
    return torch.cat([shares.sqrt() - BINS**-0.5, strength], dim=1)


def reduced(images: Float[Tensor, "b 1 H W"], factor: int) -> Float[Tensor, "b 1 H/f W/f"]:
    """The mean of each block of ``factor`` x ``factor`` pixels."""
    return images if factor == 1 else functional.avg_pool2d(images, factor)


def around(maps: Float[Tensor, "b c h w"], side: int) -> Float[Tensor, "b c h w"]:
    """The mean over ``side`` x ``side`` patches, of those that lie in the image."""
    return functional.avg_pool2d(maps, side, stride=1, padding=side // 2, count_include_pad=False)


def build_baseline(card: BackboneCard) -> DenseBackbone:
    """The hand-made descriptor that a card with ``source = "baseline"`` names.

    Raises:
        DensebenchError: an unknown ``id``, or an ``embed_dim`` that is not the descriptor's.
    """
    from densebench.backbones.mixer import HogMixer  # which builds on this module

    kinds: dict[str, Callable[[BackboneCard], DenseBackbone]] = {
        "rgb": RgbPatches,
        "hog": HogPatches,
        "hog_mixer": HogMixer,
    }
    if card.id not in kinds:
        raise DensebenchError(
            f"card {card.name}: unknown baseline id '{card.id}'; "
            f"allowed are {', '.join(sorted(kinds))}"
        )
    built = kinds[card.id](card)
    if built.embed_dim != card.embed_dim:
        raise DensebenchError(
            f"card {card.name}: embed_dim of '{card.id}' is {built.embed_dim}, not {card.embed_dim}"
        )
    return built
