"""From predictions to scores: upsampling to the masks' size, counting, matching, intervals.

Every protocol is scored here. Predictions come in a stream; of each image only its confusion
matrix stays.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from densebench.datasets.base import Split
from densebench.datasets.transforms import resize_labels
from densebench.host.errors import DensebenchError
from densebench.measures.jackknife import LEVEL, grouped, interval, leave_one_out
from densebench.measures.segmentation import (
    class_counts,
    confusion_matrix,
    fold,
    iou_per_class,
    match,
    mean_iou,
    pixel_accuracy,
)
from densebench.protocols.base import Prediction, Resolution, Scoring
from densebench.records.counts import ImageCounts
from densebench.records.schema import IntervalRecord, Score

NOTHING_SCORED = "no validation image was scored; none could be read"


class SparseCounts:
    """Confusion matrices of many images, the filled cells alone."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self.indices: list[int] = []  # of the images, as they came
        self._images: list[tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]] = []
        self.total = np.zeros(shape, dtype=np.int64)

    def add(self, index: int, confusion: Int64[np.ndarray, "g p"]) -> None:
        """Count one image."""
        self.indices.append(index)
        self.total += confusion
        cells = np.flatnonzero(confusion)
        self._images.append((cells, confusion.flat[cells]))

    def class_counts(self, mapping: Int64[np.ndarray, " p"]) -> Int64[np.ndarray, "n 3 g"]:
        """True and false positives and false negatives of each image under one mapping."""
        counts = []
        for cells, pixels in self._images:
            dense = np.zeros(self._shape, dtype=np.int64)
            dense.flat[cells] = pixels
            counts.append(class_counts(fold(dense, mapping)))
        return np.stack(counts)


