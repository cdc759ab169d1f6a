"""Published errors of depth, image by image and over all."""

import json

import numpy as np
import pytest

from densebench.measures.depth import (
    ERRORS,
    AbsoluteRelativeError,
    RootMeanSquareError,
    WithinThreshold,
    aligned,
    depth_errors,
    depth_evidence,
    mean_errors,
)
from densebench.measures.metrics import find_metric

NEAR = {"rel": 2e-7, "nan_ok": True}


def test_the_order_of_the_errors_is_the_published_one(golden):
    assert json.loads(str(golden("dinov3_depth")["eval/metric_names"])) == list(ERRORS)


def test_an_image_without_depth_counts_in_silog_alone():
    none = np.zeros(0, np.float32)
    some = depth_errors(np.float32([1, 2]), np.float32([2, 3]))
    blank = depth_errors(none, none)
    means = mean_errors([blank, some])
    assert means["rmse"] == some["rmse"] == 1.0
    assert means["silog"] == some["silog"] / 2
    assert not depth_evidence(none, none).any()


def test_scale_and_shift_are_found_exactly():
    truth = np.random.default_rng(0).uniform(1, 5, (6, 8)).astype(np.float32)
    predicted = (truth - 0.5) / 2
    fitted, (scale, shift) = aligned(predicted, truth, truth > 1.5)
    assert (scale, shift) == pytest.approx((2.0, 0.5), rel=1e-5)
    np.testing.assert_allclose(fitted, truth, rtol=1e-6)
    assert aligned(predicted, truth, truth < 0)[1] == (1.0, 0.0)


def test_metrics_are_the_means_over_images_that_have_depth():
    vectors = np.stack(
        [
            depth_evidence(np.float32([1, 2]), np.float32([2, 2])),
            np.zeros(4),
            depth_evidence(np.float32([3]), np.float32([4])),
        ]
    )
    total = vectors.sum(axis=0)
    assert RootMeanSquareError().of(total) == pytest.approx((np.sqrt(0.5) + 1) / 2)
    assert AbsoluteRelativeError().of(total) == pytest.approx((0.25 + 0.25) / 2)
    assert WithinThreshold().of(total) == pytest.approx(0.25)
    assert RootMeanSquareError().of(np.zeros(4)) == 0


def test_directions_and_units():
    rmse, abs_rel, delta1 = (find_metric(name, {}) for name in ("rmse", "abs_rel", "delta1"))
    assert (rmse.unit, rmse.higher, rmse.text(0.3731)) == ("m", False, "0.373")
    assert (abs_rel.unit, abs_rel.higher) == ("", False)
    assert (delta1.unit, delta1.higher, delta1.text(0.9)) == ("%", True, "90.00")


def test_the_evidence_of_a_package_with_the_error_alone_gives_its_number():
    """(RMSE, 1) of each image: what packages of depth kept before there was one here."""
    assert RootMeanSquareError().of(np.array([3.0, 4.0])) == 0.75
