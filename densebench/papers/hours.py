"""How long a row will take, by the runs and profiles that are there."""

from collections.abc import Mapping

from densebench.papers.known import Kept, SuiteTask, records_like, same_rules
from densebench.records.schema import RunRecord
from densebench.report.board.reproduced import ReproducedRow
from densebench.run.options import RunOptions


def estimated_hours(
    row: ReproducedRow, task: SuiteTask, base: RunOptions, kept: Kept
) -> float | None:
    """Hours that a run will take, by a shorter run of it or by another backbone's whole run."""
    images = task.images or max(((n.n_train or 0) + n.n_val for n in row.published), default=0)
    own = [record for _, record in records_like(row, task, base, kept.records)]
    if own and images:
        longest = max(own, key=_record_images)
        return _hours(longest) * images / _record_images(longest)
    rates = {
        (p.backbone, p.device, p.size, p.precision): p.images_per_second for p in kept.profiles
    }
    others = [r for _, r in kept.records if same_rules(r, task, base) and not r.partial]
    scaled = [_hours(other) * share for other in others if (share := _share(other, row, rates))]
    return min(scaled, default=None)


def _share(
    other: RunRecord, row: ReproducedRow, rates: Mapping[tuple[str, str, int, str], float]
) -> float | None:
    """How much longer this row's backbone takes than another, profiled on one device."""
    for (name, device, size, precision), rate in rates.items():
        if (name, size, precision) == (row.label, other.protocol.input_size, other.precision):
            theirs = rates.get((other.backbone.name, device, size, precision))
            if theirs is not None:
                return theirs / rate
    return None


def _record_images(record: RunRecord) -> int:
    return record.dataset.n_train + record.dataset.n_val


def _hours(record: RunRecord) -> float:
    return sum(record.seconds.values()) / 3600
