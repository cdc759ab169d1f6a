"""Windows over images of true aspect ratio: where they lie, and what of the image they are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from densebench.datasets.base import Split
from densebench.datasets.targets import labels
from densebench.datasets.windows import (
    Sliding,
    Window,
    Windows,
    scaled_side,
    window_boxes,
    window_shape,
    windows_of,
)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TTA = (0.9, 0.95, 1.0, 1.05, 1.1)


class NoMasks:
    def read(self, file: Path) -> np.ndarray:
        raise AssertionError("a window has no mask of its own")

    def rules(self, file: Path) -> bytes:
        return b""


def split_of(folder: Path, images: list[np.ndarray]) -> Split:
    files = [folder / f"{number}.png" for number in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    paths = tuple(map(str, files))
    names = tuple(file.stem for file in files)
    return Split("val", names, paths, paths, NoMasks(), labels(("a", "b"), 255))


@pytest.mark.parametrize("case", ["land", "port", "both", "small", "short", "true"])
def test_dinov3_windows_are_equal(golden, case):
    arrays = golden("dinov3_seg")
    name = f"slide/{case}"
    shape = arrays["slide/true/shape"] if case == "true" else arrays[f"{name}/x_u8"].shape[1:]
    crop, stride = int(arrays[f"{name}/crop"]), int(arrays[f"{name}/stride"])
    boxes = window_boxes(tuple(map(int, shape)), crop, stride)
    assert list(map(tuple, boxes)) == list(map(tuple, arrays[f"{name}/boxes"].tolist()))


@pytest.mark.parametrize("name", ["land", "port"])
def test_dinov3_test_images_are_equal(golden, tmp_path, name):
    """At every scale of the test, flipped and not; a window as large as the image is the image."""
    arrays = golden("dinov3_seg")
    image, side = arrays[f"tf/{name}/img"], int(arrays["tf/size"])
    split, shape = split_of(tmp_path, [image]), image.shape[:2]
    sides = [scaled_side(side, scale) for scale in TTA]
    sizes = []
    for flipped in (False, True):
        for shorter in sides:
            (windows,) = windows_of(split, {0: shape}, Sliding(shorter, 0, 1, flipped))
            sizes.append(windows.shapes[0])
    assert sizes == list(map(tuple, arrays[f"tf/eval_{name}/tta_sizes"].tolist()))
    for key, shorter, flipped in (("img", side, False), ("tta_flip_last", sides[-1], True)):
        (windows,) = windows_of(split, {0: shape}, Sliding(shorter, 0, 1, flipped))
        pixels, _ = Window(windows.window, MEAN, STD)(windows.image(0), windows.mask(0))
        np.testing.assert_allclose(pixels.numpy(), arrays[f"tf/eval_{name}/{key}"], atol=2e-7)


def test_windows_are_parts_of_the_resized_image(tmp_path):
    draws = np.random.default_rng(0)
    images = [draws.integers(0, 256, (40, 70, 3), dtype=np.uint8) for _ in range(2)]
    split = split_of(tmp_path, images)
    (windows,) = windows_of(split, {0: (40, 70), 1: (40, 70)}, Sliding(20, 20, 15))
    assert windows.parents == (0, 0, 1, 1)
    assert windows.of([1]) == [2, 3]
    whole = np.array(Image.fromarray(images[1]).resize((35, 20), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(np.array(windows.image(3)), whole[:, 15:35])
    (flipped,) = windows_of(split, {1: (40, 70)}, Sliding(20, 20, 15, flipped=True))
    np.testing.assert_array_equal(np.array(flipped.image(0)), whole[:, ::-1][:, :20])
    assert len({windows.fingerprint(), flipped.fingerprint(), split.fingerprint()}) == 3


def test_windows_of_unequal_shape_are_kept_apart(tmp_path):
    split = split_of(tmp_path, [np.zeros((30, 30, 3), np.uint8), np.zeros((30, 90, 3), np.uint8)])
    square, wide = windows_of(split, {0: (30, 30), 1: (30, 90)}, Sliding(20, 32, 32))
    assert isinstance(square, Windows)
    assert (square.window, square.parents) == ((20, 20), (0,))
    assert (wide.window, wide.parents) == ((20, 32), (1, 1))
    assert window_shape((60, 60), 32) == (32, 32)


def test_a_whole_image_is_stretched_after_it_is_normalised(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
    (windows,) = windows_of(split_of(tmp_path, [image]), {0: (24, 36)}, Sliding(24, 0, 1))
    plain = Window((24, 36), MEAN, STD)(windows.image(0), windows.mask(0))[0]
    view = Window(28, MEAN, STD, 14, stretched=True)
    pixels, mask = view(windows.image(0), windows.mask(0))
    wanted = torch.nn.functional.interpolate(plain[None], size=(28, 28), mode="bilinear")[0]
    torch.testing.assert_close(pixels, wanted, rtol=0, atol=0)
    assert tuple(mask.shape) == view.mask_shape == (1, 1)
