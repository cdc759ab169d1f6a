"""Data efficiency: a task on growing shares of its training images.

The seeds of a share are averaged in its own table. Shares by published lists and seeded ones of our
own are never in one table.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from densebench.records.identity import RowKey, column_key
from densebench.records.schema import MetricScore
from densebench.report.board.rows import Row
from densebench.report.board.tables import Table

WHOLE = "1/1"


@dataclass(frozen=True)
class ShareTable:
    """Backbones on the shares of one task, the smallest share first."""

    task: str
    variant: str
    metric: MetricScore
    shares: tuple[str, ...]  # "1/8" or "own:1/8"; all images are "1/1"
    rows: tuple[tuple[str, tuple[Row | None, ...]], ...]  # a backbone's label and cells


def share_tables(tables: Sequence[Table]) -> list[ShareTable]:
    """A table for each task that was run on several shares by one protocol, and kind of share."""
    groups: dict[tuple[object, ...], list[Table]] = defaultdict(list)
    for table in tables:
        task, variant, protocol, data, _, *left_out = column_key(table.record)
        groups[(task, variant, protocol, data, *left_out)].append(table)
    made = (_share_table(part) for group in groups.values() for part in _kinds(group))
    return [table for table in made if len(table.shares) > 1]


def share_of(table: Table) -> str:
    """The share of the training images that a table is made on."""
    return table.record.dataset.subset or WHOLE


def parts(share: str) -> Fraction:
    """The share as a number, wherever its list is from."""
    return Fraction(share.rpartition(":")[2].partition(",")[0])


def _kinds(tables: Sequence[Table]) -> list[list[Table]]:
    """The tables of each kind of share, and beside each those of all images."""
    kinds: dict[str, list[Table]] = defaultdict(list)
    for table in tables:
        if (share := share_of(table)) != WHOLE:
            kinds[share.rpartition(":")[0]].append(table)
    return [[*found, *(t for t in tables if share_of(t) == WHOLE)] for found in kinds.values()]


def _share_table(tables: Sequence[Table]) -> ShareTable:
    shares = sorted({share_of(table) for table in tables}, key=parts)
    found: dict[RowKey, dict[str, Row]] = defaultdict(dict)
    labels: dict[RowKey, str] = {}
    for table in tables:
        for row in table.rows:
            found[row.key][share_of(table)] = row
            labels[row.key] = max(labels.get(row.key, ""), row.label, key=len)
    rows = [(labels[key], tuple(of.get(share) for share in shares)) for key, of in found.items()]
    rows.sort(key=lambda row: ([_order(cell) for cell in row[1][::-1]], row[0]))
    first = tables[0]
    return ShareTable(first.task, first.variant, first.metric, tuple(shares), tuple(rows))


def _order(row: Row | None) -> tuple[bool, float]:
    return (row is None, row.order if row else 0)
