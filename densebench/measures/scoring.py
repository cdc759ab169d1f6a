"""From predictions to numbers: evidence of each image in a stream, its sum, metrics, intervals.

Every protocol is scored here. A ``Scoring`` says how the prediction of an image becomes a vector;
of each image only that stays.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int64, Integer, Shaped
from pydantic import PositiveInt
from torch import Tensor
from torch.nn.functional import interpolate

from densebench.datasets.base import Split
from densebench.datasets.transforms import resize_labels
from densebench.host.distributed import World
from densebench.host.errors import DensebenchError
from densebench.measures.base import Evidence, Metric
from densebench.measures.jackknife import interval, leave_one_out

NOTHING_SCORED = "no validation image was scored; none could be read"

Resolution = PositiveInt | Literal["input", "original"]
Vector = Integer[np.ndarray, " v"] | Float[np.ndarray, " v"]
Truth = Shaped[np.ndarray, "h w"]


@dataclass(frozen=True)
class Prediction:
    """What a protocol predicts of some validation images on the patch grid, in one of three ways.

    ``scores`` of classes, ``labels`` of clusters, or dense ``values`` of any number of channels,
    such as a depth in metres. ``masks`` are what the dataset gives for the input view. ``repeat``
    counts the predictions of one image, where a protocol makes several. ``left_out`` names the
    resolutions at which these images do not count.
    """

    indices: Int64[Tensor, " b"]
    masks: Shaped[Tensor, "b H W"]
    scores: Float[Tensor, "b c h w"] | None = None
    labels: Int64[Tensor, "b h w"] | None = None
    values: Float[Tensor, "b c h w"] | None = None
    repeat: int = 0
    left_out: tuple[Resolution, ...] = ()


@dataclass(frozen=True)
class Detail:
    """What segmentation says beside its numbers; see ``Score`` of a record."""

    classes: dict[str, float | None] = field(default_factory=dict)
    mapping: list[list[int]] = field(default_factory=list)
    confusion: list[list[list[int]]] = field(default_factory=list)


@dataclass(frozen=True)
class Scoring(ABC):
    """How predictions become evidence; the first resolution is the one that is ranked."""

    resolutions: tuple[Resolution, ...]

    @property
    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """What is measured, the ranked one first; all of them from the same evidence."""

    @abstractmethod
    def vector(self, prediction: Prediction, position: int, truth: Truth) -> Vector:
        """The evidence of one image of a prediction, of one length for all images.

        Args:
            prediction: of some images.
            position: which of them.
            truth: what the dataset gives for it, at the resolution that is scored.
        """

    def settle(self, total: Vector) -> Any:
        """What must be known from the sum of all images, once, such as a matching of clusters."""
        return None

    def settled(self, vector: Vector, settlement: Any) -> Vector:
        """What is kept of one image's vector under it."""
        return vector

    def why_not(self, total: Vector) -> str:
        """Why the sum of all images gives no number; nothing where it does."""
        return ""

    def detail(self, totals: Sequence[Vector], settlements: Sequence[Any]) -> Detail:
        """What is to be said beside the numbers, from the sum of each repeat."""
        return Detail()


@dataclass(frozen=True)
class Measured:
    """One metric over all images: its mean over repeats, each of them, and the interval."""

    metric: Metric
    value: float
    repeats: list[float]
    bounds: tuple[float, float] | None  # none where a single image or group was scored


@dataclass(frozen=True)
class Result:
    """What came out at one resolution, the ranked metric first."""

    resolution: Resolution
    evidence: Evidence
    measured: tuple[Measured, ...]
    detail: Detail


class Tally:
    """Vectors of many images, the filled cells alone, in the order of the images' places."""

    def __init__(self) -> None:
        self._images: dict[int, tuple[Int64[np.ndarray, " n"], Vector]] = {}
        self._empty: Vector | None = None

    def add(self, index: int, vector: Vector) -> None:
        """Note one image.

        Raises:
            ValueError: it was noted before.
        """
        if index in self._images:
            raise ValueError(f"the image {index} was scored twice")
        cells = np.flatnonzero(vector)
        self._images[index] = cells, vector[cells]
        if self._empty is None:
            self._empty = np.zeros_like(vector, dtype=np.result_type(vector, np.int64))

    def join(self, other: "Tally") -> None:
        """Note the images of another one, which no other has."""
        twice = self._images.keys() & other._images.keys()
        if twice:
            raise ValueError(f"the image {min(twice)} was scored twice")
        self._images |= other._images
        self._empty = other._empty if self._empty is None else self._empty

    @property
    def indices(self) -> list[int]:
        """The places of the images in their split, sorted."""
        return sorted(self._images)

    @property
    def total(self) -> Vector:
        """The sum, in the order of the places: of floats another order would be another sum."""
        assert self._empty is not None
        total = self._empty.copy()
        for index in self.indices:
            cells, values = self._images[index]
            total[cells] += values
        return total

    def vectors(self, scoring: Scoring, settlement: Any) -> np.ndarray:
        """The settled vector of each image."""
        assert self._empty is not None
        rows = []
        for index in self.indices:
            dense = self._empty.copy()
            cells, values = self._images[index]
            dense[cells] = values
            rows.append(scoring.settled(dense, settlement))
        return np.stack(rows)


