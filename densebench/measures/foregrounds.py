"""How foregrounds without classes, and clusterings of them, become evidence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8

from densebench.cards import suggestion
from densebench.datasets.targets import Target
from densebench.datasets.transforms import resize_labels
from densebench.host.errors import DensebenchError
from densebench.measures.base import Metric
from densebench.measures.jaccard import (
    BestHeadJaccard,
    ClusteringsMeanIoU,
    ForegroundJaccard,
    MergedAttentionJaccard,
)
from densebench.measures.scoring import Detail, Prediction, Scoring
from densebench.measures.segmentation import (
    Absent,
    Matching,
    class_counts,
    confusion_matrix,
    fold,
    match,
)

Vector = Float[np.ndarray, " v"]
Mask = Bool[np.ndarray, "h w"]
JACCARD = 2  # numbers of a Jaccard index in the evidence: the index, and whether it counts


@dataclass(frozen=True)
class Foreground:
    """What is foreground of a mask.

    Attributes:
        background: labels that are not.
        ignore_index: the void label.
        void_counts: as foreground, which it does in published code; else it is left out.
    """

    background: tuple[int, ...]
    ignore_index: int
    void_counts: bool

    @classmethod
    def named(
        cls, background: Sequence[str], target: Target, void_counts: bool = False
    ) -> "Foreground":
        """All but some classes.

        Raises:
            DensebenchError: the dataset has no class of such a name.
        """
        for name in background:
            if name not in target.classes:
                raise DensebenchError(
                    f"foreground is what is not background, and no class is called '{name}'"
                    f"{suggestion(name, target.classes)}; params.background names the classes that "
                    "are background, where there are some"
                )
        numbers = tuple(target.classes.index(name) for name in background)
        return cls(numbers, int(target.void), void_counts)

    def of(self, truth: UInt8[np.ndarray, "h w"]) -> tuple[Mask, Mask]:
        """The foreground, and which pixels count."""
        void = truth == self.ignore_index
        shown = ~np.isin(truth, self.background)
        if self.void_counts:
            return shown, np.ones_like(shown)
        return shown & ~void, ~void

    def objects(self, truth: UInt8[np.ndarray, "h w"]) -> Int64[np.ndarray, " c"]:
        """The classes of an image that are no background.

        Where void counts, it is as published: the values of the mask without the lowest and the
        highest, which are taken to be background and void.
        """
        present = np.unique(truth).astype(np.int64)
        if self.void_counts:
            return present[1:-1]
        return present[~np.isin(present, (*self.background, self.ignore_index))]


def jaccard_index(first: Mask, second: Mask) -> float:
    """Intersection over union, in single precision as published; 0 where both are empty."""
    union = np.count_nonzero(first | second)
    shared = np.count_nonzero(first & second)
    return float(np.float32(int(shared)) / np.float32(max(int(union), 1)))


@dataclass(frozen=True)
class AttentionScoring(Scoring):
    """Values: the mask of all heads together, then that of each head, on the patch grid.

    Attributes:
        foreground: of the truth.
    """

    foreground: Foreground

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Merged attention is ranked: it takes no class to choose it."""
        return MergedAttentionJaccard(start=0), BestHeadJaccard(start=JACCARD)

    def vector(
        self, prediction: Prediction, position: int, truth: UInt8[np.ndarray, "h w"]
    ) -> Vector:
        """The Jaccard index of both, and whether the image counts."""
        assert prediction.values is not None
        merged, *heads = _nearest(prediction.values[position], truth.shape)
        shown, counted = self.foreground.of(truth)
        objects = self.foreground.objects(truth)
        best = [max(jaccard_index(truth == o, head & counted) for head in heads) for o in objects]
        mean = float(np.mean(best, dtype=np.float32)) if best else 0.0
        counts = float(self.foreground.void_counts or len(objects) > 0)
        return counts * np.array([jaccard_index(shown, merged & counted), 1.0, mean, 1.0])

    def detail(self, totals: Sequence[Vector], settlements: Sequence[None]) -> Detail:
        """Whose colours show a mask: a background's, and those of the first other class."""
        background = self.foreground.background
        first = next(n for n in range(len(background) + 1) if n not in background)
        return Detail(mapping=[[background[0], first]])


