"""What every protocol is: fit on training patches, predict something dense of validation images.

A protocol is one module of this package that defines ``PROTOCOL``, a subclass of ``Protocol``; a
task card names it by the module's name. Extraction, scoring and recording are the engine's.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import torch
from jaxtyping import Float, Int64
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer
from torch import Tensor

from densebench.backbones.base import PositionsOf
from densebench.backbones.several import Layers
from densebench.cards import Card
from densebench.datasets.sizes import Size
from densebench.datasets.targets import LABELS, Target
from densebench.datasets.transforms import Transform, Triple
from densebench.features.source import CPU, PatchSource
from densebench.host.distributed import World
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.learners.engines import EngineName
from densebench.measures.scoring import Prediction, Scoring

# The side of a square; where a protocol takes rectangles, a height and a width as well.
InputSize = int | Size | Literal["auto", "published"]
PositionsParam = Literal["auto", "card", "official", "neco"]
NormalisationParam = Literal["auto", "card", "imagenet"]
P = TypeVar("P", bound="ProtocolParams")

LARGEST_AUTO = 518
LARGEST_PUBLISHED = 512


class ProtocolParams(Card):
    """The parameters that every protocol has; each protocol adds its own.

    ``input_size``: side of the square input in pixels (some protocols take a height and a width as
    well); ``published`` is 504 for patch 14 and 512 for patch 16, ``auto`` the largest multiple of
    the patch size that is at most 518.
    ``positions``: by whose rule a learnt table of positions is resized: the ``card``'s, the
    ``official`` code's of the family, or ``neco``'s. ``normalisation``: by the ``card``'s mean and
    deviation, or by ``imagenet``'s. ``auto`` is what the published code does in ``reference``,
    and the card's own in every other variant. ``layers``: of which blocks features are taken, each
    after the final normalisation and all side by side: the ``last`` one's, which is the backbone's
    own output or what it was asked for, ``four_last``, ``four_even``, or their numbers from 0.

    What is in ``LATER`` came later: it is written where it is another, so that old hashes stay.
    """

    LATER: ClassVar[Mapping[str, Any]] = {"layers": "last"}

    input_size: InputSize = Field(default="auto")
    positions: PositionsParam = "auto"
    normalisation: NormalisationParam = "auto"
    layers: Layers = "last"

    @model_serializer(mode="wrap")
    def _named(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        return {k: v for k, v in values.items() if k not in self.LATER or v != self.LATER[k]}

    def check(self, target: Target) -> None:
        """Nothing, where they suit what the dataset gives and what is installed.

        Raises:
            DensebenchError: they do not.
        """


@dataclass(frozen=True)
class Setting:
    """What a protocol is told about the run: the data, the backbone's input, the place."""

    target: Target
    patch_size: int
    embed_dim: int
    mean: Triple
    std: Triple
    variant: str = "reference"
    seed: int = 0
    device: torch.device = CPU
    about: Mapping[str, Any] = field(default_factory=dict)  # for files kept from the run
    workdir: Path | None = None  # for checkpoints; removed when the run is recorded
    watcher: Watcher = field(default_factory=Watcher)
    explained: bool = False  # whether `explain` will be asked for: what that needs is kept
    world: World = field(default_factory=World)  # the processes that do the run together
    search_engine: EngineName = "auto"  # of exact searches; moves no number
    memory: int | None = None  # bytes that each of several may take, the same in all

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of labels; none of another target."""
        return self.target.classes

    @property
    def ignore_index(self) -> int:
        """Of labels, the one that is not counted."""
        return int(self.target.void)

    @property
    def n_classes(self) -> int:
        """How many classes there are, an ignored one that has an index of its own included."""
        return len(self.classes)


@dataclass(frozen=True)
class Needs:
    """What a protocol asks of a run, known before it begins.

    Attributes:
        train_passes: how often ``fit`` goes through the training images.
        train_images: how many of them ``fit`` sees in all, where that is no number of passes.
        val_passes: how often ``predict`` goes through the validation images.
        kept_train_views: how many views of every training image are worth a place in the feature
            cache.
        kept_val_views: how many views of every validation image are.
        val_looks: how often ``fit`` goes through the validation images, where that is not as often
            as through the training images.
        val_in_fit: why ``fit`` looks at the validation images; nothing where it does not.
    """

    train_passes: int = 0
    val_passes: int = 1
    kept_train_views: int = 0
    kept_val_views: int = 1
    val_in_fit: str = ""
    train_images: int | None = None
    val_looks: int | None = None

    @property
    def looks(self) -> int:
        """How often ``fit`` goes through the validation images."""
        if not self.val_in_fit:
            return 0
        return self.train_passes if self.val_looks is None else self.val_looks

    def views(self, n_train: int) -> int:
        """How many training images ``fit`` sees, of so many."""
        return n_train * self.train_passes if self.train_images is None else self.train_images


@dataclass(frozen=True)
class Nearest:
    """The patches of training views that are nearest to some query patches, best first.

    A view is ``view`` of the training image ``image`` in the pass ``epoch``; ``patch`` counts the
    view's grid row by row, and ``label`` is the most frequent class of the patch's pixels, or their
    mean depth in centimetres.
    """

    similarity: Float[Tensor, "q k"]
    image: Int64[Tensor, "q k"]
    epoch: Int64[Tensor, "q k"]
    patch: Int64[Tensor, "q k"]
    label: Int64[Tensor, "q k"]
    view: Transform


class Protocol(ABC):
    """One way to score frozen patch features."""

    Params: ClassVar[type[ProtocolParams]] = ProtocolParams
    variants: ClassVar[tuple[str, ...]] = ("reference", "clean")
    version: ClassVar[int] = 2  # raised whenever the same parameters give another number
    targets: ClassVar[tuple[str, ...]] = (LABELS,)  # the kinds of maps that it learns
    # Of several processes, whether `predict` gives in each what that one extracted (`reach="own"`).
    # Else each goes through all images, which they extract together, and what the first predicts
    # counts.
    predicts_own: ClassVar[bool] = False
    takes_features: ClassVar[bool] = True  # of patches; else of attention alone
    published_positions: ClassVar[PositionsOf] = "official"

    def __init__(self, params: Any, setting: Setting) -> None:
        self.params = params
        self.setting = setting
        self.input_shape = self.shape_for(params, setting.patch_size)
        self.input_size = self.input_shape[0]  # the side of a square, or the height of another

    @property
    def grid(self) -> int:
        """How many patches ``input_size`` is."""
        return self.grid_shape[0]

    @property
    def grid_shape(self) -> Size:
        """Rows and columns of patches."""
        height, width = self.input_shape
        return height // self.setting.patch_size, width // self.setting.patch_size

    @classmethod
    def shape_for(cls, params: Any, patch_size: int) -> Size:
        """The same from all parameters, which a protocol may look at."""
        return cls.shape_of(params.input_size, patch_size)

    @classmethod
    def shape_of(cls, size: InputSize, patch_size: int) -> Size:
        """Height and width of what the backbone is given: a square, unless a protocol says else.

        Raises:
            DensebenchError: the protocol cannot take inputs of that size.
        """
        side = resolve_input_size(size, patch_size)
        return side, side

    @classmethod
    def resolve(cls, params: P, variant: str) -> P:
        """The parameters with every ``auto`` replaced by what it stands for in a variant.

        All published protocols normalise by ImageNet's values, whatever the backbone's own are.

        Raises:
            DensebenchError: the protocol has no such variant.
        """
        if variant not in cls.variants:
            raise DensebenchError(
                f"the protocol has the variants {', '.join(cls.variants)}, not '{variant}'"
            )
        published = variant == "reference"
        chosen: dict[str, str] = {}
        if params.positions == "auto":
            chosen["positions"] = cls.published_positions if published else "card"
        if params.normalisation == "auto":
            chosen["normalisation"] = "imagenet" if published else "card"
        return params.model_copy(update=chosen)

    @property
    @abstractmethod
    def scoring(self) -> Scoring:
        """How the predictions of this protocol are scored, and by which metrics."""

    @property
    @abstractmethod
    def needs(self) -> Needs:
        """What it asks of the run."""

    @abstractmethod
    def fit(self, train: PatchSource, val: PatchSource) -> None:
        """Learn from the training patches and their masks.

        ``val`` is there for protocols whose published code looks at the validation images, which
        ``needs`` then says.
        """

    @abstractmethod
    def predict(self, val: PatchSource) -> Iterator[Prediction]:
        """Predict every validation image, batch by batch."""

    def explain(self, queries: Float[Tensor, "q d"], k: int) -> Nearest | None:
        """The training patches that the prediction of some patches rests on, where it does.

        Asked for after ``predict``, and only where the setting says ``explained``.
        """
        return None

    @abstractmethod
    def memory_plan(self, n_train: int, n_val: int) -> dict[str, int]:
        """Bytes that the run will hold at once beside the backbone, by what they are for.

        Names that begin with ``host.memory.ON_GPU`` are of the GPU's memory.
        """

    def artifacts(self) -> dict[str, bytes]:
        """Files that are kept beside the record, by the ending of their names."""
        return {}

    def details(self) -> dict[str, Any]:
        """What the protocol measured of itself, for the record."""
        return {}


def resolve_input_size(size: InputSize, patch_size: int) -> int:
    """The side of the input in pixels.

    Raises:
        DensebenchError: the size is no positive multiple of the patch size, or no square's.
    """
    if isinstance(size, tuple):
        raise DensebenchError(
            f"input_size {list(size)}: this protocol takes square inputs; give one side in pixels"
        )
    if size == "auto":
        return LARGEST_AUTO // patch_size * patch_size
    if size == "published":
        return LARGEST_PUBLISHED // patch_size * patch_size
    if size <= 0 or size % patch_size:
        below = max(1, size // patch_size) * patch_size
        raise DensebenchError(
            f"input_size {size} is not divisible by the patch size {patch_size}; "
            f"take {below} or {below + patch_size}"
        )
    return size
