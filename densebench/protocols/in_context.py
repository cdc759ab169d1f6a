"""In-context segmentation by dense nearest-neighbour retrieval ("Hummingbird").

A memory bank holds normalised patch features of the training images with the class frequencies
of their pixels; a validation patch takes the mean of its nearest rows' frequencies, weighted by a
softmax of the similarities. Source: Balazevic et al., arXiv 2306.01667, as computed by
vpariza/open-hummingbird-eval at 5e79da2.
"""

from collections.abc import Iterator
from math import prod
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Shaped
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn.functional import normalize

from densebench.datasets.padding import side_of
from densebench.datasets.transforms import JitteredCrop, Squash, Transform, derived_seed
from densebench.features.source import PatchBatch, PatchSource
from densebench.host.errors import DensebenchError
from densebench.learners.gathering import Gathering
from densebench.learners.memory_bank import (
    ORIGIN_BYTES,
    VOID,
    MemoryBank,
    Origins,
    patch_class_counts,
    sample_rare,
    vote,
)
from densebench.learners.neighbours import Neighbours, build_search, measured_recall
from densebench.measures.labels import LabelScoring
from densebench.measures.scoring import Prediction
from densebench.protocols.base import Nearest, Needs, Protocol, ProtocolParams

PUBLISHED_MEMORY = 10_240_000
HBIRD_STD = (0.229, 0.224, 0.255)
RECALL_QUERIES = 512
PATCH_DRAWS = 1


class InContextParams(ProtocolParams):
    """Parameters of the retrieval; ``probes`` is read when ``search`` is ``ivf`` alone."""

    n_neighbours: int = Field(default=30, gt=0)
    beta: float = Field(default=0.02, gt=0)
    memory_size: PositiveInt | Literal["unbounded"] = PUBLISHED_MEMORY
    augmentation_epochs: int = Field(default=2, gt=0, le=1000)
    augment: bool = True
    memory_dtype: Literal["fp32", "fp16"] = "fp32"
    search: Literal["exact", "ivf"] = "exact"
    probes: int = Field(default=32, gt=0)


