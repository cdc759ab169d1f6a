"""Data efficiency: a task on growing shares of its training images.

A share is drawn with a seed of its own, and each draw makes another dataset. Here the draws of one
share are averaged, under the name of what they are; the seeds of a run never mix with them.
"""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from densebench.report.tables import Row, RowKey, Table


@dataclass(frozen=True)
class ShareCell:
    """A backbone on one share: a row for each draw of it."""

    draws: tuple[Row, ...]

    @property
    def miou(self) -> float:
        """Mean over draws of the mean over seeds, in [0, 1]."""
        return statistics.mean(row.miou for row in self.draws)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over draws, where there are several."""
        return statistics.stdev(row.miou for row in self.draws) if len(self.draws) > 1 else None


@dataclass(frozen=True)
class ShareTable:
    """Backbones on the shares of one task, the smallest share first."""

    task: str
    variant: str
    shares: tuple[str, ...]  # "1/8"; all images are "1/1"
    rows: tuple[tuple[str, tuple[ShareCell | None, ...]], ...]  # a backbone's label and cells


def share_tables(tables: Sequence[Table]) -> list[ShareTable]:
    """A table for each task that was run on several shares by one protocol."""
    groups: dict[tuple[object, ...], list[Table]] = defaultdict(list)
    for table in tables:
        record = table.record
        key = (table.task, table.variant, record.protocol.hash, record.dataset.n_val)
        groups[key].append(table)
    made = (_share_table(group) for group in groups.values())
    return [table for table in made if len(table.shares) > 1]


def share_of(table: Table) -> str:
    """The share of the training images that a table is made on."""
    subset = table.record.dataset.subset
    return subset.partition(",")[0] if subset else "1/1"


def _share_table(tables: Sequence[Table]) -> ShareTable:
    shares = sorted({share_of(table) for table in tables}, key=Fraction)
    found: dict[RowKey, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    labels: dict[RowKey, str] = {}
    for table in tables:
        for row in table.rows:
            found[row.key][share_of(table)].append(row)
            labels[row.key] = max(labels.get(row.key, ""), row.label, key=len)
    rows = [
        (labels[key], tuple(ShareCell(tuple(of[s])) if s in of else None for s in shares))
        for key, of in found.items()
    ]
    rows.sort(key=lambda row: ([-cell.miou if cell else 0 for cell in row[1][::-1]], row[0]))
    return ShareTable(tables[0].task, tables[0].variant, tuple(shares), tuple(rows))
