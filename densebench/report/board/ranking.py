"""Which rows of a table can be told apart, and how far one is from another.

All pairs of a table are tested at once on the same images (``comparison.told_apart``). What the
test gives is a relation and no rank: of three rows the first may be told from the last, and the
middle one from neither. So a row says how many it is better and worse than, which is true of any
relation, and rows are in the order of their mIoU.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from densebench.measures.base import Evidence, Metric
from densebench.measures.comparison import Comparison, Resampler, Sample, compare_runs, told_apart
from densebench.measures.jackknife import Runs
from densebench.records.identity import Stored
from densebench.records.store import load_evidence

MOST_ROWS = 250  # of a table whose pairs are all tested: 31,125 pairs take some seconds
STATEMENT = (
    "Better / worse: how many rows of its table a row is better and worse than, by a test of all "
    "pairs at once on the same images (step-down, Romano and Wolf 2005; about 5% over all pairs). "
    "Those that it is better than stand below it, those that it is worse than above it; two rows "
    "that are not told apart need not be equal."
)
SHARPER = (
    "`densebench compare` tests two rows alone: it tells apart all that the table does, and "
    "smaller differences too, for which a test of many pairs has to make allowance."
)


@dataclass(frozen=True)
class Standing:
    """Which rows of a table one is significantly better and worse than, by their places."""

    better_than: tuple[int, ...]
    worse_than: tuple[int, ...]

    @property
    def text(self) -> str:
        """As a cell of a table."""
        return f"{len(self.better_than)} / {len(self.worse_than)}"


class Standings:
    """The rows of one table with the counts of their images.

    Args:
        rows: The records of each row, one per seed; all of one column.

    Raises:
        DensebenchError: a file of counts cannot be read, or is not of its record.
    """

    def __init__(self, rows: Sequence[Sequence[Stored]]) -> None:
        self._rows = rows
        self._many = len(rows) > MOST_ROWS  # then the evidence of two at a time is read
        read = [] if self._many else rows
        counts = [[load_evidence(path, record) for path, record in found] for found in read]
        self._counts = _sharing_groups(counts)
        self._resamplers: dict[int, Resampler] = {}

    def why_not(self, *places: int) -> str:
        """Why these rows cannot be compared on the same images, or nothing; without any, all."""
        if self._many:
            return (
                f"the test of all pairs is made for at most {MOST_ROWS} rows, and these are "
                f"{len(self._rows):,}; `densebench compare` tests two alone"
            )
        chosen = places or range(len(self._rows))
        counts = [counts for place in chosen for counts in self._counts[place]]
        found = [found for place in chosen for found in self._rows[place]]
        without = [f for f, c in zip(found, counts, strict=True) if c is None]
        if without:
            (path, record), others = without[0], len(without) - 1
            more = f" (and {others} more)" if others else ""
            return (
                f"{record.backbone.name}, {path.name}{more}: no evidence of single images "
                "lies beside it; repeat the run with --overwrite"
            )
        main = found[0][1].score.main
        if main.metric is None:
            return f"no package here has the metric '{main.name}'; install the one that made it"
        known = [c for c in counts if c is not None]
        if len({c.names for c in known}) > 1:
            return "not scored on the same images"
        if known[0].units.shape[1] < 2:
            return f"a single one of the {known[0].over} says nothing of others"
        return ""

    def standings(self) -> list[Standing | None]:
        """The standing of every row; none for all where some cannot be compared."""
        if self.why_not():
            return [None] * len(self._rows)
        samples = [self._sample(place) for place in range(len(self._rows))]
        better = told_apart(samples, self._metric().higher)
        return [
            Standing(tuple(np.flatnonzero(row).tolist()), tuple(np.flatnonzero(column).tolist()))
            for row, column in zip(better, better.T, strict=True)
        ]

    def compare(self, first: int, second: int) -> Comparison | None:
        """How much better one row is than another; none where they cannot be compared."""
        if self._many:
            return Standings([self._rows[first], self._rows[second]]).compare(0, 1)
        if self.why_not(first, second):
            return None
        over, runs = self._known(first)[0].over, (self._runs(first), self._runs(second))
        return compare_runs(*runs, self._metric(), over)

    def _known(self, place: int) -> list[Evidence]:
        return [counts for counts in self._counts[place] if counts is not None]

    def _runs(self, place: int) -> Runs:
        return [counts.units for counts in self._known(place)]

    def _sample(self, place: int) -> Sample:
        """The row on all images, without each, and on each resample of them."""
        runs = self._runs(place)
        n = runs[0].shape[1]
        if n not in self._resamplers:
            self._resamplers[n] = Resampler(n)
        return self._resamplers[n].sample(runs, self._metric())

    def _metric(self) -> Metric:
        """What the rows are ranked by; they share a column, and so the metric."""
        metric = self._rows[0][0][1].score.main.metric
        assert metric is not None  # `why_not` tells
        return metric


def _sharing_groups(
    counts: Sequence[Sequence[Evidence | None]],
) -> list[list[Evidence | None]]:
    """The counts with the groups of their images, which those of older runs do not name."""
    known = [c for row in counts for c in row if c is not None]
    named = {c.names: (c.groups, c.group_name) for c in known if c.groups is not None}

    def with_groups(of_run: Evidence | None) -> Evidence | None:
        if of_run is None or of_run.groups is not None or of_run.names not in named:
            return of_run
        groups, name = named[of_run.names]
        return replace(of_run, groups=groups, group_name=name)

    return [[with_groups(c) for c in row] for row in counts]
