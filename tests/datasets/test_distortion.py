"""DINOv3's photometric distortion, draw by draw and to the last bit."""

import numpy as np
import pytest
import torch

from densebench.datasets.aspect_crops import crop_tries
from densebench.datasets.distortion import Distortion


@pytest.mark.parametrize("number", range(8))
def test_dinov3_distortion_is_equal(golden, number):
    arrays, case = golden("dinov3_seg"), f"tf/train{number}"
    rng = np.random.RandomState(int(arrays[f"{case}/numpy_seed"]))
    rng.rand()
    labels = torch.from_numpy(arrays[f"{case}/resized_mask"])
    size = tuple(arrays["tf/crop"].tolist())
    top, left = crop_tries(rng, labels, size, 255, 0.75)[-1]
    flips = rng.rand() < 0.5
    drawn = Distortion.drawn(rng)
    for name in ("brightness", "contrast", "saturation", "hue"):
        wanted = float(arrays[f"{case}/{name}"])
        assert getattr(drawn, name) == (None if np.isnan(wanted) else wanted)
    assert drawn.contrast_first == bool(arrays[f"{case}/mode"])
    pixels = torch.from_numpy(arrays[f"{case}/resized_img"])
    pixels = pixels[:, top : top + size[0], left : left + size[1]]
    distorted = drawn.of(pixels.flip(-1) if flips else pixels)
    np.testing.assert_array_equal(distorted.numpy(), arrays[f"{case}/distorted"])


def test_contrast_comes_before_the_saturation_or_after_the_hue():
    pixels = torch.arange(48, dtype=torch.uint8).reshape(3, 4, 4) * 5
    first, last = (Distortion(None, 1.5, 0.5, None, first).of(pixels) for first in (True, False))
    assert not torch.equal(first, last)
    assert torch.equal(Distortion(None, None, None, None, True).of(pixels), pixels)
    assert Distortion(300.0, None, None, None, True).of(pixels).min() == 255
