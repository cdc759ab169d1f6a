"""Scenes as images with masks."""

import numpy as np

from densebench.datasets.scenes.render import SIZE, VOID, scene
from densebench.datasets.scenes.shapes import OBJECTS


def test_an_image_and_its_mask() -> None:
    image, mask = scene((1, 2))
    assert (image.shape, image.dtype) == ((SIZE, SIZE, 3), np.uint8)
    assert (mask.shape, mask.dtype) == ((SIZE, SIZE), np.uint8)
    assert set(np.unique(mask)) <= {*range(len(OBJECTS) + 1), VOID}
    assert VOID in mask and 0 in mask  # the landscape, and the rim of what stands in it
    assert image.std() > 10


def test_the_seed_alone_makes_it() -> None:
    for one, again, other in zip(scene((3, 4)), scene((3, 4)), scene((3, 5)), strict=True):
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, other)
