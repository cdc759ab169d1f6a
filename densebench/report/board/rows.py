"""One row of a table: a backbone with all its runs of one column."""

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from densebench.host.errors import DensebenchError
from densebench.measures.comparison import Comparison
from densebench.records.identity import RowKey, Stored, row_key, seeds
from densebench.records.remarks import Remark, remarks
from densebench.records.schema import IntervalRecord, MetricScore, ProfileRecord, RunRecord
from densebench.report.board.columns import gain
from densebench.report.board.published import PublishedNumber
from densebench.report.board.ranking import Standing

VARIED = ("training", "draw", "seed")  # what a row averages over, the outermost first


@dataclass(frozen=True)
class Base:
    """The row that a backbone was adapted from, and the backbone's value less that row's."""

    label: str
    difference: float
    comparison: Comparison | None  # none where the images' counts were not kept


@dataclass(frozen=True)
class Row:
    """One backbone of a table with its runs over seeds. Scores are in [0, 1].

    The seeds are those of the post-training, of the share of the training images and of the run
    itself. The deviation is over the outermost of them that varies, of means over the others.
    """

    label: str  # the backbone's name, and what tells it from another row of that name
    found: tuple[Stored, ...]  # in the order of their seeds
    published: tuple[PublishedNumber, ...] = ()
    standing: Standing | None = None  # none where rows cannot be compared
    base: Base | None = None
    profile: tuple[Path, ProfileRecord] | None = None  # where all rows were measured on one device

    @property
    def record(self) -> RunRecord:
        """The record of the first seed, for what does not differ between seeds."""
        return self.found[0][1]

    @property
    def key(self) -> RowKey:
        """What makes a row."""
        return row_key(self.record)

    @property
    def varied(self) -> tuple[str, ...]:
        """What the runs differ in, the outermost first."""
        of_runs = [seeds(record) for _, record in self.found]
        values = ({of_run[place] for of_run in of_runs} for place in range(len(VARIED)))
        return tuple(name for name, found in zip(VARIED, values, strict=True) if len(found) > 1)

    @property
    def metric(self) -> MetricScore:
        """The metric that the row is ranked by, as its first run has it."""
        return self.record.score.main

    @cached_property
    def value(self) -> float:
        """Mean over the runs."""
        return statistics.mean(record.score.value for _, record in self.found)

    @property
    def order(self) -> float:
        """What rows are sorted by: the best first, by the metric's direction."""
        return -gain(self.metric, self.value)

    @property
    def values(self) -> tuple[float, ...]:
        """For each seed of what varies outermost, the mean over the runs with it."""
        place = VARIED.index(self.varied[0]) if self.varied else 0
        groups: dict[int, list[float]] = defaultdict(list)
        for _, record in self.found:
            groups[seeds(record)[place]].append(record.score.value)
        return tuple(statistics.mean(values) for values in groups.values())

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the seeds of what varies outermost, where there are several."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def spread(self) -> str:
        """What the deviation is over: ``3 trainings``."""
        return f"{len(self.values)} {self.varied[0]}s" if self.varied else ""

    @property
    def interval(self) -> IntervalRecord | None:
        """Of a single run, if it has one that contains the score; of several, the deviation is."""
        score = self.record.score
        alone = len(self.found) == 1 and score.interval.holds(score.value)
        return score.interval if alone else None

    def of(self, name: str) -> float | None:
        """Mean of a metric over the runs; none where one has no such number."""
        metrics = (m for _, record in self.found for m in record.score.metrics)
        found = [m.value for m in metrics if m.name == name and math.isfinite(m.value)]
        return statistics.mean(found) if len(found) == len(self.found) else None

    def class_value(self, name: str) -> float | None:
        """The value of a class over the runs in which it is there."""
        found = [record.score.classes.get(name) for _, record in self.found]
        there = [value for value in found if value is not None and math.isfinite(value)]
        return statistics.mean(there) if there else None

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """What must be said beside the row."""
        return remarks(self.found)

    def seeds_of(self, record: RunRecord) -> tuple[int, ...]:
        """The seeds of one of the runs in which the runs differ, the outermost first."""
        of_run = dict(zip(VARIED, seeds(record), strict=True))
        return tuple(of_run[name] for name in self.varied)


def check_number(path: Path, record: RunRecord) -> None:
    """Refuse a record without a number to rank it by.

    Raises:
        DensebenchError: the score is NaN or infinite.
    """
    metric = record.score.main
    if not math.isfinite(metric.value):
        raise DensebenchError(f"{path}: its {metric.title} is {metric.value}, which is no number")


def interval_over(record: RunRecord) -> str:
    """What intervals and tests are over: ``1,449 images``, ``5 sequences``."""
    interval = record.score.interval
    return f"{interval.n:,} {interval.over}" if interval.n else "the validation images"
