"""The record of a run, and everything that is left beside it."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from densebench.datasets.sizes import side_of
from densebench.files.hashes import content_hash
from densebench.host.device import device_name, peak_cuda
from densebench.host.processor import processor_name
from densebench.host.versions import versions
from densebench.host.watcher import Watcher
from densebench.measures.scoring import Result
from densebench.protocols.base import Protocol
from densebench.records.called import AS_THE_CARD_SAYS
from densebench.records.schema import (
    BackboneRecord,
    ContaminationRecord,
    DatasetRecord,
    ProtocolRecord,
    RunRecord,
    TrainingRecord,
)
from densebench.records.store import EVIDENCE, Companions, beside, save_record
from densebench.run.contamination import contamination
from densebench.run.inputs import Inputs
from densebench.run.keeper import PanelKeeper
from densebench.run.phases import Phases
from densebench.run.scores import make_score

VIEW_LIBRARIES = ("torchvision", "pillow")


@dataclass(frozen=True)
class Measured:
    """What a run found.

    Attributes:
        results: the ranked one first.
        panels: pictures of some of them.
        skipped: images that could not be read, with the reason.
        produced_on: the devices that computed features.
        nondeterministic: whether features were others at every pass.
        processes: how many did the run together.
    """

    results: list[Result]
    panels: PanelKeeper
    skipped: dict[str, str]
    produced_on: set[str]
    nondeterministic: bool
    processes: int = 1


def make_record(
    inputs: Inputs, protocol: Protocol, measured: Measured, phases: Phases
) -> RunRecord:
    """Everything about one run."""
    plan, options = inputs.plan, inputs.plan.options
    return RunRecord(
        run_id=inputs.run_id,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        backbone=_backbone_record(inputs),
        task=plan.card.name,
        task_hash=content_hash(plan.card.model_dump(mode="json")),
        dataset=_dataset_record(inputs, measured.skipped),
        protocol=_protocol_record(inputs, protocol),
        seed=options.seed,
        partial=inputs.images.limit is not None,
        limit=inputs.images.limit,
        precision=plan.precision,
        tf32=options.precision == "tf32",
        nondeterministic=measured.nondeterministic,
        allow_nondeterministic=options.allow_nondeterministic,
        deterministic=options.deterministic,
        skip_bad=options.skip_bad,
        contamination=_contamination(inputs),
        device=device_name(plan.device),
        processor=processor_name(),
        feature_devices=sorted(measured.produced_on),
        batch_size=options.batch_size,
        processes=measured.processes,
        view_engine=_view_engine(),
        versions=versions(),
        scores=[make_score(result) for result in measured.results],
        seconds=phases.seconds,
        peak_rss_bytes=phases.peak,
        peak_cuda_bytes=peak_cuda(plan.device),
    )


def save_run(
    record: RunRecord, inputs: Inputs, protocol: Protocol, measured: Measured, watcher: Watcher
) -> Path:
    """Leave the record and what belongs to it, and nothing of an unfinished run."""
    evidence = measured.results[0].evidence
    panels = _panel_writer(record, inputs, protocol, measured.panels, watcher)
    kept = Companions(evidence, protocol.artifacts(), panels)
    path = save_record(record, inputs.plan.options.results, kept)
    size = beside(path, EVIDENCE).stat().st_size
    watcher.say(f"evidence of each of {len(evidence.names)} images: {size / 1e3:.1f} kB")
    shutil.rmtree(inputs.workdir, ignore_errors=True)
    with suppress(OSError):  # other runs may be unfinished
        inputs.workdir.parent.rmdir()
    return path


def _panel_writer(
    record: RunRecord, inputs: Inputs, protocol: Protocol, panels: PanelKeeper, watcher: Watcher
) -> Callable[[Path], None] | None:
    if not len(panels):
        return None

    def write(folder: Path) -> None:
        mapping = next(iter(record.score.mapping), [])  # of labels alone
        with watcher.phase("panels", len(panels)) as advance:
            panels.save(folder, record.run_id, inputs.dataset, mapping, protocol, advance)

    return write


def _view_engine() -> str:
    """The libraries that resize and cut, with their versions."""
    known = versions()
    return ", ".join(f"{name} {known[name]}" for name in VIEW_LIBRARIES)


def _backbone_record(inputs: Inputs) -> BackboneRecord:
    backbone = inputs.backbone
    card = backbone.card.model_dump(mode="json") if backbone.card else {}
    return BackboneRecord(
        name=inputs.weights.name,
        card=card,
        card_hash=content_hash(card),
        fingerprint=inputs.weights.fingerprint,
        weights=_weights_told(inputs),
        random_weights=backbone.random_weights,
        patch_size=backbone.patch_size,
        embed_dim=backbone.embed_dim,
        positions=backbone.positions,
        layers=inputs.plan.layers,
        training=_training(inputs),
        parameters=sum(p.numel() for p in backbone.parameters()),
    )


def _weights_told(inputs: Inputs) -> str:
    """The file, in short, or what else they are."""
    options = inputs.plan.options
    if options.random_weights is not None:
        return f"drawn at random, seed {options.random_weights}"
    return options.weights.name if options.weights else AS_THE_CARD_SAYS


def _contamination(inputs: Inputs) -> ContaminationRecord | None:
    """Of a backbone in memory, by the card that it was built from, if there is one."""
    plan, card = inputs.plan, inputs.backbone.card
    if (plan.given and card is None) or plan.options.random_weights is not None:
        return None
    name = card.name if plan.given and card is not None else plan.options.backbone
    return contamination(name, inputs.dataset.val, plan.options.weights)


def _training(inputs: Inputs) -> TrainingRecord | None:
    """The post-training that the card tells of, unless other weights were loaded."""
    card, options = inputs.backbone.card, inputs.plan.options
    others = options.weights is not None or options.random_weights is not None
    if card is None or card.training is None or others:
        return None
    return TrainingRecord(**card.training.model_dump())


def _dataset_record(inputs: Inputs, skipped: dict[str, str]) -> DatasetRecord:
    plan, dataset = inputs.plan, inputs.dataset
    return DatasetRecord(
        kind=dataset.kind,
        fingerprint=inputs.images.fingerprint,
        n_train=len(dataset.train),
        n_val=len(dataset.val),
        subset=plan.share,
        subset_seed=plan.options.subset_seed if plan.share else None,
        groups=dataset.group_name,
        train_names=_chosen_names(inputs),
        target=dataset.target.kind,
        classes=dataset.classes,
        ignore_index=dataset.ignore_index if dataset.target.is_labels else None,
        skipped=skipped,
    )


def _chosen_names(inputs: Inputs) -> list[str] | None:
    """The training images in their order, where the dataset's own list does not tell them."""
    chosen = (inputs.plan.share, inputs.images.limit, inputs.plan.options.train_list)
    return inputs.dataset.train.listed if any(chosen) else None


def _protocol_record(inputs: Inputs, protocol: Protocol) -> ProtocolRecord:
    plan = inputs.plan
    return ProtocolRecord(
        name=plan.card.protocol,
        version=plan.protocol.version,
        variant=plan.options.variant,
        params=plan.params.model_dump(mode="json"),
        as_shipped=plan.as_shipped,
        hash=inputs.protocol_hash,
        input_size=side_of(protocol.input_shape),
        details=_plain(protocol.details()),
        val_in_fit=protocol.needs.val_in_fit,
    )


def _plain(value: Any) -> Any:
    """What a protocol tells, with the numbers and arrays of numpy as Python's own."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {_plain(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
