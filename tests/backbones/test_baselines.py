import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from densebench.backbones import baselines
from densebench.backbones.base import DenseBackbone
from densebench.backbones.baselines import build_baseline
from densebench.cards import BackboneCard, find_backbone
from densebench.datasets.scenes import CLASSES, render_scene
from densebench.host.errors import DensebenchError

P = 14
NAMES = ["rgb_s14", "hog_s14"]
ENERGY = [9, 19, 29, 39]  # where the four energies stand, each after its nine bins


def built(name: str) -> DenseBackbone:
    return build_baseline(find_backbone(name).card)


def normalised(images: np.ndarray) -> Tensor:
    """As a caller gives them: (b, H, W, 3) in [0, 1] to normalised (b, 3, H, W)."""
    card = find_backbone("rgb_s14").card
    shifted = (images - np.asarray(card.mean)) / np.asarray(card.std)
    return torch.from_numpy(shifted).permute(0, 3, 1, 2).float()


def random_images(height: int = 2 * P, width: int = 3 * P) -> np.ndarray:
    return np.random.default_rng(0).random((2, height, width, 3))


def slow_rgb(image: np.ndarray) -> np.ndarray:
    h, w = image.shape[0] // P, image.shape[1] // P
    out = np.zeros((h, w, 6))
    for i in range(h):
        for j in range(w):
            pixels = image[i * P : (i + 1) * P, j * P : (j + 1) * P].reshape(-1, 3)
            out[i, j] = [*(pixels.mean(axis=0) - 0.45), *(pixels.std(axis=0) - 0.1)]
    return out


