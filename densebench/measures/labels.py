"""How label maps and class scores become pixel counts, and these segmentation's numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64
from torch.nn.functional import interpolate

from densebench.measures.base import Metric
from densebench.measures.scoring import Detail, Prediction, Scoring, Truth
from densebench.measures.segmentation import (
    Absent,
    Matching,
    MeanIoU,
    MeanIoUAbsentLeftOut,
    MeanIoUAbsentZero,
    PixelAccuracy,
    class_counts,
    confusion_matrix,
    fold,
    iou_per_class,
    match,
)
from densebench.measures.winners import winning_classes

NOTHING_LABELLED = "no labelled pixel in the validation masks; check ignore_index and the masks"

Counts = Int64[np.ndarray, " gp"]
Mapping = Int64[np.ndarray, " p"]


@dataclass(frozen=True)
class LabelScoring(Scoring):
    """Segmentation: the evidence of an image is its confusion matrix, row by row.

    Attributes:
        matching: how predictions become classes, settled on all images.
        absent: how a class that is nowhere counts in the ranked mIoU.
        n_predicted: classes or clusters that can be predicted.
        classes: the names of the true ones.
        ignore_index: the label that is not counted.
        further: metrics that are told beside the usual ones.
    """

    matching: Matching
    absent: Absent
    n_predicted: int
    classes: tuple[str, ...]
    ignore_index: int
    further: tuple[Metric, ...] = ()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The mIoU is ranked."""
        others = MeanIoUAbsentZero(), MeanIoUAbsentLeftOut(), PixelAccuracy()
        return (MeanIoU(absent=self.absent), *others, *self.further)

    def vector(self, prediction: Prediction, position: int, truth: Truth) -> Counts:
        """Pixels of every true and predicted class."""
        labels = label_map(prediction, position, truth.shape)
        shape = len(self.classes), self.n_predicted
        return confusion_matrix(truth, labels, *shape, self.ignore_index).ravel()

    def settle(self, total: Counts) -> Mapping:
        """The class that each prediction stands for."""
        return match(self._matrix(total), self.matching)

    def settled(self, vector: Counts, settlement: Mapping) -> Int64[np.ndarray, " 3g"]:
        """True and false positives and false negatives of each class."""
        return class_counts(fold(self._matrix(vector), settlement)).ravel()

    def why_not(self, total: Counts) -> str:
        """No pixel has a label."""
        return "" if total.any() else NOTHING_LABELLED

    def detail(self, totals: Sequence[Counts], settlements: Sequence[Mapping]) -> Detail:
        """IoU of each class over the repeats, and what it follows from."""
        pairs = zip(totals, settlements, strict=True)
        folded = [fold(self._matrix(total), mapping) for total, mapping in pairs]
        iou = mean_over_repeats(np.stack([iou_per_class(class_counts(f)) for f in folded]))
        return Detail(
            classes=dict(zip(self.classes, iou, strict=True)),
            mapping=[mapping.tolist() for mapping in settlements],
            confusion=[f.tolist() for f in folded],
        )

    def _matrix(self, counts: Counts) -> Int64[np.ndarray, "g p"]:
        return counts.reshape(len(self.classes), self.n_predicted)


def label_map(
    prediction: Prediction, position: int, size: tuple[int, ...]
) -> Int64[np.ndarray, "H W"]:
    """The predicted labels of one image at the size of its mask.

    Class scores are upsampled bilinearly before the argmax, cluster labels to the nearest patch.
    """
    if prediction.scores is not None:
        return winning_classes(prediction.scores[position], size).cpu().numpy()
    assert prediction.labels is not None
    grid = prediction.labels[position].float()[None, None]
    return interpolate(grid, size=size, mode="nearest")[0, 0].long().cpu().numpy()


def mean_over_repeats(iou: Float[np.ndarray, "r g"]) -> list[float | None]:
    """Per class over the repeats in which the class is there at all; none where it never is."""
    seen = ~np.isnan(iou)
    total = np.nan_to_num(iou).sum(axis=0)
    return [float(t / n) if n else None for t, n in zip(total, seen.sum(axis=0), strict=True)]
