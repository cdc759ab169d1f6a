"""Metrics by name, so that a board finds how the evidence of a record becomes its number."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from densebench.measures.base import Metric
from densebench.measures.segmentation import (
    MeanIoU,
    MeanIoUAbsentLeftOut,
    MeanIoUAbsentZero,
    PixelAccuracy,
)

GROUP = "densebench.metrics"
OWN: dict[str, type[Metric]] = {
    "miou": MeanIoU,
    "miou_absent_zero": MeanIoUAbsentZero,
    "miou_absent_left_out": MeanIoUAbsentLeftOut,
    "pixel_accuracy": PixelAccuracy,
}


def find_metric(name: str, parameters: Mapping[str, Any]) -> Metric | None:
    """The metric of that name; none where no installed package has it, or not so.

    Only what packages have registered is imported, whatever a record says.
    """
    kind = OWN.get(name)
    if kind is None:
        points = entry_points(group=GROUP, name=name)
        kind = next(iter(points)).load() if points else None
    try:
        return None if kind is None else kind(**parameters)
    except TypeError:
        return None
