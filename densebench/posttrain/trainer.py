"""The training loop of NeCo: its steps, checkpoints, what is watched, and how it ends early."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import torch

from densebench.backbones.base import DenseBackbone
from densebench.host.distributed import World
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.posttrain.checkpoints import TrainingState, fitting, latest_state, save_state
from densebench.posttrain.interruption import stopping
from densebench.posttrain.journal import Journal
from densebench.posttrain.learner import Learner, Outcome, check_attention
from densebench.posttrain.networks import build_networks
from densebench.posttrain.optimiser import restore_optimiser
from densebench.posttrain.photographs import (
    Photographs,
    Portion,
    Schedule,
    Unreadable,
    ViewDataset,
    portions,
)
from densebench.posttrain.recipe import Recipe
from densebench.posttrain.student import Projector
from densebench.posttrain.views import MultiCrop

Monitor = Callable[[DenseBackbone], dict[str, float]]
LOG, PHASE = "log.jsonl", "posttrain"


class InterruptedTrainingError(Exception):
    """The training was told to stop, and saved itself first."""


@dataclass(frozen=True)
class Place:
    """Where a training runs and what it tells to whom."""

    folder: Path
    device: torch.device
    world: World = field(default_factory=World)
    workers: int = 0
    tensorboard: bool = False
    watcher: Watcher = field(default_factory=Watcher)

    @property
    def checkpoints(self) -> Path:
        """The folder of the training's checkpoints."""
        return self.folder / "checkpoints"


