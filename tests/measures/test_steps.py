"""One backbone by two rules: a difference with its interval on the same images."""

import numpy as np
import pytest

from densebench.measures.base import Evidence
from densebench.measures.comparison import compare_runs
from densebench.measures.segmentation import MeanIoU, PixelAccuracy
from densebench.measures.steps import compare_rules

RNG = np.random.default_rng(2)
NAMES = tuple(f"{i:02d}" for i in range(12))
METRIC = MeanIoU(absent="nan")


def evidence(names=NAMES, classes=3, groups=None, seed=0):
    vectors = np.random.default_rng(seed).integers(1, 50, (1, len(names), 3 * classes))
    return Evidence(names, vectors.astype(np.uint32), groups, "sequences")


def test_of_one_metric_it_is_the_comparison_of_two_backbones():
    first, second = evidence(seed=1), evidence(seed=2)
    found = compare_rules((first, METRIC), (second, METRIC))
    assert found == compare_runs([first.units], [second.units], METRIC)
    grouped = tuple("aabbccddeeff")
    first, second = evidence(groups=grouped, seed=1), evidence(groups=grouped, seed=2)
    found = compare_rules((first, METRIC), (second, METRIC))
    assert found == compare_runs([first.units], [second.units], METRIC, "sequences")


def test_neither_metric_nor_classes_need_agree():
    first, second = evidence(classes=3), evidence(classes=4)
    found = compare_rules((first, METRIC), (second, PixelAccuracy()))
    expected = METRIC.of(first.vectors[0].sum(0)) - PixelAccuracy().of(second.vectors[0].sum(0))
    assert found.difference == pytest.approx(expected)
    assert found.low < found.difference < found.high


def test_equal_runs_differ_by_nothing():
    found = compare_rules((evidence(), METRIC), (evidence(), METRIC))
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_an_image_that_one_left_out():
    whole, part = evidence(), evidence()
    part = Evidence(NAMES[:10], part.vectors[:, :10])
    found = compare_rules((whole, METRIC), (part, METRIC))
    assert found.n == 12
    without = METRIC.of(whole.vectors[0].sum(0)) - METRIC.of(whole.vectors[0, :10].sum(0))
    assert found.difference == pytest.approx(without)


def test_of_a_single_group_the_images_are_compared():
    first, second = (evidence(groups=("a",) * 12, seed=seed) for seed in (1, 2))
    found = compare_rules((first, METRIC), (second, METRIC))
    assert (found.over, found.n) == ("images", 12)
    assert np.isfinite([found.low, found.high]).all()


def test_groups_are_not_compared_with_images():
    with pytest.raises(ValueError, match="over images and sequences"):
        compare_rules((evidence(groups=tuple("aabbccddeeff")), METRIC), (evidence(), METRIC))
