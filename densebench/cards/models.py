"""What a card of each kind holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from densebench.cards.block_numbers import checked_layers
from densebench.cards.registry import DATASETS, FAMILIES
from densebench.host.errors import DensebenchError

PositionEmbedding = Literal[
    "dino", "dinov2", "dinov2_reg", "neco", "timm", "transformers", "siglip2", "none"
]
SHA256_PATTERN = r"^[0-9a-f]{64}$"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$"


# Below 2^31, for libraries that count so, with room to count on from a seed.
LARGEST = 2_000_000_000


def _numbers(value: Any) -> Iterator[int]:
    """The whole numbers in a value, however deep."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _numbers(inner)


class Card(BaseModel):
    """What every table of a card shares: frozen, and an unknown key is an error.

    ``largest`` is what no whole number in it may go beyond.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)
    largest: ClassVar[int] = LARGEST

    @field_validator("*", mode="before")
    @classmethod
    def _no_endless_number(cls, value: Any) -> Any:
        """Counts beyond it would be counted to for ever, and seeds not fit where they go."""
        if any(abs(number) > cls.largest for number in _numbers(value)):
            raise ValueError(f"a number has no place here beyond {cls.largest:,}")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_as_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic would read true as 1."""
        if (
            isinstance(value, bool)
            and cls.model_fields[str(info.field_name)].annotation is not bool
        ):
            raise ValueError("input should be another kind of value")
        return value


class WeightsSource(Card):
    """Where the weights lie: a file of a Hugging Face repository, an address, or a file.

    ``path`` is relative to the folder of the card's own file, so that both can be moved together.
    """

    repo: str | None = None
    file: str | None = None
    revision: str = "main"
    url: str | None = None
    path: str | None = None
    sha256: str | None = Field(default=None, pattern=SHA256_PATTERN)

    @model_validator(mode="after")
    def _one_place(self) -> "WeightsSource":
        if sum(place is not None for place in (self.repo, self.url, self.path)) != 1:
            raise ValueError("give one of repo with file, url, or path")
        if self.repo is not None and self.file is None:
            raise ValueError("repo needs file, the name of the weights file in it")
        return self

    @field_validator("path")
    @classmethod
    def _relative(cls, path: str | None) -> str | None:
        if path is not None and (not path or Path(path).is_absolute()):
            raise ValueError("path must be relative to the card's folder; or use --weights FILE")
        return path


class TrainingCard(Card):
    """How a post-trained backbone came to be.

    ``recipe_hash`` is of everything that makes it but the seed: the recipe with all overrides, the
    base's weights, the content of the images. ``view_engine`` tells which libraries made the views;
    of older cards it is not known.
    """

    base: str
    base_fingerprint: str = Field(pattern=SHA256_PATTERN)
    recipe: str
    recipe_hash: str = Field(pattern=SHA256_PATTERN)
    seed: int = Field(ge=0)
    steps: int = Field(ge=0)
    view_engine: str = ""


class BackboneCard(Card):
    """One backbone: how it is built, what its weights are and where they come from.

    ``position_embedding`` names the rule by which the table of learnt positions is resized to the
    input's patch grid; ``drop_keys`` the prefixes of checkpoint keys that are left out on purpose.
    ``layers`` are the blocks, counted from 0, whose features are given side by side in place of
    the backbone's own output; ``embed_dim`` stays the width of that.
    """

    name: str = Field(pattern=NAME_PATTERN)
    description: str = ""
    source: str
    id: str
    weights: WeightsSource | None = None
    patch_size: int = Field(gt=0)
    embed_dim: int = Field(gt=0)
    prefix_tokens: int = Field(default=0, ge=0)
    mean: tuple[float, float, float]
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    position_embedding: PositionEmbedding
    final_norm: bool = True
    layers: tuple[int, ...] | None = None
    drop_keys: tuple[str, ...] = ()
    license: str
    training_data: str
    adapted_from: str | None = None
    citation: str = ""
    training: TrainingCard | None = None

    @model_serializer(mode="wrap")
    def _named(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """``layers`` came later: it is written where it is given, so that old hashes stay."""
        values: dict[str, Any] = dump(self)
        if self.layers is None:
            values.pop("layers", None)
        return values

    @field_validator("layers", mode="before")
    @classmethod
    def _of_blocks(cls, layers: Any) -> Any:
        try:
            return None if layers is None else checked_layers(layers)
        except DensebenchError as error:
            raise ValueError(str(error)) from error

    @field_validator("source")
    @classmethod
    def _known_source(cls, source: str) -> str:
        FAMILIES.check(source)
        return source


class DatasetCard(Card):
    """Which images: a kind of dataset, and what that kind needs to be told.

    A kind with further keys has a card of its own, made from this one. ``subset`` is the share of
    the training images that a protocol is defined on: ``1/N`` for a published list, ``own:1/N``
    for a seeded share.
    """

    kind: str
    root: str | None = None
    images: str | None = None
    masks: str | None = None
    train: str | None = None
    val: str | None = None
    classes: tuple[str, ...] | None = None
    ignore_index: int = Field(default=255, ge=0, le=255)
    subset: str | None = Field(default=None, pattern=r"^(own:)?1/[1-9][0-9]*$")

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, kind: str) -> str:
        DATASETS.check(kind)
        return kind

    @field_validator("classes")
    @classmethod
    def _distinct_classes(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and (not classes or len(set(classes)) != len(classes)):
            raise ValueError("class names must be distinct, and at least one")
        return classes


class TaskCard(Card):
    """One task: a dataset and the protocol, with its parameters, that scores a backbone on it.

    ``params`` is checked against the protocol's own model when the task is loaded to be run.
    """

    name: str = Field(pattern=NAME_PATTERN)
    description: str = ""
    protocol: str
    dataset: DatasetCard
    params: dict[str, Any] = Field(default_factory=dict)


class QuotedNumber(Card):
    """A published number that stands on a rung: of a backbone, in the metric's unit, as printed."""

    backbone: str
    value: float
    source: str


class RungCard(Card):
    """One rung of a ladder: a task with settings, and in what alone it differs from the one before.

    ``changes`` names the parameters that differ, or ``variant`` or ``protocol``; ``factor`` says in
    words what that is. The first rung has neither.
    """

    name: str = Field(pattern=NAME_PATTERN)
    task: str
    variant: str = "reference"
    params: dict[str, Any] = Field(default_factory=dict)
    factor: str = ""
    changes: tuple[str, ...] = ()
    published: tuple[QuotedNumber, ...] = ()


class LadderCard(Card):
    """The ways in which one dataset is scored, each rung one change away from the one before."""

    name: str = Field(pattern=NAME_PATTERN)
    description: str = ""
    rung: tuple[RungCard, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_says_what_it_changes(self) -> "LadderCard":
        names = [rung.name for rung in self.rung]
        if len(set(names)) != len(names):
            raise ValueError("names of rungs must be distinct")
        for number, rung in enumerate(self.rung):
            if bool(rung.factor) != bool(number) or bool(rung.changes) != bool(number):
                raise ValueError(
                    f"rung {rung.name}: every rung but the first says its factor and its changes"
                )
        return self


class SuiteCard(Card):
    """Tasks and backbones that belong together: the columns and rows of a published table.

    Both are named as the command line names them; a path is relative to the card's folder, and
    ``suite:NAME`` stands for another suite's. ``source`` is whose table it is, as the published
    numbers name it.
    """

    name: str = Field(pattern=NAME_PATTERN)
    description: str = ""
    source: str
    tasks: tuple[str, ...] = Field(min_length=1)
    backbones: tuple[str, ...] = Field(min_length=1)
