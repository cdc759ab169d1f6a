"""One post-training: a backbone, a recipe and images give a new, registered backbone."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from densebench.backbones import DenseBackbone, card_for, load_backbone, weights_file
from densebench.cards import NAME_PATTERN, card_names, find_backbone
from densebench.cards.block_numbers import layers_text
from densebench.files.atomic import require_writable, write_atomically
from densebench.files.hashes import content_hashes
from densebench.files.locks import held
from densebench.host.always import always_alike
from densebench.host.device import pick_device
from densebench.host.distributed import World, joined
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.posttrain.model_card import Origin, hub_id, images_told
from densebench.posttrain.monitor import build_monitor
from densebench.posttrain.optimiser import teachers_own_share
from densebench.posttrain.outcome import export, register, registered_card
from densebench.posttrain.photographs import find_photographs
from densebench.posttrain.recipe import Recipe, load_recipe, published_recipe
from densebench.posttrain.resumption import (
    IMAGES,
    finished_card,
    goes_on,
    prepare,
    remove_checkpoints,
)
from densebench.posttrain.trainer import PHASE, Place, Trainer

DEFAULT_FOLDER = Path("posttrained")
# From here on it no longer matters that the teacher began with a projection head of its own.
LONG_ENOUGH = 2000


@dataclass(frozen=True)
class PosttrainOptions:
    """What to train, on which images, and where what comes out is put."""

    backbone: str
    data: tuple[Path, ...]
    name: str
    weights: Path | None = None
    random_weights: int | None = None  # a seed of weights that are drawn, to begin with nothing
    recipe: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    out: Path | None = None
    device: str = "auto"
    workers: int | None = None
    resume: bool = False
    overwrite: bool = False
    tensorboard: bool = False
    offline: bool = False
    register: bool = True  # the name, for every later command of this user
    skip_bad: bool = False  # images that cannot be read, however many
    deterministic: bool = False  # only algorithms that repeat to the last bit

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return self.out or DEFAULT_FOLDER / self.name


def posttrain(options: PosttrainOptions, watcher: Watcher | None = None) -> Path:
    """Train, write the new backbone's folder, and register its name if that is wanted.

    Under `torchrun` every process calls this; the first one writes. With ``resume``, one that is
    finished is left as it is.

    Returns:
        The new backbone's card.

    Raises:
        DensebenchError: bad input, a loss that is not finite, or too many unreadable images.
        InterruptedTrainingError: told to stop; after a checkpoint.
    """
    device = pick_device(options.device)
    alike = always_alike(0) if options.deterministic else nullcontext()
    with joined(device) as world, alike:
        if device.type == "cuda" and world.size > 1:
            device = torch.device("cuda", world.local_rank)
        told = watcher if watcher is not None and world.is_main else Watcher()
        return _Session(options, device, world, told).card()


@contextmanager
def _alone(options: PosttrainOptions, world: World) -> Iterator[None]:
    """No other post-training writes to the folder meanwhile, and what comes out can be written.

    Raises:
        DensebenchError: another one does.
        OSError: the folder, or the one of registered cards, cannot be written.
    """

    def refuse() -> None:
        raise DensebenchError(
            f"{options.folder}: another post-training is at work there; choose another --name"
        )

    if not world.is_main:
        yield
        return
    require_writable(options.folder.parent)
    options.folder.parent.mkdir(parents=True, exist_ok=True)
    if options.register:
        require_writable(registered_card(options.name).parent)
    lock = options.folder.with_name(f".{options.folder.name}.lock")
    with held(lock, taken=refuse):
        yield


def load_base(options: PosttrainOptions, device: torch.device) -> DenseBackbone:
    """The backbone to train; one of fixed input size is built for the recipe's global views."""
    card, size = card_for(options.backbone, options.offline), None
    if options.recipe is not None and card is not None and card.patch_size:
        size = load_recipe(options.recipe, options.overrides).views.global_size
        size = None if size % card.patch_size else size  # of which the recipe tells more
    backbone = load_backbone(
        options.backbone,
        weights=options.weights,
        random_weights=options.random_weights,
        image_size=size,
        device=str(device),
        offline=options.offline,
    )
    if backbone.layers is not None:
        raise DensebenchError(
            f"{options.backbone}: its card has {layers_text(backbone.layers)}, and a post-training "
            "trains the backbone's own output; take a card without layers"
        )
    return backbone


def base_file(options: PosttrainOptions) -> Path | None:
    """The file of the weights that a training begins with; None where they are drawn."""
    if options.random_weights is not None:
        return None
    return weights_file(options.backbone, options.weights, options.offline)


