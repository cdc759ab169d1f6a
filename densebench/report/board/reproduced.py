"""A published table and our runs of it, cell by cell."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from densebench.records.remarks import remarks
from densebench.records.schema import MetricScore, RunRecord
from densebench.report.board.published import PublishedNumber


@dataclass(frozen=True)
class Missing:
    """What a run lacks, and the command that gets it, if one does."""

    kind: Literal["data", "weights"]
    what: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.command}" if self.command else self.what


@dataclass(frozen=True)
class ReproducedRow:
    """One cell of a published table: a backbone on a task.

    Attributes:
        task, backbone: as the command line names them.
        task_name, label: as records name them.
        published: the numbers of the table's source for it.
        found: the record of our run and its file, once there is one.
        missing: what must be got before it can run.
        failed: why the run gave no record.
        estimate: hours that it will take, where other records tell.
    """

    task: str
    backbone: str
    task_name: str
    label: str
    published: tuple[PublishedNumber, ...] = ()
    found: tuple[Path, RunRecord] | None = None
    missing: tuple[Missing, ...] = ()
    failed: str = ""
    estimate: float | None = None

    @property
    def ready(self) -> bool:
        """Whether it has yet to run, and can."""
        return self.found is None and not self.missing and not self.failed

    @property
    def metric(self) -> MetricScore | None:
        """What our run measured, once there is one."""
        return self.found[1].score.main if self.found else None

    @property
    def metric_name(self) -> str:
        """By our run, or else by the published numbers."""
        names = [self.metric.name] if self.metric else [n.metric for n in self.published]
        return next(iter(names), "miou")

    @property
    def hours(self) -> float | None:
        """Measured, or else estimated."""
        if self.found is None:
            return self.estimate
        return sum(self.found[1].seconds.values()) / 3600

    def difference(self, number: PublishedNumber) -> float | None:
        """Ours minus the published number, as in records; None where they do not compare."""
        if self.found is None or why_apart(number, self.found[1]):
            return None
        score = self.found[1].score
        return score.value - number.value / score.main.scale

    @property
    def state(self) -> str:
        """Where it stands, in a word or two."""
        if self.found is not None:
            return "done"
        if self.failed:
            return "failed"
        lacks = ", ".join(missing.kind for missing in self.missing)
        return f"no {lacks}" if lacks else "to run"

    def remarks(self) -> list[str]:
        """What must be known to read the row, each remark once."""
        found = [f"failed: {self.failed}"] if self.failed else []
        for number in self.published:
            apart = why_apart(number, self.found[1]) if self.found else ""
            found += [apart, number.note or ""]
        if self.found is not None:
            found += [remark.sentence for remark in remarks([self.found])]
        if not self.published:
            found.append("no published number is known here")
        return list(dict.fromkeys(filter(None, found)))


@dataclass(frozen=True)
class Reproduction:
    """A suite's table."""

    suite: str
    description: str
    source: str
    rows: tuple[ReproducedRow, ...]

    def missing(self) -> dict[Missing, int]:
        """What is missing, and for how many rows."""
        every = [missing for row in self.rows for missing in row.missing]
        return {missing: every.count(missing) for missing in dict.fromkeys(every)}


def why_apart(number: PublishedNumber, record: RunRecord) -> str:
    """Why a published number does not stand beside a record; "" where it does."""
    data = record.dataset
    if record.partial:
        return "not comparable: a partial run"
    if not record.protocol.as_shipped:
        return "not comparable: parameters other than those of the task card as shipped"
    if data.skipped:
        return f"not comparable: {len(data.skipped)} images could not be read"
    for split, ours, theirs in (
        ("training", data.n_train, number.n_train),
        ("validation", data.n_val, number.n_val),
    ):
        if theirs not in (None, ours):
            return f"not comparable: {ours:,} {split} images, published on {theirs:,}"
    return "" if number.fits(record) else "not comparable: another run than the published one"
