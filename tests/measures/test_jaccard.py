"""Numbers whose evidence is a part of an image's vector."""

import numpy as np
import pytest

from densebench.measures.jaccard import ForegroundJaccard, MeanOfImages, ObjectsMeanIoU
from densebench.measures.metrics import OWN, find_metric
from densebench.measures.segmentation import class_counts, iou_per_class, mean_iou


def test_a_mean_of_those_images_that_count() -> None:
    vectors = np.array([[9, 0.5, 1], [9, 0.25, 1], [9, 0, 0]], dtype=float)
    metric = MeanOfImages(start=1)
    assert metric.of(vectors.sum(axis=0)) == 0.375
    assert metric.of(np.zeros(3)) == 0  # of nothing
    assert metric.of(np.stack([vectors.sum(axis=0)] * 2)).tolist() == [0.375] * 2


@pytest.mark.parametrize("absent", ["zero", "nan"])
def test_the_mean_over_clusterings(absent: str) -> None:
    rng = np.random.default_rng(0)
    confusions = rng.integers(0, 50, (3, 4, 4))
    confusions[1, 2], confusions[1, :, 2] = 0, 0  # a class that is nowhere
    counts = [class_counts(confusion) for confusion in confusions]
    vector = np.concatenate([[0.1, 1.0], *(c.ravel() for c in counts), [7.0]])
    metric = ObjectsMeanIoU(start=2, repeats=3, classes=4, absent=absent)
    expected = np.mean([mean_iou(iou_per_class(c), absent) for c in counts])
    assert float(metric.of(vector)) == pytest.approx(expected, abs=1e-15)
    assert metric.of(np.stack([vector, vector])).shape == (2,)
    assert np.isfinite(metric.of(np.zeros_like(vector)))


def test_boards_find_them_by_name_and_parameters() -> None:
    metric = ObjectsMeanIoU(start=2, repeats=3, classes=4, absent="nan")
    assert find_metric(metric.name, metric.parameters) == metric
    assert find_metric("foreground_jaccard", {"start": 0}) == ForegroundJaccard()
    for name, kind in OWN.items():
        assert kind().name == name