class InContext(Protocol):
    """Retrieval from a memory bank, exact or approximate, bounded or not."""

    Params: ClassVar[type[ProtocolParams]] = InContextParams
    version: ClassVar[int] = 2
    predicts_own: ClassVar[bool] = True
    params: InContextParams

    _bank: MemoryBank
    _search: Neighbours
    _origins: Origins
    _recall: float | None = None
    _remembered: ClassVar[str] = "label"  # what a patch must have

    @property
    def scoring(self) -> LabelScoring:
        """The reference re-matches predictions to classes; ``clean`` also scores full masks."""
        setting = self.setting
        classes = setting.n_classes, setting.classes, setting.ignore_index
        if setting.variant == "reference":
            return LabelScoring(("input",), "hungarian", "zero", *classes)
        return LabelScoring(("input", "original"), "none", "nan", *classes)

    @property
    def needs(self) -> Needs:
        """A pass for each augmentation epoch, whose views come again in every run."""
        epochs = self.params.augmentation_epochs
        return Needs(train_passes=epochs, kept_train_views=epochs)

    def memory_plan(self, n_train: int, n_val: int) -> dict[str, int]:
        """The bank's features and counts, and what a batch of queries needs beside them."""
        rows, (feature, values) = self._capacity(n_train), self._empty_bank(0).empty(1)
        features, labels, classes = rows * feature.nbytes, rows * values.nbytes, values.shape[1]
        neighbours = prod(self.grid_shape) * self.params.n_neighbours * classes * 4 * 2
        upsampled = prod(self.input_shape) * classes * 4 * 2
        plan = {"memory features": features, "memory labels": labels}
        if self.params.search == "ivf":
            plan["inverted file"] = rows * self.setting.embed_dim * 4
        if self.setting.world.size > 1:
            share = self.params.augmentation_epochs * self.setting.world.size
            plan["a pass before it is exchanged"] = (features + labels) // share
        if self.setting.explained:
            plan["memory origins"] = rows * ORIGIN_BYTES * 2  # twice while they are joined
        return {**plan, "queries": neighbours + upsampled}

    def fit(self, train: PatchSource, val: PatchSource) -> None:
        """Fill the memory bank and make it searchable."""
        setting, per_image = self.setting, self._rows_per_image(len(train))
        self._bank = self._empty_bank(self._capacity(len(train)))
        self._origins = Origins()
        origins = self._origins if setting.explained else None
        gathering = Gathering(setting.world, self._bank, origins)
        view = self._view(self.params.augment)
        for epoch in range(self.params.augmentation_epochs):
            for batch in train.batches(view, setting.seed, epoch, reach="own"):
                self._remember(batch, per_image, epoch, gathering)
            gathering.end(epoch)
        if not len(self._bank.features):
            raise DensebenchError(
                "there is nothing to remember: no training image could be read, or none of their "
                f"patches has a {self._remembered}; check the training images and masks"
            )
        self._search = build_search(
            self._bank.features,
            setting.device,
            self.params.search,
            self.params.probes,
            setting.seed,
        )

    def predict(self, val: PatchSource) -> Iterator[Prediction]:
        """Class frequencies of every validation patch."""
        for batch in val.batches(self._view(), reach="own"):
            yield Prediction(batch.indices, batch.masks, scores=self._retrieve(batch.patches))

    def explain(self, queries: Float[Tensor, "q d"], k: int) -> Nearest:
        """The memory's nearest rows, traced back to their views."""
        count = min(k, len(self._bank.features))
        similarity, rows = self._search.search(normalize(queries, dim=-1), count)
        rows = rows.cpu()
        label = self._bank.labels(rows)
        view = self._view(self.params.augment)
        return Nearest(similarity.cpu(), *self._origins.find(rows), label, view)

    def details(self) -> dict[str, Any]:
        """Rows of the bank, and the recall of an approximate search."""
        rows = {"memory_rows": len(self._bank.features)}
        return rows if self._recall is None else {**rows, "recall": self._recall}

    def _empty_bank(self, rows: int) -> MemoryBank:
        setting, is_half = self.setting, self.params.memory_dtype == "fp16"
        area = setting.patch_size**2
        return MemoryBank(rows, setting.embed_dim, setting.n_classes, area, is_half)

    def _values(self, masks: Shaped[Tensor, "b H W"]) -> Shaped[Tensor, "b p c"]:
        """What is remembered of each patch: the pixels of each class; zeros where it has none.

        The reference remembers void as class 0; ``clean`` gives it no label.
        """
        n_classes, void = self.setting.n_classes, masks >= self.setting.n_classes
        if self.setting.variant == "reference":
            labelled = masks.masked_fill(void, 0)
        else:
            labelled = masks.masked_fill(void | (masks == self.setting.ignore_index), VOID)
        return patch_class_counts(labelled, self.setting.patch_size, n_classes)

    def _rows_per_image(self, n_train: int) -> int:
        patches, size = prod(self.grid_shape), self.params.memory_size
        if size == "unbounded":
            return patches
        return min(patches, max(1, size // (n_train * self.params.augmentation_epochs)))

    def _capacity(self, n_train: int) -> int:
        return n_train * self.params.augmentation_epochs * self._rows_per_image(n_train)

    def _view(self, augmented: bool = False) -> Transform:
        """The reference's ImageNet deviation has 0.255 for blue, where 0.225 is meant."""
        published = self.setting.variant == "reference"
        quirk = published and self.params.normalisation == "imagenet"
        kind = JitteredCrop if augmented else Squash
        std = HBIRD_STD if quirk else self.setting.std
        return kind(side_of(self.input_shape), self.setting.mean, std)

    def _remember(
        self, batch: PatchBatch, per_image: int, epoch: int, gathering: Gathering
    ) -> None:
        values = self._values(batch.masks)
        for index, patches, of_image in zip(batch.indices, batch.patches, values, strict=True):
            rows = normalize(patches.flatten(0, 1), dim=-1).cpu()
            kept = torch.arange(len(rows))
            if self.params.memory_size != "unbounded":
                seed = derived_seed(self.setting.seed, epoch, int(index), PATCH_DRAWS)
                uniform = torch.rand(len(rows), generator=torch.Generator().manual_seed(seed))
                kept = sample_rare(of_image, uniform, per_image)
            kept = kept[of_image[kept].sum(dim=-1) > 0]
            gathering.add(epoch, int(index), kept, rows[kept], of_image[kept])

    def _retrieve(self, patches: Float[Tensor, "b h w d"]) -> Float[Tensor, "b c h w"]:
        queries = normalize(patches.flatten(0, 2), dim=-1)
        similarity, rows = self._search.search(queries, self.params.n_neighbours)
        measures = self.params.search == "ivf" and self.setting.world.is_main
        if measures and self._recall is None:
            found = queries[:RECALL_QUERIES], rows[:RECALL_QUERIES]
            self._recall = measured_recall(self._bank.features, *found, self.setting.device)
        # The labels of all neighbours of a batch would be its largest tensor: image by image.
        per_image = prod(self.grid_shape)
        votes = [
            vote(s.cpu(), self._bank.soft_labels(r.cpu()), self.params.beta)
            for s, r in zip(similarity.split(per_image), rows.split(per_image), strict=True)
        ]
        scores = torch.stack(votes).transpose(1, 2).unflatten(2, patches.shape[1:3])
        return scores.to(self.setting.device)


PROTOCOL = InContext
