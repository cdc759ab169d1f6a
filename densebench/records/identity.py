"""Which runs are one run, which records may stand in one column, and which of them make one row.

What can move a number is in a run's id; what is not in it moves no number.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from densebench.cards.block_numbers import layers_text
from densebench.files.hashes import content_hash
from densebench.records.schema import RunRecord

Stored = tuple[Path, RunRecord]  # a record and its file
ColumnKey = tuple[str | int, ...]


class RowKey(NamedTuple):
    """What the runs of a row share.

    Attributes:
        name: the backbone, or the recipe and its base.
        weights: their fingerprint; of a post-training, that of its base, the recipe's hash and the
            steps.
        precision: of the features.
        nondeterministic: whether features were others at every pass.
    """

    name: str
    weights: tuple[str, ...]
    precision: str
    nondeterministic: bool

    @property
    def told_weights(self) -> str:
        """What tells the weights apart, in short."""
        return self.weights[-2 if len(self.weights) > 1 else 0][:8]


def run_id(
    *,
    backbone: str,
    task: str,
    dataset: str,
    subset: tuple[str, int] | None,
    limit: int | None,
    skip_bad: bool,
    protocol: str,
    seed: int,
    precision: str,
    allow_nondeterministic: bool,
    layers: tuple[int, ...] | None = None,
) -> str:
    """The id of a run.

    Args:
        backbone: fingerprint of the weights and of their card's choices.
        task: its name.
        dataset: fingerprint of all images that those of the run were chosen from.
        subset: the share of the training images and its seed.
        limit: of images, where it leaves any out.
        skip_bad: whether images that cannot be read are left out.
        protocol: its hash.
        seed: of the run.
        precision: of the features.
        allow_nondeterministic: whether features that are others at every pass are allowed.
        layers: the backbone's blocks; ids are what they always were where it gives its own output.
    """
    chosen = {} if layers is None else {"layers": list(layers)}
    return content_hash(
        {
            **chosen,
            "backbone": backbone,
            "task": task,
            "dataset": dataset,
            "subset": None if subset is None else list(subset),
            "limit": limit,
            "skip_bad": skip_bad,
            "protocol": protocol,
            "seed": seed,
            "precision": precision,
            "allow_nondeterministic": allow_nondeterministic,
        }
    )[:12]


def protocol_hash(
    *, name: str, version: int, variant: str, params: Mapping[str, Any], target: Mapping[str, Any]
) -> str:
    """Of all that changes the number of a backbone on the same images.

    Args:
        name: the protocol's.
        version: of its code.
        variant: of the protocol.
        params: all of them, resolved.
        target: what the values of the dataset's maps mean.
    """
    known = {"protocol": name, "version": version, "variant": variant, "params": dict(params)}
    return content_hash({**known, **target})


def column_key(record: RunRecord) -> ColumnKey:
    """What two numbers that are compared must share.

    Beside task, protocol and images: the share of the training images and where its list is from,
    but not its seed; what was left out, as unreadable or by a limit; what is ranked.
    """
    data, protocol = record.dataset, record.protocol
    skipped = ", ".join(sorted(data.skipped))
    chosen = (
        data.fingerprint,
        data.subset or "",
        record.limit or 0,
        skipped,
        record.score.main.name,
    )
    return (record.task, protocol.variant, protocol.hash, *chosen)


def row_key(record: RunRecord) -> RowKey:
    """What the runs of a row share: all but the seeds that give them different numbers.

    The post-trainings of one base by one recipe are one row, whatever the seeds and names.
    """
    training = record.backbone.training
    weights: tuple[str, ...]
    how = record.precision, record.nondeterministic
    if training is None:
        return RowKey(record.backbone.name, (record.backbone.fingerprint,), *how)
    weights = training.base_fingerprint, training.recipe_hash, str(training.steps)
    layers = record.backbone.layers
    told = "" if layers is None else f", {layers_text(layers)}"
    return RowKey(f"{training.recipe} of {training.base}{told}", weights, *how)


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
    name = names.pop() if len(names) == 1 else row_key(found[0][1]).name
    return f"{name} ({len(trainings)} training{'s' * (len(trainings) > 1)})"


def _differences(keys: Sequence[RowKey]) -> tuple[bool, bool, bool]:
    """Whether rows of one name differ in weights, in precision, and in repeatability."""
    weights, precisions, repeated = (
        {key.weights for key in keys},
        {key.precision for key in keys},
        {key.nondeterministic for key in keys},
    )
    return len(weights) > 1, len(precisions) > 1, len(repeated) > 1


def _told(name: str, key: RowKey, apart: tuple[bool, bool, bool]) -> str:
    weights, precision, repeated = apart
    told = [key.precision] if precision else []
    if repeated and key.nondeterministic:
        told.append("nondeterministic")
    if weights:
        told.append(f"weights {key.told_weights}")
    return name + (f" ({', '.join(told)})" if told else "")
