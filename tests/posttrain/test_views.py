from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import RandomResizedCrop, functional

from densebench.host.errors import DensebenchError
from densebench.posttrain.distortions import distorted
from densebench.posttrain.views import (
    MultiCrop,
    Views,
    ViewSettings,
    draw_crops,
    draw_distortion,
    image_generator,
    pair_boxes,
    random_crop,
)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALL = ViewSettings(global_size=42, local_size=14)
PLAIN = {"jitter_probability": 0.0, "grey_probability": 0.0, "blur_probability": 0.0}


def photograph(index: int = 0, size: tuple[int, int] = (80, 60)) -> Image.Image:
    noise = np.random.default_rng(index).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize("name", ["neco_g7l4", "neco_g7l7k4"])
def test_boxes_equal_the_goldens(golden: Callable[[str], dict[str, Any]], name: str) -> None:
    arrays = golden(name)
    large, small = (98, 56) if name == "neco_g7l4" else (98, 98)
    crops = torch.from_numpy(arrays["crop_bboxes"])
    boxes = pair_boxes(crops, [large] * 2 + [small] * 4, 2)
    assert torch.equal(boxes.in_global, torch.from_numpy(arrays["bboxes_gc"]))
    assert torch.equal(boxes.in_view, torch.from_numpy(arrays["bboxes_all"]))
    one = pair_boxes(crops[1], [large] * 2 + [small] * 4, 2)
    assert torch.equal(one.in_view, boxes.in_view[1])