def slow_histograms(luma: np.ndarray, patch: int) -> np.ndarray:
    """Pixel by pixel, straight from the description."""
    height, width = luma.shape
    out = np.zeros((height // patch, width // patch, 9))
    for y in range(height):
        for x in range(width):
            right = (luma[y, min(x + 1, width - 1)] - luma[y, max(x - 1, 0)]) / 2
            down = (luma[min(y + 1, height - 1), x] - luma[max(y - 1, 0), x]) / 2
            place = (math.atan2(down, right) % math.pi) / math.pi * 9
            low, share = int(place), place - int(place)
            cell = out[y // patch, x // patch]
            cell[low % 9] += (1 - share) * math.hypot(right, down)
            cell[(low + 1) % 9] += share * math.hypot(right, down)
    return out / patch**2


def mean_around(maps: np.ndarray) -> np.ndarray:
    h, w = maps.shape[:2]
    return np.asarray(
        [
            [maps[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].mean((0, 1)) for j in range(w)]
            for i in range(h)
        ]
    )


def slow_hog(image: np.ndarray) -> np.ndarray:
    luma = image @ np.asarray([0.299, 0.587, 0.114])
    h, w = luma.shape
    half = luma.reshape(h // 2, 2, w // 2, 2).mean((1, 3))
    parts = []
    for histogram in (slow_histograms(luma, P), slow_histograms(half, P // 2)):
        for near in (histogram, mean_around(histogram)):
            total = near.sum(-1, keepdims=True)
            parts.append(np.sqrt((near + 0.01 / 9) / (total + 0.01)) - 1 / 3)
            parts.append(0.3 * np.log((total + 0.005) / 0.03))
    colour = 0.5 * slow_rgb(image)
    return np.concatenate([*parts, colour, mean_around(colour)], axis=-1)


@pytest.mark.parametrize(("name", "slow"), [("rgb_s14", slow_rgb), ("hog_s14", slow_hog)])
def test_equals_a_slow_one(name: str, slow: Callable[[np.ndarray], np.ndarray]) -> None:
    images = random_images()
    expected = np.stack([slow(image) for image in images])
    np.testing.assert_allclose(built(name)(normalised(images)).numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("index", range(9))
def test_a_ramp_falls_into_the_bin_of_its_direction(index: int) -> None:
    y, x = np.mgrid[: 5 * P, : 5 * P] - 2.5 * P
    angle = index * math.pi / 9
    ramp = 0.5 + 0.008 * (math.cos(angle) * x + math.sin(angle) * y)
    images = np.repeat(ramp[None, ..., None], 3, axis=3)
    centre = built("hog_s14")(normalised(images))[0, 2, 2, :40].reshape(4, 10)[:, :9]
    shares = (centre + 1 / 3) ** 2
    assert shares.argmax(dim=1).tolist() == [index] * 4
    # The floor takes 0.01 / 9 of every bin; what is left over is all in one.
    magnitude = torch.tensor([0.008, 0.008, 0.016, 0.016])
    expected = (magnitude + 0.01 / 9) / (magnitude + 0.01)
    torch.testing.assert_close(shares[:, index], expected, atol=1e-3, rtol=0)


def test_orientation_ignores_contrast_and_its_sign() -> None:
    images = random_images()
    bins = [i for i in range(40) if i not in ENERGY]
    hog = built("hog_s14")
    plain, inverted = hog(normalised(images)), hog(normalised(1 - images))
    torch.testing.assert_close(plain[..., :40], inverted[..., :40], atol=1e-5, rtol=0)
    faint = hog(normalised(0.5 + 0.5 * (images - 0.5)))
    assert (faint - plain)[..., bins].abs().max() < 0.03
    assert (faint - plain)[..., ENERGY].max() < -0.15


@pytest.mark.parametrize("value", [0.0, 0.45, 1.0])
def test_a_constant_image_is_finite_and_has_no_orientation(value: float) -> None:
    images = normalised(np.full((1, 3 * P, 3 * P, 3), value))
    rgb, hog = built("rgb_s14")(images), built("hog_s14")(images)
    expected = torch.tensor([value - 0.45] * 3 + [-0.1] * 3).expand_as(rgb)
    torch.testing.assert_close(rgb, expected, atol=1e-6, rtol=0)
    bins = [i for i in range(40) if i not in ENERGY]
    assert hog[..., bins].abs().max() < 1e-4
    assert hog[..., ENERGY].allclose(torch.tensor(0.3 * math.log(0.005 / 0.03)), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_one_vector_per_patch_the_same_each_time_and_in_any_batch(name: str) -> None:
    backbone, images = built(name), normalised(random_images(4 * P, 2 * P))
    features = backbone(images)
    assert features.shape == (2, 4, 2, backbone.embed_dim)
    assert torch.equal(features, backbone(images))
    torch.testing.assert_close(features[1:], backbone(images[1:]))
    assert not list(backbone.parameters())
    assert backbone(images.to(torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("name", NAMES)
def test_a_size_that_does_not_divide_is_refused(name: str) -> None:
    with pytest.raises(DensebenchError, match="patches of 14"):
        built(name)(torch.zeros(1, 3, 2 * P, 2 * P + 2))


def test_the_fingerprint_follows_the_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, hog = built("rgb_s14").fingerprint, built("hog_s14").fingerprint
    assert rgb != hog
    assert built("hog_s14").fingerprint == hog
    monkeypatch.setattr(baselines, "COLOUR_WEIGHT", 0.7)
    assert built("hog_s14").fingerprint != hog
    assert built("rgb_s14").fingerprint == rgb
    monkeypatch.setattr(baselines, "VERSION", baselines.VERSION + 1)
    assert built("rgb_s14").fingerprint != rgb


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "sift"}, "unknown baseline id 'sift'; allowed are hog, hog_mixer, rgb"),
        ({"embed_dim": 7}, "embed_dim of 'hog' is 52, not 7"),
        ({"patch_size": 7}, "even patch_size"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(changes: dict[str, object], message: str) -> None:
    card = find_backbone("hog_s14").card.model_dump() | changes
    with pytest.raises(DensebenchError, match=message):
        build_baseline(BackboneCard.model_validate(card))


def test_gradients_tell_the_classes_of_scenes_apart_better_than_colour() -> None:
    pairs = [render_scene("trainaug", i) for i in range(32)]
    images = normalised(np.stack([image for image, _ in pairs]) / 255)
    masks = np.stack([mask for _, mask in pairs])
    labels = torch.from_numpy(masks[:, P // 2 :: P, P // 2 :: P].astype(np.int64))
    rgb, hog = (nearest_accuracy(built(name)(images), labels) for name in NAMES)
    assert hog > rgb + 0.1
    assert hog < 0.75


def nearest_accuracy(features: Tensor, labels: Tensor) -> float:
    """Mean accuracy over classes of the nearest patch of the first 24 images, for the others."""
    unit = torch.nn.functional.normalize(features, dim=-1)
    memory, queries = unit[:24].flatten(0, 2), unit[24:].flatten(0, 2)
    found = labels[:24].flatten()[(queries @ memory.T).argmax(dim=1)]
    truth = labels[24:].flatten()
    hits = [(found[truth == c] == c).float().mean() for c in range(len(CLASSES))]
    return float(torch.stack(hits).mean())
