"""Several tables of one variant and one metric side by side, with the mean of each backbone."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from densebench.records.identity import RowKey, labels
from densebench.records.schema import MetricScore, RunRecord
from densebench.report.board.columns import gain
from densebench.report.board.missing import why_missing
from densebench.report.board.rows import Row
from densebench.report.board.tables import Table, variant_order


@dataclass(frozen=True)
class OverallRow:
    """A backbone over the tables of one variant; none where a table lacks it."""

    label: str
    cells: tuple[Row | None, ...]
    missing: tuple[str, ...]  # of each table why it has no cell, nothing where it has one

    @property
    def mean(self) -> float | None:
        """The mean over all tables; none when one is missing."""
        values = [row.value for row in self.cells if row is not None]
        return statistics.mean(values) if len(values) == len(self.cells) else None


@dataclass(frozen=True)
class Overall:
    """Several tables of one variant and metric side by side, complete backbones first."""

    variant: str
    tables: tuple[Table, ...]
    headings: tuple[str, ...]
    rows: tuple[OverallRow, ...]
    alone: bool = True  # whether all tables of the variant are of this metric

    @property
    def metric(self) -> MetricScore:
        """The metric of every table."""
        return self.tables[0].metric

    @property
    def title(self) -> str:
        """The variant, and the metric where the variant's tables are of several."""
        return self.variant + ("" if self.alone else f", {self.metric.title}")


def overall_tables(
    tables: Sequence[Table], left_out: Sequence[RunRecord] = ()
) -> tuple[Overall, ...]:
    """For each variant and metric that has two tables or more; means go over one metric alone.

    ``left_out`` are partial runs that the tables do not show: a cell that is empty tells of them.
    """
    groups: dict[tuple[str, str], list[Table]] = {}
    for table in tables:
        groups.setdefault((table.variant, table.metric.name), []).append(table)
    variants = [variant for variant, _ in groups]
    ordered = sorted(groups.items(), key=lambda group: variant_order(group[0][0]))
    made = (
        _overall(variant, found, variants.count(variant) == 1, (tables, left_out))
        for (variant, _), found in ordered
    )
    return tuple(overall for overall in made if len(overall.tables) > 1)


def _overall(
    variant: str,
    tables: Sequence[Table],
    alone: bool,
    known: tuple[Sequence[Table], Sequence[RunRecord]],
) -> Overall:
    """The tables side by side; of each task those with the most training images."""
    chosen = tuple(
        table
        for table in tables
        if table.record.dataset.n_train
        == max(t.record.dataset.n_train for t in tables if t.task == table.task)
    )
    by_key = [{row.key: row for row in table.rows} for table in chosen]
    keys = list(dict.fromkeys(key for rows in by_key for key in rows))
    names = labels([next(rows[key].found for rows in by_key if key in rows) for key in keys])
    found = [
        OverallRow(name, tuple(rows.get(key) for rows in by_key), _missing(key, chosen, known))
        for name, key in zip(names, keys, strict=True)
    ]
    metric = chosen[0].metric
    found.sort(key=lambda row: (row.mean is None, -gain(metric, row.mean or 0), row.label))
    return Overall(variant, chosen, _headings(chosen), tuple(found), alone)


def _missing(
    key: RowKey, chosen: Sequence[Table], known: tuple[Sequence[Table], Sequence[RunRecord]]
) -> tuple[str, ...]:
    return tuple(
        "" if any(row.key == key for row in table.rows) else why_missing(key, table, *known)
        for table in chosen
    )


def _headings(tables: Sequence[Table]) -> tuple[str, ...]:
    """The tasks; where a task has several tables, with what tells them apart."""
    names = [table.task for table in tables]
    return tuple(
        table.task if names.count(table.task) == 1 else f"{table.task} ({apart(table)})"
        for table in tables
    )


def apart(table: Table) -> str:
    """What tells a table from another of its task and variant."""
    record = table.record
    share = [record.dataset.subset] if record.dataset.subset else []
    hashes = [f"protocol {record.protocol.hash[:6]}", f"data {record.dataset.fingerprint[:6]}"]
    return ", ".join(share + hashes)
