"""Two backbones on one task: which of their records belong together, and how they differ."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from densebench.cards import suggestion
from densebench.host.errors import DensebenchError
from densebench.measures.comparison import Comparison
from densebench.records.called import safe_name
from densebench.records.identity import ColumnKey, RowKey, Stored, column_key, labels, row_key, runs
from densebench.records.schema import MetricScore, RunRecord
from densebench.records.store import load_record, load_records
from densebench.report.board.columns import gain
from densebench.report.board.ranking import Standings
from densebench.report.board.rows import Row, check_number

METRIC_FACTS = {"name", "title", "unit", "scale", "decimals", "higher"}


@dataclass(frozen=True)
class ClassDifference:
    """One class of two backbones; none where it is in neither truth nor prediction."""

    name: str
    first: float | None
    second: float | None

    @property
    def difference(self) -> float | None:
        """The first's value less the second's."""
        if self.first is None or self.second is None:
            return None
        return self.first - self.second


@dataclass(frozen=True)
class Pair:
    """Two backbones compared on the same images."""

    first: Row
    second: Row
    comparison: Comparison

    @property
    def metric(self) -> MetricScore:
        """What they are compared by."""
        return self.first.metric

    @property
    def classes(self) -> list[ClassDifference]:
        """The largest gain of the first backbone first, classes without a difference last.

        None where the score has no classes.
        """
        names = self.first.record.score.classes
        sides = (self.first, self.second)
        found = [
            ClassDifference(name, *(side.class_value(name) for side in sides)) for name in names
        ]
        return sorted(
            found, key=lambda c: (c.difference is None, -gain(self.metric, c.difference or 0))
        )

    def to_json(self) -> dict[str, Any]:
        """Everything that is shown, as JSON values."""
        record = self.first.record
        sides = (("first", self.first), ("second", self.second))
        return {
            "task": record.task,
            "variant": record.protocol.variant,
            "metric": self.metric.model_dump(include=METRIC_FACTS),
            "protocol_hash": record.protocol.hash,
            "dataset_fingerprint": record.dataset.fingerprint,
            "partial": record.partial,
            **{
                place: {
                    "backbone": side.label,
                    self.metric.name: side.value,
                    "remarks": [remark.word for remark in side.remarks],
                    "seeds": [r.seed for _, r in side.found],
                    "records": [path.as_posix() for path, _ in side.found],
                }
                for place, side in sides
            },
            **asdict(self.comparison),
            "classes": {
                c.name: {"first": c.first, "second": c.second, "difference": c.difference}
                for c in self.classes
            },
        }


def compare_backbones(
    first: str,
    second: str,
    task: str | None,
    variant: str,
    results: Path,
    partial: bool = False,
) -> Pair:
    """The paired comparison of two backbones, averaged over the seeds that each has.

    Args:
        first: A backbone's name, or the file of one record.
        second: Likewise.
        task: The task's name; not needed between two files.
        variant: Of the protocol; not looked at for a file.
        results: The folder of records.
        partial: Whether runs with ``--limit`` may be compared.

    Raises:
        DensebenchError: no such records; records of another protocol or dataset, or without the
            counts of their images; several that could be meant.
    """
    one = _candidates(first, task, variant, results, partial)
    other = _candidates(second, task, variant, results, partial)
    shared = [(a, b) for a in one for b in other if column_key(a[0][1]) == column_key(b[0][1])]
    if not shared:
        raise DensebenchError(
            f"{first} and {second} cannot be compared: {_what_differs(one[0], other[0])}"
        )
    if len(shared) > 1:
        files = ", ".join(sorted({path.name for pair in shared for s in pair for path, _ in s}))
        raise DensebenchError(
            f"{first} and {second} share {len(shared)} settings on {task} ({files}); "
            "give the files of two records instead of names"
        )
    standings = Standings(shared[0])
    comparison = standings.compare(0, 1)
    if comparison is None:
        raise DensebenchError(f"no comparison: {standings.why_not()}")
    sides = [Row(label, found) for label, found in zip(labels(shared[0]), shared[0], strict=True)]
    return Pair(sides[0], sides[1], comparison)


def _candidates(
    name: str, task: str | None, variant: str, results: Path, partial: bool
) -> list[tuple[Stored, ...]]:
    """The records that a name stands for, those of one setting together in the order of seeds."""
    path = Path(name)
    if path.suffix == ".json":
        found = [(path, load_record(path))]
    else:
        found = _of_backbone(name, task, variant, results)
    whole = [f for f in found if partial or not f[1].partial]
    if not whole:
        raise DensebenchError(f"{name}: only partial runs, which --partial lets through")
    groups: dict[tuple[ColumnKey, RowKey], list[Stored]] = defaultdict(list)
    for file, record in whole:
        check_number(file, record)
        groups[column_key(record), row_key(record)].append((file, record))
    return [runs(group) for group in groups.values()]


def _of_backbone(name: str, task: str | None, variant: str, results: Path) -> list[Stored]:
    if task is None:
        raise DensebenchError(f"--task is needed to find the records of {name}")
    if not results.is_dir():
        raise DensebenchError(f"{results}: no such folder of records; `densebench run` makes one")
    folder = results / safe_name(name)
    if not folder.is_dir():
        known = sorted(f.name for f in results.iterdir() if f.is_dir())
        raise DensebenchError(f"no record of '{name}' under {results}{suggestion(name, known)}")
    if not (folder / safe_name(task)).is_dir():
        known = sorted(f.name for f in folder.iterdir() if f.is_dir())
        raise DensebenchError(f"no record of {name} on '{task}'{suggestion(task, known)}")
    records = load_records(folder / safe_name(task))
    found = [(path, record) for path, record in records if record.protocol.variant == variant]
    if not found:
        known = sorted({record.protocol.variant for _, record in records})
        raise DensebenchError(
            f"no record of {name} on {task} in the variant '{variant}'; there is "
            f"{', '.join(known) or 'none'}"
        )
    return found


def _what_differs(first: Sequence[Stored], second: Sequence[Stored]) -> str:
    """The first thing that keeps two records apart, in words."""
    one, other = first[0][1], second[0][1]
    for what, a, b in (
        ("task", one.task, other.task),
        ("variant", one.protocol.variant, other.protocol.variant),
        ("protocol's version", one.protocol.version, other.protocol.version),
    ):
        if a != b:
            return f"the {what} differs ({a} and {b})"
    params, others = one.protocol.params, other.protocol.params
    changed = [key for key in {**params, **others} if params.get(key) != others.get(key)]
    if changed:
        told = (f"{key} = {params.get(key)} and {others.get(key)}" for key in changed)
        return f"the protocol's parameters differ ({'; '.join(told)})"
    if one.protocol.hash != other.protocol.hash:
        return "the classes or the void label differ"
    if one.dataset.skipped.keys() != other.dataset.skipped.keys():
        counts = " and ".join(str(len(r.dataset.skipped)) for r in (one, other))
        return f"not the same images were left out as unreadable ({counts})"
    return f"the images differ ({_images(one)}, and {_images(other)})"


def _images(record: RunRecord) -> str:
    data = record.dataset
    share = f", {data.subset}" if data.subset else ""
    share += f", the first {record.limit}" if record.limit else ""
    return (
        f"{data.n_train} training and {data.n_val} validation images{share}, fingerprint "
        f"{data.fingerprint[:12]}"
    )
