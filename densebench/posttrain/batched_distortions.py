"""The distortions of many views at once, on any device: Pillow's own arithmetic in torch.

Pillow keeps every image in 8 bits between two operations and blurs by three box filters, not by a
Gaussian. Both are done here as it does them, so that a training is the same with either engine:
every operation gives Pillow's very values (a compiler that joins a product and a sum may round one
of the adjustments otherwise, which is one level of 255).

Which images an operation is for is known on the host, so that nothing waits for the device.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from densebench.host.device import sent
from densebench.posttrain.distortions import Adjustment, Distortion

Images = UInt8[Tensor, "b 3 h w"]
_PASSES = 3  # of a box filter
_ONE = 1 << 24  # what the weights of a box filter add up to, or one less
_CHUNK = 16  # images that are blurred at once


def distort_batch(images: Images, distortions: Sequence[Distortion]) -> Images:
    """Every image with its own distortion.

    Args:
        images: on any device; are changed in place.
        distortions: one an image.
    """
    for place in range(len(Adjustment)):
        for kind, adjust in _ADJUST.items():
            factors = {
                image: of_image.jitter[place][1]
                for image, of_image in enumerate(distortions)
                if of_image.jitter and of_image.jitter[place][0] == kind
            }
            _change(images, [*factors], adjust, [*factors.values()])
    _change(images, [i for i, d in enumerate(distortions) if d.grey], lambda some, _: grey(some))
    blurred = {i: d.sigma for i, d in enumerate(distortions) if d.sigma}
    for start in range(0, len(blurred), _CHUNK):
        some = [*blurred][start : start + _CHUNK]
        _change(images, some, blur, [blurred[image] for image in some])
    return images


def _change(
    images: Images,
    places: Sequence[int],
    change: Callable[[Images, Sequence[float]], Images],
    values: Sequence[float] = (),
) -> None:
    """Change some images, each with a value of its own."""
    if not places:
        return
    rows = sent(torch.tensor(places), images.device)
    images.index_copy_(0, rows, change(images.index_select(0, rows), values))


def brightness(images: Images, factors: Sequence[float]) -> Images:
    """Between black (0) and the image (1), and beyond it."""
    return _blend(torch.zeros((), device=images.device), images, factors)


def contrast(images: Images, factors: Sequence[float]) -> Images:
    """Between the image's mean grey (0) and the image (1), and beyond it."""
    luma = _luma(images).flatten(1)
    mean = (luma.sum(dim=1).double() / luma.shape[1] + 0.5).floor()
    return _blend(mean.float()[:, None, None, None], images, factors)


def saturation(images: Images, factors: Sequence[float]) -> Images:
    """Between the image in grey (0) and the image (1), and beyond it."""
    return _blend(_luma(images)[:, None].float(), images, factors)


def grey(images: Images) -> Images:
    """In grey, by the weights of ITU-R 601-2."""
    return _luma(images)[:, None].to(torch.uint8).expand_as(images)


def hue(images: Images, turns: Sequence[float]) -> Images:
    """Hues turned by parts of the circle."""
    steps = sent(torch.tensor([int(turn * 255) % 256 for turn in turns]), images.device)
    angle, saturated, value = _to_hsv(images)
    return _from_hsv((angle + steps[:, None, None]) % 256, saturated, value)


def blur(images: Images, sigmas: Sequence[float]) -> Images:
    """Three box filters along every row, then along every column; edges are continued."""
    radii = _box_radii(np.asarray(sigmas, dtype=np.float32))
    by_reach: dict[int, list[int]] = defaultdict(list)
    for image, radius in enumerate(radii):
        by_reach[int(radius)].append(image)
    result = torch.empty_like(images)
    for reach, places in by_reach.items():
        rows = sent(torch.tensor(places), images.device)
        some = images.index_select(0, rows)
        result.index_copy_(0, rows, _blurred(some, reach, radii[places]))
    return result


_ADJUST: dict[Adjustment, Callable[[Images, Sequence[float]], Images]] = {
    Adjustment.BRIGHTNESS: brightness,
    Adjustment.CONTRAST: contrast,
    Adjustment.SATURATION: saturation,
    Adjustment.HUE: hue,
}


def _blend(
    begin: Float[Tensor, "..."], images: Images, factors: Sequence[float]
) -> UInt8[Tensor, "b 3 h w"]:
    share = sent(torch.tensor(factors, dtype=torch.float32), images.device)[:, None, None, None]
    change = (images.float() - begin) * share
    return (begin + change).clamp(0, 255).to(torch.uint8)


