"""What learns: student, teacher, queue and optimiser, and one step of them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from densebench.backbones.base import DenseBackbone
from densebench.host.distributed import World
from densebench.host.errors import DensebenchError
from densebench.posttrain.aligned import Share
from densebench.posttrain.finishing import Finishing
from densebench.posttrain.foreground import foreground
from densebench.posttrain.neco import pair_losses
from densebench.posttrain.networks import Networks
from densebench.posttrain.optimiser import Rates, apply_rates, build_optimiser, rates
from densebench.posttrain.patch_queue import Draw, PatchQueue, random_draw
from densebench.posttrain.photographs import Portion, Purpose, step_seed
from densebench.posttrain.recipe import Recipe
from densebench.posttrain.student import trainable
from densebench.posttrain.teacher import follow
from densebench.posttrain.views import PairBoxes

_Masks = list[Bool[Tensor, "b h w"]]


@dataclass(frozen=True)
class Draws:
    """The random choices of a step, the same in every process.

    `references` begins anew with every portion.
    """

    entries: Draw
    references: Callable[[], Draw]


@dataclass(frozen=True)
class Outcome:
    """What a step came to, over all processes: losses by pair, and the gradient's norm."""

    pair_losses: Float[Tensor, " pairs"]
    gradient_norm: float
    rates: Rates

    @property
    def loss(self) -> float:
        """The mean over pairs."""
        return float(self.pair_losses.mean())


class Learner:
    """The networks, the queue, the optimiser, and what a step does with them.

    Args:
        networks: student and teacher, on the device.
        recipe: every knob.
        length: steps of the schedules.
        world: the processes that share every step.
    """

    def __init__(self, networks: Networks, recipe: Recipe, length: int, world: World) -> None:
        self.student, self.teacher = networks.student, networks.teacher
        self.queue = _queue(recipe, networks)
        self.optimiser = build_optimiser(self.student, recipe)
        self._recipe, self._length, self._world = recipe, length, world
        backbone = self.student.backbone
        self._settings = recipe.loss.settings(backbone.patch_size)
        self._finish = Finishing(backbone.mean, backbone.std, self._device)

    def step(
        self,
        number: int,
        batch: Sequence[Portion],
        check: Callable[[float, str], None],
        draws: Draws | None = None,
    ) -> Outcome:
        """Take a step, counted from 0, as vpariza/NeCo takes it.

        Schedules; forward passes; the queue takes this batch; loss and gradients; the teacher
        moves towards the student as it is before the step; AdamW. Where no patch at all is left
        to compare, nothing moves.

        The host waits for a GPU once, at the end, for all numbers of the step.

        Args:
            number: of the step, which the schedules and the draws follow.
            batch: this process's views and boxes, on any device.
            check: is called with numbers that must be finite, and what they are; by then the step
                is taken.
            draws: the random choices; those that follow from seed and step when None.
        """
        now = rates(self._recipe, number, self._length)
        apply_rates(self.optimiser, now)
        seed = self._recipe.training.seed
        torch.manual_seed(step_seed(seed, number, Purpose.OWN + self._world.rank))
        own, losses = self._gradients(batch, draws or self._draws(number))
        parameters = [p for _, p in trainable(self.student) if p.grad is not None]
        self._world.average(p.grad for p in parameters if p.grad is not None)
        limit = self._recipe.optimiser.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        if self._recipe.loss.masks == "all" or losses.any():
            follow(self.teacher, self.student, now.momentum)
            self.optimiser.step()
        self.optimiser.zero_grad()
        weights = torch.stack(torch._foreach_norm([p.detach() for p in parameters])).norm()
        numbers = torch.cat([losses, own, torch.stack([norm, weights])]).cpu()
        losses, found = numbers[: len(losses)], numbers[len(losses) :].tolist()
        for value, what in zip(
            found, ["loss"] * len(own) + ["gradient", "weight norm"], strict=True
        ):
            check(value, what)
        return Outcome(losses, found[-2], now)

    def _draws(self, number: int) -> Draws:
        def seeded(purpose: Purpose) -> Draw:
            seed = step_seed(self._recipe.training.seed, number, purpose)
            return random_draw(Generator().manual_seed(seed))

        return Draws(seeded(Purpose.ENTRIES), lambda: seeded(Purpose.REFERENCES))

    def _gradients(
        self, batch: Sequence[Portion], draws: Draws
    ) -> tuple[Float[Tensor, " portions"], Float[Tensor, " pairs"]]:
        """Add the gradients of all portions.

        Returns:
            The loss of each portion, and the losses of all pairs over all processes.
        """
        batch = [self._on_device(portion) for portion in batch]
        taught = self._teach(batch, draws.entries)
        losses = torch.stack(
            [
                self._backward(place, portion, taught, draws.references())
                for place, portion in enumerate(batch)
            ]
        )
        together: Tensor = self._world.sum(losses.mean(dim=0))
        return losses.mean(dim=1), together / self._world.size

    @property
    def _device(self) -> torch.device:
        return next(self.student.parameters()).device

    def _on_device(self, portion: Portion) -> Portion:
        """Its views finished, as floating as the student."""
        portion, like = portion.on(self._device), next(self.student.parameters())
        images = portion.images
        if portion.distortions:
            images = self._finish(images, portion.distortions)
        return replace(portion, images=[image.to(like.dtype) for image in images])

    def _teach(self, batch: Sequence[Portion], draw: Draw) -> "_Taught":
        """What the teacher says about all portions; the queue takes its share of it."""
        crops = self._recipe.views.global_crops
        with torch.no_grad(), self._autocast():
            grids = [self.teacher.views(portion.images[:crops]) for portion in batch]
            masks = [self._masks(portion.images[:crops]) for portion in batch]
        regions = torch.cat([portion.boxes.in_global for portion in batch])
        whole = [g if g.dtype == torch.float64 else g.float() for g in _by_crop(grids)]
        taught = _Taught(whole, regions, _by_crop(masks))
        if self.queue is not None:
            self.queue.enter(taught.grids, draw, taught.masks or None, self._world)
        if self.queue is None or taught.masks:
            taught = taught.everywhere(self._world)
        return taught

    def _masks(self, views: Sequence[Tensor]) -> _Masks:
        loss = self._recipe.loss
        if loss.masks == "all":
            return []
        chosen = []
        for view in views:
            attention = self.teacher.backbone.attention(view)
            assert attention is not None  # check_attention saw to it
            shown = foreground(attention.float(), loss.mask_mass, loss.smallest_part)
            chosen.append(shown if loss.masks == "fg" else ~shown)
        return chosen

    def _backward(
        self, place: int, portion: Portion, taught: "_Taught", draw: Draw
    ) -> Float[Tensor, " pairs"]:
        """Add one portion's gradients; its losses by pair, without gradient."""
        training, size = self._recipe.training, len(portion.indices)
        start = self._world.rank * training.batch_size // self._world.size + place * size
        with self._autocast():
            student = self.student.views(portion.images)
        if not taught.whole:
            taught = taught.part(place * size, size)
        losses = pair_losses(
            taught.grids,
            student,
            PairBoxes(taught.in_global, portion.boxes.in_view),
            self._settings,
            draw=draw,
            queue=self.queue,
            foreground=taught.masks or None,
            share=Share(training.batch_size, start),
        )
        (losses.mean() / training.accumulation).backward()
        return losses.detach()

    def _autocast(self) -> torch.autocast:
        precision = self._recipe.training.precision
        kind = self._device.type
        half = precision == "bf16" or (precision == "auto" and kind == "cuda")
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=half)


