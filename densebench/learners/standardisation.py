"""Shift, scale or rotate patch features by what was fitted on some of them.

Source: the choices of facebookresearch/capi at 98b4fa1, eval_segmentation.py, under its names.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from sklearn.preprocessing import RobustScaler, StandardScaler
from torch import Tensor

from densebench.host.errors import DensebenchError

Choice = Literal[
    "none", "center", "center_div", "StandardScaler", "RobustScaler", "pca", "pca_whiten"
]
CHUNK_ROWS = 65_536


class Standardisation:
    """One published choice.

    ``center`` takes the mean of each dimension off; ``center_div`` also divides by one deviation,
    that of all values; ``StandardScaler`` by each dimension's own; ``RobustScaler`` takes medians
    and quartiles; ``pca`` rotates to the principal axes, ``pca_whiten`` with unit variance.
    """

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._divisor = 1.0
        self._fitted: StandardScaler | RobustScaler | PCA | None = None

    def fit(self, rows: Float[np.ndarray, "n d"]) -> "Standardisation":
        """Fit to rows of float32; moments are summed in float64.

        Raises:
            DensebenchError: there are fewer rows than principal axes.
        """
        if self._choice in ("center", "center_div", "StandardScaler"):
            self._fitted = StandardScaler(with_std=self._choice == "StandardScaler")
            for part in _chunks(rows):
                self._fitted.partial_fit(part)
        elif self._choice == "RobustScaler":
            self._fitted = RobustScaler().fit(rows)
        elif self._choice != "none":
            if len(rows) < rows.shape[1]:
                raise DensebenchError(
                    f"standardisation = '{self._choice}' needs {rows.shape[1]} patches, one for "
                    f"each dimension, not {len(rows)}; add images or take 'StandardScaler'"
                )
            # In the features' own float32, whose axes are the published ones.
            self._fitted = PCA(whiten=self._choice == "pca_whiten").fit(rows)
        if self._choice == "center_div":
            self._divisor = _deviation(rows)
        return self

    def transform(self, rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        """The rows as float32, new ones."""
        if self._fitted is None:
            return rows.astype(np.float32)
        moved = self._fitted.transform(rows)
        return (moved / self._divisor).astype(np.float32, copy=False)

    def replace(self, rows: Float[np.ndarray, "n d"]) -> None:
        """Put the transformed rows in the place of the rows, some at a time."""
        for part in _chunks(rows):
            part[:] = self.transform(part)


class Standardisations:
    """One after another, each fitted on what those before it gave."""

    def __init__(self) -> None:
        self._steps: list[Standardisation] = []

    def add(self, step: Standardisation, rows: Float[Tensor, "n d"]) -> None:
        """One more, which the rows themselves go through."""
        step.replace(rows.numpy())
        self._steps.append(step)

    def transform(self, patches: Float[Tensor, "p d"]) -> Float[Tensor, "p d"]:
        """Other patches, through all of them."""
        rows = patches.cpu().numpy()
        for step in self._steps:
            rows = step.transform(rows)
        return torch.from_numpy(rows)


def _deviation(rows: Float[np.ndarray, "n d"]) -> float:
    """The standard deviation of all values about their one mean."""
    mean = sum(float(part.sum(dtype=np.float64)) for part in _chunks(rows)) / rows.size
    squares = (np.square(part.astype(np.float64) - mean).sum() for part in _chunks(rows))
    return float(np.sqrt(sum(squares) / rows.size))


def _chunks(rows: Float[np.ndarray, "n d"]) -> Iterator[Float[np.ndarray, "m d"]]:
    return (rows[start : start + CHUNK_ROWS] for start in range(0, len(rows), CHUNK_ROWS))
