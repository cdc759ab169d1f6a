"""Patch features of loose images, as an array."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from densebench.backbones import load_backbone
from densebench.features.loose import extract_loose
from densebench.host.errors import DensebenchError


class Mean(torch.nn.Module):
    patch_size, mean, std = 14, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(images, 14).permute(0, 2, 3, 1)


def test_files_pictures_and_arrays_alike(tmp_path: Path) -> None:
    pixels = np.full((30, 20, 3), (51, 102, 204), np.uint8)
    picture = Image.fromarray(pixels)
    picture.save(tmp_path / "a.png")
    found = [
        extract_loose(Mean(), images, 28, device="cpu")
        for images in (tmp_path, tmp_path / "a.png", picture, pixels, [pixels], [picture])
    ]
    for patches in found:
        assert patches.shape == (1, 2, 2, 3)
        np.testing.assert_allclose(patches[0, 0, 0], [0.2, 0.4, 0.8], atol=1e-5)


def test_batches_do_not_show() -> None:
    pixels = list(np.random.default_rng(0).integers(0, 256, (5, 28, 28, 3), dtype=np.uint8))
    whole, parts = (extract_loose("hog_s14", pixels, 28, batch_size=n) for n in (16, 2))
    np.testing.assert_array_equal(whole, parts)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ([], "a list"),
        (3, "a file, a folder"),
        (np.zeros((4, 4, 3)), "bytes"),
        (np.zeros((4, 4, 1), np.uint8), "bytes"),
        ("nowhere", "no image there"),
        ("", "a file, a folder"),
        (Image.new("F", (4, 4)), "a Pillow image: .*range is not known"),
        (Image.new("RGB", (0, 4)), "a Pillow image: .*no pixel"),
        (np.zeros((0, 4, 3), np.uint8), "bytes"),
    ],
)
def test_no_image(images: Any, told: str) -> None:
    with pytest.raises(DensebenchError, match=told):
        extract_loose(Mean(), images, 28, device="cpu")


def test_layers_by_name_and_of_a_module(blocks: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    named = extract_loose(blocks, pixels, 28, layers=[0, 2])
    module = load_backbone(blocks).module
    given = extract_loose(module, pixels, 28, layers=(0, 2))
    assert named.shape == (1, 2, 2, 104)
    np.testing.assert_array_equal(named, given)
    np.testing.assert_array_equal(named[..., 52:], extract_loose(blocks, pixels, 28))
    with pytest.raises(DensebenchError, match="has the layers 0 to 2, not"):
        extract_loose(module, pixels, 28, layers=3)


def test_a_picture_of_sixteen_bits_is_not_clipped() -> None:
    """Pillow's own conversion is white from 255 on."""
    ramp = np.linspace(0, 65535, 28 * 28).reshape(28, 28).astype(np.uint16)
    deep, flat = Image.fromarray(ramp), Image.fromarray((ramp >> 8).astype(np.uint8))
    found = [extract_loose(Mean(), picture, 28, device="cpu") for picture in (deep, flat)]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("model", "how", "told"),
    [
        (Mean(), {"wrong": 1}, "takes no 'wrong' here, but name, patch_size"),
        ("hog_s14", {"layout": "BND"}, "takes no 'layout' here, but weights, offline"),
        (Mean(), {"batch_size": 0}, "batch_size is a whole number from 1 on, not 0"),
        (Mean(), {"size": 28.0}, "size is a whole number from 1 on, not 28.0"),
    ],
)
def test_what_means_nothing_here(model: Any, how: dict[str, Any], told: str) -> None:
    picture = Image.new("RGB", (28, 28))
    with pytest.raises(DensebenchError, match=told):
        extract_loose(model, picture, **{"size": 28, "device": "cpu", **how})
