"""One run: a backbone, a task and its protocol give one record."""

from contextlib import nullcontext
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from densebench.backbones.base import DenseBackbone
from densebench.backbones.several import chosen_layers
from densebench.datasets.base import Split
from densebench.datasets.decoded import decoded_once
from densebench.features.cache import FeatureCache, feature_cache
from densebench.features.layers_together import LayersSource
from densebench.features.loading import default_workers
from densebench.features.source import CPU, PatchSource
from densebench.files.atomic import require_writable
from densebench.host.always import always_alike
from densebench.host.device import pick_device, room_on_gpu
from densebench.host.distributed import PATIENCE, World, joined
from densebench.host.errors import DensebenchError
from densebench.host.memory import available_bytes
from densebench.host.ranks import processes_here
from densebench.host.watcher import Watcher
from densebench.measures.scoring import Scorer
from densebench.protocols.base import Protocol, Setting
from densebench.records.schema import RunRecord
from densebench.records.store import load_settled
from densebench.run import done
from densebench.run.checks import check_memory, check_repeatable, kept_bytes
from densebench.run.chosen import chosen_images
from densebench.run.images import Images, load_images
from densebench.run.inputs import Identity, Inputs, load_inputs
from densebench.run.keeper import PanelKeeper
from densebench.run.options import RunOptions
from densebench.run.phases import Phases
from densebench.run.plan import Plan, plan_run
from densebench.run.record import Measured, make_record, save_run
from densebench.run.remembered import recall

LESS_GPU_MEMORY = "lower --batch-size, memory_size or input_size, or use --device cpu"


def evaluate(
    options: RunOptions,
    watcher: Watcher | None = None,
    images: Images | None = None,
    given: DenseBackbone | None = None,
    others: tuple[int, ...] = (),
) -> tuple[RunRecord, Path]:
    """Run one backbone on one task, and save the record the moment it exists.

    A run whose record is there already is read from it, unless ``overwrite`` is set. Under
    `torchrun` every process calls this; the first one decides, writes and tells.

    Args:
        options: what to run.
        watcher: is told how it goes.
        images: those of the run, where they were found already.
        given: a backbone that is in memory.
        others: layers after the run's only one, whose features are kept while its are extracted.

    Returns:
        The record, and the file that holds it.

    Raises:
        DensebenchError: bad input, or a run that does not fit into memory.
    """
    # What is exchanged lies in the processors' memory, on whichever device features are computed.
    alike = always_alike(options.seed) if options.deterministic else nullcontext()
    with joined(CPU, PATIENCE) as world, room_on_gpu(LESS_GPU_MEMORY), alike:
        told = watcher if watcher is not None and world.is_main else Watcher()
        return Run(options, told, world, images, given, others).record()


class Run:
    """The steps of one run; weights are loaded when something asks for them."""

    def __init__(
        self,
        options: RunOptions,
        watcher: Watcher,
        world: World | None = None,
        images: Images | None = None,
        given: DenseBackbone | None = None,
        others: tuple[int, ...] = (),
    ) -> None:
        self._options, self._watcher, self._given = options, watcher, given
        self._others = others
        self._world = world or World()
        self._phases = Phases(watcher)
        with self._phases.phase("load"):
            self._plan = plan_run(placed(options, self._world), given is not None)
            self._cache = _cache(self._plan, watcher)
            if images is None and self._world.is_main:  # hashed once, for all of them
                images = load_images(self._plan.task, options, watcher)
            known = self._world.from_main(images)
            assert known is not None  # in the first process, and so in all
            self._images = known

    @cached_property
    def inputs(self) -> Inputs:
        """Images and weights."""
        with self._phases.phase("load"):
            return load_inputs(self._plan, self._images, self._given)

    @cached_property
    def protocol(self) -> Protocol:
        """The protocol, which has learnt nothing yet."""
        return _make_protocol(self.inputs, self._watcher, self._world)

    def record(self) -> tuple[RunRecord, Path]:
        """The record of this run, done now or before."""
        main = self._world.is_main
        known = main and self._given is None
        key = done.key_of(self._options) if known else None  # before weights are loaded
        found = self._world.from_main(self._found() if main else None)
        if found:
            self._watcher.say(done.told(found[1]))
        else:
            found = self._world.from_main(self._computed())
        assert found is not None  # in the first process, and so in all
        if main:
            done.remember(key, self._options, self._images, found[0])
        return found

    def _found(self) -> tuple[RunRecord, Path] | None:
        """The record, if the run was done before; weights are loaded if it takes them to know."""
        known = recall(self._plan)
        found = known and self._stored(Identity(self._plan, self._images, known))
        return found or self._stored(self.inputs)

    def _stored(self, run: Identity) -> tuple[RunRecord, Path] | None:
        names = run.weights.name, run.plan.card.name, run.run_id
        return None if self._options.overwrite else done.stored(self._options, run.images, *names)

    def _computed(self) -> tuple[RunRecord, Path] | None:
        """The run, and in the first process its record."""
        inputs, protocol, watcher = self.inputs, self.protocol, self._watcher
        if self._world.is_main:
            require_writable(self._options.results)
        check_memory(inputs, protocol, self._cache, watcher)
        with self._phases.phase("check"):
            repeats = all(self._world.each(check_repeatable(inputs, protocol, watcher)))
        measured = self._measure(nondeterministic=not repeats)
        if measured is None:
            return None
        record = make_record(inputs, protocol, measured, self._phases)
        path = save_run(record, inputs, protocol, measured, watcher)
        return load_settled(path), path

    def _measure(self, nondeterministic: bool) -> Measured | None:
        """Learn, predict, and in the first process score."""
        protocol, data = self.protocol, self.inputs.dataset
        wanted = done.panels_wanted(self._options, data)
        panels = PanelKeeper(frozenset(chosen_images(data.val, wanted)))
        if wanted < self._options.panels:
            told = "no panels: they show labels or a depth in metres"
            self._watcher.say(f"{told}, and {data.kind} gives another target")
        train, val = self._source("train", "fit"), panels.watching(self._source("val", "predict"))
        n_train = protocol.needs.views(len(train))
        if n_train:
            with self._phases.phase("fit", n_train):
                protocol.fit(train, val)
        scorer = Scorer(protocol.scoring, val.split, data.group_name)
        with self._phases.phase("predict", len(val) * protocol.needs.val_passes):
            for prediction in protocol.predict(val):
                scorer.add(prediction)
                panels.add(prediction)
        if protocol.predicts_own:
            scorer.gather(self._world)
            panels.gather(self._world)
        panels.look(val, protocol)
        panels.explain(protocol, self._world)
        if not self._world.is_main:
            return None
        with self._phases.phase("score"):
            results = scorer.results()
        return Measured(
            results=results,
            panels=panels,
            skipped={**train.unreadable, **val.unreadable},
            produced_on=train.produced_on | val.produced_on,
            nondeterministic=nondeterministic,
            processes=self._world.size,
        )

    def _source(self, split: str, phase: str) -> PatchSource:
        options, device = self._options, self.inputs.plan.device
        images: Split = getattr(self.inputs.dataset, split)
        if _uses_masks_again(self.protocol, split):
            images = decoded_once(images)
        workers = options.workers
        if workers is None:
            workers = 0 if device.type == "cpu" else default_workers(len(images))
        source = PatchSource(
            split=images,
            backbone=self.inputs.backbone,
            device=device,
            batch_size=options.batch_size,
            workers=workers,
            precision=options.precision,
            skip_bad=options.skip_bad,
            cache=self._cache,
            watcher=self._watcher,
            phase=phase,
            world=self._world,
        )
        return self._with_others(source) if self._others else source

    def _with_others(self, source: PatchSource) -> PatchSource:
        """The source, which keeps features of as many other layers as the cache has room for.

        Raises:
            DensebenchError: there are no such layers.
        """
        assert self._cache is not None  # without one nothing is kept
        backbone = self.inputs.backbone
        chosen_layers(self._others, len(backbone.layer_widths()), backbone.name)
        room = self._cache.limit // max(1, kept_bytes(self.inputs, self.protocol))
        known = {part.name: getattr(source, part.name) for part in fields(PatchSource)}
        return LayersSource(**known, others=self._others[: max(0, room - 1)])


