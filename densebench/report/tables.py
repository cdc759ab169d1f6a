"""The leaderboard as data, which every format prints: records become rows, tables and means.

Numbers share a table only when task, variant, protocol hash and dataset fingerprint agree.
"""

import os
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from densebench.comparison import Comparison
from densebench.errors import DensebenchError
from densebench.report.published import PublishedNumber, load_published
from densebench.report.ranking import Found, Standings
from densebench.results import ProfileRecord, RunRecord, load_profiles, load_records

FoundProfile = tuple[Path, ProfileRecord]
MANY_ROWS = 10  # from which on a table takes seconds
Mark = Literal["best", "second", ""]
RowKey = tuple[str, str, str]  # a backbone's name, the fingerprint of its weights, the precision


@dataclass(frozen=True)
class Base:
    """The row that a backbone was adapted from, and how much better than it the backbone is."""

    label: str
    difference: float
    comparison: Comparison | None  # none where the images' counts were not kept


@dataclass(frozen=True)
class Row:
    """One backbone of a table: its records, one per seed. Scores are in [0, 1]."""

    label: str  # the backbone's name, and what tells it from another row of that name
    found: tuple[Found, ...]  # in the order of their seeds
    published: tuple[PublishedNumber, ...] = ()
    rank: int | None = None  # see ranking; rows that cannot be told apart share one
    base: Base | None = None
    profile: FoundProfile | None = None  # where every row was measured on one device

    @property
    def record(self) -> RunRecord:
        """The record of the first seed, for what does not differ between seeds."""
        return self.found[0][1]

    @property
    def key(self) -> RowKey:
        """What makes a row: the name, and all but the seed that gives it another number."""
        return row_key(self.record)

    @property
    def miou(self) -> float:
        """Mean over seeds."""
        return statistics.mean(record.score.miou for _, record in self.found)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over seeds, where there are several."""
        if len(self.found) == 1:
            return None
        return statistics.stdev(record.score.miou for _, record in self.found)

    @property
    def pixel_accuracy(self) -> float:
        """Mean over seeds."""
        return statistics.mean(record.score.pixel_accuracy for _, record in self.found)

    @property
    def description(self) -> str:
        """What the backbone's card says that it is."""
        return str(self.record.backbone.card.get("description") or "")

    @property
    def notice(self) -> str:
        """What a reader must know of the backbone, if its card has such a word."""
        return str(self.record.backbone.card.get("notice") or "")


@dataclass(frozen=True)
class Table:
    """Rows that may be compared, the best first."""

    rows: tuple[Row, ...]
    unranked: str = ""  # why there are no ranks

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


def row_key(record: RunRecord) -> RowKey:
    """What makes a row: the name, and all but the seed that gives it another number."""
    return record.backbone.name, record.backbone.fingerprint, record.precision


def _tables(
    records: Sequence[Found],
    published: Sequence[PublishedNumber],
    profiles: Sequence[FoundProfile],
    say: Callable[[str], None],
) -> tuple[Table, ...]:
    """Rows by column key, best first; tables in the order of their tasks."""
    columns: dict[tuple[str, ...], dict[RowKey, list[Found]]] = {}
    for path, record in records:
        key = (record.task, record.protocol.variant, record.protocol.hash)
        column = columns.setdefault((*key, record.dataset.fingerprint), defaultdict(list))
        column[row_key(record)].append((path, record))
    tables = []
    for (task, variant, *_), column in sorted(columns.items()):
        if len(column) > MANY_ROWS:
            say(f"{task}, {variant}: comparing {len(column)} backbones")
        tables.append(_table(column, published, profiles))
    return tuple(tables)


def _table(
    column: dict[RowKey, list[Found]],
    published: Sequence[PublishedNumber],
    profiles: Sequence[FoundProfile],
) -> Table:
    labels = _labels(list(column))
    rows = [
        Row(
            labels[key],
            tuple(sorted(found, key=lambda f: f[1].seed)),
            tuple(number for number in published if number.fits(found[0][1])),
        )
        for key, found in column.items()
    ]
    rows.sort(key=lambda row: (-row.miou, row.label))
    standings = Standings([row.found for row in rows])
    ranks, measured = standings.ranks(), _profiles(rows, profiles)
    complete = tuple(
        replace(row, rank=ranks[place], base=_base(place, rows, standings), profile=measured[place])
        for place, row in enumerate(rows)
    )
    return Table(complete, standings.why_not())


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


def _labels(keys: Sequence[RowKey]) -> dict[RowKey, str]:
    """Names of rows; where two would be one, with the precision and the weights' fingerprint."""
    labels = {}
    for name, weights, precision in keys:
        same = [key for key in keys if key[0] == name]
        told = [precision] if len({key[2] for key in same}) > 1 else []
        told += [f"weights {weights[:8]}"] if len({key[1] for key in same}) > 1 else []
        labels[name, weights, precision] = name + (f" ({', '.join(told)})" if told else "")
    return labels


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
    labels = _labels(keys)
    found = [OverallRow(labels[key], tuple(rows.get(key) for rows in by_key)) for key in keys]
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


def signed(value: float) -> str:
    """A difference of shares in points of a per cent, with its sign."""
    return f"{100 * value:+.2f}"


def relative_link(path: Path, folder: Path) -> str:
    """The link from a page in ``folder`` to a file."""
    relative = os.path.relpath(path.resolve(), folder.resolve())
    return quote(Path(relative).as_posix(), safe="/@+")
