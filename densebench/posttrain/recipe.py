"""Recipes: every knob of a post-training, read from a card and overridden from the command line."""

import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from densebench.cards import NAME_PATTERN, Card, card_path, read_toml, validate
from densebench.host.errors import DensebenchError
from densebench.posttrain.neco import MaskedReferences, NeCoSettings, Similarity
from densebench.posttrain.patch_queue import QueueCounter
from densebench.posttrain.softsort import Network
from densebench.posttrain.views import ViewSettings

Masks = Literal["all", "fg", "bg"]
TrainPrecision = Literal["auto", "fp32", "bf16"]
PUBLISHED = {14: "neco_dinov2", 16: "neco_dino"}
BASE_WIDTH = 768  # from a ViT-B on, DINOv2's rates and batch are others


class LossTable(Card):
    """The loss.

    `queue_size` 0 draws reference patches from the batch; `queue_counter` says which rows of a
    queue that is not full are drawn. `masks` chooses patches: those with `mask_mass` of the
    teacher's attention, in parts of `smallest_part` patches or more, or the others.
    `masked_references` says by which slice of the masks references from the batch are chosen.
    """

    align_size: int = Field(default=7, ge=2, le=1024)
    network: Network = "bitonic"
    student_steepness: float = Field(default=100.0, gt=0)
    teacher_steepness: float = Field(default=100.0, gt=0)
    similarity: Similarity = "cosine"
    queue_size: int = Field(default=8192, ge=0)
    queue_counter: QueueCounter = "published"
    masks: Masks = "all"
    mask_mass: float = Field(default=0.6, gt=0, lt=1)
    smallest_part: int = Field(default=3, ge=1)
    masked_references: MaskedReferences = "published"

    def settings(self, patch_size: int) -> NeCoSettings:
        """The knobs that the loss itself takes."""
        return NeCoSettings(
            patch_size=patch_size,
            align_size=self.align_size,
            network=self.network,
            student_steepness=self.student_steepness,
            teacher_steepness=self.teacher_steepness,
            similarity=self.similarity,
            masked_references=self.masked_references,
        )


class ModelTable(Card):
    """Projection heads, regularisation and what trains.

    `head_layers` 0 orders the features themselves; `trainable_blocks` 0 trains everything.
    `teacher_head` says whether the teacher's projection head begins as one of its own or as the
    student's, `positions` by which rule positions are resized in training, `class_token` whether
    DINOv2 with registers has a class token and its position as two parameters or as their sum.
    """

    teacher_head: Literal["own", "student"] = "own"
    positions: Literal["neco", "card"] = "neco"
    class_token: Literal["unfolded", "folded"] = "unfolded"
    head_layers: int = Field(default=3, ge=0, le=100)
    head_hidden: int = Field(default=2048, ge=1, le=1 << 17)
    head_dim: int = Field(default=256, ge=1, le=1 << 17)
    drop_path: float = Field(default=0.1, ge=0, lt=1)
    trainable_blocks: int = Field(default=0, ge=0)
    momentum: tuple[float, float] = (0.9995, 1.0)
    gradient_checkpointing: bool = False
    compile: bool = False

    @field_validator("momentum")
    @classmethod
    def _fractions(cls, momentum: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= value <= 1 for value in momentum):
            raise ValueError("a momentum lies between 0 and 1")
        return momentum


class OptimiserTable(Card):
    """AdamW; rates fall to `final_lr`, `weight_decay` goes from first to last, both by cosine.

    `clip_norm` 0 leaves gradients as they are.
    """

    backbone_lr: float = Field(ge=0, le=1e37)  # what float32 holds
    head_lr: float = Field(default=1e-4, ge=0, le=1e37)
    final_lr: float = Field(default=0.0, ge=0, le=1e37)
    weight_decay: tuple[float, float] = (0.04, 0.5)
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = Field(default=0.0, ge=0)

    @field_validator("weight_decay", "betas")
    @classmethod
    def _in_range(cls, pair: tuple[float, float], info: ValidationInfo) -> tuple[float, float]:
        if min(pair) < 0 or (info.field_name == "betas" and max(pair) >= 1):
            raise ValueError("give numbers from 0 on, betas below 1")
        return pair


