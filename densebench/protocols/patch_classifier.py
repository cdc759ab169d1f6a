"""What CAPI's two classifiers of patches share: rows, standardisation, the choice on held-out images.

Source: facebookresearch/capi at 98b4fa1, eval_segmentation.py.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Generic, Literal, TypeVar
from typing import Protocol as Shape

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from pydantic import Field
from torch import Tensor

from densebench.datasets.transforms import BicubicSquash, Squash, Transform
from densebench.features.source import PatchSource
from densebench.host.errors import DensebenchError
from densebench.learners.patch_labels import VOID, as_map, is_one_of
from densebench.learners.patch_table import PatchTable, held_out_last
from densebench.learners.standardisation import Choice, Standardisation
from densebench.measures.labels import LabelScoring
from densebench.measures.scoring import Prediction, Resolution
from densebench.measures.segmentation import class_counts, confusion_matrix, iou_per_class, mean_iou
from densebench.protocols.base import InputSize, Needs, Protocol, ProtocolParams

V = TypeVar("V")
BIG = "patches of all training images"


class Classifier(Shape):
    """What was fitted for some values of the grid."""

    def predict(self, features: Float[Tensor, "p d"]) -> list[UInt8[Tensor, "p a"]]:
        """The label of every pixel of the patches of one image, by each value."""


class PatchClassifierParams(ProtocolParams):
    """Parameters of both classifiers.

    ``resize`` is of the images: ``bicubic`` as published, or ``bilinear`` as other protocols do.
    ``standardisation`` is fitted on all patches of the images that are not held out, and in
    ``clean`` once more on those of all training images. ``subsampling`` takes one patch in so many.
    """

    input_size: InputSize = 224
    resize: Literal["bicubic", "bilinear"] = "bicubic"
    standardisation: Choice = "StandardScaler"
    subsampling: int = Field(default=1, gt=0)


class PatchClassifier(Protocol, Generic[V]):
    """Fit on patches, choose by the mIoU on a tenth of the training images, fit on all of them."""

    Params: ClassVar[type[ProtocolParams]] = PatchClassifierParams
    version: ClassVar[int] = 1
    predicts_own: ClassVar[bool] = True
    params: PatchClassifierParams

    _table: PatchTable
    _scalers: list[Standardisation]
    _classifier: Classifier
    _n_rows: int
    _scores: list[float]
    _best: int

    @property
    @abstractmethod
    def _grid(self) -> list[V]:
        """What may be chosen, in the order in which the first of equals wins."""

    @abstractmethod
    def _told(self, value: V) -> dict[str, Any]:
        """A value of the grid by the names of its parameters."""

    @abstractmethod
    def _groups(self) -> list[list[int]]:
        """The places in the grid of what is fitted at once."""

    @abstractmethod
    def _fitted(self, n_rows: int, values: Sequence[V]) -> Classifier:
        """The classifier of the first rows of the table, for some values of one group."""

    @property
    def scoring(self) -> LabelScoring:
        """At the input's size; ``clean`` also scores the masks at their own.

        A class in neither truth nor prediction is left out.
        """
        setting = self.setting
        classes = setting.n_classes, setting.classes, setting.ignore_index
        published: tuple[Resolution, ...] = ("input",)
        resolutions = published if self._is_published else (*published, "original")
        return LabelScoring(resolutions, "none", "nan", *classes)

    @property
    def needs(self) -> Needs:
        """One pass through the images as they are."""
        return Needs(train_passes=1, kept_train_views=1)

    def memory_plan(self, n_train: int, n_val: int) -> dict[str, int]:
        """The table, and what a batch of validation images is given as labels."""
        rows, area = n_train * self.grid**2, self.setting.patch_size**2
        table = rows * (self.setting.embed_dim * 4 + area + 17)
        return {BIG: table, "labels of a batch": 16 * self.input_size**2 * 8}

    def fit(self, train: PatchSource, val: PatchSource) -> None:
        """Fill the table, standardise it, choose, and fit once more on all its rows."""
        self._read(train)
        table, self._scalers = self._table, [self._standardised(self._table.n_fit)]
        refitted = None if self._is_published else self._scaler(len(table.features))
        fit_share, held = (
            table.n_fit,
            range(table.n_fit, len(table.features), self.params.subsampling),
        )
        self._n_rows = self._labelled(range(0, fit_share, self.params.subsampling), 0)
        self._choose(fit_share)
        if refitted is not None:
            refitted.replace(table.features.numpy())
            self._scalers.append(refitted)
        self._n_rows = self._labelled(held, self._n_rows)
        self._classifier = self._fitted(self._n_rows, [self._grid[self._best]])

    def predict(self, val: PatchSource) -> Iterator[Prediction]:
        """The label of every pixel at the input's size."""
        for batch in val.batches(self._view, reach="own"):
            maps = [self._labelled_map(patches) for patches in batch.patches]
            yield Prediction(batch.indices, batch.masks, labels=torch.stack(maps))

    def details(self) -> dict[str, Any]:
        """The grid with the mIoU on the held-out images, what was chosen, and the rows."""
        return {
            "grid": [self._told(value) for value in self._grid],
            "held_out_miou": self._scores,
            "chosen": self._told(self._grid[self._best]),
            "training_patches": self._n_rows,
        }

    @property
    def _is_published(self) -> bool:
        return self.setting.variant == "reference"

    @property
    def _ignored(self) -> frozenset[int]:
        """Patches of these modes are not trained on, and no pixel of them is scored."""
        return frozenset({self.setting.ignore_index, VOID})

    @property
    def _view(self) -> Transform:
        setting = self.setting
        if self.params.resize == "bicubic":
            return BicubicSquash(self.input_size, setting.mean, setting.std)
        return Squash(self.input_size, setting.mean, setting.std, centred_mask=True)

    def _read(self, train: PatchSource) -> None:
        """The published order is that of the list; others count by sorted names."""
        setting = self.setting
        listed = list(train.split.order or range(len(train))) if self._is_published else None
        images = range(len(train)) if listed is None else listed
        order, n_fit = held_out_last(len(train), setting.seed)
        shape = self.grid**2, setting.embed_dim, setting.patch_size**2
        self._table = PatchTable([images[place] for place in order], n_fit, shape)
        self._table.fill(train.batches(self._view, setting.seed), setting.n_classes)
        if not len(self._table.features):
            raise DensebenchError(
                "none of the training images can be read; check the training images"
            )

    def _scaler(self, n_rows: int) -> Standardisation:
        rows = self._table.features[:n_rows].numpy()
        return Standardisation(self.params.standardisation).fit(rows)

    def _standardised(self, n_rows: int) -> Standardisation:
        """Fitted on the first rows, and applied to all."""
        scaler = self._scaler(n_rows)
        scaler.replace(self._table.features.numpy())
        return scaler

    def _labelled(self, rows: range, to: int) -> int:
        end = self._table.keep_labelled(rows, self._ignored, to)
        if not end:
            raise DensebenchError(
                "none of the training patches has a class as its most frequent label; check the "
                "training masks and ignore_index"
            )
        return end

    def _choose(self, first_held: int) -> None:
        """The value of the grid with the best mIoU on the held-out images; of equals the first."""
        self._scores, self._best = [], 0
        if len(self._grid) == 1:
            return
        if len(self._table.features) == first_held:
            raise DensebenchError(
                "one training image in ten is held out to choose by, and here are fewer than ten; "
                "add images, or leave one value of each parameter to choose from"
            )
        self._scores = [_miou(counts) for counts in self._held_out_counts(first_held)]
        self._best = int(np.argmax(self._scores))

    def _held_out_counts(self, first: int) -> Int64[np.ndarray, "v c c"]:
        """Pixels by truth and prediction, void among the classes; of processes, each its images."""
        n, table, world = self.setting.n_classes + 1, self._table, self.setting.world
        counts = torch.zeros(len(self._grid), n, n, dtype=torch.int64)
        starts = range(first, len(table.features), self.grid**2)
        for group in self._groups():
            classifier = self._fitted(self._n_rows, [self._grid[index] for index in group])
            for start in starts[world.rank :: world.size]:
                rows = slice(start, start + self.grid**2)
                truth = table.labels[rows].masked_fill(
                    is_one_of(table.labels[rows], self._ignored), VOID
                )
                for index, found in zip(
                    group, classifier.predict(table.features[rows]), strict=True
                ):
                    counts[index] += torch.from_numpy(self._confusion(truth, found))
        return world.sum(counts).numpy()

    def _confusion(
        self, truth: UInt8[Tensor, "p a"], found: UInt8[Tensor, "p a"]
    ) -> Int64[np.ndarray, "c c"]:
        n = self.setting.n_classes
        predicted = found.long().masked_fill(found == VOID, n).numpy()
        return confusion_matrix(truth.numpy(), predicted, n + 1, n + 1, VOID)

    def _labelled_map(self, patches: Float[Tensor, "h w d"]) -> Int64[Tensor, "H W"]:
        labels = self._classifier.predict(self._standard(patches.flatten(0, 1)))[0]
        found = as_map(labels, (patches.shape[0], patches.shape[1])).long()
        return found.masked_fill(found == VOID, self.setting.n_classes)

    def _standard(self, patches: Float[Tensor, "p d"]) -> Float[Tensor, "p k"]:
        rows = patches.cpu().numpy()
        for scaler in self._scalers:
            rows = scaler.transform(rows)
        return torch.from_numpy(rows)


def _miou(counts: Int64[np.ndarray, "c c"]) -> float:
    """Over the classes that are there; void, where it is predicted, is one more."""
    return float(mean_iou(iou_per_class(class_counts(counts)), "nan"))
