"""The leaderboard as data, which every format prints: records become rows, tables and means.

Numbers share a table only where ``identity.column_key`` agrees.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from densebench.host.errors import DensebenchError
from densebench.records.identity import ColumnKey, RowKey, Stored, column_key, row_key, runs
from densebench.records.ladders import LadderRecord, load_ladders
from densebench.records.schema import MetricScore
from densebench.records.store import load_profiles, load_records
from densebench.report.board.overall import Overall, overall_tables
from densebench.report.board.published import PublishedNumber, load_published
from densebench.report.board.ranking import MOST_ROWS
from densebench.report.board.rows import check_number
from densebench.report.board.tables import FoundProfile, Table, make_table, variant_order

MANY_ROWS = 10  # from which on a table takes seconds


@dataclass(frozen=True)
class Board:
    """All that a leaderboard shows."""

    tables: tuple[Table, ...]
    overall: tuple[Overall, ...]  # where a variant has two tables or more of one metric
    ladders: tuple[LadderRecord, ...] = ()  # what each change of the rules is worth

    @cached_property
    def mains(self) -> tuple[MetricScore, ...]:
        """The metrics that its tables are ranked by, in the tables' order."""
        return tuple({table.metric.name: table.metric for table in self.tables}.values())

    @cached_property
    def metrics(self) -> tuple[MetricScore, ...]:
        """All metrics: those that rank, then the others."""
        others = {metric.name: metric for table in self.tables for metric in table.others}
        return tuple({**{m.name: m for m in self.mains}, **others}.values())


def load_board(
    results: Path, partial: bool = False, say: Callable[[str], None] = lambda _: None
) -> Board:
    """The leaderboard of all records under a folder.

    Args:
        results: The folder.
        partial: Whether limited runs are shown too.
        say: Takes a line about each table that will take long.

    Raises:
        DensebenchError: there is no such folder, or a file in it is no record.
    """
    if not results.is_dir():
        raise DensebenchError(f"{results}: no such folder of records; `densebench run` makes one")
    found = load_records(results)
    for path, record in found:
        check_number(path, record)
    records = [(path, record) for path, record in found if partial or not record.partial]
    tables = _tables(records, load_published(), load_profiles(results), say)
    ladders = tuple(ladder for ladder in load_ladders(results) if partial or not ladder.partial)
    left_out = [record for _, record in found if record.partial and not partial]
    return Board(tables, overall_tables(tables, left_out), ladders)


def _tables(
    records: Sequence[Stored],
    published: Sequence[PublishedNumber],
    profiles: Sequence[FoundProfile],
    say: Callable[[str], None],
) -> tuple[Table, ...]:
    """Rows by column key, the best first; tables in the order of their tasks."""
    columns: dict[ColumnKey, dict[RowKey, list[Stored]]] = {}
    for path, record in records:
        column = columns.setdefault(column_key(record), defaultdict(list))
        column[row_key(record)].append((path, record))
    tables = []
    ordered = sorted(columns.items(), key=lambda item: _order(item[0]))
    for (task, variant, *_), column in ordered:
        if len(column) > MANY_ROWS:
            pairs = "" if len(column) <= MOST_ROWS else f", of more than {MOST_ROWS} no pairs"
            say(f"{task}, {variant}: comparing {len(column)} backbones{pairs}")
        tables.append(make_table([runs(found) for found in column.values()], published, profiles))
    return tuple(tables)


def _order(key: ColumnKey) -> tuple[object, ...]:
    task, variant, *others = key
    return (task, variant_order(str(variant)), *others)