@dataclass(frozen=True)
class _Taught:
    """The teacher's grids and masks by global crop, and the boxes in them.

    Of this process's images of a step, or of all processes' in the order of their ranks.
    """

    grids: list[Float[Tensor, "b h w d"]]
    in_global: Float[Tensor, "b c v 4"]
    masks: _Masks
    whole: bool = False

    def everywhere(self, world: World) -> "_Taught":
        """That of all processes together."""
        gathered = [[_gathered(t, world) for t in part] for part in (self.grids, self.masks)]
        return _Taught(gathered[0], _gathered(self.in_global, world), gathered[1], whole=True)

    def part(self, start: int, size: int) -> "_Taught":
        """That of some images."""
        own = slice(start, start + size)
        grids, masks = ([t[own] for t in part] for part in (self.grids, self.masks))
        return _Taught(grids, self.in_global[own], masks)


def _gathered(own: Tensor, world: World) -> Tensor:
    """What every process has, one after the other: a sum with zeros is exact."""
    if world.size == 1:
        return own
    kind = torch.int64 if own.dtype == torch.bool else own.dtype
    together = torch.zeros(world.size, *own.shape, dtype=kind, device=own.device)
    together[world.rank] = own
    return world.sum(together).flatten(0, 1).to(own.dtype)


def _by_crop(portions: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    return [torch.cat(grids) for grids in zip(*portions, strict=True)]


def _queue(recipe: Recipe, networks: Networks) -> PatchQueue | None:
    loss, head = recipe.loss, networks.student.head
    if not loss.queue_size:
        return None
    crops = recipe.views.global_crops
    queue = PatchQueue(crops, head.dim, loss.queue_size, loss.queue_counter)
    return queue.to(next(networks.student.parameters()).device)


def check_attention(backbone: DenseBackbone, recipe: Recipe, device: torch.device) -> None:
    """Nothing, if masks are not asked for or the backbone's attention gives them."""
    if recipe.loss.masks == "all":
        return
    size = recipe.views.global_size
    with torch.no_grad():
        attention = backbone.attention(torch.zeros(1, 3, size, size, device=device))
    if attention is None:
        raise DensebenchError(f"{backbone.name}: gives no attention, so loss.masks must be 'all'")
    foreground(attention)