class TrainingTable(Card):
    """How long and in what portions.

    `batch_size` counts images over all processes and accumulated portions; `steps` 0 leaves the
    length to `epochs`.
    """

    batch_size: int = Field(ge=1)
    epochs: int = Field(default=25, ge=1)
    steps: int = Field(default=0, ge=0)
    accumulation: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)
    precision: TrainPrecision = "auto"
    checkpoint_every: int = Field(default=500, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)


class MonitorTable(Card):
    """What is watched every `every` steps (0: never): a student on a few images of `task`."""

    task: str = ""
    every: int = Field(default=0, ge=0)
    images: int = Field(default=64, ge=2)
    input_size: int = Field(default=224, ge=1)

    @model_validator(mode="after")
    def _has_a_task(self) -> "MonitorTable":
        if self.every and not self.task:
            raise ValueError("every needs task, the task whose images are watched")
        return self


class Recipe(Card):
    """A post-training from beginning to end, beside its backbone and its images."""

    name: str = Field(pattern=NAME_PATTERN)
    description: str = ""
    views: ViewSettings = Field(default_factory=ViewSettings)
    loss: LossTable = Field(default_factory=LossTable)
    model: ModelTable = Field(default_factory=ModelTable)
    optimiser: OptimiserTable
    training: TrainingTable
    monitor: MonitorTable = Field(default_factory=MonitorTable)

    @property
    def unsaid(self) -> dict[str, set[str]]:
        """Of each table, what a training's identity leaves out.

        A key that came later, at the value of all trainings before it.
        """
        return {"views": {"engine"}} if self.views.engine == "pillow" else {}

    def check_patch_size(self, patch_size: int) -> None:
        """Nothing, if the patch size divides the views.

        Raises:
            DensebenchError: it does not; with the override that would do.
        """
        for key in ("global_size", "local_size"):
            size = getattr(self.views, key)
            local = key == "local_size"
            if local and (not self.views.local_crops or self.views.cut_local * size >= patch_size):
                continue
            if size % patch_size:
                below = max(1, size // patch_size) * patch_size
                raise DensebenchError(
                    f"recipe {self.name}: views.{key} {size} does not divide into patches of "
                    f"{patch_size} pixels; use --set views.{key}={below}"
                )


def load_recipe(name: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of that name or path, with dotted keys such as `training.epochs` overridden.

    Raises:
        DensebenchError: no such recipe, an unknown key, a bad value.
    """
    path = card_path("recipes", os.fspath(name))
    values = deepcopy(read_toml(path))
    for key, value in (overrides or {}).items():
        _override(values, key.split("."), value, key)
    return validate(Recipe, values, str(path) + (" with --set" if overrides else ""))


def published_recipe(patch_size: int, embed_dim: int = 384, registers: bool = False) -> str:
    """The name of the published recipe for backbones of a patch size and width.

    Args:
        patch_size: in pixels.
        embed_dim: of the backbone.
        registers: whether it was pre-trained with register tokens.

    Raises:
        DensebenchError: none was published for it.
    """
    if patch_size not in PUBLISHED:
        raise DensebenchError(
            f"no recipe was published for patches of {patch_size} pixels; name one with --recipe "
            "(`densebench list recipes`)"
        )
    if patch_size == 14 and embed_dim >= BASE_WIDTH:
        return "neco_dinov2_reg_b" if registers else "neco_dinov2_b"
    return PUBLISHED[patch_size]


def _override(values: dict[str, Any], path: Sequence[str], value: Any, key: str) -> None:
    *tables, last = path
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise DensebenchError(f"--set {key}: {table} is no table of the recipe")
    values[last] = value