class Trainer:
    """One training: the networks, the queue, the optimiser, and the step that it is at.

    Args:
        backbone: what is trained, in place; on the device.
        recipe: every knob.
        photographs: the images.
        place: where it runs.
        monitor: measures the student now and then; its numbers go to the log.
        base: fingerprint of the backbone before training, so that no checkpoint meets another.

    Raises:
        DensebenchError: the recipe does not suit the backbone, the images or the processes.
    """

    def __init__(
        self,
        backbone: DenseBackbone,
        recipe: Recipe,
        photographs: Photographs,
        place: Place,
        base: str,
        monitor: Monitor | None = None,
    ) -> None:
        _check_portions(recipe, place.world)
        recipe.check_patch_size(backbone.patch_size)
        check_attention(backbone, recipe, place.device)
        self._recipe, self._photographs, self.place = recipe, photographs, place
        self._monitor = monitor
        self.schedule = _schedule(recipe, len(photographs))
        networks = build_networks(backbone, recipe, place.device, place.watcher)
        self.learner = Learner(networks, recipe, self.schedule.length, place.world)
        self._views = MultiCrop(recipe.views, backbone.mean, backbone.std)
        self._identity = {
            "base backbone": base,
            "recipe": recipe.model_dump_json(exclude={"monitor": True, **recipe.unsaid}),
            "set of images": photographs.fingerprint,
        }
        self.unreadable: dict[str, str] = {}
        self.step = 0

    @property
    def student(self) -> Projector:
        """What is trained."""
        return self.learner.student

    @property
    def teacher(self) -> Projector:
        """What follows it."""
        return self.learner.teacher

    def resume(self) -> None:
        """Go on from the last checkpoint: after a kill, up to ``checkpoint_every`` steps back.

        Raises:
            DensebenchError: there is none, it is of another training, or it does not fit.
        """
        state = latest_state(self.place.checkpoints, self._identity)
        with fitting(self.place.checkpoints):
            self.student.load_state_dict(state.student)
            self.teacher.load_state_dict(state.teacher)
            if self.learner.queue is not None:
                self.learner.queue.load_state_dict(state.queue)
            restore_optimiser(self.learner.optimiser, state.optimiser)
        self.unreadable, self.step = dict(state.unreadable), state.step

    def run(self) -> None:
        """Train to the end, with a checkpoint now and then and one at the end.

        Raises:
            InterruptedTrainingError: Ctrl-C or SIGTERM; after a checkpoint.
            DensebenchError: the loss is not finite, or too many images cannot be read.
        """
        board = self.place.folder / "tensorboard" if self.place.tensorboard else None
        main = self.place.world.is_main
        journal = Journal(self.place.folder / LOG, self.step, board) if main else None
        try:
            with stopping() as stopped:
                self._run(journal, stopped)
        finally:
            if journal is not None:
                journal.close()

    def _run(self, journal: Journal | None, stopped: Callable[[], bool]) -> None:
        every = self._recipe.training.checkpoint_every
        dataset = ViewDataset(self._photographs, self._views, self._recipe.training.seed)
        world = self.place.world
        stream = portions(
            dataset,
            self.schedule,
            self.step,
            (world.rank, world.size),
            self._recipe.training.accumulation,
            self.place.workers,
            pinned=self.place.device.type == "cuda",
        )
        start = perf_counter()
        for batch in stream:
            self._note_unreadable(batch, journal)
            outcome = self.learner.step(self.step, batch, self._checking(batch))
            if journal is not None:
                self._report(journal, outcome, perf_counter() - start)
            self.step += 1
            self.place.watcher.advance(PHASE, self.schedule.batch_size)
            self._watch(journal)
            stop = world.any(stopped(), self.place.device)
            if stop or self.step % every == 0 or self.step == self.schedule.length:
                self._save()
            if stop and self.step < self.schedule.length:
                raise InterruptedTrainingError(
                    f"saved after step {self.step} of {self.schedule.length}"
                )
            start = perf_counter()

    def _checking(self, batch: Sequence[Portion]) -> Callable[[float, str], None]:
        return lambda value, what: self._check_finite(value, what, batch)

    def _check_finite(self, value: float, what: str, batch: Sequence[Portion]) -> None:
        """Nothing, if a number is finite in every process."""
        here = [] if math.isfinite(value) else [(value, self._files(batch))]
        found = self.place.world.together(here, self.place.device)
        if found:
            files = ", ".join(name for _, names in found for name in names)
            raise DensebenchError(
                f"the {what} of step {self.step + 1} is not finite ({found[0][0]}); the batch held "
                f"{files}; lower optimiser.backbone_lr or optimiser.head_lr, or use "
                "training.precision=fp32; what was saved before is kept"
            )

    def _files(self, batch: Sequence[Portion]) -> list[str]:
        places = [index for portion in batch for index in portion.indices.tolist()]
        return [str(self._photographs.files[place]) for place in places]

    def _note_unreadable(self, batch: Sequence[Portion], journal: Journal | None) -> None:
        """Count and name what could not be read, until it is too much."""
        here = [bad for portion in batch for bad in portion.skipped]
        for bad in self.place.world.together(here, self.place.device):
            self._note(bad, journal)
        if self._photographs.too_many(len(self.unreadable)):
            first, many = next(iter(self.unreadable.values())), len(self._photographs)
            some = len(self.unreadable) < many
            raise DensebenchError(
                f"{len(self.unreadable)} of {many} images cannot be used, more than one in a "
                f"hundred; first: {first}" + "; or leave all such out with --skip-bad" * some
            )

    def _note(self, bad: Unreadable, journal: Journal | None) -> None:
        if bad.file in self.unreadable:
            return
        self.unreadable[bad.file] = bad.reason
        self.place.watcher.say(f"skipped: {bad.reason}")
        if journal is not None:
            journal.write(self.step + 1, unreadable=bad.file, reason=bad.reason)

    def _report(self, journal: Journal, outcome: Outcome, seconds: float) -> None:
        now = outcome.rates
        journal.write(
            self.step + 1,
            epoch=self.schedule.epoch(self.step),
            loss=outcome.loss,
            gradient_norm=outcome.gradient_norm,
            backbone_lr=now.backbone_lr,
            head_lr=now.head_lr,
            weight_decay=now.weight_decay,
            momentum=now.momentum,
            seconds=round(seconds, 4),
            images_per_second=round(self.schedule.batch_size / seconds, 3),
        )
        self.place.watcher.status(f"loss {outcome.loss:.4f}, learning rate {now.backbone_lr:.2g}")

    def _watch(self, journal: Journal | None) -> None:
        """Measure the student, where the recipe asks for it."""
        every = self._recipe.monitor.every
        if self._monitor is None or journal is None or not every or self.step % every:
            return
        self.student.eval()
        try:
            found = self._monitor(self.student.backbone)
        finally:
            self.student.train()
        journal.write(self.step, **found)
        told = ", ".join(f"{key} {value:.4f}" for key, value in found.items())
        self.place.watcher.say(f"after step {self.step}: {told}")

    def _save(self) -> None:
        queue = self.learner.queue
        if self.place.world.is_main:
            state = TrainingState(
                step=self.step,
                identity=self._identity,
                student=self.student.state_dict(),
                teacher=self.teacher.state_dict(),
                queue={} if queue is None else queue.state_dict(),
                optimiser=self.learner.optimiser.state_dict(),
                unreadable=self.unreadable,
            )
            save_state(self.place.checkpoints, state, self._recipe.training.keep_checkpoints)
        self.place.world.barrier()


def _check_portions(recipe: Recipe, world: World) -> None:
    training = recipe.training
    if training.batch_size % (world.size * training.accumulation):
        raise DensebenchError(
            f"training.batch_size {training.batch_size} does not divide into {world.size} "
            f"processes times training.accumulation {training.accumulation}"
        )


def _schedule(recipe: Recipe, images: int) -> Schedule:
    training = recipe.training
    if images < training.batch_size:
        raise DensebenchError(
            f"{images} images are fewer than training.batch_size {training.batch_size}; "
            f"give more images, or --set training.batch_size={images}"
        )
    length = training.steps or training.epochs * (images // training.batch_size)
    return Schedule(images, training.batch_size, training.seed, length)
