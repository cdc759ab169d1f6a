"""The leaderboard as data, which every format prints: records become rows, tables and means.

Numbers share a table only where ``columns.column_key`` agrees.
"""

import os
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from densebench.host.errors import DensebenchError
from densebench.records.identity import ColumnKey, RowKey, Stored, column_key, labels, row_key, runs
from densebench.records.schema import IntervalRecord, ProfileRecord, RunRecord
from densebench.records.store import load_profiles, load_records
from densebench.report.board.published import PublishedNumber, load_published
from densebench.report.board.ranking import Standings
from densebench.report.board.rows import Base, Row, interval_over

FoundProfile = tuple[Path, ProfileRecord]
MANY_ROWS = 10  # from which on a table takes seconds
Mark = Literal["best", "second", ""]


@dataclass(frozen=True)
class Table:
    """Rows that may be compared, the highest mIoU first."""

    rows: tuple[Row, ...]
    untested: str = ""  # why the rows are not told apart

    @property
    def record(self) -> RunRecord:
        """Any record of the table, for what they share."""
        return self.rows[0].record

    @property
    def task(self) -> str:
        """The task's name."""
        return self.record.task

    @property
    def variant(self) -> str:
        """The protocol's variant."""
        return self.record.protocol.variant

    @property
    def profile_device(self) -> str | None:
        """The device that all rows were measured on, if they were."""
        profile = self.rows[0].profile
        return profile[1].device if profile else None

    @property
    def title(self) -> str:
        """Task, variant, and the share of the training images where it is not all of them."""
        share = self.record.dataset.subset
        return f"{self.task}, {self.variant}" + (f", {share} of the training images" * bool(share))

    @property
    def over(self) -> str:
        """What intervals and tests are over: ``1,449 images``, ``5 sequences``."""
        return interval_over(self.record)

    @property
    def skipped(self) -> str:
        """What all rows of the table left out, if anything."""
        names = sorted(self.record.dataset.skipped)
        if not names:
            return ""
        return f"{len(names)} unreadable image{'s' * (len(names) > 1)} left out: {', '.join(names)}"


@dataclass(frozen=True)
class OverallRow:
    """A backbone over the tables of one variant; none where a table lacks it."""

    label: str
    cells: tuple[Row | None, ...]

    @property
    def mean(self) -> float | None:
        """The mean mIoU over all tables; none when one is missing."""
        mious = [row.miou for row in self.cells if row is not None]
        return statistics.mean(mious) if len(mious) == len(self.cells) else None


@dataclass(frozen=True)
class Overall:
    """Several tables of one variant side by side, complete backbones first."""

    variant: str
    tables: tuple[Table, ...]
    headings: tuple[str, ...]
    rows: tuple[OverallRow, ...]


@dataclass(frozen=True)
class Board:
    """All that a leaderboard shows."""

    tables: tuple[Table, ...]
    overall: tuple[Overall, ...]  # for the variants that have two tables or more


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
    records = [(path, r) for path, r in load_records(results) if partial or not r.partial]
    tables = _tables(records, load_published(), load_profiles(results), say)
    variants = dict.fromkeys(table.variant for table in tables)
    overall = (_overall(variant, tables) for variant in variants)
    return Board(tables, tuple(o for o in overall if len(o.tables) > 1))


def _tables(
    records: Sequence[Stored],
    published: Sequence[PublishedNumber],
    profiles: Sequence[FoundProfile],
    say: Callable[[str], None],
) -> tuple[Table, ...]:
    """Rows by column key, the highest mIoU first; tables in the order of their tasks."""
    columns: dict[ColumnKey, dict[RowKey, list[Stored]]] = {}
    for path, record in records:
        column = columns.setdefault(column_key(record), defaultdict(list))
        column[row_key(record)].append((path, record))
    tables = []
    for (task, variant, *_), column in sorted(columns.items()):
        if len(column) > MANY_ROWS:
            say(f"{task}, {variant}: comparing {len(column)} backbones")
        tables.append(_table([runs(found) for found in column.values()], published, profiles))
    return tuple(tables)


def _table(
    column: Sequence[Sequence[Stored]],
    published: Sequence[PublishedNumber],
    profiles: Sequence[FoundProfile],
) -> Table:
    rows = [
        Row(label, tuple(found), tuple(p for p in published if p.fits(found[0][1])))
        for label, found in zip(labels(column), column, strict=True)
    ]
    rows.sort(key=lambda row: (-row.miou, row.label))
    tested = Standings([row.found for row in rows])
    standings, measured = tested.standings(), _profiles(rows, profiles)
    complete = tuple(
        replace(
            row,
            standing=standings[place],
            base=_base(place, rows, tested),
            profile=measured[place],
        )
        for place, row in enumerate(rows)
    )
    return Table(complete, tested.why_not())


