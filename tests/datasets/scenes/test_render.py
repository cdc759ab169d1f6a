"""Scenes as images with masks and depth."""

import numpy as np

from densebench.datasets.scenes.render import SIZE, VOID, scene
from densebench.datasets.scenes.shapes import OBJECTS


def test_an_image_its_mask_and_its_depth() -> None:
    found = scene((1, 2))
    assert (found.image.shape, found.image.dtype) == ((SIZE, SIZE, 3), np.uint8)
    assert (found.mask.shape, found.mask.dtype) == ((SIZE, SIZE), np.uint8)
    assert set(np.unique(found.mask)) <= {*range(len(OBJECTS) + 2), VOID}
    assert VOID in found.mask  # between what stands in it
    assert found.image.std() > 10
    assert found.depth.shape == (SIZE, SIZE)
    assert (found.depth[found.mask == VOID] == 0).all()
    assert (found.depth >= 0).all() and found.depth.max() > 1


def test_the_seed_alone_makes_it() -> None:
    one, again, other = scene((3, 4)), scene((3, 4)), scene((3, 5))
    for name in ("image", "mask", "depth"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
        assert not np.array_equal(getattr(one, name), getattr(other, name))
