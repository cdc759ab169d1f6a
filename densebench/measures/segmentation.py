"""Segmentation scores from confusion matrices: matching, IoU, mIoU, pixel accuracy.

Matrices are (ground-truth class, predicted class) pixel counts; every score is a function of them,
so that no pixel is kept once its image has been counted. The evidence of an image is what is left
of its matrix once the matching is settled: true positives, false positives and false negatives of
each class, one after another.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy  # whose parts are imported when they are used
from jaxtyping import Float, Int64, Integer, UInt8

from densebench.measures.base import Metric

Absent = Literal["zero", "nan"]
Matching = Literal["none", "hungarian", "iou", "precision"]


def confusion_matrix(
    truth: UInt8[np.ndarray, "*pixels"],
    predicted: Int64[np.ndarray, "*pixels"],
    n_classes: int,
    n_predicted: int,
    ignore_index: int,
) -> Int64[np.ndarray, "n_classes n_predicted"]:
    """Pixel counts of every (truth, predicted) pair, ignored pixels left out.

    Raises:
        ValueError: shapes differ, or a label lies outside its range.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"shapes differ: truth {truth.shape}, predicted {predicted.shape}")
    kept = truth != ignore_index
    rows, columns = truth[kept].astype(np.int64), predicted[kept].astype(np.int64)
    if rows.size and (rows.max() >= n_classes or columns.max() >= n_predicted or columns.min() < 0):
        raise ValueError(f"a label lies outside {n_classes} classes or {n_predicted} predictions")
    cells = np.bincount(rows * n_predicted + columns, minlength=n_classes * n_predicted)
    return cells.reshape(n_classes, n_predicted)


def match(confusion: Int64[np.ndarray, "g p"], matching: Matching) -> Int64[np.ndarray, " p"]:
    """The class that each prediction stands for.

    ``hungarian`` is one-to-one by IoU, and what stays unmatched becomes class 0; ``iou`` and
    ``precision`` give each prediction to the class that it scores best for, the first on ties.
    Source: PredsmIoU of vpariza/open-hummingbird-eval and vpariza/NeCo.

    Raises:
        ValueError: no matching is asked for, and predictions are not classes.
    """
    n_classes, n_predicted = confusion.shape
    if matching == "none":
        if n_classes != n_predicted:
            raise ValueError(f"{n_predicted} predictions are not the {n_classes} classes")
        return np.arange(n_classes)
    score = _pair_scores(confusion, precision=matching == "precision")
    if matching != "hungarian":
        return score.argmax(axis=0)
    mapping = np.zeros(n_predicted, dtype=np.int64)
    classes, predictions = scipy.optimize.linear_sum_assignment(1.0 - score)
    mapping[predictions] = classes
    return mapping


def _pair_scores(confusion: Int64[np.ndarray, "g p"], precision: bool) -> Float[np.ndarray, "g p"]:
    hits = confusion.astype(np.float64)
    predicted = hits.sum(axis=0, keepdims=True)
    if precision:
        return hits / np.maximum(predicted, 1e-8)
    return hits / np.maximum(hits.sum(axis=1, keepdims=True) + predicted - hits, 1e-8)


def fold(
    confusion: Int64[np.ndarray, "g p"], mapping: Int64[np.ndarray, " p"]
) -> Int64[np.ndarray, "g g"]:
    """The confusion matrix after every prediction is renamed by ``mapping``."""
    folded = np.zeros((len(confusion), len(confusion)), dtype=np.int64)
    np.add.at(folded.T, mapping, confusion.T)
    return folded


def class_counts(confusion: Int64[np.ndarray, "g g"]) -> Int64[np.ndarray, "3 g"]:
    """True positives, false positives and false negatives of each class, in pixels."""
    hits = np.diag(confusion)
    return np.stack([hits, confusion.sum(axis=0) - hits, confusion.sum(axis=1) - hits])


def iou_per_class(counts: Float[np.ndarray, "*n 3 g"]) -> Float[np.ndarray, "*n g"]:
    """Intersection over union in [0, 1]; nan for a class in neither truth nor prediction."""
    union = counts.sum(axis=-2)
    with np.errstate(invalid="ignore"):
        return np.where(union > 0, counts[..., 0, :] / np.maximum(union, 1), np.nan)


def mean_iou(iou: Float[np.ndarray, "*n g"], absent: Absent) -> Float[np.ndarray, "*n"]:
    """The mean over classes; an absent class counts as 0 (``zero``) or is left out (``nan``)."""
    if absent == "zero":
        return np.nan_to_num(iou).mean(axis=-1)
    present = ~np.isnan(iou)
    total = np.nan_to_num(iou).sum(axis=-1)
    return total / np.maximum(present.sum(axis=-1), 1)


def pixel_accuracy(confusion: Int64[np.ndarray, "g g"]) -> float:
    """Share of the counted pixels that are right; nan when nothing was counted."""
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else float("nan")


@dataclass(frozen=True)
class MeanIoU(Metric):
    """Mean IoU of the classes in [0, 1], from true and false positives and false negatives.

    Attributes:
        absent: how a class in neither truth nor prediction counts.
    """

    name: str = "miou"
    title: str = "mIoU"
    unit: str = "%"
    scale: float = 100.0
    bounds: tuple[float, float] = (0.0, 1.0)
    absent: Absent = "zero"

    def condense(self, vectors: Integer[np.ndarray, "*n v"]) -> Int64[np.ndarray, "*n w"]:
        """Hits, and the rest of the union."""
        counts = _counts(vectors)
        hits, rest = counts[..., 0, :], counts[..., 1, :] + counts[..., 2, :]
        return np.concatenate([hits, rest], axis=-1)

    def finish(self, sums: Float[np.ndarray, "*n w"]) -> Float[np.ndarray, "*n"]:
        """The mean of hits / union."""
        return mean_iou(iou_per_class(sums.reshape(*sums.shape[:-1], 2, -1)), self.absent)


@dataclass(frozen=True)
class MeanIoUAbsentZero(MeanIoU):
    """Whatever the ranked rule is, with an absent class as 0."""

    name: str = "miou_absent_zero"
    title: str = "mIoU, absent classes as 0"
    absent: Absent = "zero"


@dataclass(frozen=True)
class MeanIoUAbsentLeftOut(MeanIoU):
    """Whatever the ranked rule is, with absent classes left out."""

    name: str = "miou_absent_left_out"
    title: str = "mIoU, absent classes left out"
    absent: Absent = "nan"


@dataclass(frozen=True)
class PixelAccuracy(Metric):
    """Share of the counted pixels that are right, in [0, 1]; 0 of none."""

    name: str = "pixel_accuracy"
    title: str = "pixel accuracy"
    unit: str = "%"
    scale: float = 100.0
    bounds: tuple[float, float] = (0.0, 1.0)

    def condense(self, vectors: Integer[np.ndarray, "*n v"]) -> Int64[np.ndarray, "*n 2"]:
        """Pixels that are right, and all."""
        counts = _counts(vectors)
        hits = counts[..., 0, :].sum(axis=-1)
        return np.stack([hits, hits + counts[..., 2, :].sum(axis=-1)], axis=-1)

    def finish(self, sums: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n"]:
        """Their share."""
        return sums[..., 0] / np.maximum(sums[..., 1], 1)


def _counts(vectors: Integer[np.ndarray, "*n v"]) -> Int64[np.ndarray, "*n 3 g"]:
    return vectors.reshape(*vectors.shape[:-1], 3, -1).astype(np.int64)