@dataclass(frozen=True)
class Clusterings:
    """Several clusterings of the foreground, with labels one more than clusters.

    Attributes:
        metric: what is made of them.
        repeats: how many there are.
        labels: that are predicted.
        matched: of these; the others count as the first class.
        matching: how labels become classes.
    """

    metric: type[ClusteringsMeanIoU]
    repeats: int
    labels: int
    matched: int
    matching: Matching

    def settle(self, confusion: Int64[np.ndarray, "g p"]) -> Int64[np.ndarray, " p"]:
        """The class of each label."""
        mapping = np.zeros(self.labels, dtype=np.int64)
        mapping[: self.matched] = match(confusion[:, : self.matched], self.matching)
        return mapping


@dataclass(frozen=True)
class ClusterScoring(Scoring):
    """Values at one size: the foreground, then the labels of each clustering.

    Attributes:
        foreground: of the truth.
        classes: how many there are.
        kinds: of clusterings, in the order of the values.
        absent: how a class that is nowhere counts in the mIoU.
    """

    foreground: Foreground
    classes: int
    kinds: tuple[Clusterings, ...]
    absent: Absent

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The foreground is ranked; what is settled has the counts of the others after it."""
        found: list[Metric] = [ForegroundJaccard(start=0)]
        start = JACCARD
        for kind in self.kinds:
            found.append(
                kind.metric(
                    start=start,
                    repeats=kind.repeats,
                    classes=self.classes,
                    absent=self.absent,
                )
            )
            start += kind.repeats * 3 * self.classes
        return tuple(found)

    def vector(
        self, prediction: Prediction, position: int, truth: UInt8[np.ndarray, "h w"]
    ) -> Vector:
        """The Jaccard index, and pixels of every class and label at the size of the values."""
        assert prediction.values is not None
        values = prediction.values[position]
        shown, counted = self.foreground.of(truth)
        (mask,) = _nearest(values[:1], truth.shape)
        counts = float(self.foreground.void_counts or bool((shown | (mask & counted)).any()))
        parts = [np.array([jaccard_index(shown, mask & counted), counts])]
        small = resize_labels(torch.from_numpy(truth)[None], values.shape[-1])[0].numpy()
        labels = values[1:].numpy().astype(np.int64)
        for kind, label in zip(self._each(), labels, strict=True):
            shape = self.classes, kind.labels
            of_kind = confusion_matrix(small, label, *shape, self.foreground.ignore_index)
            parts.append(of_kind.ravel())
        return np.concatenate(parts).astype(np.float64)

    def settle(self, total: Vector) -> list[Int64[np.ndarray, " p"]]:
        """The class of each label in each clustering."""
        pairs = zip(self._each(), self._confusions(total), strict=True)
        return [kind.settle(confusion) for kind, confusion in pairs]

    def settled(self, vector: Vector, settlement: Sequence[Int64[np.ndarray, " p"]]) -> Vector:
        """The Jaccard index, and true and false positives and false negatives of each class."""
        pairs = zip(self._confusions(vector), settlement, strict=True)
        counts = [class_counts(fold(confusion, mapping)).ravel() for confusion, mapping in pairs]
        return np.concatenate([vector[:JACCARD], *counts]).astype(np.float64)

    def detail(
        self, totals: Sequence[Vector], settlements: Sequence[list[Int64[np.ndarray, " p"]]]
    ) -> Detail:
        """The classes that the clusters of the first clustering stand for."""
        return Detail(mapping=[settlements[0][0].tolist()])

    def _each(self) -> list[Clusterings]:
        return [kind for kind in self.kinds for _ in range(kind.repeats)]

    def _confusions(self, vector: Vector) -> list[Int64[np.ndarray, "g p"]]:
        found, start = [], JACCARD
        for kind in self._each():
            end = start + self.classes * kind.labels
            found.append(vector[start:end].reshape(self.classes, -1).astype(np.int64))
            start = end
        return found


def _nearest(values: Float[torch.Tensor, "c h w"], size: tuple[int, ...]) -> list[Mask]:
    """Masks of 0 and 1 at another size."""
    large = torch.nn.functional.interpolate(values[None].float(), size=size, mode="nearest")[0]
    return list(large.numpy() > 0.5)
