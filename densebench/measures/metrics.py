"""Metrics by name, so that a board finds how the evidence of a record becomes its number.

A metric of somebody else's is registered by the entry point ``densebench.metrics`` of its name. Its
module needs no torch, so that a board is made without.
"""

from collections.abc import Mapping
from typing import Any

from densebench.cards import Registry
from densebench.host.errors import DensebenchError
from densebench.measures.base import Metric
from densebench.measures.class_means import (
    MeanAccuracy,
    MeanDice,
    MeanFScore,
    MeanPrecision,
)
from densebench.measures.depth import (
    AbsoluteRelativeError,
    RootMeanSquareError,
    WithinThreshold,
)
from densebench.measures.jaccard import (
    BestHeadJaccard,
    CommunitiesMeanIoU,
    ForegroundJaccard,
    MergedAttentionJaccard,
    ObjectsMeanIoU,
    UpperBoundMeanIoU,
)
from densebench.measures.segmentation import (
    MeanIoU,
    MeanIoUAbsentLeftOut,
    MeanIoUAbsentZero,
    PixelAccuracy,
)

OWN: dict[str, type[Metric]] = {
    "miou": MeanIoU,
    "miou_absent_zero": MeanIoUAbsentZero,
    "miou_absent_left_out": MeanIoUAbsentLeftOut,
    "pixel_accuracy": PixelAccuracy,
    "rmse": RootMeanSquareError,
    "abs_rel": AbsoluteRelativeError,
    "delta1": WithinThreshold,
    "foreground_jaccard": ForegroundJaccard,
    "objects_miou": ObjectsMeanIoU,
    "communities_miou": CommunitiesMeanIoU,
    "communities_upper_bound": UpperBoundMeanIoU,
    "merged_attention_jaccard": MergedAttentionJaccard,
    "best_head_jaccard": BestHeadJaccard,
    "mean_accuracy": MeanAccuracy,
    "mean_precision": MeanPrecision,
    "mean_dice": MeanDice,
    "mean_fscore": MeanFScore,
}
METRICS = Registry("metric", "densebench.measures", "METRIC", "densebench.metrics")


def find_metric(name: str, parameters: Mapping[str, Any]) -> Metric | None:
    """The metric of that name; none where no installed package has it, or not so.

    Only what packages have registered is imported, whatever a record says.

    Raises:
        DensebenchError: the package that registers it cannot be imported, or it is no metric.
    """
    kind = OWN.get(name)
    if kind is None:
        if name not in METRICS.names():
            return None
        kind = METRICS.load(name)
        if not (isinstance(kind, type) and issubclass(kind, Metric)):
            raise DensebenchError(f"metric '{name}': {kind!r} is no Metric")
    try:
        return kind(**parameters)
    except TypeError:
        return None
