"""The root mean squared error of depth in metres."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from densebench import Metric


@dataclass(frozen=True)
class RootMeanSquareError(Metric):
    """RMSE of each image over its valid pixels, averaged over the images that have any.

    The evidence of an image is (its RMSE, 1), or (0, 0) where it has no valid pixel; this is how
    Eigen et al. ("Depth map prediction from a single image", 2014) and their successors average.
    """

    name: str = "rmse"
    title: str = "RMSE"
    unit: str = "m"
    higher: bool = False
    decimals: int = 3
    bounds: tuple[float, float] = (0.0, float("inf"))

    def finish(self, sums: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n"]:
        """The mean over the images that count."""
        return sums[..., 0] / np.maximum(sums[..., 1], 1)
