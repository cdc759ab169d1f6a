"""Errors of a predicted depth: per image over its valid pixels, then the mean over images.

The evidence of an image is (RMSE, 1, absolute relative error, share of pixels within 1.25), or four
zeros where it has no valid pixel. Sources: Eigen et al. ("Depth map prediction from a single
image", 2014), as computed by facebookresearch/dinov3 at 6876159, dinov3/eval/depth/metrics.py.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from densebench.measures.base import Metric

# In the order of the published code; the evidence keeps three of them.
ERRORS = (
    "a1",
    "a2",
    "a3",
    "abs_rel",
    "rmse",
    "log_10",
    "rmse_log",
    "silog",
    "sq_rel",
    "mae",
)
THRESHOLD = 1.25
RMSE, COUNT, ABS_REL, DELTA1 = range(4)  # places in the evidence


def depth_errors(
    predicted: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"]
) -> dict[str, float]:
    """Every error of the valid pixels of one image, in metres; all nan but ``silog`` of none.

    Of an image without valid pixels ``silog`` is 0, as published, so that it counts in the mean.
    """
    if not len(truth):
        return {name: 0.0 if name == "silog" else float("nan") for name in ERRORS}
    difference = truth - predicted
    ratio = np.maximum(truth / predicted, predicted / truth)
    log_ratio = np.log(predicted) - np.log(truth)
    within = [np.mean(ratio < THRESHOLD**power) for power in (1, 2, 3)]
    squared, logarithmic = np.square(difference), np.mean(np.square(log_ratio), dtype=np.float64)
    variance = logarithmic - np.mean(log_ratio, dtype=np.float64) ** 2
    found = (
        *within,
        _mean(np.abs(difference) / truth),
        np.sqrt(_mean(squared)),
        _mean(np.abs(np.log10(truth) - np.log10(predicted))),
        np.sqrt(logarithmic),
        100 * np.sqrt(max(variance, 0.0)),
        _mean(squared / truth),
        _mean(np.abs(difference)),
    )
    return {name: float(value) for name, value in zip(ERRORS, found, strict=True)}


def mean_errors(images: list[dict[str, float]]) -> dict[str, float]:
    """The mean over images, those that have no value left out; nan where none has one."""
    columns = {name: np.array([errors[name] for errors in images]) for name in ERRORS}
    return {
        name: float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
        for name, values in columns.items()
    }


def depth_evidence(
    predicted: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " 4"]:
    """The evidence of one image, from its valid pixels."""
    vector = np.zeros(4)
    if len(truth):
        errors = depth_errors(predicted, truth)
        vector[[RMSE, COUNT, ABS_REL, DELTA1]] = errors["rmse"], 1, errors["abs_rel"], errors["a1"]
    return vector


def aligned(
    predicted: Float[np.ndarray, "h w"],
    truth: Float[np.ndarray, "h w"],
    valid: Bool[np.ndarray, "h w"],
) -> tuple[Float[np.ndarray, "h w"], tuple[float, float]]:
    """The prediction under the scale and shift that fit it to the valid truth best.

    Returns:
        It, and scale and shift (1 and 0 where no pixel is valid).
    """
    if not valid.any():
        return predicted, (1.0, 0.0)
    known = predicted[valid].astype(np.float64)
    columns = np.stack([known, np.ones_like(known)], axis=1)
    (scale, shift), *_ = np.linalg.lstsq(columns, truth[valid].astype(np.float64), rcond=None)
    fitted = predicted * np.float32(scale) + np.float32(shift)
    return fitted.astype(predicted.dtype), (float(scale), float(shift))


@dataclass(frozen=True)
class _OverImages(Metric):
    """The mean of one error over the images that have any."""

    bounds: tuple[float, float] = (0.0, float("inf"))

    _place = RMSE

    def condense(self, vectors: Float[np.ndarray, "*n v"]) -> Float[np.ndarray, "*n 2"]:
        """The error and the count."""
        return vectors[..., [self._place, COUNT]]

    def finish(self, sums: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n"]:
        """Their ratio; 0 of no image."""
        return sums[..., 0] / np.maximum(sums[..., 1], 1)


@dataclass(frozen=True)
class RootMeanSquareError(_OverImages):
    """The root of the mean squared error of each image, in metres."""

    name: str = "rmse"
    title: str = "RMSE"
    unit: str = "m"
    higher: bool = False
    decimals: int = 3


@dataclass(frozen=True)
class AbsoluteRelativeError(_OverImages):
    """The mean error of each image as a share of the true depth."""

    name: str = "abs_rel"
    title: str = "AbsRel"
    higher: bool = False
    decimals: int = 3

    _place = ABS_REL


@dataclass(frozen=True)
class WithinThreshold(_OverImages):
    """The share of each image's pixels whose depth is at most 1.25 times too large or too small."""

    name: str = "delta1"
    title: str = "delta1"
    unit: str = "%"
    scale: float = 100.0
    bounds: tuple[float, float] = (0.0, 1.0)

    _place = DELTA1


def _mean(values: Float[np.ndarray, " n"]) -> float:
    """In float64, whatever they are."""
    return float(np.mean(values, dtype=np.float64))
