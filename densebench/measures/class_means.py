"""Segmentation's other means over classes, as mmsegmentation and DINOv3 tell them.

A class for which a ratio has no value is left out of its mean.
"""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64, Integer

from densebench.measures.base import Metric

Counts = Float[np.ndarray, "*n 3 g"]  # true positives, false positives, false negatives
Ratio = tuple[Float[np.ndarray, "*n g"], Float[np.ndarray, "*n g"]]  # what is divided, and by what


@dataclass(frozen=True)
class ClassMean(Metric):
    """The mean over classes of a ratio in [0, 1] of pixel counts."""

    unit: str = "%"
    scale: float = 100.0
    bounds: tuple[float, float] = (0.0, 1.0)

    def finish(self, sums: Float[np.ndarray, "*n v"]) -> Float[np.ndarray, "*n"]:
        """The mean over the classes that have the ratio; 0 where none has."""
        tops, bottoms = self.ratio(sums.reshape(*sums.shape[:-1], 3, -1))
        there = bottoms > 0
        ratios = np.where(there, tops / np.where(there, bottoms, 1), 0.0)
        return ratios.sum(axis=-1) / np.maximum(there.sum(axis=-1), 1)

    def condense(self, vectors: Integer[np.ndarray, "*n v"]) -> Int64[np.ndarray, "*n v"]:
        """All of them, with room for sums."""
        return vectors.astype(np.int64)

    @abstractmethod
    def ratio(self, counts: Counts) -> Ratio:
        """What is divided by what; by 0 where a class has no such ratio."""


@dataclass(frozen=True)
class MeanAccuracy(ClassMean):
    """Of each class, the share of its pixels that is found: its recall."""

    name: str = "mean_accuracy"
    title: str = "mean class accuracy"

    def ratio(self, counts: Counts) -> Ratio:
        """Hits of what is there."""
        return counts[..., 0, :], counts[..., 0, :] + counts[..., 2, :]


@dataclass(frozen=True)
class MeanPrecision(ClassMean):
    """Of each class, the share of what is predicted as it that is it."""

    name: str = "mean_precision"
    title: str = "mean class precision"

    def ratio(self, counts: Counts) -> Ratio:
        """Hits of what is predicted."""
        return counts[..., 0, :], counts[..., 0, :] + counts[..., 1, :]


@dataclass(frozen=True)
class MeanDice(ClassMean):
    """Of each class, twice the intersection over the sum of both areas."""

    name: str = "mean_dice"
    title: str = "mean Dice"

    def ratio(self, counts: Counts) -> Ratio:
        """Of both areas."""
        return 2 * counts[..., 0, :], counts.sum(axis=-2) + counts[..., 0, :]


@dataclass(frozen=True)
class MeanFScore(MeanDice):
    """The harmonic mean of precision and recall; a class without a hit has none."""

    name: str = "mean_fscore"
    title: str = "mean F-score"

    def ratio(self, counts: Counts) -> Ratio:
        """As Dice, of the classes that are hit."""
        tops, bottoms = super().ratio(counts)
        return tops, np.where(tops > 0, bottoms, 0)
