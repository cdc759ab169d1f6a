"""The mean IoU of arrays that come piece by piece."""

from typing import Any

import numpy as np

from densebench.host.errors import DensebenchError
from densebench.measures.segmentation import (
    Absent,
    class_counts,
    confusion_matrix,
    iou_per_class,
    mean_iou,
)


class MeanIoU:
    """Counts pixels as ``update`` is given them, and has their mean IoU as ``compute``.

    Args:
        classes: How many there are.
        ignore_index: A label of the truth that does not count.
        absent: What a class in neither truth nor prediction counts: ``nan`` leaves it out of the
            mean, ``zero`` is what NeCo's and hbird's code computes.
    """

    def __init__(self, classes: int, ignore_index: int = 255, absent: Absent = "nan") -> None:
        self._classes, self._ignore_index, self._absent = classes, ignore_index, absent
        self.reset()

    def reset(self) -> None:
        """Forget all."""
        self._counts = np.zeros((self._classes, self._classes), np.int64)

    def update(self, prediction: Any, truth: Any) -> None:
        """Count labels of one shape: arrays, tensors or lists of whole numbers.

        Raises:
            DensebenchError: the shapes differ, or a label is no class.
        """
        labels, true = (np.asarray(_on_host(values)) for values in (prediction, truth))
        try:
            self._counts += confusion_matrix(
                true, labels, self._classes, self._classes, self._ignore_index
            )
        except ValueError as error:
            raise DensebenchError(f"MeanIoU: {error}") from error

    def compute(self) -> float:
        """The mean IoU of all that was counted, as a fraction."""
        return float(mean_iou(iou_per_class(class_counts(self._counts)), self._absent))

    @property
    def confusion(self) -> np.ndarray:
        """Pixels, truth x prediction."""
        return self._counts.copy()


def _on_host(values: Any) -> Any:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else values
