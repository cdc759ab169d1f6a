"""In-context segmentation by dense nearest-neighbour retrieval ("Hummingbird").

A memory bank holds normalised patch features of the training images with the class frequencies
of their pixels; a validation patch takes the mean of its nearest rows' frequencies, weighted by a
softmax of the similarities. Source: Balazevic et al., arXiv 2306.01667, as computed by
vpariza/open-hummingbird-eval at 5e79da2.
"""

from collections.abc import Iterator, Mapping
from math import prod
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int64, Shaped
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn.functional import normalize

from densebench.datasets.sizes import side_of
from densebench.datasets.transforms import JitteredCrop, Squash, Transform, derived_seed
from densebench.features.source import PatchBatch, PatchSource
from densebench.host.errors import DensebenchError
from densebench.learners.engines import Place, chosen_engine
from densebench.learners.gathering import Gathering
from densebench.learners.memory_bank import (
    ORIGIN_BYTES,
    VOID,
    MemoryBank,
    Origins,
    patch_class_counts,
    sample_rare,
)
from densebench.learners.neighbours import Neighbours, build_search
from densebench.learners.sharded_search import ShardedSearch, Sharing
from densebench.learners.votes import Votes
from densebench.measures.labels import LabelScoring
from densebench.measures.scoring import Prediction
from densebench.protocols.base import Nearest, Needs, Protocol, ProtocolParams

