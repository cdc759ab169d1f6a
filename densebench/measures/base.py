"""What every number is made of: evidence of each image, and a metric that finishes its sum.

Whatever is measured, an image gives one vector that can be summed: pixel counts of the classes,
squared errors and how many, hits and tries. The number is a function of the sum. So the same code
leaves images out, resamples them, pairs them with another run's and adds up what several processes
counted, and none of it knows which metric it is.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

Vectors = Integer[np.ndarray, "r n v"] | Float[np.ndarray, "r n v"]


@dataclass(frozen=True)
class Metric(ABC):
    """A number, how it is printed, which way is better, and how it follows from summed evidence.

    A metric of one's own is a frozen dataclass with defaults for these fields; what it adds are its
    parameters. Boards find it by the entry point ``densebench.metrics``, whose name is its own.

    Attributes:
        name: for programs, ``miou``.
        title: for readers, ``mIoU``.
        unit: ``%`` or ``m``; nothing for a number without one.
        higher: whether more is better.
        scale: what a value is multiplied with where it is printed: 100 for shares in per cent.
        decimals: of a printed value.
        bounds: what no value can leave.
    """

    name: str
    title: str
    unit: str = ""
    higher: bool = True
    scale: float = 1.0
    decimals: int = 2
    bounds: tuple[float, float] = (-math.inf, math.inf)

    @abstractmethod
    def finish(self, sums: Float[np.ndarray, "*n w"]) -> Float[np.ndarray, "*n"]:
        """The number of each sum of condensed evidence, over any leading axes.

        It is asked for sums without each image in turn, so that a sum may be of nothing: it gives a
        finite number for that as well.
        """

    def condense(self, vectors: Float[np.ndarray, "*n v"]) -> Float[np.ndarray, "*n w"]:
        """What of the vectors this metric needs; linear, so that sums may be taken before it."""
        return vectors

    def of(self, sums: Float[np.ndarray, "*n v"]) -> Float[np.ndarray, "*n"]:
        """The number of each sum of evidence as it is kept."""
        return self.finish(self.condense(sums))

    def text(self, value: float) -> str:
        """A value as it is printed, without its unit."""
        return f"{self.scale * value:.{self.decimals}f}"

    @property
    def parameters(self) -> dict[str, Any]:
        """What a metric adds to the fields that all have."""
        known = {field.name for field in fields(Metric)}
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in known}


@dataclass(frozen=True)
class Evidence:
    """What each image of a run gives to its numbers.

    Attributes:
        names: of the images, in the order of the vectors.
        vectors: one for each repeat of the protocol and each image; whole numbers or floats.
        groups: what each image belongs to, where a dataset says so.
        group_name: what these are, in the plural: ``sequences``.
    """

    names: tuple[str, ...]
    vectors: Vectors
    groups: tuple[str, ...] | None = None
    group_name: str = "groups"

    @property
    def over(self) -> str:
        """What are independent draws: the images, or the groups that they belong to."""
        return "images" if self.groups is None else self.group_name

    @property
    def units(self) -> Vectors:
        """The vector of each independent draw."""
        return self.vectors if self.groups is None else grouped(self.vectors, self.groups)


def grouped(vectors: Vectors, groups: Sequence[str]) -> Vectors:
    """The summed vectors of each group of images, in the order of the groups' names."""
    names, places = np.unique(np.array(groups), return_inverse=True)
    shape = (len(vectors), len(names), *vectors.shape[2:])
    summed = np.zeros(shape, dtype=sum_type(vectors))
    for repeat, of_images in zip(summed, vectors, strict=True):
        np.add.at(repeat, places, of_images.astype(summed.dtype))
    return summed


def sum_type(vectors: np.ndarray) -> np.dtype[Any]:
    """What sums are kept in, so that whole numbers stay exact."""
    return np.dtype(np.int64 if np.issubdtype(vectors.dtype, np.integer) else np.float64)
