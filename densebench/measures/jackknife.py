"""Intervals by leaving out one image, or one group of images that belong together, at a time.

What an interval is about: the mean of the score over other sets of as many images (or groups) of
the same kind in which the same classes occur. A resample with replacement, as a bootstrap draws it,
holds only 63% of the images, so it loses classes and scores lower than the set itself: with 30
images and 250 classes its percentiles lie below the score that they are meant to surround. Left out
one by one, an image takes at most the classes with it that no other has, and what the score then
loses counts as spread. The interval is symmetric about the score and so contains it; on average the
variance is not below the true one (Efron and Stein). How often the interval holds what it should is
in ``benchmarks/results/coverage.md``.

Source: Tukey, Bias and confidence in not-quite large samples, 1958; Efron and Stein, The jackknife
estimate of variance, Annals of Statistics 1981; Satterthwaite, An approximate distribution of
estimates of variance components, 1946.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64, UInt32
from scipy.special import stdtr, stdtrit

from densebench.measures.segmentation import Absent, iou_per_class, mean_iou

LEVEL = 0.95
ROUNDING = 1e-12  # a difference in mIoU below this is none: means of equal numbers in another order
CHUNK_CELLS = 2_000_000  # images times counts that are weighed at once: 16 MB

Pixels = UInt32[np.ndarray, "r n 3 g"] | Int64[np.ndarray, "r n 3 g"]
Runs = Sequence[Pixels]  # of one backbone, a run per seed


def grouped(pixels: Pixels, groups: Sequence[str]) -> Int64[np.ndarray, "r m 3 g"]:
    """The counts of each group of images, in the order of the groups' names.

    Args:
        pixels: Repeats, images, then true and false positives and false negatives of each class.
        groups: What each image belongs to.
    """
    names, places = np.unique(np.array(groups), return_inverse=True)
    summed = np.zeros((len(pixels), len(names), *pixels.shape[2:]), dtype=np.int64)
    for repeat, counts in zip(summed, pixels, strict=True):
        np.add.at(repeat, places, counts.astype(np.int64))
    return summed


def average_miou(runs: Runs, absent: Absent) -> float:
    """The mIoU over all images, averaged over repeats and runs."""
    scores = [mean_iou(iou_per_class(run.sum(axis=1, dtype=np.int64)), absent) for run in runs]
    return float(np.mean([score.mean() for score in scores]))


def leave_one_out(runs: Runs, absent: Absent) -> Float[np.ndarray, " n"]:
    """The mIoU without each image (or group) in turn, averaged over repeats and runs."""
    n = runs[0].shape[1]
    scores = np.zeros(n)
    for run in runs:
        for pixels in run:
            whole = pixels.sum(axis=0, dtype=np.int64)
            rows = max(1, CHUNK_CELLS // whole.size)
            for start in range(0, n, rows):
                rest = whole - pixels[start : start + rows].astype(np.int64)
                found = mean_iou(iou_per_class(rest), absent)
                scores[start : start + rows] += found / (len(runs) * len(run))
    return scores


def standard_error(left_out: Float[np.ndarray, " n"]) -> float:
    """The jackknife's standard error of a score, or of a difference, from ``leave_one_out``."""
    n = len(left_out)
    error = float(np.sqrt((n - 1) / n * np.square(left_out - left_out.mean()).sum()))
    return error if error > ROUNDING else 0.0


def degrees_of_freedom(left_out: Float[np.ndarray, " n"]) -> float:
    """Of the error: n - 1, fewer where a few images (or groups) make most of it.

    As many as independent normal contributions of these sizes have (Satterthwaite): of a class in
    two images of a hundred, the error hangs on these two.
    """
    squares = np.square(left_out - left_out.mean())
    if not squares.any():
        return len(left_out) - 1.0
    shares = squares / squares.sum()
    return float(np.clip(3 / np.square(shares).sum(), 1, len(left_out) - 1))


def interval(
    estimate: float, left_out: Float[np.ndarray, " n"], bounds: tuple[float, float]
) -> tuple[float, float]:
    """The 95% interval about a score or a difference, by Student's t.

    Args:
        estimate: Of the whole set.
        left_out: The same without each image or group; two of them at least.
        bounds: What no score or difference can leave.
    """
    half = float(stdtrit(degrees_of_freedom(left_out), (1 + LEVEL) / 2)) * standard_error(left_out)
    return max(bounds[0], estimate - half), min(bounds[1], estimate + half)


def p_value(difference: float, left_out: Float[np.ndarray, " n"]) -> float:
    """Two-sided; below 0.05 where the interval leaves 0 out."""
    if abs(difference) < ROUNDING:
        return 1.0
    error = standard_error(left_out)
    if not error:
        return 0.0
    return float(2 * stdtr(degrees_of_freedom(left_out), -abs(difference) / error))
