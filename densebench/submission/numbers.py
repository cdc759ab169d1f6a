"""Every number of a record, computed again from its evidence and its confusion matrices."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from densebench.host.errors import DensebenchError
from densebench.measures.base import Evidence, sum_type
from densebench.measures.labels import mean_over_repeats
from densebench.measures.scoring import measured_of
from densebench.measures.segmentation import class_counts, iou_per_class
from densebench.records.evidence import EXACT
from densebench.records.schema import MetricScore, RunRecord, Score
from densebench.run.scores import metric_score

Sums = Integer[np.ndarray, "r v"] | Float[np.ndarray, "r v"]
UNFIT = (ValueError, TypeError, IndexError, ArithmeticError, DensebenchError)
MOST = 8  # differences of one record that are named; one edit may move many


def number_problems(record: RunRecord, evidence: Evidence) -> list[str]:
    """Each number that is another than what it follows from, by where it stands in the record.

    The ranked score follows from the evidence, with its intervals; the scores at other resolutions
    follow from their confusion matrices, where there are some.
    """
    told = [line for place in range(len(record.scores)) for line in _of(record, place, evidence)]
    more = [f"and {len(told) - MOST} more numbers are others"] if len(told) > MOST else []
    return told[:MOST] + more


def _of(record: RunRecord, place: int, evidence: Evidence) -> Iterator[str]:
    score, where = record.scores[place], f"scores[{place}]"
    try:
        counted = _counted(score)
        if place == 0:
            sums = evidence.vectors.sum(axis=1, dtype=sum_type(evidence.vectors))
            if counted is not None and not np.array_equal(counted, sums):
                yield f"{where}.confusion: its pixels are not those of the evidence"
            yield from _metrics(where, score, sums, evidence)
        elif counted is not None:
            yield from _metrics(where, score, counted, None)
        yield from _classes(where, score, counted)
    except UNFIT as error:
        yield f"{where}: its numbers do not fit each other: {error}"


def _counted(score: Score) -> Sums | None:
    """The pixel counts of each repeat's confusion matrix."""
    if not score.confusion:
        return None
    return np.stack([class_counts(np.array(matrix)).ravel() for matrix in score.confusion])


def _metrics(where: str, score: Score, sums: Sums, evidence: Evidence | None) -> Iterator[str]:
    for number, said in enumerate(score.metrics):
        place, metric = f"{where}.metrics[{number}]", said.metric
        if metric is None:
            yield f"{place} ({said.name}): no package here has this metric, so nothing can check it"
            continue
        if evidence is None:
            values = metric.of(sums)
            facts = {"value": float(values.mean()), "repeats": values.tolist()}
        else:
            found = measured_of(metric, sums, evidence)
            facts = _facts(metric_score(found, evidence.over, evidence.units.shape[1]))
        printed = {key: getattr(metric, key) for key in ("title", "unit", "scale", "decimals")}
        facts |= {**printed, "higher": metric.higher}
        yield from _differences(f"{place} ({said.name})", _facts(said), facts)


def _facts(score: MetricScore) -> dict[str, Any]:
    """What is compared; an interval of a bootstrap has more."""
    facts = score.model_dump(mode="json", exclude={"parameters", "name"})
    if facts["interval"] is not None:
        facts["interval"] = {k: facts["interval"][k] for k in ("low", "high", "level", "over", "n")}
    return facts


def _classes(where: str, score: Score, counted: Sums | None) -> Iterator[str]:
    if counted is None:
        return
    counts = counted.reshape(len(counted), 3, -1)
    found = mean_over_repeats(iou_per_class(counts))
    by_name = dict(zip(score.classes, found, strict=True))
    yield from _differences(f"{where}.classes", score.classes, by_name)


def _differences(where: str, said: Any, found: Any) -> Iterator[str]:
    """Each leaf of ``found`` that is said to be another."""
    if isinstance(found, dict):
        for key, value in found.items():
            inner = said.get(key) if isinstance(said, dict) else None
            yield from _differences(f"{where}.{key}", inner, value)
    elif isinstance(found, list):
        if not isinstance(said, list) or len(said) != len(found):
            yield f"{where}: {len(found)} follow from the evidence, not {_length(said)}"
            return
        for number, pair in enumerate(zip(said, found, strict=True)):
            yield from _differences(f"{where}[{number}]", *pair)
    elif not _same(said, found):
        yield f"{where} is {said}, and its evidence gives {found}"


def _length(said: Any) -> str:
    return str(len(said)) if isinstance(said, list) else "that"


def _same(said: Any, found: Any) -> bool:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (said, found))
    if not numbers or isinstance(found, int):
        return bool(said == found)
    return math.isclose(said, found, rel_tol=EXACT, abs_tol=EXACT)
