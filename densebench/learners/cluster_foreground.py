"""Clusters that are foreground, because they lie in the attention: CBFE.

Source: Ziegler and Asano, "Self-supervised learning of object parts for semantic segmentation",
arXiv 2204.13101, as computed by experiments/fully_unsup_seg of vpariza/NeCo at 3932160.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from densebench.host.errors import DensebenchError
from densebench.learners.clustering import cluster

SWEEP = 0.55, 0.75  # shares of the clusters that are tried as background
STEP = 0.05  # that a threshold is rounded to


class Each(TypedDict):
    """How much is done for every k-means, by the names that `cluster` gives it."""

    niter: int
    nredo: int
    points_per_centroid: int


@dataclass(frozen=True)
class Effort:
    """How much is done for a k-means.

    Attributes:
        niter: iterations.
        nredo: times that it is begun, of which the best counts.
        points_per_centroid: patches that it is fitted on, at most.
    """

    niter: int
    nredo: int
    points_per_centroid: int

    @property
    def each(self) -> Each:
        """All of it, for `cluster`."""
        return {
            "niter": self.niter,
            "nredo": self.nredo,
            "points_per_centroid": self.points_per_centroid,
        }


def pixels_per_cluster(
    clusters: Int64[np.ndarray, "n h w"], n_clusters: int, within: Bool[np.ndarray, "n h w"]
) -> Int64[np.ndarray, "n k"]:
    """How many pixels of each image every cluster has inside a mask."""
    counted = [
        np.bincount(labels[mask], minlength=n_clusters)
        for labels, mask in zip(clusters, within, strict=True)
    ]
    return np.stack(counted)


def precisions(
    pixels: Int64[np.ndarray, "n k"], attended: Int64[np.ndarray, "n k"]
) -> Float[np.ndarray, " k"]:
    """The share of each cluster's pixels that is attended, as the mean over images that have it.

    The mean is over images, not over pixels. A cluster that is in no image has 0; the published
    code stops there.
    """
    shares = attended / np.maximum(pixels, 1)
    occurs = (pixels > 0).sum(axis=0)
    return np.cumsum(shares, axis=0)[-1] / np.maximum(occurs, 1)


@dataclass(frozen=True)
class Sweep:
    """How well a foreground of the most precise clusters fits the true one, cut by cut.

    Attributes:
        starts: how many clusters are background.
        jaccards: of the others with the true foreground.
        precisions: of the first cluster that is not background.
    """

    starts: Int64[np.ndarray, " s"]
    jaccards: Float32[np.ndarray, " s"]
    precisions: Float[np.ndarray, " s"]

    @property
    def best(self) -> int:
        """Where the Jaccard index is largest; of equal ones the last."""
        return int(len(self.jaccards) - 1 - self.jaccards[::-1].argmax())

    @property
    def threshold(self) -> float:
        """The precision there, rounded to the next of 0, 0.05 .. 0.95; halves down."""
        choices = np.arange(0, 1, STEP)
        return float(choices[np.abs(choices - self.precisions[self.best]).argmin()])


def sweep(
    pixels: Int64[np.ndarray, "n k"],
    true: Int64[np.ndarray, "n k"],
    size: Int64[np.ndarray, " n"],
    precision: Float[np.ndarray, " k"],
) -> Sweep:
    """Try cuts between clusters in the order of their precision.

    Args:
        pixels: of each cluster in each image.
        true: those of them that are of the true foreground.
        size: pixels of the true foreground in each image.
        precision: of each cluster.
    """
    order = np.argsort(precision)
    n_clusters = len(order)
    starts = np.arange(int(SWEEP[0] * n_clusters), int(SWEEP[1] * n_clusters))
    kept = pixels[:, order][:, ::-1].cumsum(axis=1)[:, ::-1][:, starts]
    both = true[:, order][:, ::-1].cumsum(axis=1)[:, ::-1][:, starts]
    jaccards = [mean_jaccard(both[:, n], (kept - both)[:, n] + size) for n in range(len(starts))]
    return Sweep(starts, np.array(jaccards, np.float32), precision[order][starts])


@dataclass(frozen=True)
class Clustered:
    """The clusters of a split's pixels, and which pixels are attended to.

    Attributes:
        clusters: of each pixel.
        attended: whether it is.
        n_clusters: how many there are.
    """

    clusters: Int64[np.ndarray, "n h w"]
    attended: Bool[np.ndarray, "n h w"]
    n_clusters: int

    @cached_property
    def precisions(self) -> Float[np.ndarray, " k"]:
        """Of each cluster."""
        return precisions(self._pixels, self._within(self.attended))

    def sweep(self, true: Bool[np.ndarray, "n h w"]) -> Sweep:
        """Cuts between clusters, compared with the true foreground."""
        return sweep(self._pixels, self._within(true), true.sum(axis=(1, 2)), self.precisions)

    def above(self, threshold: float) -> Bool[np.ndarray, " k"]:
        """Which clusters have at least that precision.

        Raises:
            DensebenchError: none has.
        """
        chosen = self.precisions >= threshold
        if not chosen.any():
            raise DensebenchError(
                f"no cluster has {threshold:.2f} of its pixels in the attention mask; "
                f"the most is {self.precisions.max():.3f}: lower threshold"
            )
        return chosen

    @cached_property
    def _pixels(self) -> Int64[np.ndarray, "n k"]:
        return self._within(np.ones_like(self.attended))

    def _within(self, mask: Bool[np.ndarray, "n h w"]) -> Int64[np.ndarray, "n k"]:
        return pixels_per_cluster(self.clusters, self.n_clusters, mask)


def mean_jaccard(
    intersection: Int64[np.ndarray, " n"], union: Int64[np.ndarray, " n"]
) -> np.float32:
    """The mean over images, added up in single precision as the published code does."""
    each = jaccard(intersection, union)
    return np.float32(np.cumsum(each, dtype=np.float32)[-1] / np.float32(len(each)))


def jaccard(
    intersection: Int64[np.ndarray, " n"], union: Int64[np.ndarray, " n"]
) -> Float32[np.ndarray, " n"]:
    """Intersection over union of each image; 0 where both are empty."""
    return intersection.astype(np.float32) / np.maximum(union, 1).astype(np.float32)


def cluster_foreground(
    patches: Float[np.ndarray, "n p d"],
    places: Int64[np.ndarray, "h w"],
    foreground: Bool[np.ndarray, "n h w"],
    n_clusters: int,
    seed: int,
    effort: Effort,
) -> Int64[np.ndarray, "n h w"]:
    """k-means of the foreground's pixels, each of which is the patch that it is nearest to.

    A patch counts as often as it has pixels in the foreground. It is assigned once.

    Args:
        patches: of all images.
        places: the patch of each pixel of an image.
        foreground: of all images.
        n_clusters: how many.
        seed: of the k-means.
        effort: of it.

    Returns:
        The cluster of each pixel; ``n_clusters`` where it is not foreground.

    Raises:
        DensebenchError: fewer pixels than clusters.
    """
    n_images, per_image, width = patches.shape
    rows = np.concatenate(
        [n * per_image + places[foreground[n]] for n in range(n_images)] or [np.zeros(0, np.int64)]
    )
    flat = patches.reshape(-1, width)
    found = cluster(flat, n_clusters, seed=seed, fitted_on=rows, **effort.each)
    labels = found.reshape(n_images, per_image)[:, places.ravel()].reshape(foreground.shape)
    return np.where(foreground, labels, n_clusters)
