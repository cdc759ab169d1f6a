"""DINOv3's training crops, draw by draw and pixel by pixel."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from densebench.datasets.aspect_crops import (
    AspectCrop,
    crop_tries,
    fitted_side,
    resized,
    resized_shape,
)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CASES = range(8)


def reduced(mask: np.ndarray) -> np.ndarray:
    """The zero class and void as 255, the others one less, as the published loader does."""
    return np.where((mask == 0) | (mask == 255), 255, mask - 1).astype(np.uint8)


def published(arrays, case: str) -> tuple[Image.Image, np.ndarray, AspectCrop, int]:
    source = str(arrays[f"{case}/source"])
    size = tuple(arrays["tf/crop"].tolist())
    view = AspectCrop(size, MEAN, STD, shorter=int(arrays["tf/size"]))
    image = Image.fromarray(arrays[f"tf/{source}/img"])
    return image, reduced(arrays[f"tf/{source}/mask"]), view, int(arrays[f"{case}/numpy_seed"])


@pytest.mark.parametrize("number", CASES)
def test_dinov3_crops_are_equal(golden, number):
    arrays, case = golden("dinov3_seg"), f"tf/train{number}"
    image, mask, view, seed = published(arrays, case)
    pixels, labels = view(image, mask, seed)
    np.testing.assert_array_equal(labels.numpy(), arrays[f"{case}/mask"])
    np.testing.assert_allclose(pixels.numpy(), arrays[f"{case}/img"], atol=2e-7)


@pytest.mark.parametrize("number", CASES)
def test_dinov3_draws_are_equal(golden, number):
    arrays, case = golden("dinov3_seg"), f"tf/train{number}"
    image, mask, view, seed = published(arrays, case)
    rng = np.random.RandomState(seed)
    ratio = rng.rand()
    assert ratio == arrays[f"{case}/u_ratio"]
    pixels, labels = resized(image, mask, int(view.shorter * (0.5 + 1.5 * ratio)))
    np.testing.assert_array_equal(pixels.numpy(), arrays[f"{case}/resized_img"])
    np.testing.assert_array_equal(labels.numpy(), arrays[f"{case}/resized_mask"])
    tries = crop_tries(rng, labels, view.mask_shape, view.void, view.largest_share)
    assert tries == list(map(tuple, arrays[f"{case}/crop_tries"].tolist()))
    assert rng.rand() == arrays[f"{case}/u_flip"]


def test_dinov3_sizes_are_those_of_the_shorter_side(golden):
    arrays = golden("dinov3_seg")
    for name in ("land", "port"):
        image = Image.fromarray(arrays[f"tf/{name}/img"])
        shape = resized_shape((image.height, image.width), int(arrays["tf/size"]))
        assert shape == arrays[f"tf/eval_{name}/img"].shape[1:]
        labels = resized(image, arrays[f"tf/{name}/mask"], int(arrays["tf/size"]))[1]
        np.testing.assert_array_equal(labels.numpy(), arrays[f"tf/eval_{name}/whole_mask"])


@pytest.mark.parametrize(("drops", "side"), [(True, 42), (False, 56)])
def test_what_the_patch_does_not_divide_is_dropped_or_padded(drops, side):
    image = Image.fromarray(np.random.default_rng(0).integers(1, 256, (96, 96, 3), dtype=np.uint8))
    mask = np.tile(np.array([0, 1], dtype=np.uint8), (96, 48))
    view = AspectCrop(48, MEAN, STD, 14, drops, shorter=96, ratios=(1.0, 1.0))
    pixels, labels = view(image, mask, seed=3)
    whole, _ = replace(view, patch=1)(image, mask, seed=3)
    assert view.shape == tuple(pixels.shape[1:]) == (side, side)
    assert view.mask_shape == tuple(labels.shape) == (48, 48)
    shared = min(side, 48)
    assert torch.equal(pixels[:, :shared, :shared], whole[:, :shared, :shared])
    assert not pixels[:, shared:].any()
    assert not pixels[:, :, shared:].any()
    assert fitted_side(48, 14, drops) == side


def test_a_crop_of_one_class_is_looked_at_ten_times():
    one = torch.zeros(40, 40, dtype=torch.uint8)
    assert len(crop_tries(np.random.RandomState(0), one, (8, 8), 255, 0.75)) == 11
    mixed = one.clone()
    mixed[::2] = 1
    assert len(crop_tries(np.random.RandomState(0), mixed, (8, 8), 255, 0.75)) == 1
    assert len(crop_tries(np.random.RandomState(0), mixed, (8, 8), 255, 0.5)) == 11
    assert len(crop_tries(np.random.RandomState(0), mixed, (8, 8), 1, 0.75)) == 11
