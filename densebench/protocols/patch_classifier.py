"""What CAPI's classifiers of patches share: rows, standardisation, the choice of their parameters.

Source: facebookresearch/capi at 98b4fa1, eval_segmentation.py.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from pydantic import Field
from torch import Tensor

from densebench.datasets.transforms import BicubicSquash, Squash, Transform
from densebench.features.source import PatchSource
from densebench.host.errors import DensebenchError
from densebench.learners.choosing import Classifier, HeldOut
from densebench.learners.patch_labels import VOID, as_map
from densebench.learners.patch_table import PatchTable, held_out_last
from densebench.learners.standardisation import Choice, Standardisation, Standardisations
from densebench.measures.labels import LabelScoring
from densebench.measures.scoring import Prediction, Resolution
from densebench.protocols.base import InputSize, Needs, Protocol, ProtocolParams

TABLE = "patches of all training images"
Value = dict[str, Any]  # of the parameters that are chosen, by their names


class PatchClassifierParams(ProtocolParams):
    """Parameters of both classifiers.

    ``resize`` is of the images: ``bicubic`` as published, or ``bilinear`` as other protocols do;
    masks are resized to the nearest pixel by Pillow (``centred_mask``) or rounding down, as torch.
    ``standardisation`` is fitted on all patches of the images that are not held out, and in
    ``clean`` once more on those of all. ``subsampling`` takes one patch in so many.
    """

    input_size: InputSize = 224
    resize: Literal["bicubic", "bilinear"] = "bicubic"
    centred_mask: bool = True
    standardisation: Choice = "StandardScaler"
    subsampling: int = Field(default=1, gt=0)


class PatchClassifier(Protocol):
    """Fit on patches, choose by the mIoU on a tenth of the training images, fit on all of them."""

    Params: ClassVar[type[ProtocolParams]] = PatchClassifierParams
    version: ClassVar[int] = 1
    predicts_own: ClassVar[bool] = True
    params: PatchClassifierParams

    _table: PatchTable
    _n_rows: int  # of the table, from the first on: those that are trained on
    _steps: Standardisations
    _classifier: Classifier
    _scores: list[float]
    _best: int

    @property
    @abstractmethod
    def _grid(self) -> list[Value]:
        """What may be chosen; of equally good ones the first is."""

    @abstractmethod
    def _groups(self) -> list[list[int]]:
        """The places in the grid of what is fitted at once."""

    @abstractmethod
    def _fitted(self, values: Sequence[Value]) -> Classifier:
        """The classifier of the rows that are trained on, for some values of one group."""

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
        """The table, with the places that its rows are from, and what some scalers copy of it."""
        rows, width = n_train * self.grid**2, self.setting.embed_dim * 4
        plan = {TABLE: rows * (width + self.setting.patch_size**2 + 1 + 2 * 8)}
        if self.params.standardisation in ("RobustScaler", "pca", "pca_whiten"):
            plan["what the standardisation is fitted on"] = rows * width
        return plan

    def fit(self, train: PatchSource, val: PatchSource) -> None:
        """Fill the table, standardise it, choose, and fit once more on all its rows.

        Raises:
            DensebenchError: there is nothing to learn from, or no image to choose by.
        """
        table, step = self._read(train), self.params.subsampling
        self._table, self._steps = table, Standardisations()
        first_held, choice = table.n_fit, self.params.standardisation
        rows = table.features.numpy()
        self._steps.add(Standardisation(choice).fit(rows[:first_held]), table.features)
        refitted = None if self._is_published else Standardisation(choice).fit(rows)
        end = table.keep_labelled(range(0, first_held, step), self._ignored, 0)
        self._n_rows = _some(end)
        self._choose(first_held)
        if refitted is not None:
            self._steps.add(refitted, table.features)
        held = range(first_held, len(table.features), step)
        self._n_rows = table.keep_labelled(held, self._ignored, end)
        self._classifier = self._fitted([self._grid[self._best]])

    def predict(self, val: PatchSource) -> Iterator[Prediction]:
        """The label of every pixel at the input's size."""
        for batch in val.batches(self._view, reach="own"):
            maps = []
            for patches in batch.patches:
                features = self._steps.transform(patches.flatten(0, 1))
                labels = self._classifier.predict(features)[0]
                maps.append(_label_map(labels, self.grid, self.setting.n_classes))
            yield Prediction(batch.indices, batch.masks, labels=torch.stack(maps))

    def details(self) -> dict[str, Any]:
        """The grid with the mIoU on the held-out images, what was chosen, and the rows."""
        return {
            "grid": self._grid,
            "held_out_miou": self._scores,
            "chosen": self._grid[self._best],
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
        kind = BicubicSquash if self.params.resize == "bicubic" else Squash
        return kind(self.input_size, setting.mean, setting.std, self.params.centred_mask)

    def _read(self, train: PatchSource) -> PatchTable:
        """The published order of images is that of the list; ``clean`` sorts them by name."""
        setting, listed = self.setting, range(len(train))
        images = (train.split.order if self._is_published else None) or listed
        order, n_fit = held_out_last(len(train), setting.seed)
        shape = self.grid**2, setting.embed_dim, setting.patch_size**2
        table = PatchTable([images[place] for place in order], n_fit, shape)
        table.fill(train.batches(self._view, setting.seed), setting.n_classes)
        _some(len(table.features))
        return table

    def _choose(self, first_held: int) -> None:
        """The value of the grid with the best mIoU on the held-out images."""
        grid, table, setting = self._grid, self._table, self.setting
        self._scores, self._best = [], 0
        if len(grid) == 1:
            return
        if len(table.features) == first_held:
            raise DensebenchError(
                "one training image in ten is held out to choose by, and here are fewer than ten; "
                "add images, or leave one value of each parameter to choose from"
            )
        held = HeldOut(table, first_held, self.grid**2, setting.n_classes, self._ignored)
        fitted = ((group, self._fitted([grid[i] for i in group])) for group in self._groups())
        self._scores = held.miou(fitted, len(grid), setting.world)
        self._best = int(np.argmax(self._scores))


def _some(n_rows: int) -> int:
    if not n_rows:
        raise DensebenchError(
            "there is nothing to learn from: no training image could be read, or none of their "
            "patches has a class as its most frequent label; check the training images and masks"
        )
    return n_rows


def _label_map(labels: UInt8[Tensor, "p a"], grid: int, n_classes: int) -> Int64[Tensor, "H W"]:
    """The pixels as an image, void as the class after the last."""
    found = as_map(labels, (grid, grid)).long()
    return found.masked_fill(found == VOID, n_classes)