class _Session:
    """The steps of one post-training."""

    def __init__(
        self, options: PosttrainOptions, device: torch.device, world: World, watcher: Watcher
    ) -> None:
        self._options, self._device, self._world = options, device, world
        self._watcher = watcher
        _check_name(options)
        self._goes_on = goes_on(options.folder, options.resume, options.overwrite)
        found = find_photographs(options.data)
        self._photographs = replace(found, most_unreadable=1.0) if options.skip_bad else found
        self._base_file = base_file(options)
        self._backbone = load_base(options, self._device)
        self._base = self._backbone.fingerprint
        self._recipe = self._choose_recipe()

    def card(self) -> Path:
        """The new card, after what is left of the training."""
        options, folder = self._options, self._options.folder
        finished = finished_card(folder, options.name) if options.resume else None
        if finished is not None:
            return self._as_it_is(finished)
        with torch.random.fork_rng(devices=[]), ExitStack() as stack:
            trainer = self._trainer(folder)
            stack.enter_context(_alone(options, self._world))
            self._world.barrier()  # before it, every process looked at the folder as it was
            if self._world.is_main:
                prepare(folder, clear=options.overwrite and not options.resume)
            self._world.barrier()
            self._keep_hashes(folder / IMAGES)
            self._train(trainer)
            if self._world.is_main:
                card = export(
                    folder,
                    options.name,
                    trainer.student.backbone,
                    trainer.teacher.backbone,
                    self._recipe,
                    self._origin(trainer),
                )
                if options.register:
                    register(options.name, card)
                remove_checkpoints(folder)
        self._world.barrier()
        return folder / f"{options.name}.toml"

    def _as_it_is(self, card: Path) -> Path:
        """The card of a finished training, if it is the one that is asked for."""
        found, folder = find_backbone(str(card)).card, self._options.folder
        sources = tuple(Path(source).resolve().name for source in self._photographs.sources)
        before = load_recipe(folder / "recipe.toml").model_copy(
            update={"monitor": self._recipe.monitor}
        )
        for what, same in (
            ("base", found.training and found.training.base_fingerprint == self._base),
            ("recipe", before == self._recipe),
            ("set of images", images_told(len(self._photographs), sources) in found.training_data),
        ):
            if not same:
                raise DensebenchError(
                    f"{folder}: is a finished post-training with another {what}; use the options "
                    "that it was begun with, or another --name"
                )
        self._watcher.say(f"{self._options.name}: is finished")
        if self._options.register and self._world.is_main:
            register(self._options.name, card)
        return card

    def _choose_recipe(self) -> Recipe:
        backbone, name = self._backbone, self._options.recipe
        if name is None:
            card = backbone.card
            dropped = card is not None and "register_tokens" in card.drop_keys
            registers = dropped or (card is not None and card.prefix_tokens > 1)
            name = published_recipe(backbone.patch_size, backbone.embed_dim, registers)
        return load_recipe(name, self._options.overrides)

    def _trainer(self, folder: Path) -> Trainer:
        place = Place(
            folder=folder,
            device=self._device,
            world=self._world,
            workers=self._workers(),
            tensorboard=self._options.tensorboard,
            watcher=self._watcher,
        )
        monitor = build_monitor(self._recipe.monitor, self._device)
        return Trainer(self._backbone, self._recipe, self._photographs, place, self._base, monitor)

    def _keep_hashes(self, file: Path) -> None:
        """The SHA-256 of all images, by which an evaluation knows those that were trained on."""
        rank, size = self._world.rank, self._world.size
        own = [str(image) for image in self._photographs.files[rank::size]]
        found = self._world.together([*content_hashes(own).values()], self._device)
        self._images = "".join(f"{digest}\n" for digest in sorted(set(found)))
        if self._world.is_main:
            write_atomically(file, self._images)

    def _train(self, trainer: Trainer) -> None:
        """What is left of the training."""
        if self._goes_on:
            trainer.resume()
        self._announce(trainer)
        left = trainer.schedule.length - trainer.step
        with self._watcher.phase(PHASE, left * trainer.schedule.batch_size):
            trainer.run()

    def _announce(self, trainer: Trainer) -> None:
        schedule, recipe = trainer.schedule, self._recipe
        model, length = recipe.model, trainer.schedule.length
        if model.teacher_head == "own" and model.head_layers and length < LONG_ENOUGH:
            left, first = teachers_own_share(recipe, length), model.momentum[0]
            self._watcher.say(
                f"warning: {length} steps are few for teacher and student with projection heads of "
                f"their own, as published: {left:.2f} of the teacher's first one is left at the "
                f"end ({first:g}^{length} = {first**length:.2f} at the first momentum), and it "
                "rules; --recipe neco_clean begins with one head for both"
            )
        began = f", from step {trainer.step} on" if trainer.step else ""
        self._watcher.say(
            f"{self._options.name}: {self._backbone.name} after {recipe.name}, {schedule.length} "
            f"steps of {schedule.batch_size} images out of {schedule.images}, on {self._device}"
            + (f" and {self._world.size} processes" if self._world.size > 1 else "")
            + began
        )

    def _workers(self) -> int:
        if self._options.workers is not None:
            return self._options.workers
        return 0 if self._device.type == "cpu" else 8

    def _origin(self, trainer: Trainer) -> Origin:
        options, card = self._options, self._backbone.card
        row = self._backbone.name  # a file counts by its name, wherever it lies
        if card is None or row.endswith(".toml"):
            row = Path(row).name if card is None else card.name
        if options.random_weights is not None:
            row = f"{row}@random-{options.random_weights}"
        return Origin(
            backbone=row + (f"@{options.weights.stem}" if options.weights else ""),
            target=options.backbone,
            file=self._base_file,
            images=len(self._photographs),
            fingerprint=self._base,
            images_fingerprint=hashlib.sha256(self._images.encode()).hexdigest(),
            sources=tuple(Path(source).resolve().name for source in self._photographs.sources),
            steps=trainer.step,
            unreadable=len(trainer.unreadable),
            hub=None
            if self._base_file is None or options.weights or card is None
            else hub_id(card),
        )


def _check_name(options: PosttrainOptions) -> None:
    """Nothing, for a name that is free, or that this very folder has registered."""
    for named in (str(options.folder.absolute()), options.backbone, *map(str, options.data)):
        try:
            named.encode()
        except UnicodeEncodeError as error:
            raise DensebenchError(f"{named!r}: no text, so that no card can name it") from error
    if not re.fullmatch(NAME_PATTERN.rstrip("$"), options.name):
        raise DensebenchError(f"--name '{options.name}': use letters, digits, '_', '-' and '.'")
    taken = card_names("backbones").get(options.name)
    own = options.folder / f"{options.name}.toml"
    if options.register and taken is not None and taken.resolve() != own.resolve():
        raise DensebenchError(f"--name {options.name}: is the name of {taken}; choose another")
