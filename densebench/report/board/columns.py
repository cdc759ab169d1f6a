"""One column of values of one metric: their order, how they print, best and second.

A record says of its metrics what is needed: title, unit, scale, decimals and direction. Nothing
here or in a format knows a metric by its name.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from densebench.records.schema import IntervalRecord, MetricScore

Mark = Literal["best", "second", ""]
UNITS = {"%": "per cent"}  # as a sentence says them


def signed(metric: MetricScore, value: float) -> str:
    """A difference of values, in the metric's unit, with its sign."""
    return metric.text(value, sign=True)


def bracket(metric: MetricScore, interval: IntervalRecord | None) -> str:
    """An interval about a value; nothing where there is none."""
    if interval is None or interval.low is None or interval.high is None:
        return ""
    return f"[{metric.text(interval.low)}, {metric.text(interval.high)}]"


def heading(metric: MetricScore) -> str:
    """The head of a column: the title, and a unit that is not per cent, which a caption says."""
    return metric.title if metric.unit in ("", "%") else f"{metric.title} ({metric.unit})"


def class_title(metric: MetricScore) -> str:
    """What the values of single classes are: of a mean IoU, the IoU."""
    mean = metric.title[:1] == "m" and metric.title[1:2].isupper()
    return metric.title[1:] if mean else metric.title


def unit(metric: MetricScore) -> str:
    """The unit as a sentence says it: ``per cent``, ``m``."""
    return UNITS.get(metric.unit, metric.unit)


def gain(metric: MetricScore, difference: float) -> float:
    """By how much a difference is an improvement: above 0 where the first value is the better."""
    return difference if metric.higher else -difference


def described(metrics: Iterable[MetricScore]) -> str:
    """Titles with units and directions: ``mIoU and pixel accuracy in per cent; RMSE in m, ...``."""
    groups: dict[tuple[str, bool], dict[str, None]] = {}
    for metric in metrics:
        groups.setdefault((unit(metric), metric.higher), {})[metric.title] = None
    return "; ".join(
        _listed(list(titles))
        + (f" in {of}" if of else "")
        + ("" if higher else ", lower is better")
        for (of, higher), titles in groups.items()
    )


def _listed(titles: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(titles[:-1]), titles[-1])))


def marks(metric: MetricScore, values: Sequence[float | None]) -> list[Mark]:
    """The best and the second of a column, as they print: equal prints are marked alike.

    Args:
        metric: Whose values they are; its direction says which is the best.
        values: None where there is no number.
    """
    printed = [None if value is None else metric.text(value) for value in values]
    there = {value for value in printed if value is not None}
    ranked = sorted(there, key=float, reverse=metric.higher)
    names: dict[str | None, Mark] = dict(zip(ranked, ("best", "second"), strict=False))
    return [names.get(value, "") for value in printed]
