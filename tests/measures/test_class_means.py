"""DINOv3's numbers from areas: each metric over classes, absent and unhit ones included."""

import numpy as np
import pytest

from densebench.measures.class_means import (
    MeanAccuracy,
    MeanDice,
    MeanFScore,
    MeanPrecision,
)
from densebench.measures.segmentation import (
    MeanIoU,
    PixelAccuracy,
    class_counts,
    confusion_matrix,
    iou_per_class,
)

METRICS = {
    "mIoU": MeanIoU(absent="nan"),
    "aAcc": PixelAccuracy(),
    "acc": MeanAccuracy(),
    "recall": MeanAccuracy(),
    "precision": MeanPrecision(),
    "dice": MeanDice(),
    "fscore": MeanFScore(),
}
VOID = 255


def counts_of(areas: np.ndarray) -> np.ndarray:
    """Our evidence of summed areas: intersection, union, predicted, labelled."""
    hits, _, predicted, labelled = areas.astype(np.float64).sum(axis=0)
    return np.stack([hits, predicted - hits, labelled - hits])


def counted(truth: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Our evidence of each image."""
    return np.stack(
        [
            class_counts(confusion_matrix(t, p.astype(np.int64), n_classes, n_classes, VOID))
            for t, p in zip(truth, predicted, strict=True)
        ]
    )


@pytest.mark.parametrize("case", ["zero", "plain", "absent", "big"])
def test_dinov3_metrics_follow_from_the_areas(golden, case):
    """It sums areas in float32, exactly up to 2^24 pixels a class; ours are whole numbers."""
    arrays = golden("dinov3_seg")
    sums = counts_of(arrays[f"metrics/{case}/areas"]).ravel()
    for name, metric in METRICS.items():
        wanted = float(arrays[f"metrics/{case}/{name}"])
        assert float(metric.of(sums)) == pytest.approx(wanted, rel=0, abs=2e-7), name


@pytest.mark.parametrize("case", ["zero", "plain", "absent"])
def test_dinov3_areas_and_classes_follow_from_the_pixels(golden, case):
    arrays = golden("dinov3_seg")
    name = f"metrics/{case}"
    truth, areas = arrays[f"{name}/gt"], arrays[f"{name}/areas"]
    if arrays[f"{name}/reduce_zero_label"]:
        truth = np.where((truth == 0) | (truth == VOID), VOID, truth - 1).astype(np.uint8)
    counts = counted(truth, arrays[f"{name}/pred"], areas.shape[-1])
    hits, false, missed = counts.transpose(1, 0, 2)
    ours = np.stack([hits, hits + false + missed, hits + false, hits + missed], axis=1)
    np.testing.assert_array_equal(ours, areas)
    total = counts.sum(axis=0)
    wanted = {key: arrays[f"{name}/class_{key}"] for key in METRICS if key not in ("mIoU", "aAcc")}
    for key, per_class in wanted.items():
        tops, bottoms = METRICS[key].ratio(total.astype(np.float64))
        with np.errstate(invalid="ignore"):
            found = np.where(bottoms > 0, tops / bottoms, np.nan)
        np.testing.assert_allclose(found, per_class, rtol=0, atol=2e-7, err_msg=key)
    iou = iou_per_class(total)
    np.testing.assert_allclose(iou, arrays[f"{name}/class_mIoU"], rtol=0, atol=2e-7)
    accuracy = float(PixelAccuracy().of(total.ravel()))
    assert accuracy == pytest.approx(float(arrays[f"{name}/class_aAcc"]), rel=0, abs=2e-7)


def test_of_nothing_every_mean_is_nothing():
    for metric in METRICS.values():
        assert float(metric.of(np.zeros(12))) == 0.0
