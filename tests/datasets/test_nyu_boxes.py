"""The published boxes, at every size."""

import numpy as np

from densebench.datasets.nyu_boxes import EIGEN, NYU, Box, box


def test_boxes_are_the_published_ones(golden):
    arrays = golden("dinov3_depth")
    for size, nyu, eigen in zip(
        arrays["crop/sizes"].tolist(),
        arrays["crop/nyu_box"].tolist(),
        arrays["crop/eigen_box"].tolist(),
        strict=True,
    ):
        assert list(box("nyu", tuple(size))) == nyu
        assert list(box("nyu_eigen", tuple(size))) == eigen


def test_at_the_size_that_they_were_named_for():
    assert box("nyu", (480, 640)) == NYU
    assert box("nyu_eigen", (480, 640)) == EIGEN
    assert box("full", (480, 640)) == Box(0, 480, 0, 640)


def test_a_box_cuts_an_array():
    array = np.arange(12).reshape(3, 4)
    cut = Box(1, 3, 0, 2)
    assert array[cut.slices].tolist() == [[4, 5], [8, 9]]
    assert cut.size == (2, 2)
