"""Paired bootstrap: which of two backbones is better, and which of many can be told apart.

A resample draws the validation images with replacement, the same images for every backbone, and
scores each on the pixel counts of what was drawn. So whatever makes an image hard is hard for both,
and cancels. The interval is about other images of the same kind; it says nothing of other seeds,
training images or tasks.

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 16; Romano and
Wolf, Exact and Approximate Stepdown Methods for Multiple Hypothesis Testing, JASA 2005.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, UInt8, UInt32
from scipy.special import ndtri, stdtr

from densebench.metrics import Absent, iou_per_class, mean_iou

RESAMPLES, LEVEL, SEED = 10_000, 0.95, 0
CHUNK_CELLS = 2_000_000  # resamples times images that are weighed at once: 16 MB

ROUNDING = 1e-12  # a difference in mIoU below this is none: means of equal numbers in another order

Runs = Sequence[UInt32[np.ndarray, "r n 3 g"]]  # of one backbone, a run per seed


@dataclass(frozen=True)
class Comparison:
    """How much better the first backbone is than the second; mIoU is in [0, 1].

    ``p`` is two-sided: it is below 0.05 where the 95% interval leaves 0 out.
    """

    difference: float
    low: float
    high: float
    p: float
    level: float
    resamples: int
    seed: int
    n_images: int


class Resampler:
    """Resamples of a set of images, the same for every backbone; a byte for each image of each.

    Args:
        n_images: Size of the set and of each resample.
        resamples: How many.
        seed: Of the draws, which depend on nothing else.
    """

    def __init__(self, n_images: int, resamples: int = RESAMPLES, seed: int = SEED) -> None:
        self.n_images, self.resamples, self.seed = n_images, resamples, seed
        self._rows = max(1, CHUNK_CELLS // n_images)
        rng = np.random.default_rng(seed)
        self._weights = np.concatenate([self._draw(rng, rows) for rows in self._chunks()])

    def mious(self, runs: Runs, absent: Absent) -> Float[np.ndarray, " resamples"]:
        """The mIoU of each resample, averaged over repeats and runs."""
        repeats = [pixels for run in runs for pixels in _hits_and_misses(run)]
        shares = [1 / (len(runs) * len(run)) for run in runs for _ in run]
        scores = np.zeros(self.resamples)
        for start in range(0, self.resamples, self._rows):
            part = slice(start, start + self._rows)
            weights = self._weights[part].astype(np.float64)
            for pixels, share in zip(repeats, shares, strict=True):
                drawn = (weights @ pixels).reshape(len(weights), 2, -1)
                scores[part] += share * mean_iou(iou_per_class(drawn), absent)
        return scores

    def _chunks(self) -> Iterator[int]:
        for start in range(0, self.resamples, self._rows):
            yield min(self._rows, self.resamples - start)

    def _draw(self, rng: np.random.Generator, rows: int) -> UInt8[np.ndarray, "rows n"]:
        """How often each image is in each resample."""
        drawn = rng.integers(0, self.n_images, (rows, self.n_images))
        drawn += self.n_images * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=drawn.size)
        return weights.reshape(drawn.shape).astype(np.uint8)


def average_miou(runs: Runs, absent: Absent) -> float:
    """The mIoU over all images, averaged over repeats and runs."""
    scores = [mean_iou(iou_per_class(run.sum(axis=1, dtype=np.int64)), absent) for run in runs]
    return float(np.mean([score.mean() for score in scores]))


def compare_runs(
    first: Runs, second: Runs, absent: Absent, resamples: int = RESAMPLES, seed: int = SEED
) -> Comparison:
    """The paired bootstrap between two backbones.

    Args:
        first: Counts of its runs, one per seed, over images in the same order as the other's.
        second: Likewise; the number of seeds may differ.
        absent: How a class that is nowhere counts.
        resamples: How many.
        seed: Of the draws.

    Raises:
        ValueError: the runs are of different numbers of images or classes.
    """
    shapes = {run.shape[1:] for run in (*first, *second)}
    if len(shapes) != 1:
        raise ValueError(f"runs of different images or classes: {sorted(shapes)}")
    resampler = Resampler(first[0].shape[1], resamples, seed)
    return compare_draws(
        average_miou(first, absent) - average_miou(second, absent),
        resampler.mious(first, absent) - resampler.mious(second, absent),
        resampler,
    )


def compare_draws(
    difference: float, draws: Float[np.ndarray, " resamples"], resampler: Resampler
) -> Comparison:
    """The interval and the p-value of a difference from that of each resample."""
    draws = np.where(np.abs(draws) < ROUNDING, 0, draws)
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(draws, [tail, 100 - tail])
    fewer = 1 + min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0))
    return Comparison(
        difference=difference,
        low=float(low),
        high=float(high),
        p=min(1.0, float(2 * fewer / (len(draws) + 1))),
        level=LEVEL,
        resamples=resampler.resamples,
        seed=resampler.seed,
        n_images=resampler.n_images,
    )


def ranks(
    mious: Sequence[float], draws: Sequence[Float[np.ndarray, " resamples"]], n_images: int
) -> list[int]:
    """Of each backbone, 1 + the number of backbones that are significantly better than it.

    Args:
        mious: One per backbone.
        draws: Its mIoU on each resample, the resamples being the same for all.
        n_images: That a resample draws.
    """
    better = told_apart(mious, draws, n_images)
    return [1 + int(worse.sum()) for worse in better.T]


def told_apart(
    mious: Sequence[float],
    draws: Sequence[Float[np.ndarray, " resamples"]],
    n_images: int,
) -> Bool[np.ndarray, "b b"]:
    """Whether the backbone of the row is significantly better than that of the column.

    All pairs are tested at once: the chance that any pair of equals is told apart is 5%. This is
    the step-down test of Romano and Wolf on studentised differences. Unlike Holm's it needs no
    p-values finer than the resamples give, however many pairs there are, and it uses that the
    pairs hang together.
    """
    places = combinations(range(len(mious)), 2)
    pairs = [_Pair(i, j, mious, draws, n_images) for i, j in places]
    pairs.sort(key=lambda pair: -pair.size)
    better = np.zeros((len(mious), len(mious)), dtype=bool)
    for pair, p in zip(pairs, _step_down(pairs, len(draws[0])), strict=True):
        if p <= 1 - LEVEL:
            better[pair.better, pair.worse] = True
    return better


class _Pair:
    """Two backbones, their difference in units of its bootstrap error, and that under the null."""

    def __init__(
        self,
        i: int,
        j: int,
        mious: Sequence[float],
        draws: Sequence[Float[np.ndarray, " resamples"]],
        n_images: int,
    ) -> None:
        self.better, self.worse = (i, j) if mious[i] >= mious[j] else (j, i)
        self._draws = draws
        self._difference = mious[self.better] - mious[self.worse]
        error = float(np.std(draws[i] - draws[j]))
        self._error = error if error > ROUNDING else 0.0
        # The error is estimated from the images too: of Student's t that is as unlikely, the z.
        t = self._difference / self._error * np.sqrt(1 - 1 / n_images) if self._error else 0.0
        self.size = -float(ndtri(stdtr(n_images - 1, -t)))

    def null(self) -> Float[np.ndarray, " resamples"]:
        """The sizes that the difference would have if there were none."""
        if not self._error:
            return np.zeros_like(self._draws[0])
        drawn = self._draws[self.better] - self._draws[self.worse]
        return np.abs(drawn - self._difference) / self._error


def _step_down(pairs: Sequence[_Pair], resamples: int) -> Sequence[float]:
    """Adjusted p-values of pairs that come largest first: each beside those that are smaller."""
    largest = np.zeros(resamples)
    raw = []
    for pair in reversed(pairs):
        largest = np.maximum(largest, pair.null())
        raw.append((1 + np.count_nonzero(largest >= pair.size)) / (1 + resamples))
    return np.maximum.accumulate(raw[::-1]).tolist()


def _hits_and_misses(run: UInt32[np.ndarray, "r n 3 g"]) -> Float[np.ndarray, "r n 2g"]:
    """Per image, hits and the rest of the union of each class: all that an IoU needs."""
    hits, rest = run[:, :, 0], run[:, :, 1] + run[:, :, 2]
    return np.concatenate([hits, rest], axis=-1).astype(np.float64)