def _profiles(
    rows: Sequence[Row], profiles: Sequence[FoundProfile]
) -> Sequence[FoundProfile | None]:
    """The profile of each row, all of one device, a GPU if there is one; or none of any."""
    fitting = [
        {profile.device: (path, profile) for path, profile in profiles if _fits(profile, row)}
        for row in rows
    ]
    shared = set.intersection(*(set(of_row) for of_row in fitting))
    if not shared:
        return [None] * len(rows)
    device = min(shared, key=lambda name: (not name.startswith("cuda"), name))
    return [of_row[device] for of_row in fitting]


def _fits(profile: ProfileRecord, row: Row) -> bool:
    """Whether a profile is of the row's backbone at its input size and precision."""
    record = row.record
    return (profile.fingerprint, profile.size, profile.precision) == (
        record.backbone.fingerprint,
        record.protocol.input_size,
        record.precision.partition("+")[0],
    )


def _base(place: int, rows: Sequence[Row], standings: Standings) -> Base | None:
    """The one row of the backbone that the card names, at the same precision."""
    record = rows[place].record
    wanted = (record.backbone.card.get("adapted_from"), record.precision)
    found = [
        other
        for other, row in enumerate(rows)
        if (row.record.backbone.name, row.record.precision) == wanted
    ]
    if len(found) != 1:
        return None
    base = rows[found[0]]
    difference = rows[place].miou - base.miou
    return Base(base.label, difference, standings.compare(place, found[0]))


def _overall(variant: str, tables: Sequence[Table]) -> Overall:
    """The tables of a variant side by side; of each task those with the most training images."""
    of_variant = [table for table in tables if table.variant == variant]
    chosen = tuple(
        table
        for table in of_variant
        if table.record.dataset.n_train
        == max(t.record.dataset.n_train for t in of_variant if t.task == table.task)
    )
    by_key = [{row.key: row for row in table.rows} for table in chosen]
    keys = list(dict.fromkeys(key for rows in by_key for key in rows))
    names = labels([next(rows[key].found for rows in by_key if key in rows) for key in keys])
    found = [
        OverallRow(name, tuple(rows.get(key) for rows in by_key))
        for name, key in zip(names, keys, strict=True)
    ]
    found.sort(key=lambda row: (row.mean is None, -(row.mean or 0), row.label))
    return Overall(variant, chosen, _headings(chosen), tuple(found))


def _headings(tables: Sequence[Table]) -> tuple[str, ...]:
    """The tasks; where a task has several tables, with what tells them apart."""
    names = [table.task for table in tables]
    return tuple(
        table.task if names.count(table.task) == 1 else f"{table.task} ({_apart(table)})"
        for table in tables
    )


def _apart(table: Table) -> str:
    record = table.record
    share = [record.dataset.subset] if record.dataset.subset else []
    hashes = [f"protocol {record.protocol.hash[:6]}", f"data {record.dataset.fingerprint[:6]}"]
    return ", ".join(share + hashes)


def marks(values: Sequence[float | None]) -> list[Mark]:
    """The best and the second of a column of shares, as they print: equal prints are marked alike.

    Args:
        values: In [0, 1], none where there is no number; they print in per cent with two decimals.
    """
    printed = [None if value is None else percent(value) for value in values]
    ranked = sorted({value for value in printed if value is not None}, key=float, reverse=True)
    names: dict[str | None, Mark] = dict(zip(ranked, ("best", "second"), strict=False))
    return [names.get(value, "") for value in printed]


def percent(value: float) -> str:
    """A share in per cent, as every format prints it."""
    return f"{100 * value:.2f}"


def bracket(interval: IntervalRecord | None) -> str:
    """An interval of shares in per cent; nothing where there is none."""
    if interval is None or interval.low is None or interval.high is None:
        return ""
    return f"[{percent(interval.low)}, {percent(interval.high)}]"


def signed(value: float) -> str:
    """A difference of shares in points of a per cent, with its sign."""
    return f"{100 * value:+.2f}"


def relative_link(path: Path, folder: Path) -> str:
    """The link from a page in ``folder`` to a file."""
    relative = os.path.relpath(path.resolve(), folder.resolve())
    return quote(Path(relative).as_posix(), safe="/@+")
