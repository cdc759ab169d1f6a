"""k nearest neighbours on patches: each pixel position takes the neighbours' most frequent label.

Source: facebookresearch/capi at 98b4fa1, eval_segmentation.py; docs/protocols/knn.md has its knobs
and quirks.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float, UInt8
from pydantic import Field, field_validator
from torch import Tensor

from densebench.host.errors import DensebenchError
from densebench.learners.nearest import PRODUCT_ROWS, Distance, Nearest
from densebench.learners.patch_labels import vote
from densebench.measures.labels import LabelScoring
from densebench.protocols import base
from densebench.protocols.base import ProtocolParams
from densebench.protocols.patch_classifier import (
    TABLE,
    PatchClassifier,
    PatchClassifierParams,
    Value,
)

VOID_CLASS = "void"
Count = Annotated[int, Field(gt=0, strict=True)]


class KnnParams(PatchClassifierParams):
    """Parameters of the neighbours: every ``k`` with every distance may be chosen, k first."""

    ks: tuple[Count, ...] = Field(default=(1, 3, 10, 30), min_length=1)
    distances: tuple[Distance, ...] = Field(default=("cosine", "L2"), min_length=1)

    @field_validator("ks", "distances")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) != len(values):
            raise ValueError("each value is given once")
        return values


class Knn(PatchClassifier):
    """Exact neighbours among the patches of the training images, unweighted.

    In ``reference`` void pixels of training patches vote, and a predicted void counts as one more
    class that is always wrong. In ``clean`` neither void nor an ignored class has a vote.
    """

    Params: ClassVar[type[ProtocolParams]] = KnnParams
    params: KnnParams

    _classifier: "Votes"

    @property
    def scoring(self) -> LabelScoring:
        """Of ``reference``, with void as a class that the truth never has."""
        scoring = super().scoring
        if not self._is_published:
            return scoring
        classes = *scoring.classes, VOID_CLASS
        return LabelScoring(
            scoring.resolutions, "none", "nan", len(classes), classes, scoring.ignore_index
        )

    def memory_plan(self, n_train: int, n_val: int) -> dict[str, int]:
        """The table, the copy of its features that is searched, and its products with an image."""
        plan, patches = super().memory_plan(n_train, n_val), self.grid**2
        rows = n_train * patches
        copied = rows * (self.setting.embed_dim + 1) * 4
        products = patches * min(rows, PRODUCT_ROWS) * 4
        return {**plan, f"{TABLE}, as they are searched": copied, "products of an image": products}

    def explain(self, queries: Float[Tensor, "q d"], k: int) -> base.Nearest:
        """The nearest training patches; the similarity is 1 less the distance, or minus it."""
        distance, rows = self._classifier.nearest.find(self._steps.transform(queries), k)
        table, chosen = self._table, self._grid[self._best]["distance"]
        similarity = {"cosine": 1 - distance, "inner_product": distance}.get(chosen, -distance)
        return base.Nearest(
            similarity.float(),
            table.images[rows],
            torch.zeros_like(rows),
            table.patches[rows],
            table.modes[rows].long(),
            self._view,
        )

    @property
    def _grid(self) -> list[Value]:
        params = self.params
        return [{"k": k, "distance": d} for k in params.ks for d in params.distances]

    def _groups(self) -> list[list[int]]:
        """One for each distance: fewer neighbours are the first of more."""
        grid = self._grid
        return [
            [place for place, value in enumerate(grid) if value["distance"] == distance]
            for distance in self.params.distances
        ]

    def _fitted(self, values: Sequence[Value]) -> "Votes":
        ks, n_rows = [value["k"] for value in values], self._n_rows
        if (most := max(ks)) > n_rows:
            raise DensebenchError(
                f"{most} neighbours are asked for, and {n_rows} training patches have a class; "
                "take fewer with --set 'ks=[1]', or more images"
            )
        features, labels = self._table.features[:n_rows], self._table.labels[:n_rows]
        nearest = Nearest(features, values[0]["distance"], self.setting.device)
        unheard = frozenset[int]() if self._is_published else self._ignored
        return Votes(nearest, labels, ks, unheard)


class Votes:
    """The votes of the nearest rows, by several numbers of them."""

    def __init__(
        self,
        nearest: Nearest,
        labels: UInt8[Tensor, "n a"],
        ks: list[int],
        unheard: frozenset[int],
    ) -> None:
        self.nearest, self._labels, self._ks, self._unheard = nearest, labels, ks, unheard

    def predict(self, features: Float[Tensor, "p d"]) -> list[UInt8[Tensor, "p a"]]:
        """The label of every pixel, by each number of neighbours."""
        rows = self.nearest.find(features, max(self._ks))[1]
        return [vote(self._labels[rows[:, :k]], self._unheard) for k in self._ks]


PROTOCOL = Knn
