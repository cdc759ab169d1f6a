"""Scores against the published code, torchmetrics and brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_jaccard_index

from densebench.measures.segmentation import (
    class_counts,
    confusion_matrix,
    fold,
    iou_per_class,
    match,
    mean_iou,
    pixel_accuracy,
)

MODES = {
    "hungarian": "hungarian",
    "m2o_iou": "iou",
    "m2o_prec": "precision",
    "linear_probe": "none",
}
CASES = ["g6p6", "g6p6_absent", "g6p15", "g6p15_absent"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", MODES)
def test_equals_the_published_code(golden, case, mode):
    arrays = golden("metrics")
    if f"{case}/{mode}/miou" not in arrays:
        pytest.skip("this matching is not defined for more clusters than classes")
    truth, predicted = arrays[f"{case}/gt"], arrays[f"{case}/pred"].astype(np.int64)
    n_predicted = 15 if "p15" in case else 6
    confusion = confusion_matrix(truth, predicted, 6, n_predicted, ignore_index=255)
    if MODES[mode] == "none" and n_predicted != 6:
        with pytest.raises(ValueError, match="15 predictions"):
            match(confusion, "none")
        return
    mapping = match(confusion, MODES[mode])
    counts = class_counts(fold(confusion, mapping))
    np.testing.assert_array_equal(counts, arrays[f"{case}/{mode}/tpfpfn"])
    np.testing.assert_array_equal(counts, arrays[f"{case}/{mode}/hbird_tpfpfn"])
    if mode != "linear_probe":  # share of the matches that are class 0; of Hungarian ones, one
        matched = mapping if mode.startswith("m2o") else np.arange(6)
        background = float((matched == 0).mean())
        np.testing.assert_allclose(arrays[f"{case}/{mode}/bg"], background, atol=1e-12)
    miou = mean_iou(iou_per_class(counts), "zero")
    assert miou == pytest.approx(float(arrays[f"{case}/{mode}/miou"]), abs=1e-12)
    assert miou == pytest.approx(float(arrays[f"{case}/{mode}/hbird_miou"]), abs=1e-12)


@given(st.integers(0, 2**31), st.integers(2, 7))
@settings(max_examples=40, deadline=None)
def test_mean_iou_equals_torchmetrics(seed, n_classes):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, 500).astype(np.uint8)
    predicted = rng.integers(0, n_classes, 500)
    ours = mean_iou(iou_per_class(class_counts(_confusion(truth, predicted, n_classes))), "zero")
    theirs = multiclass_jaccard_index(
        torch.from_numpy(predicted), torch.from_numpy(truth.astype(np.int64)), n_classes
    )
    assert ours == pytest.approx(float(theirs), abs=1e-6)


def _confusion(truth, predicted, n_classes):
    return confusion_matrix(truth, predicted, n_classes, n_classes, ignore_index=255)


def test_absent_classes_count_zero_or_not_at_all():
    confusion = np.array([[8, 2, 0], [0, 10, 0], [0, 0, 0]])
    iou = iou_per_class(class_counts(confusion))
    np.testing.assert_allclose(iou, [0.8, 10 / 12, np.nan])
    assert mean_iou(iou, "zero") == pytest.approx((0.8 + 10 / 12) / 3)
    assert mean_iou(iou, "nan") == pytest.approx((0.8 + 10 / 12) / 2)
    assert pixel_accuracy(confusion) == pytest.approx(0.9)


def test_a_label_outside_the_classes_is_refused():
    with pytest.raises(ValueError, match="outside"):
        _confusion(np.array([3], dtype=np.uint8), np.array([0]), 3)
    with pytest.raises(ValueError, match="shapes differ"):
        _confusion(np.zeros(2, dtype=np.uint8), np.zeros(3, dtype=np.int64), 3)


@given(st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_hungarian_undoes_a_permutation_and_keeps_every_pixel(seed):
    rng = np.random.default_rng(seed)
    clean = np.diag(rng.integers(50, 100, 5)) + rng.integers(0, 5, (5, 5))
    order = rng.permutation(5)
    folded = fold(clean[:, order], match(clean[:, order], "hungarian"))
    np.testing.assert_array_equal(folded, clean)
    many = rng.integers(0, 50, (5, 12))
    assert fold(many, match(many, "precision")).sum() == many.sum()
