"""Whether a record was made by the rules of one of densebench's own tasks, as it ships."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from densebench.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from densebench.cards import Found, TaskCard, find_task, own_folder
from densebench.cards.models import NAME_PATTERN
from densebench.datasets.kind import dataset_kind
from densebench.datasets.sizes import side_of
from densebench.datasets.targets import Target
from densebench.host.errors import DensebenchError
from densebench.measures.labels import LabelScoring
from densebench.measures.scoring import Scoring
from densebench.protocols import load_protocol
from densebench.protocols.base import ProtocolParams, Setting
from densebench.records.identity import protocol_hash, run_id
from densebench.records.schema import RunRecord
from densebench.run.inputs import target_hashed
from densebench.run.plan import resolved_params


def own_task(name: str) -> Found[TaskCard] | None:
    """Densebench's own task of that name, whatever other cards the user has."""
    file = own_folder() / "tasks" / f"{name}.toml"
    known = re.fullmatch(NAME_PATTERN, name) is not None and file.is_file()
    return find_task(file) if known else None


def rule_problems(record: RunRecord) -> Iterator[str]:
    """Each way in which the rules of a record are not those of the task that it names."""
    task = own_task(record.task)
    if task is None:
        yield f"task '{record.task}' is none of densebench's own; only those are compared here"
        return
    said, card = record.protocol, task.card
    if said.name != card.protocol:
        yield f"protocol.name is {said.name}, and task {record.task} is of {card.protocol}"
        return
    target = dataset_kind(card.dataset.kind).target(card.dataset)
    try:
        params = resolved_params(task, {}, said.variant)
        yield from _settings(record, params)
        yield from _hashes(record, params, target)
        yield from _scoring(record, params, target)
    except (DensebenchError, ArithmeticError, ValueError) as error:
        yield f"protocol {said.name}, variant {said.variant}: cannot be: {error}"


def _settings(record: RunRecord, params: ProtocolParams) -> Iterator[str]:
    said, shipped = record.protocol, params.model_dump(mode="json")
    version = load_protocol(said.name).version
    if said.version != version:
        yield f"protocol.version is {said.version}, and this is version {version}; repeat the run"
    for key in {**shipped, **said.params}:
        if said.params.get(key) != shipped.get(key):
            yield (
                f"protocol.params.{key} is {_shown(said.params, key)}, and task {record.task} "
                f"ships with {_shown(shipped, key)}"
            )
    if record.backbone.patch_size < 1:
        raise DensebenchError(f"backbone.patch_size is {record.backbone.patch_size}")
    size = side_of(load_protocol(said.name).shape_for(params, record.backbone.patch_size))
    if said.params == shipped and _as_list(said.input_size) != _as_list(size):
        yield f"protocol.input_size is {said.input_size}, and the task gives {size}"
    if not said.as_shipped:
        yield "protocol.as_shipped is false: parameters or lists of images were chosen"


def _hashes(record: RunRecord, params: ProtocolParams, target: Target) -> Iterator[str]:
    """The ids under which numbers are compared, from all that they stand for."""
    said = record.protocol
    hashed = protocol_hash(
        name=said.name,
        version=said.version,
        variant=said.variant,
        params=said.params,
        target=target_hashed(target),
    )
    if said.hash != hashed:
        yield f"protocol.hash is {said.hash[:12]}, and the rules that it names have {hashed[:12]}"
    data = record.dataset
    found = run_id(
        backbone=record.backbone.fingerprint,
        task=record.task,
        dataset=data.fingerprint,
        subset=(data.subset, data.subset_seed or 0) if data.subset else None,
        limit=record.limit,
        skip_bad=record.skip_bad,
        protocol=said.hash,
        seed=record.seed,
        precision=record.precision,
        allow_nondeterministic=record.allow_nondeterministic,
        layers=record.backbone.layers,
    )
    if record.run_id != found:
        yield f"run_id is {record.run_id}, and what it is the id of has {found}"


def _scoring(record: RunRecord, params: ProtocolParams, target: Target) -> Iterator[str]:
    """Which numbers there are, and by which rule for absent classes."""
    scoring = _scoring_of(record, params, target)
    resolutions = [score.resolution for score in record.scores]
    if resolutions != list(scoring.resolutions):
        wanted = ", ".join(map(str, scoring.resolutions))
        yield f"scores are at {', '.join(map(str, resolutions))}, and the protocol's at {wanted}"
    wanted_metrics = [(metric.name, metric.parameters) for metric in scoring.metrics]
    for place, score in enumerate(record.scores):
        if [(metric.name, metric.parameters) for metric in score.metrics] != wanted_metrics:
            names = ", ".join(name for name, _ in wanted_metrics)
            yield f"scores[{place}].metrics are not those of the protocol: {names}"
        if isinstance(scoring, LabelScoring) and tuple(score.classes) != scoring.classes:
            yield f"scores[{place}].classes are not those of the task"


def _scoring_of(record: RunRecord, params: ProtocolParams, target: Target) -> Scoring:
    backbone, variant = record.backbone, record.protocol.variant
    setting = Setting(
        target, backbone.patch_size, backbone.embed_dim, IMAGENET_MEAN, IMAGENET_STD, variant
    )
    return load_protocol(record.protocol.name)(params, setting).scoring


def _shown(params: Mapping[str, Any], key: str) -> str:
    return str(params[key]) if key in params else "nothing"


def _as_list(size: int | tuple[int, int]) -> list[int]:
    return [size] if isinstance(size, int) else list(size)
