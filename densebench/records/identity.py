"""Which records may stand in one column, and which of them make one row: written here once."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from densebench.records.schema import RunRecord

Stored = tuple[Path, RunRecord]  # a record and its file
ColumnKey = tuple[str | int, ...]
RowKey = tuple[str, ...]


def column_key(record: RunRecord) -> ColumnKey:
    """What two numbers that are compared must share.

    Beside task, protocol and images: the share of the training images and where its list is from,
    but not its seed; what was left out, as unreadable or by a limit.
    """
    data, protocol = record.dataset, record.protocol
    skipped = ", ".join(sorted(data.skipped))
    chosen = (data.fingerprint, data.subset or "", record.limit or 0, skipped)
    return (record.task, protocol.variant, protocol.hash, *chosen)


def row_key(record: RunRecord) -> RowKey:
    """What the runs of a row share: all but the seeds that give them different numbers.

    The post-trainings of one base by one recipe are one row, whatever the seeds and names.
    """
    training = record.backbone.training
    if training is None:
        backbone = (record.backbone.name, record.backbone.fingerprint)
    else:
        base = f"{training.recipe} of {training.base}"
        backbone = (base, f"{training.base_fingerprint} {training.recipe_hash} {training.steps}")
    told = ("nondeterministic",) if record.nondeterministic else ()
    return (*backbone, record.precision, *told)


def runs(found: Sequence[Stored]) -> tuple[Stored, ...]:
    """The records of one row in the order of their seeds; of equal seeds the first counts alone.

    Two runs of one row with the same seeds are one run made twice, or copied, whatever their ids.
    """
    once = {seeds(record): (path, record) for path, record in reversed(found)}
    return tuple(once[of_run] for of_run in sorted(once))


def seeds(record: RunRecord) -> tuple[int, int, int]:
    """The seeds of the post-training, of the subset and of the run."""
    training = record.backbone.training
    return (training.seed if training else 0, record.dataset.subset_seed or 0, record.seed)


def labels(rows: Sequence[Sequence[Stored]]) -> list[str]:
    """Names of rows; where two would be one, with what tells them apart."""
    names = [_name(found) for found in rows]
    keys = [row_key(found[0][1]) for found in rows]
    same: dict[str, list[RowKey]] = defaultdict(list)
    for name, key in zip(names, keys, strict=True):
        same[name].append(key)
    apart = {name: _differences(of_name) for name, of_name in same.items()}
    return [_told(name, key, apart[name]) for name, key in zip(names, keys, strict=True)]


def _name(found: Sequence[Stored]) -> str:
    """The backbone; for several post-trainings, recipe and base with their number."""
    names = {record.backbone.name for _, record in found}
    trainings = {seeds(record)[0] for _, record in found}
    if len(names) == len(trainings) == 1:
        return names.pop()
    name = names.pop() if len(names) == 1 else row_key(found[0][1])[0]
    return f"{name} ({len(trainings)} training{'s' * (len(trainings) > 1)})"


def _differences(keys: Sequence[RowKey]) -> tuple[bool, bool, bool]:
    """Whether rows of one name differ in weights, in precision, and in what follows."""
    weights, precisions, others = (
        {key[1] for key in keys},
        {key[2] for key in keys},
        {key[3:] for key in keys},
    )
    return len(weights) > 1, len(precisions) > 1, len(others) > 1


def _told(name: str, key: RowKey, apart: tuple[bool, bool, bool]) -> str:
    weights, precision, others = apart
    told = [key[2]] if precision else []
    told += key[3:] if others else ()
    told += [f"weights {_short(key)}"] if weights else []
    return name + (f" ({', '.join(told)})" if told else "")


def _short(key: RowKey) -> str:
    """The beginning of the weights' fingerprint; of a recipe's hash for several weights."""
    return key[1].split(" ")[-2 if " " in key[1] else 0][:8]
