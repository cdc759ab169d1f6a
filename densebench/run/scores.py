"""What was measured at one resolution, as a record says it."""

from densebench.measures.jackknife import LEVEL
from densebench.measures.scoring import Measured, Result
from densebench.records.schema import IntervalRecord, MetricScore, Score


def make_score(result: Result) -> Score:
    """The score of a record."""
    over, n = result.evidence.over, result.evidence.units.shape[1]
    return Score(
        resolution=result.resolution,
        metrics=[metric_score(measured, over, n) for measured in result.measured],
        classes=result.detail.classes,
        mapping=result.detail.mapping,
        confusion=result.detail.confusion,
    )


def metric_score(measured: Measured, over: str, n: int) -> MetricScore:
    """One number of it, measured over so many images or groups."""
    metric, (low, high) = measured.metric, measured.bounds or (None, None)
    return MetricScore(
        name=metric.name,
        title=metric.title,
        unit=metric.unit,
        higher=metric.higher,
        scale=metric.scale,
        decimals=metric.decimals,
        parameters=metric.parameters,
        value=measured.value,
        repeats=measured.repeats,
        interval=IntervalRecord(low=low, high=high, level=LEVEL, over=over, n=n),
    )
