"""What surfaces look like."""

import numpy as np
import pytest

from densebench.datasets.scenes import textures
from densebench.datasets.scenes.textures import PAINTS, between, blend, mix, noise

SURFACES = [
    "smooth",
    "brick",
    "foliage",
    "fur",
    "stripes",
    "checks",
    "dots",
    "facets",
    "bark",
    "tiles",
]
X = np.arange(32, dtype=np.float32)[None]
Y = np.arange(24, dtype=np.float32)[:, None]


@pytest.mark.parametrize("name", SURFACES)
def test_colours_everywhere_the_same_from_the_same_seed(name: str) -> None:
    texture = getattr(textures, name)
    first, again, other = (
        texture(np.random.default_rng(seed), X, Y, 5.0, (PAINTS[0], PAINTS[4]))
        for seed in (1, 1, 2)
    )
    assert first.shape == (24, 32, 3)
    assert np.isfinite(first).all()
    assert first.min() >= -0.1 and first.max() < 1.5
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_noise_is_smooth_periodic_and_between_0_and_1() -> None:
    shifts = (0, textures.LATTICE)
    values = [noise(np.random.default_rng(3), X / 4 + shift, Y / 4) for shift in shifts]
    assert values[0].min() >= 0 and values[0].max() <= 1
    np.testing.assert_allclose(*values, atol=1e-5)
    assert np.abs(np.diff(values[0], axis=1)).max() < 0.5


def test_mixtures() -> None:
    black, white = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    assert mix(black, white, 0.25) == (0.25, 0.25, 0.25)
    shades = blend(black, white, np.array([[0.0, 0.5, 1.0]], np.float32))
    np.testing.assert_allclose(shades[0, :, 0], [0, 0.5, 1])
    drawn = [between(np.random.default_rng(seed), 2, 3) for seed in range(20)]
    assert all(2 <= value < 3 for value in drawn)
