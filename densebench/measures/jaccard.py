"""Numbers of unsupervised foreground: Jaccard indices of images, and mIoU of several clusterings.

The evidence of an image holds several things one after another; each metric knows where its own is.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from densebench.measures.base import Metric
from densebench.measures.segmentation import MeanIoU, iou_per_class, mean_iou


@dataclass(frozen=True)
class MeanOfImages(Metric):
    """The mean over images of a number in [0, 1]; 0 of none.

    Attributes:
        start: where the image's number is; whether it counts comes after it.
    """

    name: str = "mean_of_images"
    title: str = "mean of images"
    unit: str = "%"
    scale: float = 100.0
    bounds: tuple[float, float] = (0.0, 1.0)
    start: int = 0

    def condense(self, vectors: Float[np.ndarray, "*n v"]) -> Float[np.ndarray, "*n 2"]:
        """The number, and whether it counts."""
        return vectors[..., self.start : self.start + 2]

    def finish(self, sums: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n"]:
        """Their quotient."""
        return sums[..., 0] / np.maximum(sums[..., 1], 1)


@dataclass(frozen=True)
class ForegroundJaccard(MeanOfImages):
    """Intersection over union of the true foreground and that of clusters."""

    name: str = "foreground_jaccard"
    title: str = "foreground Jaccard"


@dataclass(frozen=True)
class MergedAttentionJaccard(MeanOfImages):
    """Of the true foreground and of what all heads together attend to most."""

    name: str = "merged_attention_jaccard"
    title: str = "Jaccard of merged attention"


@dataclass(frozen=True)
class BestHeadJaccard(MeanOfImages):
    """Of each class of an image and of the head that fits it best, as the mean over classes."""

    name: str = "best_head_jaccard"
    title: str = "Jaccard of the best head"


@dataclass(frozen=True)
class ClusteringsMeanIoU(MeanIoU):
    """The mean over several clusterings of the mIoU of each.

    Attributes:
        start: where the true and false positives and false negatives of the first begin.
        repeats: how many clusterings there are, one after another.
        classes: of the truth.
    """

    name: str = "clusterings_miou"
    title: str = "mIoU of clusterings"
    start: int = 0
    repeats: int = 1
    classes: int = 1

    def condense(self, vectors: Float[np.ndarray, "*n v"]) -> Float[np.ndarray, "*n w"]:
        """Hits and the rest of the union, clustering by clustering."""
        own = vectors[..., self.start : self.start + self.repeats * 3 * self.classes]
        counts = own.reshape(*own.shape[:-1], self.repeats, 3, self.classes)
        hits, rest = counts[..., 0, :], counts[..., 1, :] + counts[..., 2, :]
        return np.stack([hits, rest], axis=-2).reshape(*own.shape[:-1], -1)

    def finish(self, sums: Float[np.ndarray, "*n w"]) -> Float[np.ndarray, "*n"]:
        """The mean of their mIoU."""
        counts = sums.reshape(*sums.shape[:-1], self.repeats, 2, self.classes)
        return mean_iou(iou_per_class(counts), self.absent).mean(axis=-1)


@dataclass(frozen=True)
class ObjectsMeanIoU(ClusteringsMeanIoU):
    """Of as many clusters of the foreground as there are classes of objects."""

    name: str = "objects_miou"
    title: str = "mIoU of object clusters"


@dataclass(frozen=True)
class CommunitiesMeanIoU(ClusteringsMeanIoU):
    """Of communities of finer clusters of the foreground."""

    name: str = "communities_miou"
    title: str = "mIoU of communities"


@dataclass(frozen=True)
class UpperBoundMeanIoU(ClusteringsMeanIoU):
    """Of finer clusters of the foreground, each given to the class that it is most precise for."""

    name: str = "communities_upper_bound"
    title: str = "upper bound of communities"
