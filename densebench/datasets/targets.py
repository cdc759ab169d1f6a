"""What a dataset gives beside each image: a map with one value for every pixel.

Labels are the first kind; depth, normals or keypoints are others. A map of any kind is resized to
the nearest pixel: a mean of two labels, or of two depths across an edge, is neither of them.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Shaped

LABELS = "labels"


@dataclass(frozen=True)
class Target:
    """What the values of a dataset's maps mean.

    Attributes:
        kind: ``labels``, or another word that protocols know it by, such as ``depth``.
        dtype: NumPy's name of the values' type; transforms take ``uint8``, ``int32``, ``float32``.
        void: the value of pixels that no score counts; where values are real, nan is void too.
        classes: of labels, their names by index.
        unit: of other values, what they are measured in; pictures are made of what has one.
    """

    kind: str
    dtype: str
    void: float
    classes: tuple[str, ...] = ()
    unit: str = ""

    @property
    def is_labels(self) -> bool:
        """Whether the values are indices of classes."""
        return self.kind == LABELS

    @property
    def is_pictured(self) -> bool:
        """Whether pictures can show it: in the colours of its classes, or on a scale."""
        return self.is_labels or bool(self.unit)

    def valid(self, values: Shaped[np.ndarray, "*shape"]) -> Bool[np.ndarray, "*shape"]:
        """Which values count."""
        return (values != self.void) & np.isfinite(values)

    def meaning(self) -> list[object]:
        """All that decides what a value means, for fingerprints; JSON values."""
        if self.is_labels:
            return [list(self.classes), int(self.void)]
        told = [self.kind, self.dtype, self.void, list(self.classes)]
        return [*told, self.unit] if self.unit else told


def labels(classes: tuple[str, ...], ignore_index: int) -> Target:
    """Maps of class indices, in a byte."""
    return Target(LABELS, "uint8", ignore_index, classes)