PUBLISHED_MEMORY = 10_240_000
HBIRD_STD = (0.229, 0.224, 0.255)
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
    _votes: Votes
    _searched: Mapping[str, Any] = MappingProxyType({})
    _remembered: ClassVar[str] = "label"  # what a patch must have
    _may_choose_engine: ClassVar[bool] = True  # no engine moves what wins a vote

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
        sharing, (feature, values) = self._sharing(n_train), self._empty_bank(0).empty(1)
        rows, classes, kept = sharing.rows, values.shape[1], len(sharing.stretch)
        features, labels = kept * feature.nbytes, rows * values.nbytes
        neighbours = prod(self.grid_shape) * self.params.n_neighbours * classes * 4 * 2
        upsampled = prod(self.input_shape) * classes * 4 * 2
        plan = {"memory features": features, "memory labels": labels}
        plan |= self._place.beside(kept, self.setting.embed_dim)
        if self.setting.world.size > 1:
            share = self.params.augmentation_epochs * self.setting.world.size
            plan["a pass before it is exchanged"] = (rows * feature.nbytes + labels) // share
        if self.setting.explained:
            plan["memory origins"] = rows * ORIGIN_BYTES * 2  # twice while they are joined
        return {**plan, "queries": neighbours + upsampled}

    def fit(self, train: PatchSource, val: PatchSource) -> None:
        """Fill the memory bank and make it searchable."""
        setting = self.setting
        per_image = rows_per_image(self.params, prod(self.grid_shape), len(train))
        sharing = self._sharing(len(train))
        self._bank = self._empty_bank(sharing.rows, sharing.stretch)
        self._origins = Origins()
        origins = self._origins if setting.explained else None
        gathering = Gathering(setting.world, self._bank, origins)
        view = self._view(self.params.augment)
        for epoch in range(self.params.augmentation_epochs):
            for batch in train.batches(view, setting.seed, epoch, reach="own"):
                self._remember(batch, per_image, epoch, gathering)
            gathering.end(epoch)
        if not len(self._bank):
            raise DensebenchError(
                "there is nothing to remember: no training image could be read, or none of their "
                f"patches has a {self._remembered}; check the training images and masks"
            )
        place, params = self._place, self.params
        by = setting.device, place.method, params.probes, setting.seed, place.engine
        self._search = sharing.search(self._bank, lambda rows: build_search(rows, *by))
        how = setting.device, setting.world, params.n_neighbours, params.beta
        self._votes = Votes(self._bank, self._search, *how)

    def predict(self, val: PatchSource) -> Iterator[Prediction]:
        """Class frequencies of every validation patch."""
        for batch, scores in self._retrieved(val):
            yield Prediction(batch.indices, batch.masks, scores=scores)

    def explain(self, queries: Float[Tensor, "q d"], k: int) -> Nearest:
        """The memory's nearest rows, traced back to their views."""
        count = min(k, len(self._bank))
        similarity, rows = self._search.search(normalize(queries, dim=-1), count)
        rows = rows.cpu()
        label = self._bank.labels(rows).cpu()
        view = self._view(self.params.augment)
        return Nearest(similarity.cpu(), *self._origins.find(rows), label, view)

    def details(self) -> dict[str, Any]:
        """Rows of the bank, and what the search of them says of itself."""
        return {"memory_rows": len(self._bank), **self._searched}

    @property
    def _place(self) -> Place:
        params, setting = self.params, self.setting
        half = params.memory_dtype == "fp16"
        engine = setting.search_engine if self._may_choose_engine else "auto"
        return Place(params.search, engine, setting.device, half)

    def _empty_bank(self, rows: int, stretch: range | None = None) -> MemoryBank:
        setting, half = self.setting, self._place.half_bank
        sizes = rows, setting.embed_dim, setting.n_classes, setting.patch_size**2
        return MemoryBank(*sizes, half, stretch)

    def _values(self, masks: Shaped[Tensor, "b H W"]) -> Shaped[Tensor, "b p c"]:
        """What is remembered of each patch: the pixels of each class; zeros where it has none.

        The reference remembers void as class 0; ``clean`` gives it no label.
        """
        masks, n_classes = masks.to(self.setting.device), self.setting.n_classes
        void = masks >= n_classes
        if self.setting.variant == "reference":
            labelled = masks.masked_fill(void, 0)
        else:
            labelled = masks.masked_fill(void | (masks == self.setting.ignore_index), VOID)
        return patch_class_counts(labelled, self.setting.patch_size, n_classes)

    def _sharing(self, n_train: int) -> Sharing:
        """For how many rows there is place, and how several processes keep them."""
        setting, params = self.setting, self.params
        per_image = rows_per_image(params, prod(self.grid_shape), n_train)
        row_bytes = setting.embed_dim * (2 if self._place.half_bank else 4)
        room = setting.memory if params.search == "exact" else None
        rows = n_train * params.augmentation_epochs * per_image
        engine = chosen_engine(self._place.engine, setting.device)
        return Sharing(setting.world, rows, row_bytes, room, engine)

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
        values = self._values(batch.masks).cpu()
        n_rows = None if self.params.memory_size == "unbounded" else per_image
        seeds = [derived_seed(self.setting.seed, epoch, int(i), PATCH_DRAWS) for i in batch.indices]
        kept = [kept_patches(*of, n_rows) for of in zip(values, seeds, strict=True)]
        # From a GPU the rows of a batch come at once, and only those that are remembered.
        every = torch.cat([normalize(patches.flatten(0, 1), dim=-1) for patches in batch.patches])
        places = torch.cat([k + n * values.shape[1] for n, k in enumerate(kept)])
        rows = every[places.to(every.device)].cpu().split([*map(len, kept)])
        for index, k, part, of_image in zip(batch.indices, kept, rows, values, strict=True):
            gathering.add(epoch, int(index), k, part, of_image[k])

    def _retrieved(self, val: PatchSource) -> Iterator[tuple[PatchBatch, Float[Tensor, "b c h w"]]]:
        """What the nearest rows say of every validation patch."""
        world, sharded = self.setting.world, isinstance(self._search, ShardedSearch)
        batches = val.batches(self._view(), reach="all" if sharded else "own")
        per_image = prod(self.grid_shape)
        for number, batch in enumerate(self._votes.merged(batches, per_image)):
            queries = normalize(batch.patches.flatten(0, 2), dim=-1)
            found = self._votes.of(queries.unflatten(0, (-1, per_image))).transpose(1, 2)
            if not sharded or number % world.size == world.rank:  # all of them searched
                yield batch, found.unflatten(2, batch.patches.shape[1:3])
        self._searched = self._votes.told()


def rows_per_image(params: InContextParams, patches: int, n_train: int) -> int:
    """How many of an image's patches are remembered in each pass."""
    if params.memory_size == "unbounded":
        return patches
    return min(patches, max(1, params.memory_size // (n_train * params.augmentation_epochs)))


def kept_patches(
    values: Shaped[Tensor, "p c"], seed: int, n_rows: int | None
) -> Int64[Tensor, " n"]:
    """The patches of an image that are remembered: those that have a value, all or some of them."""
    kept = torch.arange(len(values))
    if n_rows is not None:
        uniform = torch.rand(len(values), generator=torch.Generator().manual_seed(seed))
        kept = sample_rare(values, uniform, n_rows)
    return kept[values[kept].sum(dim=-1) > 0]


PROTOCOL = InContext
