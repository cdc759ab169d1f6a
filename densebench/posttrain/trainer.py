"""The training loop of NeCo: steps, checkpoints, what is watched, and how it ends early."""

import math
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, perf_counter
from types import FrameType

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from densebench.backbones.base import DenseBackbone
from densebench.distributed import World
from densebench.errors import DensebenchError
from densebench.posttrain.checkpoints import TrainingState, latest_state, save_state
from densebench.posttrain.foreground import foreground
from densebench.posttrain.journal import Journal
from densebench.posttrain.neco import PatchQueue, Share, neco_loss
from densebench.posttrain.optimiser import apply_rates, build_optimiser, rates
from densebench.posttrain.photographs import (
    Photographs,
    Portion,
    Schedule,
    Unreadable,
    ViewDataset,
    portions,
    step_seed,
    too_many_unreadable,
)
from densebench.posttrain.recipe import Recipe
from densebench.posttrain.student import (
    ProjectionHead,
    Projector,
    checkpoint_gradients,
    freeze_all_but_last,
    set_drop_path,
    trainable,
)
from densebench.posttrain.teacher import follow, teacher_of
from densebench.posttrain.views import MultiCrop

Monitor = Callable[[DenseBackbone], dict[str, float]]
# What is drawn in a step; what a process draws for itself, such as drop path, comes last.
_REFERENCES, _ENTRIES, _HEAD, _OWN = range(4)
LOG = "log.jsonl"
SECOND_THOUGHT = 1.0  # seconds; torchrun passes on a Ctrl-C that the process got already


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
    say: Callable[[str], None] = lambda _: None
    status: Callable[[str], None] = lambda _: None
    advance: Callable[[int], None] = lambda _: None

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
        _check_attention(backbone, recipe, place.device)
        self._recipe, self._photographs, self.place = recipe, photographs, place
        self._monitor = monitor
        self.schedule = _schedule(recipe, len(photographs))
        self.student, self.teacher = _networks(backbone, recipe, place)
        self._queue = _queue(recipe, self.student.head.dim, place.device)
        self._optimiser = build_optimiser(self.student, recipe)
        self._settings = recipe.loss.settings(backbone.patch_size)
        self._views = MultiCrop(recipe.views, backbone.mean, backbone.std)
        self._identity = {
            "base backbone": base,
            "recipe": recipe.model_dump_json(exclude={"monitor"}),
            "set of images": photographs.fingerprint,
        }
        self.unreadable: dict[str, str] = {}
        self.step = 0

    def resume(self) -> None:
        """Go on from the last checkpoint.

        Raises:
            DensebenchError: there is none, or it is of another training.
        """
        state = latest_state(self.place.checkpoints, self._identity)
        self.student.load_state_dict(state.student)
        self.teacher.load_state_dict(state.teacher)
        if self._queue is not None:
            self._queue.load_state_dict(state.queue)
        self._optimiser.load_state_dict(state.optimiser)
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
            with _stopping() as stopped:
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
        )
        start = perf_counter()
        for batch in stream:
            self._note_unreadable(batch, journal)
            loss, norm = self._take_step(batch)
            if journal is not None:
                self._report(journal, loss, norm, perf_counter() - start)
            self.step += 1
            self.place.advance(self.schedule.batch_size)
            self._watch(journal)
            stop = world.any(stopped(), self.place.device)
            if stop or self.step % every == 0 or self.step == self.schedule.length:
                self._save()
            if stop and self.step < self.schedule.length:
                raise InterruptedTrainingError(
                    f"saved after step {self.step} of {self.schedule.length}"
                )
            start = perf_counter()

    def _take_step(self, batch: Sequence[Portion]) -> tuple[float, float]:
        """Loss and gradient norm of one step, over all processes."""
        recipe, world = self._recipe, self.place.world
        now = rates(recipe, self.step, self.schedule.length)
        apply_rates(self._optimiser, now)
        torch.manual_seed(step_seed(recipe.training.seed, self.step, _OWN + world.rank))
        images = [self._to_device(portion) for portion in batch]
        grids, masks = self._teach(images)
        losses = [
            self._backward(number, portion, views, grids[number], masks[number])
            for number, (portion, views) in enumerate(zip(batch, images, strict=True))
        ]
        parameters = [p for _, p in trainable(self.student) if p.grad is not None]
        world.average(p.grad for p in parameters if p.grad is not None)
        limit = recipe.optimiser.clip_norm or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
        loss = world.sum(torch.stack(losses).mean()) / world.size
        self._check_finite(norm, "gradient", batch)
        self._optimiser.step()
        self._optimiser.zero_grad()
        weights = torch.stack([p.detach().norm() for p in parameters]).norm()
        self._check_finite(float(weights), "weight norm", batch)
        follow(self.teacher, self.student, now.momentum)
        return float(loss), norm

    def _to_device(self, portion: Portion) -> list[Float[Tensor, "b 3 _ _"]]:
        device = self.place.device
        return [image.to(device, non_blocking=True) for image in portion.images]

    def _teach(
        self, images: Sequence[Sequence[Tensor]]
    ) -> tuple[list[list[Tensor]], list[list[Bool[Tensor, "b h w"]] | None]]:
        """The teacher's grids of all portions, with their masks; the queue takes its share."""
        crops = self._recipe.views.global_crops
        with torch.no_grad(), self._autocast():
            grids = [self.teacher.views(views[:crops]) for views in images]
            masks = [self._masks(views[:crops]) for views in images]
        if self._queue is not None:
            together = [torch.cat([grid[crop] for grid in grids]) for crop in range(crops)]
            chosen = [mask for mask in masks if mask is not None]
            shown = [torch.cat([mask[crop] for mask in chosen]) for crop in range(crops) if chosen]
            generator = self._generator(_ENTRIES)
            self._queue.enter(together, generator, shown or None, self.place.world)
        return grids, masks

    def _masks(self, views: Sequence[Tensor]) -> list[Bool[Tensor, "b h w"]] | None:
        kind = self._recipe.loss.masks
        if kind == "all":
            return None
        chosen = []
        for view in views:
            attention = self.teacher.backbone.attention(view)
            assert attention is not None  # _check_attention saw to it
            shown = foreground(attention.float())
            chosen.append(shown if kind == "fg" else ~shown)
        return chosen

    def _backward(
        self,
        number: int,
        portion: Portion,
        images: Sequence[Tensor],
        teacher: Sequence[Tensor],
        masks: Sequence[Bool[Tensor, "b h w"]] | None,
    ) -> Float[Tensor, ""]:
        """Add one portion's gradients; its loss, without gradient."""
        training, world = self._recipe.training, self.place.world
        size = len(portion.indices)
        start = world.rank * training.batch_size // world.size + number * size
        with self._autocast():
            student = self.student.views(images)
        loss = neco_loss(
            teacher,
            student,
            portion.boxes,
            self._settings,
            generator=self._generator(_REFERENCES),
            queue=self._queue,
            foreground=masks,
            share=Share(training.batch_size, start),
        )
        self._check_finite(float(loss.detach()), "loss", [portion])
        (loss / training.accumulation).backward()
        return loss.detach()

    def _generator(self, purpose: int) -> Generator:
        """The same in every process and portion of a step."""
        seed = step_seed(self._recipe.training.seed, self.step, purpose)
        return Generator().manual_seed(seed)

    def _autocast(self) -> torch.autocast:
        precision, kind = self._recipe.training.precision, self.place.device.type
        half = precision == "bf16" or (precision == "auto" and kind == "cuda")
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=half)

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
        """Count and name what could not be read; more than one in a hundred is too much."""
        here = [bad for portion in batch for bad in portion.skipped]
        for bad in self.place.world.together(here, self.place.device):
            self._note(bad, journal)
        if too_many_unreadable(len(self.unreadable), len(self._photographs)):
            first = next(iter(self.unreadable.values()))
            raise DensebenchError(
                f"{len(self.unreadable)} of {len(self._photographs)} images cannot be used, more "
                f"than one in a hundred; first: {first}"
            )

    def _note(self, bad: Unreadable, journal: Journal | None) -> None:
        if bad.file in self.unreadable:
            return
        self.unreadable[bad.file] = bad.reason
        self.place.say(f"skipped: {bad.reason}")
        if journal is not None:
            journal.write(self.step + 1, unreadable=bad.file, reason=bad.reason)

    def _report(self, journal: Journal, loss: float, norm: float, seconds: float) -> None:
        now = rates(self._recipe, self.step, self.schedule.length)
        journal.write(
            self.step + 1,
            epoch=self.schedule.epoch(self.step),
            loss=loss,
            gradient_norm=norm,
            backbone_lr=now.backbone_lr,
            head_lr=now.head_lr,
            weight_decay=now.weight_decay,
            momentum=now.momentum,
            seconds=round(seconds, 4),
            images_per_second=round(self.schedule.batch_size / seconds, 3),
        )
        self.place.status(f"loss {loss:.4f}, learning rate {now.backbone_lr:.2g}")

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
        self.place.say(f"after step {self.step}: {told}")

    def _save(self) -> None:
        if self.place.world.is_main:
            state = TrainingState(
                step=self.step,
                identity=self._identity,
                student=self.student.state_dict(),
                teacher=self.teacher.state_dict(),
                queue={} if self._queue is None else self._queue.state_dict(),
                optimiser=self._optimiser.state_dict(),
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


def _check_attention(backbone: DenseBackbone, recipe: Recipe, device: torch.device) -> None:
    """Nothing, if masks are not asked for or the backbone's attention gives them."""
    if recipe.loss.masks == "all":
        return
    size = recipe.views.global_size
    with torch.no_grad():
        attention = backbone.attention(torch.zeros(1, 3, size, size, device=device))
    if attention is None:
        raise DensebenchError(f"{backbone.name}: gives no attention, so loss.masks must be 'all'")
    foreground(attention)


def _schedule(recipe: Recipe, images: int) -> Schedule:
    training = recipe.training
    if images < training.batch_size:
        raise DensebenchError(
            f"{images} images are fewer than training.batch_size {training.batch_size}; "
            f"give more images, or --set training.batch_size={images}"
        )
    length = training.steps or training.epochs * (images // training.batch_size)
    return Schedule(images, training.batch_size, training.seed, length)


def _networks(backbone: DenseBackbone, recipe: Recipe, place: Place) -> tuple[Projector, Projector]:
    """Student and teacher, equal but for drop path."""
    model = recipe.model
    freeze_all_but_last(backbone, model.trainable_blocks)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(step_seed(recipe.training.seed, 0, _HEAD))
        head = ProjectionHead(
            backbone.embed_dim, model.head_layers, model.head_hidden, model.head_dim
        )
    student = Projector(backbone, head).to(place.device)
    teacher = teacher_of(student)
    if model.drop_path and not set_drop_path(backbone, model.drop_path):
        place.say(f"{backbone.name} has no place for drop path; it trains without")
    if model.gradient_checkpointing:
        checkpoint_gradients(backbone)
    if model.compile:
        student.compile()
        teacher.compile()
    return student.train(), teacher


def _queue(recipe: Recipe, dim: int, device: torch.device) -> PatchQueue | None:
    if not recipe.loss.queue_size:
        return None
    queue = PatchQueue(recipe.views.global_crops, dim, recipe.loss.queue_size)
    return queue.to(device)


@contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """Whether a signal asked to stop; a second Ctrl-C some time later ends at once."""
    asked: list[float] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(monotonic())
        if number == signal.SIGINT and asked[-1] - asked[0] > SECOND_THOUGHT:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
