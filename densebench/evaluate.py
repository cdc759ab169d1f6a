"""One run: a backbone, a task and its protocol give one record."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, get_args

from densebench.backbones import card_for, load_backbone
from densebench.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Triple
from densebench.backbones.repeatable import TOLERANCE, disagreement, largest_difference
from densebench.cache import FeatureCache, feature_cache
from densebench.cards import TaskCard, own_folder, task_card
from densebench.contamination import contamination
from densebench.counts import ImageCounts, save_counts
from densebench.datasets import Dataset, load_dataset
from densebench.datasets.shares import check_share, data_fingerprint, limited, share_of
from densebench.features import PatchSource, Precision
from densebench.files.atomic import write_atomically
from densebench.files.hashes import content_hash
from densebench.host import memory
from densebench.host.device import device_name, peak_cuda, pick_device, room_on_gpu, versions
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Advance, Watcher
from densebench.protocols import load_protocol, task_params
from densebench.protocols.base import Protocol, ProtocolParams, Setting, resolve_input_size
from densebench.report.keeper import PanelKeeper
from densebench.report.panels import load_panels, panel_folder
from densebench.results import (
    DEFAULT_RESULTS,
    BackboneRecord,
    ContaminationRecord,
    DatasetRecord,
    ProtocolRecord,
    RunRecord,
    Score,
    TrainingRecord,
    find_record,
    load_record,
    save_record,
)
from densebench.scoring import Scorer

CacheMode = Literal["fp32", "fp16", "off"]
LESS_GPU_MEMORY = "lower --batch-size, memory_size or input_size, or use --device cpu"
LESS_MEMORY = "lower memory_size, the number of images (--limit) or input_size"


@dataclass(frozen=True)
class RunOptions:
    """What to run, and where. Sizes of batches and devices do not change the protocol's hash."""

    backbone: str
    task: str
    variant: str = "reference"
    params: dict[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    data_root: Path | None = None
    train_list: Path | None = None
    val_list: Path | None = None
    subset: str | None = None
    subset_seed: int = 42
    limit: int | None = None
    seed: int = 0
    device: str = "auto"
    batch_size: int = 16
    workers: int | None = None
    precision: Precision = "fp32"
    results: Path = DEFAULT_RESULTS
    overwrite: bool = False
    skip_bad: bool = False
    panels: int = 0
    cache: CacheMode = "fp32"
    offline: bool = False
    allow_nondeterministic: bool = False

    def __post_init__(self) -> None:
        """Refuse what Python lets through, before it is recorded as if it had been done."""
        for name, allowed in (("precision", get_args(Precision)), ("cache", get_args(CacheMode))):
            value = getattr(self, name)
            if value not in allowed:
                raise DensebenchError(f"{name} is one of {', '.join(allowed)}, not '{value}'")


def evaluate(options: RunOptions, watcher: Watcher | None = None) -> tuple[RunRecord, Path]:
    """Run one backbone on one task, and save the record the moment it exists.

    A run whose record is there already is read from it, unless ``overwrite`` is set.

    Returns:
        The record, and the file that holds it.

    Raises:
        DensebenchError: bad input, or a run that does not fit into memory.
    """
    with room_on_gpu(LESS_GPU_MEMORY):
        return Run(options, watcher or Watcher()).record()


class Run:
    """The steps of one run, with the time and memory that each takes."""

    def __init__(self, options: RunOptions, watcher: Watcher) -> None:
        self._options, self._watcher = options, watcher
        self._seconds: dict[str, float] = {}
        self._peak: dict[str, int] = {}
        self._limit: int | None = None  # of images, if it leaves any out
        self._device = pick_device(options.device)
        self._cache = _cache(options.cache, watcher)
        with self._phase("load"):
            self._card, self._card_file = task_card(options.task)
            self._protocol_class = load_protocol(self._card.protocol)
            self._params = self._resolved(options.params)
            self._dataset = self._load_dataset()
            self._backbone = load_backbone(
                options.backbone,
                weights=options.weights,
                image_size=self._known_input_size(),
                device=str(self._device),
                offline=options.offline,
            )
            self._fingerprint = self._backbone.fingerprint
            assert self._params.positions != "auto"  # it is resolved
            self._backbone.resize_positions(self._params.positions)
            self._run_id = content_hash(self._identity())[:12]
            self._protocol = self._make_protocol()

    def record(self) -> tuple[RunRecord, Path]:
        """The record of this run, done now or before."""
        done = find_record(self._options.results, self._name, self._card.name, self._run_id)
        if done is not None and self._is_complete(done):
            self._watcher.say(f"already done: {done} (--overwrite repeats it)")
            return load_record(done), done
        self._options.results.mkdir(parents=True, exist_ok=True)  # not found out hours later
        self._check_memory()
        self._check_repeatable()
        scorer, panels, skipped = self._score()
        with self._phase("score"):
            scores = scorer.scores()
        return self._save(self._make_record(scores, skipped), scorer.image_counts(), panels)

    def _save(
        self, record: RunRecord, counts: ImageCounts, panels: PanelKeeper
    ) -> tuple[RunRecord, Path]:
        """Leave what belongs to the record first, so that a record is never without it."""
        path = record.path(self._options.results)
        for ending, content in self._protocol.artifacts().items():
            write_atomically(path.with_suffix(f".{ending}"), content)
        if len(panels):
            mapping, protocol = record.score.mapping[0], self._protocol
            with self._watcher.phase("panels", len(panels)) as advance:
                panels.save(
                    panel_folder(path), self._run_id, self._dataset, mapping, protocol, advance
                )
        size = save_counts(path, record.run_id, counts)
        self._watcher.say(f"counts of each of {len(counts.names)} images: {size / 1e3:.1f} kB")
        save_record(record, self._options.results)
        shutil.rmtree(self._workdir, ignore_errors=True)
        with suppress(OSError):  # other runs may be unfinished
            self._workdir.parent.rmdir()
        return record, path

    @property
    def _workdir(self) -> Path:
        """Where checkpoints lie until the run is recorded."""
        return self._options.results / ".unfinished" / self._run_id

    def _is_complete(self, done: Path) -> bool:
        """Whether a record may stand, with as many panels as are wanted and can be."""
        if self._options.overwrite:
            return False
        skipped = len(load_record(done).dataset.skipped)
        wanted = min(self._options.panels, len(self._dataset.val)) - skipped
        index = load_panels(panel_folder(done))
        return (0 if index is None else len(index.panels)) >= wanted

    def _make_record(self, scores: list[Score], skipped: dict[str, str]) -> RunRecord:
        return RunRecord(
            run_id=self._run_id,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            backbone=self._backbone_record(),
            task=self._card.name,
            task_hash=content_hash(self._card.model_dump(mode="json")),
            dataset=self._dataset_record(skipped),
            protocol=self._protocol_record(),
            seed=self._options.seed,
            partial=self._limit is not None,
            limit=self._limit,
            precision=self._precision,
            nondeterministic=self._nondeterministic,
            contamination=self._contamination(),
            device=device_name(self._device),
            feature_devices=sorted(self._produced_on),
            batch_size=self._options.batch_size,
            versions=versions(),
            scores=scores,
            seconds=self._seconds,
            peak_rss_bytes=self._peak,
            peak_cuda_bytes=peak_cuda(self._device),
        )

    def _resolved(self, params: dict[str, Any]) -> ProtocolParams:
        """The card's parameters with those of the command, nothing left to be chosen."""
        given = _with_overrides(self._card, params, str(self._card_file))
        return self._protocol_class.resolve(given, self._options.variant)

    def _load_dataset(self) -> Dataset:
        """The images of the run; the fingerprint is that of all that they were chosen from."""
        options = self._options
        if self._share is not None:
            check_share(self._card.dataset.kind, self._share, options.subset_seed)
        dataset = load_dataset(
            self._card.dataset,
            card_path=self._card_file,
            data_root=options.data_root,
            train_list=options.train_list,
            val_list=options.val_list,
        )
        chosen = dataset
        if self._share is not None:
            chosen = share_of(dataset, self._share, options.subset_seed)
        if options.limit is not None:
            cut = limited(chosen, options.limit)
            self._limit = options.limit if cut != chosen else None
            dataset, chosen = limited(dataset, options.limit), cut
        self._data_fingerprint = data_fingerprint(dataset)
        return chosen

    def _known_input_size(self) -> int | None:
        """The input size, for models that are built for one; a plug-in's patch is not known yet."""
        card = card_for(self._options.backbone)
        if card is None:
            return None
        return resolve_input_size(self._params.input_size, card.patch_size)

    def _make_protocol(self) -> Protocol:
        backbone = self._backbone
        setting = Setting(
            classes=self._dataset.classes,
            ignore_index=self._dataset.ignore_index,
            patch_size=backbone.patch_size,
            embed_dim=backbone.embed_dim,
            mean=self._normalisation[0],
            std=self._normalisation[1],
            variant=self._options.variant,
            seed=self._options.seed,
            device=self._device,
            about=self._about(),
            workdir=self._workdir,
            say=self._watcher.say,
            status=self._watcher.status,
            explained=self._options.panels > 0,
        )
        return self._protocol_class(self._params, setting)

    @property
    def _normalisation(self) -> tuple[Triple, Triple]:
        """Mean and deviation of the pixels that the backbone is given."""
        if self._params.normalisation == "imagenet":
            return IMAGENET_MEAN, IMAGENET_STD
        return self._backbone.mean, self._backbone.std

    def _about(self) -> dict[str, Any]:
        """What a file that a protocol keeps says of the run."""
        return {
            "backbone": self._name,
            "fingerprint": self._fingerprint,
            "classes": self._dataset.classes,
            "palette": self._dataset.palette,
            "ignore_index": self._dataset.ignore_index,
            "mean": self._normalisation[0],
            "std": self._normalisation[1],
            "positions": self._params.positions,
        }

    def _identity(self) -> dict[str, Any]:
        """All that tells one run from another; where and how fast it ran does not."""
        options = self._options
        return {
            "backbone": self._fingerprint,
            "task": self._card.name,
            "dataset": self._data_fingerprint,
            "subset": [self._share, options.subset_seed] if self._share else None,
            "limit": self._limit,
            "skip_bad": options.skip_bad,
            "protocol": self._protocol_hash(),
            "seed": options.seed,
            "precision": self._precision,
            "allow_nondeterministic": options.allow_nondeterministic,
        }

    @property
    def _precision(self) -> str:
        """Of the features: the backbone's, and the cache's where that is lower."""
        half = self._options.cache == "fp16"
        return self._options.precision + ("+fp16 cache" if half else "")

    def _protocol_hash(self) -> str:
        return content_hash(
            {
                "protocol": self._card.protocol,
                "version": self._protocol_class.version,
                "variant": self._options.variant,
                "params": self._params.model_dump(mode="json"),
                "classes": self._dataset.classes,
                "ignore_index": self._dataset.ignore_index,
            }
        )

    def _check_repeatable(self) -> None:
        """Refuse features that are others at every pass, unless they are asked for by name."""
        size, device = self._protocol.input_size, self._device
        with self._phase("check"):
            batch = min(2, self._options.batch_size)
            difference = largest_difference(self._backbone, size, device, batch)
        self._nondeterministic = difference > TOLERANCE
        if self._nondeterministic:
            told = disagreement(self._backbone, difference)
            if not self._options.allow_nondeterministic:
                raise DensebenchError(f"{told}; or --allow-nondeterministic records it so")
            self._watcher.say(f"warning: {told}; recorded as not repeatable")

    def _check_memory(self) -> None:
        plan = self._protocol.memory_plan(len(self._dataset.train), len(self._dataset.val))
        plan["a batch in the backbone"] = self._batch_bytes()
        needed = memory.require(plan, LESS_MEMORY)
        parts = ", ".join(f"{name} {memory.gigabytes(size)}" for name, size in plan.items())
        self._watcher.say(
            f"memory: about {memory.gigabytes(memory.current_rss() + needed)} at the peak "
            f"({parts}); {memory.gigabytes(memory.available_bytes())} are free"
        )
        if self._cache is not None:
            self._watcher.say(
                f"features: up to {memory.gigabytes(self._kept_bytes())} are kept in "
                f"{self._cache.folder} (limit {memory.gigabytes(self._cache.limit)})"
            )

    def _batch_bytes(self) -> int:
        """Images of a batch and the activations of one layer, about sixteen times its features."""
        protocol = self._protocol
        per_image = 3 * protocol.input_size**2 + 16 * protocol.grid**2 * self._backbone.embed_dim
        return self._options.batch_size * per_image * 4

    def _kept_bytes(self) -> int:
        """Size of all views that the protocol wants kept."""
        protocol = self._protocol
        width = 2 if self._options.cache == "fp16" else 4
        per_image = protocol.grid**2 * self._backbone.embed_dim * width + protocol.input_size**2
        train = len(self._dataset.train) * protocol.kept_train_views
        return (train + len(self._dataset.val)) * per_image

    @property
    def _name(self) -> str:
        """The backbone's name; other weights than the card's make another row of a leaderboard."""
        weights, name = self._options.weights, self._backbone.name
        if self._backbone.card is None:
            name = Path(name).name  # a plug-in's file, wherever it lies
        elif name.endswith(".toml"):
            name = self._backbone.card.name
        return name + (f"@{weights.stem}" if weights else "")

    def _score(self) -> tuple[Scorer, PanelKeeper, dict[str, str]]:
        panels = PanelKeeper(self._options.panels)
        train, val = self._source("train"), panels.watching(self._source("val"))
        n_train = len(train) * self._protocol.train_passes
        if n_train:
            with self._phase("fit", n_train) as train.advance:
                self._protocol.fit(train, val)
        data = self._dataset
        scorer = Scorer(
            self._protocol.scoring, data.classes, data.ignore_index, val.split, data.group_name
        )
        with self._phase("predict", len(val) * self._protocol.val_passes) as val.advance:
            for prediction in self._protocol.predict(val):
                scorer.add(prediction)
                panels.add(prediction)
        self._produced_on = train.produced_on | val.produced_on
        return scorer, panels, {**train.unreadable, **val.unreadable}

    def _source(self, split: str) -> PatchSource:
        options = self._options
        workers = options.workers
        if workers is None:
            workers = 0 if self._device.type == "cpu" else 8
        return PatchSource(
            split=getattr(self._dataset, split),
            backbone=self._backbone,
            device=self._device,
            batch_size=options.batch_size,
            workers=workers,
            precision=options.precision,
            skip_bad=options.skip_bad,
            cache=self._cache,
            say=self._watcher.say,
        )

    def _backbone_record(self) -> BackboneRecord:
        backbone, weights = self._backbone, self._options.weights
        card = backbone.card.model_dump(mode="json") if backbone.card else {}
        return BackboneRecord(
            name=self._name,
            card=card,
            card_hash=content_hash(card),
            fingerprint=self._fingerprint,
            weights=weights.name if weights else "as the card says",
            patch_size=backbone.patch_size,
            embed_dim=backbone.embed_dim,
            positions=backbone.positions,
            training=self._training(),
            parameters=sum(p.numel() for p in backbone.parameters()),
        )

    def _training(self) -> TrainingRecord | None:
        """The post-training that the card tells of, unless other weights were loaded."""
        card = self._backbone.card
        if card is None or card.training is None or self._options.weights is not None:
            return None
        return TrainingRecord(**card.training.model_dump())

    def _dataset_record(self, skipped: dict[str, str]) -> DatasetRecord:
        dataset = self._dataset
        return DatasetRecord(
            kind=dataset.kind,
            fingerprint=self._data_fingerprint,
            n_train=len(dataset.train),
            n_val=len(dataset.val),
            subset=self._share,
            subset_seed=self._options.subset_seed if self._share else None,
            groups=dataset.group_name,
            train_names=self._chosen_names(),
            classes=dataset.classes,
            ignore_index=dataset.ignore_index,
            skipped=skipped,
        )

    @property
    def _share(self) -> str | None:
        """The share of the training images: the command's, or else the task's."""
        return self._options.subset or self._card.dataset.subset

    def _chosen_names(self) -> list[str] | None:
        """The training images in their order, where the dataset's own list does not tell them."""
        options = self._options
        chosen = (self._share, self._limit, options.train_list)
        return self._dataset.train.listed if any(chosen) else None

    def _protocol_record(self) -> ProtocolRecord:
        return ProtocolRecord(
            name=self._card.protocol,
            version=self._protocol_class.version,
            variant=self._options.variant,
            params=self._params.model_dump(mode="json"),
            as_shipped=self._as_shipped(),
            hash=self._protocol_hash(),
            input_size=self._protocol.input_size,
            details=self._protocol.details(),
        )

    def _contamination(self) -> ContaminationRecord | None:
        options = self._options
        return contamination(options.backbone, self._dataset.val, options.weights)

    def _as_shipped(self) -> bool:
        """Whether parameters and lists are those of a task card that comes with the package."""
        options = self._options
        own = self._card_file.resolve().parent == (own_folder() / "tasks").resolve()
        lists = options.train_list is None and options.val_list is None
        return own and lists and self._params == self._resolved({})

    @contextmanager
    def _phase(self, name: str, total: int = 0) -> Iterator[Advance]:
        start = perf_counter()
        with self._watcher.phase(name, total) as advance:
            yield advance
        self._seconds[name] = round(perf_counter() - start, 3)
        self._peak[name] = memory.peak_rss()


def _cache(mode: CacheMode, watcher: Watcher) -> FeatureCache | None:
    if mode == "off":
        return None
    return feature_cache("float16" if mode == "fp16" else "float32", watcher.say)


def _with_overrides(card: TaskCard, params: dict[str, Any], where: str) -> ProtocolParams:
    return task_params(card.model_copy(update={"params": {**card.params, **params}}), where)