class Scorer:
    """Counts predictions against masks at each resolution of a protocol's scoring.

    Args:
        scoring: How predictions become a number.
        classes: Their names.
        ignore_index: The label that is not counted.
        split: What is predicted; where it names groups, intervals are over these.
        group_name: What the groups are, in words.
    """

    def __init__(
        self,
        scoring: Scoring,
        classes: tuple[str, ...],
        ignore_index: int,
        split: Split,
        group_name: str | None = None,
    ) -> None:
        self._scoring, self._classes = scoring, classes
        self._ignore_index, self._split = ignore_index, split
        self._group_name = group_name or "groups"
        shape = (len(classes), scoring.n_predicted)
        self._counts: dict[Resolution, dict[int, SparseCounts]] = {
            resolution: defaultdict(lambda: SparseCounts(shape))
            for resolution in scoring.resolutions
        }

    def add(self, prediction: Prediction) -> None:
        """Count the images of one prediction."""
        for position, index in enumerate(prediction.indices.tolist()):
            for resolution, repeats in self._counts.items():
                if resolution in prediction.left_out:
                    continue
                truth = self._truth(resolution, index, prediction.masks[position])
                labels = label_map(prediction, position, truth.shape)
                repeats[prediction.repeat].add(
                    index,
                    confusion_matrix(
                        truth,
                        labels,
                        len(self._classes),
                        self._scoring.n_predicted,
                        self._ignore_index,
                    ),
                )

    def miou(self) -> float:
        """The ranked number alone, without intervals: for watching a training.

        Raises:
            DensebenchError: no image was predicted.
        """
        repeats = next(iter(self._counts.values())).values()
        if not repeats:
            raise DensebenchError(NOTHING_SCORED)
        folded = (fold(c.total, match(c.total, self._scoring.matching)) for c in repeats)
        iou = np.stack([iou_per_class(class_counts(f)) for f in folded])
        return float(mean_iou(iou, self._scoring.absent).mean())

    def scores(self) -> list[Score]:
        """One score per resolution, the ranked one first.

        Raises:
            DensebenchError: no image was predicted, or none has a labelled pixel.
        """
        for repeats in self._counts.values():
            if not repeats:
                raise DensebenchError(NOTHING_SCORED)
            if not any(counts.total.any() for counts in repeats.values()):
                raise DensebenchError(
                    "no labelled pixel in the validation masks; check ignore_index and the masks"
                )
        return [self._score(r, list(repeats.values())) for r, repeats in self._counts.items()]

    def image_counts(self) -> ImageCounts:
        """Counts of every image at the ranked resolution, to compare this run with another."""
        ranked = next(iter(self._counts.values()))
        pixels = []
        for counts in ranked.values():
            per_image = counts.class_counts(match(counts.total, self._scoring.matching))
            pixels.append(per_image[np.argsort(counts.indices)].astype(np.uint32))
        order = sorted(next(iter(ranked.values())).indices)
        return ImageCounts(
            tuple(self._split.names[i] for i in order),
            self._scoring.absent,
            np.stack(pixels),
            self._groups(order),
            self._group_name,
        )

    def _groups(self, order: Sequence[int]) -> tuple[str, ...] | None:
        """What the images of these places in the split belong to."""
        groups = self._split.groups
        return None if groups is None else tuple(groups[i] for i in order)

    def _truth(
        self, resolution: Resolution, index: int, mask: UInt8[Tensor, "H W"]
    ) -> UInt8[np.ndarray, "h w"]:
        if resolution == "original":
            return self._split.mask(index)
        if resolution == "input":
            return mask.numpy()
        return resize_labels(mask[None], resolution)[0].numpy()

    def _score(self, resolution: Resolution, repeats: list[SparseCounts]) -> Score:
        absent = self._scoring.absent
        mappings = [match(counts.total, self._scoring.matching) for counts in repeats]
        folded = [fold(c.total, m) for c, m in zip(repeats, mappings, strict=True)]
        iou = np.stack([iou_per_class(class_counts(f)) for f in folded])
        miou = float(mean_iou(iou, absent).mean())
        return Score(
            resolution=resolution,
            miou=miou,
            miou_absent_zero=float(mean_iou(iou, "zero").mean()),
            miou_absent_left_out=float(mean_iou(iou, "nan").mean()),
            repeats=mean_iou(iou, absent).tolist(),
            interval=self._interval(repeats, mappings, miou),
            pixel_accuracy=float(np.mean([pixel_accuracy(f) for f in folded])),
            iou=dict(zip(self._classes, _mean_over_repeats(iou), strict=True)),
            mapping=[m.tolist() for m in mappings],
            confusion=[f.tolist() for f in folded],
        )

    def _interval(
        self, repeats: list[SparseCounts], mappings: list[Int64[np.ndarray, " p"]], miou: float
    ) -> IntervalRecord:
        """Interval of the mean over repeats, all of them without the same images."""
        runs = [self._units(c, m)[None] for c, m in zip(repeats, mappings, strict=True)]
        n = runs[0].shape[1]
        low = high = None
        if n > 1:
            low, high = interval(miou, leave_one_out(runs, self._scoring.absent), (0.0, 1.0))
        over = "images" if self._split.groups is None else self._group_name
        return IntervalRecord(low=low, high=high, level=LEVEL, over=over, n=n)

    def _units(
        self, counts: SparseCounts, mapping: Int64[np.ndarray, " p"]
    ) -> Int64[np.ndarray, "m 3 g"]:
        """The counts of what are independent draws, in one order for all repeats."""
        per_image, groups = counts.class_counts(mapping), self._groups(counts.indices)
        if groups is None:
            return per_image[np.argsort(counts.indices)]
        return grouped(per_image[None], groups)[0]


def label_map(
    prediction: Prediction, position: int, size: tuple[int, ...]
) -> Int64[np.ndarray, "H W"]:
    """The predicted labels of one image at the size of its mask.

    Class scores are upsampled bilinearly before the argmax, cluster labels to the nearest patch.
    """
    if prediction.scores is not None:
        return upsampled(prediction.scores[position], size).argmax(dim=0).cpu().numpy()
    assert prediction.labels is not None
    grid = prediction.labels[position].float()[None, None]
    return interpolate(grid, size=size, mode="nearest")[0, 0].long().cpu().numpy()


def upsampled(scores: Float[Tensor, "c h w"], size: tuple[int, ...]) -> Float[Tensor, "c H W"]:
    """Bilinear upsampling of class scores (align_corners off)."""
    return interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0]


def _mean_over_repeats(iou: Float[np.ndarray, "r g"]) -> list[float | None]:
    """Per class over the repeats in which the class is there at all; none where it never is."""
    seen = ~np.isnan(iou)
    total = np.nan_to_num(iou).sum(axis=0)
    return [float(t / n) if n else None for t, n in zip(total, seen.sum(axis=0), strict=True)]