class Scorer:
    """Gathers the evidence of predictions at each resolution of a protocol's scoring.

    Args:
        scoring: How predictions become evidence and numbers.
        split: What is predicted; where it names groups, intervals are over these.
        group_name: What the groups are, in words.
    """

    def __init__(self, scoring: Scoring, split: Split, group_name: str | None = None) -> None:
        self._scoring, self._split = scoring, split
        self._group_name = group_name or "groups"
        self._tallies: dict[Resolution, dict[int, Tally]] = {
            resolution: defaultdict(Tally) for resolution in scoring.resolutions
        }

    def add(self, prediction: Prediction) -> None:
        """Note the images of one prediction."""
        for position, index in enumerate(prediction.indices.tolist()):
            for resolution, repeats in self._tallies.items():
                if resolution not in prediction.left_out:
                    truth = self._truth(resolution, index, prediction.masks[position])
                    vector = self._scoring.vector(prediction, position, truth)
                    repeats[prediction.repeat].add(index, vector)

    def join(self, others: Iterable["Scorer"]) -> None:
        """Note what others gathered of other images, in whatever order they come."""
        for other in others:
            for resolution, repeats in other._tallies.items():
                for repeat, tally in repeats.items():
                    self._tallies[resolution][repeat].join(tally)

    def gather(self, world: World) -> None:
        """In the first process, note what the others gathered of their own images."""
        self.join(world.at_main(self)[1:])

    def value(self) -> float:
        """The ranked number alone, without intervals: for watching a training.

        Raises:
            DensebenchError: no image was predicted.
        """
        metric, repeats = self._scoring.metrics[0], self._repeats(self._scoring.resolutions[0])
        kept = [self._scoring.settled(t, self._scoring.settle(t)) for t in _totals(repeats)]
        return float(metric.of(np.stack(kept)).mean())

    def results(self) -> list[Result]:
        """One for each resolution, the ranked one first.

        Raises:
            DensebenchError: no image was predicted, there is nothing to score in any, or a metric
                gives no finite number.
        """
        found = [(resolution, self._repeats(resolution)) for resolution in self._tallies]
        for _, repeats in found:
            if reason := self._scoring.why_not(np.sum(_totals(repeats), axis=0)):
                raise DensebenchError(reason)
        return [self._result(resolution, repeats) for resolution, repeats in found]

    def _repeats(self, resolution: Resolution) -> list[Tally]:
        repeats = self._tallies[resolution]
        if not repeats:
            raise DensebenchError(NOTHING_SCORED)
        return [repeats[number] for number in sorted(repeats)]

    def _truth(self, resolution: Resolution, index: int, mask: Shaped[Tensor, "H W"]) -> Truth:
        if resolution == "original":
            return self._split.mask(index)
        if resolution == "input":
            return mask.numpy()
        return resize_labels(mask[None], resolution)[0].numpy()

    def _result(self, resolution: Resolution, repeats: list[Tally]) -> Result:
        scoring, totals = self._scoring, _totals(repeats)
        settlements = [scoring.settle(total) for total in totals]
        evidence = self._evidence(repeats, settlements)
        sums = np.stack([scoring.settled(t, s) for t, s in zip(totals, settlements, strict=True)])
        measured = tuple(measured_of(metric, sums, evidence) for metric in scoring.metrics)
        return Result(resolution, evidence, measured, scoring.detail(totals, settlements))

    def _evidence(self, repeats: list[Tally], settlements: Sequence[Any]) -> Evidence:
        places, groups = repeats[0].indices, self._split.groups
        rows = [t.vectors(self._scoring, s) for t, s in zip(repeats, settlements, strict=True)]
        return Evidence(
            tuple(self._split.names[i] for i in places),
            _small(np.stack(rows)),
            None if groups is None else tuple(groups[i] for i in places),
            self._group_name,
        )


def upsampled(scores: Float[Tensor, "c h w"], size: tuple[int, ...]) -> Float[Tensor, "c H W"]:
    """Bilinear upsampling of what was predicted on the patch grid (align_corners off)."""
    return interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0]


def _totals(repeats: Sequence[Tally]) -> list[Vector]:
    return [tally.total for tally in repeats]


def measured_of(metric: Metric, sums: np.ndarray, evidence: Evidence) -> Measured:
    """A metric of the summed evidence of each repeat, and its interval over the images.

    The interval is of the mean over repeats, all of them without the same images.

    Raises:
        DensebenchError: the metric gives no finite number.
    """
    values, units = metric.of(sums), evidence.units
    if not np.isfinite(values).all():
        raise DensebenchError(
            f"the metric '{metric.name}' is {values[~np.isfinite(values)][0]} over "
            f"{len(evidence.names):,} validation images; mend what it makes of their sum"
        )
    value, bounds = float(values.mean()), None
    if units.shape[1] > 1:
        left_out = leave_one_out([units], metric)
        bounds = interval(value, left_out, metric.bounds, abs(value))
    return Measured(metric, value, values.tolist(), bounds)


def _small(vectors: np.ndarray) -> np.ndarray:
    """Whole numbers that are none below 0 and fit, in 32 bits."""
    whole = np.issubdtype(vectors.dtype, np.integer)
    fits = whole and vectors.min() >= 0 and vectors.max() < 2**32
    return vectors.astype(np.uint32) if fits else vectors
