"""Which of several classifiers is best on the held-out images of a table of patches.

Source: facebookresearch/capi at 98b4fa1, eval_segmentation.py.
"""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from densebench.host.distributed import World
from densebench.learners.patch_labels import VOID, is_one_of
from densebench.learners.patch_table import PatchTable
from densebench.measures.segmentation import class_counts, confusion_matrix, iou_per_class, mean_iou


class Classifier(Protocol):
    """What was fitted by several values of some parameters."""

    def predict(self, features: Float[Tensor, "p d"]) -> list[UInt8[Tensor, "p a"]]:
        """The label of every pixel of the patches of one image, by each value."""


class HeldOut:
    """The last images of a table; of several processes, each predicts some of them.

    Args:
        table: of their patches.
        first: the row at which they begin.
        per_image: rows of an image.
        n_classes: without void, which may be predicted as one more.
        ignored: the true labels that are not scored.
    """

    def __init__(
        self, table: PatchTable, first: int, per_image: int, n_classes: int, ignored: frozenset[int]
    ) -> None:
        self._table, self._first, self._per_image = table, first, per_image
        self._n, self._ignored = n_classes + 1, ignored

    def miou(
        self, fitted: Iterable[tuple[list[int], Classifier]], n_values: int, world: World
    ) -> list[float]:
        """Of each value: each classifier comes with the places of its own among all.

        The mean is over the classes that are in truth or prediction, a predicted void included.
        """
        counts = torch.zeros(n_values, self._n, self._n, dtype=torch.int64)
        starts = range(self._first, len(self._table.features), self._per_image)
        for places, classifier in fitted:
            for start in starts[world.rank :: world.size]:
                rows = slice(start, start + self._per_image)
                truth = self._table.labels[rows]
                truth = truth.masked_fill(is_one_of(truth, self._ignored), VOID)
                found = classifier.predict(self._table.features[rows])
                for place, labels in zip(places, found, strict=True):
                    counts[place] += torch.from_numpy(self.confusion(truth, labels))
            del classifier  # with its copy of the rows, before the next one makes its own
        summed = world.sum(counts).numpy()
        return mean_iou(iou_per_class(np.stack([class_counts(c) for c in summed])), "nan").tolist()

    def confusion(
        self, truth: UInt8[Tensor, "p a"], found: UInt8[Tensor, "p a"]
    ) -> Int64[np.ndarray, "c c"]:
        """Pixels by truth and prediction, void the last."""
        predicted = found.long().masked_fill(found == VOID, self._n - 1).numpy()
        return confusion_matrix(truth.numpy(), predicted, self._n, self._n, VOID)
