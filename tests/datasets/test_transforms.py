"""The published transforms, pixel for pixel."""

import numpy as np
import pytest
import torch
from PIL import Image

from densebench.datasets.transforms import (
    BicubicSquash,
    FlippedCrop,
    JitteredCrop,
    Squash,
    Transform,
    derived_seed,
    resize_labels,
)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HBIRD_STD = (0.229, 0.224, 0.255)

CASES: list[tuple[str, Transform, int]] = [
    ("hbird_val", Squash(56, MEAN, HBIRD_STD), 0),
    *((f"hbird_train_seed{s}", JitteredCrop(56, MEAN, HBIRD_STD), s) for s in range(3)),
    ("neco_val", Squash(56, MEAN, STD, centred_mask=True), 0),
    *((f"neco_train_seed{s}", FlippedCrop(56, MEAN, STD), s) for s in range(3)),
]


@pytest.mark.parametrize(("case", "transform", "seed"), CASES, ids=[c[0] for c in CASES])
def test_equals_the_published_code(golden, case, transform, seed):
    arrays = golden("transforms")
    image, mask = transform(Image.fromarray(arrays["img"]), arrays["mask"], seed=seed)
    np.testing.assert_array_equal(mask.numpy(), arrays[f"{case}/mask"])
    np.testing.assert_allclose(image.numpy(), arrays[f"{case}/img"], atol=2e-6)


@pytest.mark.parametrize(("case", "size"), [("r56p14", 56), ("r64p16", 64)])
def test_capis_view_equals_the_published_code(golden, case, size):
    arrays = golden("capi_data")
    for number, mode in enumerate("LPL"):
        assert arrays[f"in{number}/mode"] == mode  # of the file: its ids are the same in both
        picture = Image.fromarray(arrays[f"in{number}/img"])
        image, mask = BicubicSquash(size, MEAN, STD)(picture, arrays[f"in{number}/mask"])
        np.testing.assert_array_equal(image.numpy(), arrays[f"{case}/img"][number])
        np.testing.assert_array_equal(mask.numpy(), arrays[f"{case}/mask"][number])


@pytest.mark.parametrize("transform", [c[1] for c in CASES], ids=[c[0] for c in CASES])
def test_masks_stay_labels_and_the_global_generator_is_untouched(transform):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (37, 53, 3), dtype=np.uint8))
    mask = rng.choice(np.array([0, 3, 255], dtype=np.uint8), (37, 53))
    before = torch.get_rng_state()
    pixels, labels = transform(image, mask, seed=5)
    again, _ = transform(image, mask, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert pixels.shape == (3, 56, 56)
    assert labels.dtype == torch.uint8
    assert set(labels.unique().tolist()) <= {0, 3, 255}
    assert torch.equal(pixels, again)


def test_random_views_differ_by_seed():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    mask = np.zeros((40, 40), dtype=np.uint8)
    crop = JitteredCrop(28, MEAN, STD)
    assert not torch.equal(crop(image, mask, seed=1)[0], crop(image, mask, seed=2)[0])


def test_derived_seeds_are_distinct():
    seeds = {derived_seed(s, e, i) for s in range(3) for e in range(3) for i in range(50)}
    assert len(seeds) == 450


def test_resize_labels_rounds_down():
    labels = torch.arange(9, dtype=torch.uint8).reshape(1, 3, 3)
    assert resize_labels(labels, 2).tolist() == [[[0, 1], [3, 4]]]


@pytest.mark.parametrize("kind", [Squash, JitteredCrop, FlippedCrop])
def test_a_height_and_a_width(kind):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    mask = np.arange(2400, dtype=np.uint8).reshape(40, 60)
    view = kind((28, 42), MEAN, STD)
    pixels, labels = view(image, mask, seed=1)
    assert pixels.shape == (3, 28, 42)
    assert labels.shape == view.shape == view.mask_shape == (28, 42)


def test_a_rectangle_is_resized_as_pillow_and_torch_do():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    mask = torch.arange(2400, dtype=torch.float32).reshape(40, 60)
    pixels, labels = Squash((28, 42), (0, 0, 0), (1, 1, 1))(image, mask.numpy())
    expected = np.asarray(image.resize((42, 28), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal((pixels * 255).round().numpy(), expected.transpose(2, 0, 1))
    rows, columns = np.arange(28) * 40 // 28, np.arange(42) * 60 // 42
    np.testing.assert_array_equal(labels.numpy(), mask.numpy()[rows][:, columns])


def test_of_a_square_view_the_description_is_as_it_was():
    wanted = {"transform": "Squash", "size": 28, "mean": MEAN, "std": STD, "centred_mask": False}
    assert Squash(28, MEAN, STD).spec() == wanted
