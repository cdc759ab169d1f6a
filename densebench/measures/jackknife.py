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

from collections.abc import Iterator, Sequence

import numpy as np
import scipy  # whose parts are imported when they are used
from jaxtyping import Float, Int64, Integer

from densebench.host.errors import DensebenchError
from densebench.measures.base import Metric, Vectors, sum_type

LEVEL = 0.95
ROUNDING = 1e-12  # a difference below it, of numbers up to 1, is none: sums in another order
CHUNK_CELLS = 2_000_000  # images times counts that are weighed at once: 16 MB

Runs = Sequence[Vectors]  # of one backbone, a run per seed


def average(runs: Runs, metric: Metric) -> float:
    """The number over all images, averaged over repeats and runs."""
    sums = [run.sum(axis=1, dtype=sum_type(run)) for run in runs]
    return float(np.mean([metric.of(total).mean() for total in sums]))


def leave_one_out(runs: Runs, metric: Metric) -> Float[np.ndarray, " n"]:
    """The number without each image (or group) in turn, averaged over repeats and runs."""
    scores = np.zeros(runs[0].shape[1])
    for run in runs:
        for vectors in run:
            start = 0
            for rest in _without_each(vectors):
                part = slice(start, start + len(rest))
                scores[part] += metric.of(rest) / (len(runs) * len(run))
                start = part.stop
    return scores


def _without_each(
    vectors: Integer[np.ndarray, "n v"] | Float[np.ndarray, "n v"],
) -> Iterator[Int64[np.ndarray, "m v"] | Float[np.ndarray, "m v"]]:
    """The sums of all but one, some at a time."""
    if not np.issubdtype(vectors.dtype, np.integer):
        # No difference of sums: it would leave rounding where nothing is left, even below zero.
        none = np.zeros_like(vectors[:1], dtype=np.float64)
        before = np.concatenate([none, vectors[:-1].cumsum(axis=0, dtype=np.float64)])
        after = np.concatenate([vectors[:0:-1].cumsum(axis=0, dtype=np.float64)[::-1], none])
        yield before + after
        return
    whole = vectors.sum(axis=0, dtype=np.int64)
    rows = max(1, CHUNK_CELLS // whole.size)
    for start in range(0, len(vectors), rows):
        yield whole - vectors[start : start + rows].astype(np.int64)


def standard_error(left_out: Float[np.ndarray, " n"], size: float = 1.0) -> float:
    """The jackknife's standard error of a score, or of a difference, from ``leave_one_out``.

    Of the differences of numbers of a ``size`` above 1, more is rounding.

    Raises:
        DensebenchError: without some image the metric has no finite value.
    """
    if not np.isfinite(left_out).all():
        raise DensebenchError(
            "without one of the images the metric is not finite, so that it has no interval; "
            "its `finish` must give a number for every sum, an empty one included"
        )
    n = len(left_out)
    error = float(np.sqrt((n - 1) / n * np.square(left_out - left_out.mean()).sum()))
    return error if error > ROUNDING * max(1.0, size) else 0.0


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
    estimate: float,
    left_out: Float[np.ndarray, " n"],
    bounds: tuple[float, float],
    size: float = 1.0,
) -> tuple[float, float]:
    """The 95% interval about a score or a difference, by Student's t.

    Args:
        estimate: Of the whole set.
        left_out: The same without each image or group; two of them at least.
        bounds: What no score or difference can leave.
        size: Of the numbers, where they are above 1.
    """
    half = float(scipy.special.stdtrit(degrees_of_freedom(left_out), (1 + LEVEL) / 2))
    half *= standard_error(left_out, size)
    return max(bounds[0], estimate - half), min(bounds[1], estimate + half)


def p_value(difference: float, left_out: Float[np.ndarray, " n"], size: float = 1.0) -> float:
    """Two-sided; below 0.05 where the interval leaves 0 out. ``size`` is that of the numbers."""
    if abs(difference) < ROUNDING * max(1.0, size):
        return 1.0
    error = standard_error(left_out, size)
    if not error:
        return 0.0
    return float(2 * scipy.special.stdtr(degrees_of_freedom(left_out), -abs(difference) / error))