def overlap(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    inside = np.zeros((2, 500, 500), dtype=bool)
    for canvas, (x1, y1, x2, y2) in zip(inside, (a, b), strict=True):
        canvas[y1:y2, x1:x2] = True
    return int(inside.all(0).sum())


@given(
    width=st.integers(16, 500),
    height=st.integers(16, 500),
    seed=st.integers(0, 2**62),
    global_crops=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_crops_overlap_and_boxes_show_the_same_region(
    width: int, height: int, seed: int, global_crops: int
) -> None:
    knobs = ViewSettings(global_size=98, local_size=42, global_crops=global_crops, local_crops=3)
    random = torch.Generator().manual_seed(seed)
    crops = draw_crops((width, height), knobs, random)
    least = int(width * height * 0.01)
    for view, (x1, y1, x2, y2) in enumerate(crops):
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        for other in range(min(view, global_crops)):
            enough = least * (2 if view < global_crops else 1)
            assert overlap(crops[view], crops[other]) > enough

    absolute = torch.tensor(crops, dtype=torch.float64)
    boxes = pair_boxes(absolute, knobs.sizes, global_crops)
    for crop in range(global_crops):
        for view in range(len(crops)):
            regions = []
            for box, own in (
                (boxes.in_global[crop, view], crop),
                (boxes.in_view[view, crop], view),
            ):
                size = knobs.sizes[own]
                assert ((box >= 0) & (box <= size)).all()
                assert (box[2:] > box[:2]).all()
                origin, extent = absolute[own, :2], absolute[own, 2:] - absolute[own, :2]
                regions.append(origin.repeat(2) + box / size * extent.repeat(2))
            torch.testing.assert_close(*regions)
            assert (regions[0][2:] - regions[0][:2]).prod().round() == overlap(
                crops[crop], crops[view]
            )


def test_crops_are_distributed_as_torchvision_s() -> None:
    random, scale, draws = torch.Generator().manual_seed(0), (0.05, 0.25), 3000
    ours = np.array([random_crop((640, 480), scale, random) for _ in range(draws)])
    torch.manual_seed(0)
    image = Image.new("RGB", (640, 480))
    theirs = [
        RandomResizedCrop.get_params(image, list(scale), [3 / 4, 4 / 3]) for _ in range(draws)
    ]
    theirs_xyxy = np.array([(x, y, x + w, y + h) for y, x, h, w in theirs])
    for corner in range(4):
        apart = abs(ours[:, corner].mean() - theirs_xyxy[:, corner].mean())
        assert apart < 4 * ours[:, corner].std() * np.sqrt(2 / draws)
    width, height = ours[:, 2] - ours[:, 0], ours[:, 3] - ours[:, 1]
    area, ratio = width * height / (640 * 480), width / height
    assert 0.049 < area.min() < 0.052
    assert 0.248 < area.max() < 0.251
    assert 0.74 < ratio.min() < 0.76
    assert 1.32 < ratio.max() < 1.35


@pytest.mark.parametrize(
    ("size", "expected"), [((900, 30), (430, 0, 470, 30)), ((3, 400), (0, 198, 3, 202))]
)
def test_narrow_images_are_cropped_at_the_centre(
    size: tuple[int, int], expected: tuple[int, ...]
) -> None:
    assert random_crop(size, (0.5, 1.0), torch.Generator()) == expected


def test_undistorted_views_are_the_crops() -> None:
    knobs = ViewSettings(global_size=42, local_size=14, **PLAIN)  # type: ignore[arg-type]
    image = photograph()
    views = MultiCrop(knobs, MEAN, STD)(image, image_generator(0, 0, 0))
    assert [tuple(view.shape) for view in views.images] == [(3, 42, 42)] * 2 + [(3, 14, 14)] * 4
    assert tuple(views.boxes.in_global.shape) == (2, 6, 4)
    assert tuple(views.boxes.in_view.shape) == (6, 2, 4)
    for view, crop in zip(views.images, views.crops, strict=True):
        size = view.shape[-1]
        box = tuple(int(edge) for edge in crop)
        expected = image.crop(box).resize((size, size), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(expected)).permute(2, 0, 1) / 255
        normalised = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        torch.testing.assert_close(view, normalised)


def distort(image: Image.Image, knobs: ViewSettings, random: torch.Generator) -> Image.Image:
    return distorted(image, draw_distortion(knobs, random))


def test_distortions() -> None:
    image, random = photograph(), torch.Generator().manual_seed(0)
    same = distort(image, ViewSettings(**PLAIN), random)  # type: ignore[arg-type]
    assert np.array_equal(same, image)
    grey = distort(image, ViewSettings(**{**PLAIN, "grey_probability": 1.0}), random)  # type: ignore[arg-type]
    assert np.array_equal(grey, functional.rgb_to_grayscale(image, 3))
    knobs = ViewSettings(**{**PLAIN, "blur_probability": 1.0, "blur_sigma": (1.5, 1.5)})  # type: ignore[arg-type]
    assert np.array_equal(
        distort(image, knobs, random), image.filter(ImageFilter.GaussianBlur(1.5))
    )
    knobs = ViewSettings(**{**PLAIN, "jitter_probability": 1.0})  # type: ignore[arg-type]
    first, second = (np.array(distort(image, knobs, random), dtype=int) for _ in range(2))
    assert abs(first - second).mean() > 1
    knobs = ViewSettings(**{**PLAIN, "jitter_probability": 1.0, "jitter": (0.0,) * 4})  # type: ignore[arg-type]
    still = np.array(distort(image, knobs, random), dtype=int)
    assert abs(still - np.array(image, dtype=int)).max() <= 8  # hue passes through 8-bit HSV


def test_probabilities() -> None:
    knobs, random = ViewSettings(jitter=(0.0, 0.0, 0.0, 0.2)), torch.Generator().manual_seed(0)
    image = Image.new("RGB", (4, 4), (200, 40, 40))
    pixels = [distort(image, knobs, random).getpixel((0, 0)) for _ in range(2000)]
    grey = np.mean([r == g == b for r, g, b in pixels])  # type: ignore[misc]
    moved = np.mean([abs(b - g) > 3 for r, g, b in pixels if not r == g == b])  # type: ignore[misc]
    assert abs(grey - 0.2) < 0.04
    assert abs(moved - 0.8) < 0.06  # of a hue move of 0.2 at most, few are too small to see


class Photographs(Dataset[Views]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Views:
        return MultiCrop(SMALL, MEAN, STD)(photograph(index), image_generator(3, 1, index))


def test_views_do_not_depend_on_workers() -> None:
    alone = list(DataLoader(Photographs(), batch_size=2))
    shared = list(DataLoader(Photographs(), batch_size=2, num_workers=2))
    for a, b in zip(alone, shared, strict=True):
        assert isinstance(b, Views)
        assert all(torch.equal(x, y) for x, y in zip(a.images, b.images, strict=True))
        assert torch.equal(a.crops, b.crops)
        assert torch.equal(a.boxes.in_view, b.boxes.in_view)
    assert tuple(alone[0].boxes.in_global.shape) == (2, 2, 6, 4)


def test_every_image_and_epoch_has_a_generator_of_its_own() -> None:
    numbers = [(s, e, i) for s in range(3) for e in range(3) for i in range(3)]
    draws = {torch.rand((), generator=image_generator(*key)).item() for key in numbers}
    assert len(draws) == len(numbers)
    again = torch.rand((), generator=image_generator(1, 2, 0))
    assert again == torch.rand((), generator=image_generator(1, 2, 0))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"global_crops": 0}, "global_crops is 0"),
        ({"global_crops": 1, "local_crops": 0}, "two crops"),
        ({"local_scale": (0.3, 0.2)}, r"local_scale is \(0.3, 0.2\)"),
        ({"min_intersection": 0.5}, "min_intersection is 0.5"),
        ({"engine": "tourch"}, "no engine 'tourch': use one of"),
    ],
)
def test_bad_settings(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(DensebenchError, match=message):
        ViewSettings(**knobs)


def test_impossible_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("densebench.posttrain.views._VIEW_TRIES", 50)
    knobs = ViewSettings(global_scale=(0.3, 0.3), min_intersection=0.4)
    with pytest.raises(DensebenchError, match="lower min_intersection"):
        draw_crops((100, 80), knobs, torch.Generator())


def test_disjoint_crops() -> None:
    crops = torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10]])
    with pytest.raises(DensebenchError, match="does not intersect"):
        pair_boxes(crops, [8, 8], 1)
