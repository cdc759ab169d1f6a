"""Logistic regression on patches: each patch takes one class, and so do all its pixels.

Source: facebookresearch/capi at 98b4fa1, eval_segmentation.py; docs/protocols/logreg.md has its
knobs and quirks.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import Field, field_validator
from torch import Tensor

from densebench.host.memory import ON_GPU
from densebench.learners.logistic import CHUNK_ROWS, Logistic, fit_logistic
from densebench.protocols.base import ProtocolParams
from densebench.protocols.patch_classifier import PatchClassifier, PatchClassifierParams, Value

PUBLISHED_C = tuple((10 ** np.linspace(-6, 5, 8)).tolist())
Strength = Annotated[float, Field(gt=0, le=1e12)]


class LogregParams(PatchClassifierParams):
    """Parameters of the fit: each ``C``, scikit-learn's weight of the fit, may be chosen."""

    C: tuple[Strength, ...] = Field(default=PUBLISHED_C, min_length=1)

    @field_validator("C")
    @classmethod
    def _each_once(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(values)) != len(values):
            raise ValueError("each value is given once")
        return values


class Logreg(PatchClassifier):
    """The minimum of the published objective, in float64.

    It is fitted on the most frequent label of each patch, so that it never predicts what is
    ignored. Of several processes the first one fits.
    """

    Params: ClassVar[type[ProtocolParams]] = LogregParams
    params: LogregParams

    def memory_plan(self, n_train: int, n_val: int) -> dict[str, int]:
        """The table, and in float64 what the fit has of rows and of classes.

        The classes' shares of each row are there twice while they change, a class's curvature is
        beside its factor, and some rows beside the same with a column of ones.
        """
        rows, classes = n_train * self.grid**2, self.setting.n_classes
        plan, width = super().memory_plan(n_train, n_val), self.setting.embed_dim + 1
        where = ON_GPU if self.setting.device.type == "cuda" else ""
        return {
            **plan,
            f"{where}shares of the classes": 2 * rows * classes * 8,
            f"{where}curvature of the classes": 2 * classes * width**2 * 8,
            f"{where}rows that are fitted at once": 2 * min(rows, CHUNK_ROWS) * width * 8,
        }

    @property
    def _grid(self) -> list[Value]:
        return [{"C": strength} for strength in self.params.C]

    def _groups(self) -> list[list[int]]:
        """All at once: each is found from the one before it."""
        return [list(range(len(self.params.C)))]

    def _fitted(self, values: Sequence[Value]) -> "Shares":
        setting, table = self.setting, self._table
        fits = None
        if setting.world.is_main:
            setting.watcher.status(f"logistic regression for {len(values)} values of C")
            rows, labels = table.features[: self._n_rows], table.modes[: self._n_rows].long()
            fits = fit_logistic(rows, labels, [value["C"] for value in values], setting.device)
        found = setting.world.from_main(fits)
        assert found is not None  # in the first process, and so in all
        return Shares(found, setting.patch_size**2)


class Shares:
    """The most probable class of a patch, by several fits."""

    def __init__(self, fits: Sequence[Logistic], area: int) -> None:
        self.fits, self._area = fits, area

    def predict(self, features: Float[Tensor, "p d"]) -> list[UInt8[Tensor, "p a"]]:
        """The label of every pixel, which is that of its patch."""
        found = []
        for fit in self.fits:
            ids = torch.tensor(fit.classes, dtype=torch.uint8)
            labels = ids[fit.logits(features).argmax(dim=1)]
            found.append(labels[:, None].expand(-1, self._area))
        return found


PROTOCOL = Logreg
