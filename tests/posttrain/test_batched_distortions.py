"""The distortions in torch against Pillow's: equal in every value, so the tolerance is none."""

from collections.abc import Callable, Sequence
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from densebench.posttrain.batched_distortions import (
    blur,
    brightness,
    contrast,
    distort_batch,
    grey,
    hue,
    saturation,
)
from densebench.posttrain.distortions import Adjustment, Distortion, distorted

Operation = Callable[[Tensor, Sequence[float]], Tensor]
ADJUSTMENTS = dict(zip(Adjustment, (brightness, contrast, saturation, hue), strict=True))
SIDES, SEEDS = st.integers(1, 40), st.integers(0, 2**32 - 1)


def pictures(seed: int, count: int, height: int, width: int) -> list[Image.Image]:
    """Noise, smooth colours, few colours: every other one of another kind."""
    random, made = np.random.default_rng(seed), []
    for number in range(count):
        low, high = sorted(random.integers(0, 257, 2))
        small = (height, width) if number % 3 == 0 else (3, 4)
        values = random.integers(low, max(high, low + 1), (*small, 3), dtype=np.uint8)
        kind = Image.Resampling.BICUBIC if number % 3 == 1 else Image.Resampling.NEAREST
        made.append(Image.fromarray(values).resize((width, height), kind))
    return made


def batch(images: Sequence[Image.Image]) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(i)) for i in images]).permute(0, 3, 1, 2)


def assert_as_pillow(images: Sequence[Image.Image], ours: Tensor, by: Sequence[Distortion]) -> None:
    theirs = batch([distorted(image, one) for image, one in zip(images, by, strict=True)])
    assert ours.dtype == torch.uint8
    assert torch.equal(ours, theirs), (ours.int() - theirs.int()).abs().max()


@pytest.mark.parametrize("kind", Adjustment)
@given(height=SIDES, width=SIDES, seed=SEEDS, data=st.data())
@settings(max_examples=60, deadline=None)
def test_every_adjustment(
    kind: Adjustment, height: int, width: int, seed: int, data: st.DataObject
) -> None:
    reach = st.floats(-0.5, 0.5) if kind == Adjustment.HUE else st.floats(0, 3, width=32)
    factors = data.draw(st.lists(reach, min_size=1, max_size=4))
    images = pictures(seed, len(factors), height, width)
    done = ADJUSTMENTS[kind](batch(images), factors)
    assert_as_pillow(images, done, [Distortion(((kind, factor),)) for factor in factors])


@pytest.mark.parametrize("turn", [0.0, 0.2, -0.37])
def test_hues_of_all_colours(turn: float) -> None:
    """Of every third value of each band, the ends included."""
    values = np.arange(0, 256, 3, dtype=np.uint8)
    colours = np.stack(np.meshgrid(values, values, values), axis=-1).reshape(86, -1, 3)
    image = Image.fromarray(colours)
    assert_as_pillow([image], hue(batch([image]), [turn]), [Distortion(((Adjustment.HUE, turn),))])


@given(height=SIDES, width=SIDES, seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_grey(height: int, width: int, seed: int) -> None:
    images = pictures(seed, 2, height, width)
    assert_as_pillow(images, grey(batch(images)), [Distortion(grey=True)] * 2)


@given(height=SIDES, width=SIDES, seed=SEEDS, sigmas=st.lists(st.floats(1e-3, 9), max_size=4))
@settings(max_examples=80, deadline=None)
def test_blur(height: int, width: int, seed: int, sigmas: list[float]) -> None:
    sigmas = [0.1, *sigmas, 2.0]
    images = pictures(seed, len(sigmas), height, width)
    done = blur(batch(images), sigmas)
    assert_as_pillow(images, done, [Distortion(sigma=sigma) for sigma in sigmas])


def test_every_image_gets_its_own_in_its_own_order() -> None:
    random, by = np.random.default_rng(0), [Distortion(), Distortion(sigma=0.4)]
    for order in permutations(Adjustment):
        factors = [float(random.uniform(0.2, 1.8)) for _ in order]
        jitter = zip(order, factors, strict=True)
        turned = tuple((kind, f - 1 if kind == Adjustment.HUE else f) for kind, f in jitter)
        limited = tuple((kind, f / 2 if kind == Adjustment.HUE else f) for kind, f in turned)
        by.append(Distortion(limited, bool(random.integers(2)), float(random.integers(3))))
    images = pictures(1, len(by), 21, 17)
    done = distort_batch(batch(images).contiguous(), by)
    assert_as_pillow(images, done, by)
    alone = distort_batch(batch(images[7:9]).contiguous(), by[7:9])
    assert torch.equal(alone, done[7:9])
