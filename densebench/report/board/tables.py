"""One table of a board: the rows that may be compared, what tells them apart, their bases."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from densebench.records.identity import Stored, labels
from densebench.records.schema import MetricScore, ProfileRecord, RunRecord
from densebench.report.board.published import PublishedNumber
from densebench.report.board.ranking import Standings
from densebench.report.board.rows import Base, Row, interval_over

REFERENCE = "reference"
FoundProfile = tuple[Path, ProfileRecord]


@dataclass(frozen=True)
class Table:
    """Rows that may be compared, the best first."""

    rows: tuple[Row, ...]
    untested: str = ""  # why the rows are not told apart

    @property
    def record(self) -> RunRecord:
        """Any record of the table, for what they share."""
        return self.rows[0].record

    @property
    def metric(self) -> MetricScore:
        """The metric that the rows are ranked by."""
        return self.rows[0].metric

    @cached_property  # asked for with every row
    def others(self) -> tuple[MetricScore, ...]:
        """What else was measured, in the records' order.

        Not the ranked metric under another rule, ``miou_absent_zero`` beside ``miou``: that is in
        the record.
        """
        found = {m.name: m for row in self.rows for m in row.record.score.metrics[1:]}
        variant = f"{self.metric.name}_"
        return tuple(m for name, m in found.items() if not name.startswith(variant))

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
        """Task, variant, and which of the images it is over where it is not all of them."""
        share, limit = self.record.dataset.subset, self.record.limit
        title = f"{self.task}, {self.variant}" + f", {share} of the training images" * bool(share)
        return title + f", the first {limit} images" * bool(limit)

    @property
    def about(self) -> str:
        """Protocol, images, and what scores and tests are over, in a sentence without its stop."""
        data, score = self.record.dataset, self.record.score
        classes = f", {len(data.classes)} classes; masks" if score.classes else "; scored"
        return (
            f"{self.record.protocol.name} protocol on {data.kind}: {data.n_train:,} training and "
            f"{data.n_val:,} validation images{classes} at {score.resolution} size; intervals and "
            f"tests over {self.over}"
        )

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


def variant_order(variant: str) -> tuple[bool, str]:
    """What variants are sorted by: the published one first, which a reader looks for."""
    return (variant != REFERENCE, variant)


def make_table(
    column: Sequence[Sequence[Stored]],
    published: Sequence[PublishedNumber],
    profiles: Sequence[FoundProfile],
) -> Table:
    """The table of one column's runs, which are given row by row."""
    rows = [
        Row(label, tuple(found), tuple(p for p in published if p.fits(found[0][1])))
        for label, found in zip(labels(column), column, strict=True)
    ]
    rows.sort(key=lambda row: (row.order, row.label))
    tested = Standings([row.found for row in rows])
    standings, measured = tested.standings(), _profiles(rows, profiles)
    bases = _bases(rows, tested)
    complete = tuple(
        replace(row, standing=standings[place], base=bases[place], profile=measured[place])
        for place, row in enumerate(rows)
    )
    return Table(complete, tested.why_not())


def _profiles(
    rows: Sequence[Row], profiles: Sequence[FoundProfile]
) -> Sequence[FoundProfile | None]:
    """The profile of each row, all of one device, a GPU if there is one; or none of any."""
    known: dict[tuple[str, int | tuple[int, int], str], dict[str, FoundProfile]] = {}
    for path, profile in profiles:
        key = (profile.fingerprint, profile.size, profile.precision)
        known.setdefault(key, {})[profile.device] = (path, profile)
    fitting = [known.get(_measured_as(row.record), {}) for row in rows]
    shared = set.intersection(*(set(of_row) for of_row in fitting))
    if not shared:
        return [None] * len(rows)
    device = min(shared, key=lambda name: (not name.startswith("cuda"), name))
    return [of_row[device] for of_row in fitting]


def _measured_as(record: RunRecord) -> tuple[str, int | tuple[int, int], str]:
    """The weights, input size and precision that a profile of a run must be of.

    Profiles are of squares: a run on rectangles has none.
    """
    precision = record.precision.partition("+")[0]
    return (record.backbone.fingerprint, record.protocol.input_size, precision)


def _bases(rows: Sequence[Row], standings: Standings) -> list[Base | None]:
    """Of each row, the one row of the backbone that its card names, at the same precision."""
    places: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault((row.record.backbone.name, row.record.precision), []).append(place)
    found: list[Base | None] = []
    for place, row in enumerate(rows):
        named = str(row.record.backbone.card.get("adapted_from") or "")
        bases = places.get((named, row.record.precision), [])
        if len(bases) != 1:
            found.append(None)
            continue
        base = rows[bases[0]]
        comparison = standings.compare(place, bases[0])
        found.append(Base(base.label, row.value - base.value, comparison))
    return found
