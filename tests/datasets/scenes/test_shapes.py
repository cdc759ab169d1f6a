"""What stands in the scenes."""

import numpy as np
import pytest

from densebench.datasets.scenes import shapes
from densebench.datasets.scenes.shapes import OBJECTS
from densebench.datasets.scenes.textures import PAINTS


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_object_stands_on_the_ground_and_is_about_one_high(name: str, seed: int) -> None:
    parts = OBJECTS[name].build(np.random.default_rng(seed), PAINTS[0], PAINTS[1])
    points = np.concatenate([part.outline for part in parts])
    assert np.isfinite(points).all()
    assert points[:, 1].max() == pytest.approx(0, abs=0.2)  # a boulder may lie on one corner
    assert -1.35 < points[:, 1].min() < -0.5
    assert np.abs(points[:, 0]).max() < 2


def test_the_same_seed_builds_the_same() -> None:
    built = [
        OBJECTS["house"].build(np.random.default_rng(5), PAINTS[0], PAINTS[1]) for _ in range(2)
    ]
    for one, other in zip(*built, strict=True):
        np.testing.assert_array_equal(one.outline, other.outline)


def test_an_ellipse_and_a_blob_without_roughness_are_one() -> None:
    smooth = shapes.blob(np.random.default_rng(0), (3, 4), (2, 1), 0.0)
    np.testing.assert_allclose(smooth, shapes.ellipse(3, 4, 2, 1))
    around = (smooth - (3, 4)) / (2, 1)
    np.testing.assert_allclose((around**2).sum(1), 1)
