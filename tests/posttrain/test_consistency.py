"""Neighbour consistency: a number for what NeCo trains."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch.nn import functional

from densebench.backbones.base import DenseBackbone
from densebench.posttrain.consistency import _agreement, _correlation, neighbour_consistency

CPU = torch.device("cpu")


class Colours(DenseBackbone):
    """Mean colours of patches."""

    def __init__(self) -> None:
        super().__init__("colours", 14, 3)

    def patch_map(self, images: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(images, 14).permute(0, 2, 3, 1)


class Noise(DenseBackbone):
    """Numbers that have nothing to do with the image."""

    def __init__(self) -> None:
        super().__init__("noise", 14, 64)
        self.generator = torch.Generator().manual_seed(0)

    def patch_map(self, images: torch.Tensor) -> torch.Tensor:
        height, width = (side // 14 for side in images.shape[-2:])
        return torch.randn(len(images), height, width, 64, generator=self.generator)


@pytest.fixture
def images(tmp_path: Path, write_photographs: Callable[..., Path]) -> list[Image.Image]:
    folder = write_photographs(tmp_path / "pictures", 6)
    return [Image.open(file).convert("RGB") for file in sorted(folder.iterdir())]


def test_colours_agree_and_noise_does_not(images: list[Image.Image]) -> None:
    of_colours = neighbour_consistency(Colours(), images, 56, CPU)
    of_noise = neighbour_consistency(Noise(), images, 56, CPU)
    assert 0.2 < of_colours <= 1
    assert abs(of_noise) < 0.06


def test_it_is_the_same_every_time_and_for_every_batch(images: list[Image.Image]) -> None:
    found = {neighbour_consistency(Colours(), images, 56, CPU, batch_size=b) for b in (1, 4, 16)}
    assert max(found) - min(found) < 1e-6


def test_equal_views_agree_wholly() -> None:
    features = functional.normalize(torch.randn(3, 9, 5), dim=-1)
    assert _agreement(features, features, 1) == pytest.approx(1)
    assert _agreement(features, -features, 0) == pytest.approx(-1)


def test_an_images_references_are_of_others() -> None:
    first = functional.normalize(torch.randn(3, 9, 5), dim=-1)
    second = functional.normalize(torch.randn(3, 9, 5), dim=-1)
    others = first[[0, 2]].flatten(0, 1)
    expected = np.mean(
        [
            spearmanr((a @ others.T).numpy(), (b @ others.T).numpy()).statistic
            for a, b in zip(first[1], second[1], strict=True)
        ]
    )
    assert _agreement(first, second, 1) == pytest.approx(float(expected), abs=1e-6)


def test_a_row_that_does_not_vary_counts_as_0() -> None:
    a, b = np.array([[1.0, 2, 3], [2, 2, 2]]), np.array([[1.0, 2, 4], [1, 2, 3]])
    found = _correlation(a, b)
    assert found[0] == pytest.approx(np.corrcoef(a[0], b[0])[0, 1])
    assert found[1] == 0