def _luma(images: Images) -> Int[Tensor, "b h w"]:
    red, green, blue = images.to(torch.int32).unbind(1)
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


def _to_hsv(images: Images) -> tuple[Tensor, Tensor, Tensor]:
    """Hue, saturation and value from 0 to 255, rounded where Pillow rounds."""
    red, green, blue = bands = images.float().unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    span = value - torch.minimum(torch.minimum(red, green), blue)
    from_red, from_green, from_blue = ((value - band) / span.clamp_min(1) for band in bands)
    sixths = torch.where(
        red == value,
        (from_blue - from_green).double(),
        torch.where(
            green == value,
            2.0 + from_red.double() - from_blue,
            4.0 + from_green.double() - from_red,
        ),
    ).float()
    turn = (sixths.double() / 6.0 + 1.0).fmod(1.0).float()
    angle = (turn.double() * 255.0).to(torch.int32)
    share = (span / value.clamp_min(1)).double()
    return angle * (span > 0), (share * 255.0).to(torch.int32), value


def _from_hsv(angle: Tensor, saturated: Tensor, value: Tensor) -> Images:
    sixths = angle.double() * 6.0 / 255.0
    sector = sixths.floor()
    part, share = (sixths - sector).float(), (saturated.double() / 255.0).float()
    low, falling, rising = (
        (value.double() * (1.0 - off) + 0.5).floor().to(torch.uint8)
        for off in (share.double(), (share * part).double(), share.double() * (1.0 - part.double()))
    )
    high, sector = value.to(torch.uint8), (sector % 6).to(torch.int64)[:, None]
    bands = (
        (high, falling, low, low, rising, high),
        (rising, high, high, falling, low, low),
        (low, low, rising, high, high, falling),
    )
    chosen = [torch.stack(band, dim=1).gather(1, sector) for band in bands]
    return torch.cat(chosen, dim=1)


def _box_radii(sigmas: Float[np.ndarray, " b"]) -> Float[np.ndarray, " b"]:
    """Of the box filters that make up a Gaussian of these deviations, in float32 as in Pillow.

    Source: Gwosdek, Grewenig, Bruhn and Weickert, "Theoretical foundations of Gaussian convolution
    by extended box filtering" (SSVM 2011).
    """
    variance = (sigmas * sigmas / np.float32(_PASSES)).astype(np.float32)
    length = np.sqrt(12.0 * variance.astype(np.float64) + 1.0).astype(np.float32)
    whole = np.floor((length.astype(np.float64) - 1.0) / 2.0).astype(np.float32)
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    return whole + part / (6 * (variance - (whole + 1) * (whole + 1)))


def _blurred(images: Images, reach: int, radii: Float[np.ndarray, " b"]) -> Images:
    """Of boxes that reach as many whole pixels to either side."""
    inner = (_ONE / (radii * 2 + 1)).astype(np.int64)
    outer = (_ONE - (2 * reach + 1) * inner) // 2
    # Values are counted from 128 on, so that products with 24 bits stay within 32.
    rest = 128 * ((2 * reach + 1) * inner + 2 * outer - _ONE) + (1 << 23)
    known = torch.from_numpy(np.stack([inner, outer, rest]).astype(np.int32))
    weights = sent(known, images.device)[:, :, None, None, None]
    values = images.to(torch.int32) - 128
    for dim in (-1, -2):
        for _ in range(_PASSES):
            values = _box(values, dim, reach, weights)
    return (values + 128).to(torch.uint8)


def _box(
    values: Int[Tensor, "b 3 h w"], dim: int, reach: int, weights: Int[Tensor, "3 b 1 1 1"]
) -> Int[Tensor, "b 3 h w"]:
    """One box filter along a dimension, rounded to whole values."""
    size = values.shape[dim]
    places = torch.arange(-reach - 1, size + reach + 1, device=values.device).clamp(0, size - 1)
    wide = values.index_select(dim, places)
    far = wide.narrow(dim, 0, size) + wide.narrow(dim, 2 * reach + 2, size)
    near = wide.narrow(dim, 1, size).clone()
    for shift in range(2, 2 * reach + 2):
        near += wide.narrow(dim, shift, size)
    inner, outer, rest = weights
    return cast(Tensor, (near * inner + far * outer + rest) >> 24)
