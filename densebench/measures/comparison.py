"""Which of two backbones is better, and which of many can be told apart, on the same images.

Whatever makes an image hard is hard for every backbone, so differences are taken on the same images
and what they share cancels. A difference is about other images (or groups of images) of the same
kind; it says nothing of other seeds, training images or tasks.

Two alone are compared by leaving out one image at a time (``jackknife``). Of many, all pairs are
tested at once, which needs larger differences: the step-down test of Romano and Wolf, whose null
distribution is that of resampled images.

Source: Romano and Wolf, Exact and Approximate Stepdown Methods for Multiple Hypothesis Testing,
JASA 2005; Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 16.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy  # whose parts are imported when they are used
from jaxtyping import Bool, Float, UInt8

from densebench.host.errors import DensebenchError
from densebench.measures.base import Metric
from densebench.measures.jackknife import (
    CHUNK_CELLS,
    LEVEL,
    ROUNDING,
    Runs,
    average,
    interval,
    leave_one_out,
    p_value,
)

RESAMPLES, SEED = 10_000, 0
FEW = 20  # images or groups below which resamples differ too little to be a null distribution


@dataclass(frozen=True)
class Comparison:
    """The first backbone's number minus the second's, in the metric's own unit.

    Where lower is better, a difference below 0 says that the first is the better. ``p`` is
    two-sided: it is below 0.05 where the 95% interval leaves 0 out.
    """

    difference: float
    low: float
    high: float
    p: float
    level: float
    over: str  # what is left out one by one: images, or the groups that a dataset names
    n: int  # how many there are


@dataclass(frozen=True)
class Sample:
    """What one backbone scores: on all images, without each of them, and on each resample."""

    value: float
    left_out: Float[np.ndarray, " n"]
    draws: Float[np.ndarray, " resamples"]


class Resampler:
    """Resamples of a set of images, the same for every backbone; a byte for each image of each.

    Args:
        n_images: Size of the set and of each resample.
        resamples: How many.
        seed: Of the draws, which depend on nothing else.
    """

    def __init__(self, n_images: int, resamples: int = RESAMPLES, seed: int = SEED) -> None:
        self.n_images, self.resamples = n_images, resamples
        self._rows = max(1, CHUNK_CELLS // n_images)
        rng = np.random.default_rng(seed)
        self._weights = np.concatenate([self._draw(rng, rows) for rows in self._chunks()])

    def values(self, runs: Runs, metric: Metric) -> Float[np.ndarray, " resamples"]:
        """The number of each resample, averaged over repeats and runs."""
        repeats = [metric.condense(vectors).astype(np.float64) for run in runs for vectors in run]
        shares = [1 / (len(runs) * len(run)) for run in runs for _ in run]
        found = np.zeros(self.resamples)
        for start in range(0, self.resamples, self._rows):
            part = slice(start, start + self._rows)
            weights = self._weights[part].astype(np.float64)
            for vectors, share in zip(repeats, shares, strict=True):
                found[part] += share * metric.finish(weights @ vectors)
        if not np.isfinite(found).all():
            raise DensebenchError(
                f"{metric.title} of a resample is not finite; `finish` must give a number for "
                "every sum, an empty one included"
            )
        return found

    def sample(self, runs: Runs, metric: Metric) -> Sample:
        """All that a table needs to know of one backbone."""
        values = self.values(runs, metric)
        return Sample(average(runs, metric), leave_one_out(runs, metric), values)

    def _chunks(self) -> Iterator[int]:
        for start in range(0, self.resamples, self._rows):
            yield min(self._rows, self.resamples - start)

    def _draw(self, rng: np.random.Generator, rows: int) -> UInt8[np.ndarray, "rows n"]:
        """How often each image is in each resample."""
        drawn = rng.integers(0, self.n_images, (rows, self.n_images))
        drawn += self.n_images * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=drawn.size)
        return weights.reshape(drawn.shape).astype(np.uint8)


def compare_runs(first: Runs, second: Runs, metric: Metric, over: str = "images") -> Comparison:
    """The paired comparison of two backbones.

    Args:
        first: Evidence of its runs, one per seed, over images (or groups of them) in the same order
            as the other's.
        second: Likewise; the number of seeds may differ.
        metric: What is compared.
        over: What the evidence is of, in words.

    Raises:
        ValueError: the runs are of different numbers of images or classes.
    """
    shapes = {run.shape[1:] for run in (*first, *second)}
    if len(shapes) != 1:
        raise ValueError(f"runs of different images or classes: {sorted(shapes)}")
    values = average(first, metric), average(second, metric)
    difference, size = values[0] - values[1], max(map(abs, values))
    left_out = leave_one_out(first, metric) - leave_one_out(second, metric)
    reach = metric.bounds[1] - metric.bounds[0]
    low, high = interval(difference, left_out, (-reach, reach), size)
    p = p_value(difference, left_out, size)
    return Comparison(difference, low, high, p, LEVEL, over, len(left_out))


def told_apart(samples: Sequence[Sample], higher: bool = True) -> Bool[np.ndarray, "b b"]:
    """Whether the backbone of the row is significantly better than that of the column.

    All pairs are tested at once: the chance that any pair of equals is told apart is 5%. This is
    the step-down test of Romano and Wolf on studentised differences. Unlike Holm's it needs no
    p-values finer than the resamples give, however many pairs there are, and it uses that the
    pairs hang together.

    What is better has the higher number, or the lower one where not ``higher`` is better, and is
    better by ``compare_runs`` of the two alone as well.
    Nothing more can be said of every table: of three, the first may be told from the last and the
    middle one from neither.
    """
    pairs = [_Pair(i, j, samples, higher) for i, j in combinations(range(len(samples)), 2)]
    pairs.sort(key=lambda pair: -pair.size)
    better = np.zeros((len(samples), len(samples)), dtype=bool)
    for pair, p in zip(pairs, _step_down(pairs, samples), strict=True):
        if p < 1 - LEVEL:
            better[pair.better, pair.worse] = True
    return better


class _Pair:
    """Two backbones, their difference in units of its error, and that under the null."""

    def __init__(self, i: int, j: int, samples: Sequence[Sample], higher: bool) -> None:
        first, second = samples[i].value, samples[j].value
        ahead = first >= second if higher else first <= second
        self.better, self.worse = (i, j) if ahead else (j, i)
        above, below = samples[self.better], samples[self.worse]
        left_out = above.left_out - below.left_out
        self._unit = max(1.0, abs(first), abs(second))
        self.p = p_value(above.value - below.value, left_out, self._unit)
        # The error is estimated from few images: of Student's t that is as unlikely, the z.
        self.size = -float(scipy.special.ndtri(self.p / 2))
        self._above, self._below = above, below

    def null(self) -> Float[np.ndarray, " resamples"]:
        """The sizes that the difference would have if there were none.

        About the draws' own mean: resamples lose classes and so bring any difference nearer to 0.
        """
        drawn = self._above.draws - self._below.draws
        spread = float(np.std(drawn))
        if spread <= ROUNDING * self._unit:
            return np.zeros_like(drawn)
        return np.abs(drawn - drawn.mean()) / spread


def _step_down(pairs: Sequence[_Pair], samples: Sequence[Sample]) -> Sequence[float]:
    """Adjusted p-values of pairs that come largest first: each beside those that are smaller."""
    resamples, few = len(samples[0].draws), len(samples[0].left_out) < FEW
    largest = np.zeros(resamples)
    raw = []
    for tested, pair in enumerate(reversed(pairs), start=1):
        largest = np.maximum(largest, pair.null())
        among = (1 + np.count_nonzero(largest >= pair.size)) / (1 + resamples)
        alone = min(1.0, pair.p * tested) if few else pair.p  # by Holm, where there are few
        raw.append(max(alone, among))  # never bolder than the pair alone
    return np.maximum.accumulate(raw[::-1]).tolist()
