"""How predicted depth becomes evidence: upsampled, clamped, and compared inside a box."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from densebench.datasets.nyu_boxes import BoxName, box
from densebench.measures.base import Metric
from densebench.measures.depth import (
    COUNT,
    AbsoluteRelativeError,
    RootMeanSquareError,
    WithinThreshold,
    aligned,
    depth_evidence,
)
from densebench.measures.scoring import Prediction, Scoring, Truth, upsampled

NO_DEPTH = (
    "no validation pixel has a depth that counts; check the depth maps' scale, min_depth, "
    "max_depth and eval_box"
)


@dataclass(frozen=True)
class DepthScoring(Scoring):
    """The evidence of an image is its errors in metres over the pixels that count.

    Attributes:
        nearest: truth that is not farther does not count, and no prediction is nearer.
        farthest: truth that is not nearer does not count, and no prediction is farther.
        inside: the box that is scored.
        least_squares: whether each prediction is first brought to the truth by scale and shift.
    """

    nearest: float = 0.001
    farthest: float = 10.0
    inside: BoxName = "full"
    least_squares: bool = False

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The RMSE is ranked."""
        return RootMeanSquareError(), AbsoluteRelativeError(), WithinThreshold()

    def vector(
        self, prediction: Prediction, position: int, truth: Truth
    ) -> Float[np.ndarray, " 4"]:
        """What was predicted is upsampled bilinearly to the truth's size."""
        valid = self.counted(truth)
        depth = self.depth(prediction, position, truth, valid)
        return depth_evidence(depth[valid], truth[valid])

    def counted(self, truth: Truth) -> Bool[np.ndarray, "h w"]:
        """Which pixels count."""
        known = (truth > np.float32(self.nearest)) & (truth < np.float32(self.farthest))
        height, width = truth.shape
        inside = np.zeros_like(known)
        inside[box(self.inside, (height, width)).slices] = True
        return known & inside

    def depth(
        self, prediction: Prediction, position: int, truth: Truth, valid: Bool[np.ndarray, "h w"]
    ) -> Float[np.ndarray, "h w"]:
        """The predicted metres of one image, as they are scored."""
        assert prediction.values is not None
        found = upsampled(prediction.values[position].cpu(), truth.shape)[0].numpy()
        if self.least_squares:
            found, _ = aligned(found, truth, valid)
        return np.clip(found, np.float32(self.nearest), np.float32(self.farthest))

    def why_not(self, total: Float[np.ndarray, " 4"]) -> str:
        """No image counts."""
        return "" if total[COUNT] else NO_DEPTH