def _uses_masks_again(protocol: Protocol, split: str) -> bool:
    """Whether masks are read in several passes, or for the score at their own size as well."""
    needs = protocol.needs
    if split == "train":
        return needs.train_passes > 1 or needs.train_images is not None
    at_own_size = "original" in protocol.scoring.resolutions
    return needs.val_passes > 1 or bool(needs.val_in_fit) or at_own_size


def placed(options: RunOptions, world: World) -> RunOptions:
    """The options of one of several processes, which has a GPU of its own where there are some.

    Raises:
        DensebenchError: a GPU is named, or there are fewer than processes.
    """
    if world.size == 1 or pick_device(options.device).type == "cpu":
        return options
    device, count = torch.device("cuda", world.local_rank), torch.cuda.device_count()
    if options.device not in ("auto", "cuda") or world.local_rank >= count:
        raise DensebenchError(
            f"each process takes a GPU of its own, and {count} are here; "
            f"use --nproc-per-node {count} without --device {options.device}, or --device cpu"
        )
    torch.cuda.set_device(device)
    return replace(options, device=str(device))


def _make_protocol(inputs: Inputs, watcher: Watcher, world: World) -> Protocol:
    plan, backbone, dataset = inputs.plan, inputs.backbone, inputs.dataset
    setting = Setting(
        target=dataset.target,
        patch_size=backbone.patch_size,
        embed_dim=backbone.embed_dim,
        mean=inputs.normalisation[0],
        std=inputs.normalisation[1],
        variant=plan.options.variant,
        seed=plan.options.seed,
        device=plan.device,
        about=_about(inputs),
        workdir=inputs.workdir,
        watcher=watcher,
        explained=done.panels_wanted(plan.options, dataset) > 0,
        world=world,
        search_engine=plan.options.search_engine,
        memory=min(world.each(available_bytes() // processes_here())),
    )
    return plan.protocol(plan.params, setting)


def _about(inputs: Inputs) -> dict[str, Any]:
    """What a file that a protocol keeps says of the run."""
    layers = inputs.backbone.layers
    chosen = {} if layers is None else {"layers": layers}
    return {
        **chosen,
        "backbone": inputs.weights.name,
        "fingerprint": inputs.weights.fingerprint,
        "classes": inputs.dataset.classes,
        "palette": inputs.dataset.palette,
        "ignore_index": inputs.dataset.ignore_index,
        "mean": inputs.normalisation[0],
        "std": inputs.normalisation[1],
        "positions": inputs.plan.params.positions,
    }


def _cache(plan: Plan, watcher: Watcher) -> FeatureCache | None:
    mode, found = plan.options.cache, plan.backbone
    if mode == "off":
        return None
    name = plan.options.backbone if found is None else found.card.name
    about = {"backbone": name, "dataset": plan.card.dataset.kind}
    return feature_cache("float16" if mode == "fp16" else "float32", watcher, about)
