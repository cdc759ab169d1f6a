"""The published views of an image with its depth."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from densebench.datasets.depth_views import DepthCrop, DepthView, Draws
from densebench.datasets.nyu_boxes import box

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ANTIALIASED, ROTATION, METRES = 2e-5, 5e-5, 5e-7


def pair(arrays):
    return Image.fromarray(arrays["tf/img"]), (arrays["tf/depth_mm"] / 1000).astype(np.float32)


def published(arrays, case):
    """The draws of a published training view."""
    values = {
        key: arrays[f"tf/train{case}/{key}"]
        for key in ("u_rot", "angle", "u_flip", "crop_yx", "u_color")
    }
    colours = {key: arrays[f"tf/train{case}/{key}"] for key in ("gamma", "brightness", "colors")}
    assert math.isnan(colours["gamma"]) == bool(values["u_color"] >= 0.5)
    draws = Draws(
        angle=float(values["angle"]) if values["u_rot"] < 0.5 else None,
        flip=bool(values["u_flip"] < 0.5),
        corner=tuple(values["crop_yx"].tolist()),
    )
    if values["u_color"] >= 0.5:
        return draws
    return Draws(
        draws.angle,
        draws.flip,
        draws.corner,
        float(colours["gamma"]),
        float(colours["brightness"]),
        tuple(colours["colors"].tolist()),
    )


def crop(arrays, **changes):
    return DepthCrop(tuple(arrays["tf/crop"].tolist()), MEAN, STD, image_size=(72, 96), **changes)


@pytest.mark.parametrize("case", range(8))
def test_training_views_are_the_published_ones(golden, case):
    arrays = golden("dinov3_depth")
    numpy_draws = np.random.RandomState(int(arrays[f"tf/train{case}/seed"]))
    assert numpy_draws.random_sample() == arrays[f"tf/train{case}/u_rot"]
    pixels, depth = crop(arrays).drawn(*pair(arrays), published(arrays, case))
    wanted = arrays[f"tf/train{case}/img"]
    np.testing.assert_allclose(pixels.numpy(), wanted, rtol=0, atol=ROTATION)
    np.testing.assert_allclose(depth, arrays[f"tf/train{case}/depth"], rtol=0, atol=METRES)
    assert pixels.dtype == torch.float32  # in the published code not where colours were changed
    recoloured = arrays[f"tf/train{case}/u_color"] < 0.5
    assert arrays[f"tf/train{case}/img_was_float64"] == recoloured


def test_the_box_of_nyu_and_the_rotation_are_the_published_ones(golden):
    arrays = golden("dinov3_depth")
    cut = box("nyu", (72, 96)).slices
    np.testing.assert_array_equal(arrays["tf/img"][cut], arrays["tf/nyu_cropped_img"])
    np.testing.assert_array_equal(arrays["tf/depth_mm"][cut], arrays["tf/nyu_cropped_depth"])
    whole = DepthCrop(box("nyu", (72, 96)).size, (0, 0, 0), (1, 1, 1), image_size=(72, 96))
    angle = float(arrays[f"tf/train{arrays['tf/rotated/case']}/angle"])
    pixels, depth = whole.drawn(*pair(arrays), Draws(angle, flip=False, corner=(0, 0)))
    np.testing.assert_allclose(pixels, arrays["tf/rotated/img"], rtol=0, atol=ROTATION)
    np.testing.assert_allclose(depth, arrays["tf/rotated/depth"], rtol=0, atol=METRES)


def test_images_are_scored_whole_or_resized_and_mirrored(golden):
    arrays = golden("dinov3_depth")
    image, depth = pair(arrays)
    side = int(arrays["tf/resize"])  # the shorter one
    for name, size in (("plain", (72, 96)), ("resized", (side, int(side * 96 / 72)))):
        for flipped in (False, True):
            view = DepthView(size, MEAN, STD, flipped=flipped)
            pixels, metres = view(image, depth)
            wanted = arrays[f"tf/eval_{name}/img"][int(flipped)]
            np.testing.assert_allclose(pixels, wanted, rtol=0, atol=ANTIALIASED)
            assert metres.shape == view.mask_shape == size
        # The truth is never resized: what is scored is what the dataset gives.
        truth = np.stack([depth, depth[:, ::-1]])
        np.testing.assert_allclose(arrays[f"tf/eval_{name}/depth"], truth, rtol=0, atol=METRES)


def test_a_view_is_padded_and_its_depth_is_not(golden):
    image, depth = pair(golden("dinov3_depth"))
    view = DepthView((72, 96), MEAN, STD, patch_size=14)
    pixels, metres = view(image, depth)
    assert pixels.shape[1:] == view.shape == (84, 98)
    assert metres.shape == view.mask_shape == (72, 96)
    plain, _ = DepthView((72, 96), MEAN, STD)(image, depth)
    torch.testing.assert_close(pixels[:, 6:78, 1:97], plain)
    assert not pixels[:, :6].any()


def test_random_views_follow_their_seed_and_fit(golden):
    arrays = golden("dinov3_depth")
    image, depth = pair(arrays)
    view = crop(arrays, patch_size=16)
    seen = [view.draws(seed) for seed in range(200)]
    room = np.subtract(box("nyu", (72, 96)).size, view.mask_shape)
    assert np.array_equal(np.max([draws.corner for draws in seen], axis=0), room)
    assert np.array_equal(np.min([draws.corner for draws in seen], axis=0), [0, 0])
    for chosen in ("angle", "gamma"):
        share = np.mean([getattr(draws, chosen) is not None for draws in seen])
        assert 0.35 < share < 0.65
    assert 0.35 < np.mean([draws.flip for draws in seen]) < 0.65
    first, again = view(image, depth, seed=3), view(image, depth, seed=3)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert first[0].shape[1:] == view.shape == (64, 80)
    assert first[1].shape == (52, 68)


def test_the_exponent_may_act_on_shades_instead(golden):
    arrays = golden("dinov3_depth")
    image, depth = pair(arrays)
    draws = Draws(None, flip=False, corner=(0, 0), gamma=0.9)
    plain = DepthCrop((52, 68), (0, 0, 0), (1, 1, 1), image_size=(72, 96), gamma_of_bytes=False)
    changed, _ = plain.drawn(image, depth, draws)
    same, _ = plain.drawn(image, depth, Draws(None, flip=False, corner=(0, 0)))
    torch.testing.assert_close(changed, same**0.9)
