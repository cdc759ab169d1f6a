"""In-context segmentation by dense nearest-neighbour retrieval ("Hummingbird").

A memory bank holds normalised patch features of the training images with the class frequencies
of their pixels; a validation patch takes the mean of its nearest rows' frequencies, weighted by a
softmax of the similarities. Source: Balazevic et al., arXiv 2306.01667, as computed by
vpariza/open-hummingbird-eval at 5e79da2.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int, Int64, UInt8
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn.functional import normalize

from densebench.datasets.transforms import JitteredCrop, Squash, Transform, Triple, derived_seed
from densebench.features.source import PatchBatch, PatchSource
from densebench.host.errors import DensebenchError
from densebench.learners.neighbours import Neighbours, build_search, recall
from densebench.measures.labels import LabelScoring
from densebench.measures.scoring import Prediction
from densebench.protocols.base import Nearest, Needs, Protocol, ProtocolParams

PUBLISHED_MEMORY = 10_240_000
HBIRD_STD = (0.229, 0.224, 0.255)
VOID = 255
RECALL_QUERIES = 512
PATCH_DRAWS = 1
ORIGIN_BYTES = 4


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


class MemoryBank:
    """Rows of features and class counts, in memory taken once for all of them.

    Counts of pixels are whole numbers, so that the smallest integer type that holds a patch's area
    keeps them exactly.
    """

    def __init__(self, rows: int, width: int, n_classes: int, area: int, fp16: bool) -> None:
        self._features = torch.empty(rows, width, dtype=torch.float16 if fp16 else torch.float32)
        self._counts = torch.empty(rows, n_classes, dtype=count_type(area))
        self._filled = 0

    def add(self, features: Float[Tensor, "n d"], counts: Int[Tensor, "n c"]) -> None:
        """Append normalised features with the pixel counts of each class."""
        end = self._filled + len(features)
        self._features[self._filled : end] = features
        self._counts[self._filled : end] = counts
        self._filled = end

    @property
    def features(self) -> Float[Tensor, "n d"]:
        """The rows that are filled."""
        return self._features[: self._filled]

    def soft_labels(self, rows: Int64[Tensor, "*n"]) -> Float[Tensor, "*n c"]:
        """Class frequencies of some rows; each sums to 1."""
        counts = self._counts[rows].float()
        return counts / counts.sum(dim=-1, keepdim=True)


class Origins:
    """Which patch of which training view each row of a memory bank is."""

    def __init__(self) -> None:
        self._views: list[tuple[int, int]] = []
        self._patches: list[Int[Tensor, " n"]] = []

    def add(self, image: int, epoch: int, patches: Int64[Tensor, " n"]) -> None:
        """The next rows of the bank are these patches of one view."""
        self._views.append((image, epoch))
        self._patches.append(patches.to(torch.int32))

    def find(
        self, rows: Int64[Tensor, "*n"]
    ) -> tuple[Int64[Tensor, "*n"], Int64[Tensor, "*n"], Int64[Tensor, "*n"]]:
        """Image, epoch and patch of some rows."""
        ends = torch.tensor([len(patches) for patches in self._patches]).cumsum(dim=0)
        views = torch.searchsorted(ends, rows, right=True)
        image, epoch = torch.tensor(self._views)[views].unbind(dim=-1)
        return image, epoch, torch.cat(self._patches)[rows].long()


class InContext(Protocol):
    """Retrieval from a memory bank, exact or approximate, bounded or not."""

    Params: ClassVar[type[ProtocolParams]] = InContextParams
    version: ClassVar[int] = 2
    params: InContextParams

    _bank: MemoryBank
    _search: Neighbours
    _origins: Origins
    _recall: float | None = None

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
        rows, classes = self._capacity(n_train), self.setting.n_classes
        feature_bytes = 2 if self.params.memory_dtype == "fp16" else 4
        features = rows * self.setting.embed_dim * feature_bytes
        labels = rows * classes * count_type(self.setting.patch_size**2).itemsize
        neighbours = self.grid**2 * self.params.n_neighbours * classes * 4 * 2
        upsampled = self.input_size**2 * classes * 4 * 2
        plan = {"memory features": features, "memory labels": labels}
        if self.params.search == "ivf":
            plan["inverted file"] = rows * self.setting.embed_dim * 4
        if self.setting.explained:
            plan["memory origins"] = rows * ORIGIN_BYTES * 2  # twice while they are joined
        return {**plan, "queries": neighbours + upsampled}

    def fit(self, train: PatchSource, val: PatchSource) -> None:
        """Fill the memory bank and make it searchable."""
        setting, per_image = self.setting, self._rows_per_image(len(train))
        self._bank = MemoryBank(
            self._capacity(len(train)),
            setting.embed_dim,
            setting.n_classes,
            setting.patch_size**2,
            self.params.memory_dtype == "fp16",
        )
        self._origins = Origins()
        view = self._memory_view()
        for epoch in range(self.params.augmentation_epochs):
            for batch in train.batches(view, setting.seed, epoch):
                self._remember(batch, per_image, epoch)
        if not len(self._bank.features):
            raise DensebenchError(
                "there is nothing to remember: no training image could be read, or none of their "
                "patches has a label; check the training images and masks"
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
        for batch in val.batches(self._view()):
            yield Prediction(batch.indices, batch.masks, scores=self._retrieve(batch.patches))

    def explain(self, queries: Float[Tensor, "q d"], k: int) -> Nearest:
        """The memory's nearest rows, traced back to their views."""
        count = min(k, len(self._bank.features))
        similarity, rows = self._search.search(normalize(queries, dim=-1), count)
        rows = rows.cpu()
        label = self._bank.soft_labels(rows).argmax(dim=-1)
        return Nearest(similarity.cpu(), *self._origins.find(rows), label, self._memory_view())

    def details(self) -> dict[str, Any]:
        """Rows of the bank, and the recall of an approximate search."""
        rows = {"memory_rows": len(self._bank.features)}
        return rows if self._recall is None else {**rows, "recall": self._recall}

    def _rows_per_image(self, n_train: int) -> int:
        patches, size = self.grid**2, self.params.memory_size
        if size == "unbounded":
            return patches
        return min(patches, max(1, size // (n_train * self.params.augmentation_epochs)))

    def _capacity(self, n_train: int) -> int:
        return n_train * self.params.augmentation_epochs * self._rows_per_image(n_train)

    def _std(self) -> Triple:
        """The reference's ImageNet deviation has 0.255 for blue, where 0.225 is meant."""
        if self.setting.variant == "reference" and self.params.normalisation == "imagenet":
            return HBIRD_STD
        return self.setting.std

    def _view(self) -> Transform:
        return Squash(self.input_size, self.setting.mean, self._std())

    def _memory_view(self) -> Transform:
        if self.params.augment:
            return JitteredCrop(self.input_size, self.setting.mean, self._std())
        return self._view()

    def _remember(self, batch: PatchBatch, per_image: int, epoch: int) -> None:
        masks = self._labelled(batch.masks)
        counts = patch_class_counts(masks, self.setting.patch_size, self.setting.n_classes)
        for index, patches, of_image in zip(batch.indices, batch.patches, counts, strict=True):
            rows = normalize(patches.flatten(0, 1), dim=-1).cpu()
            kept = torch.arange(len(rows))
            if self.params.memory_size != "unbounded":
                seed = derived_seed(self.setting.seed, epoch, int(index), PATCH_DRAWS)
                uniform = torch.rand(len(rows), generator=torch.Generator().manual_seed(seed))
                kept = sample_rare(of_image, uniform, per_image)
            kept = kept[of_image[kept].sum(dim=-1) > 0]
            self._bank.add(rows[kept], of_image[kept])
            if self.setting.explained:
                self._origins.add(int(index), epoch, kept)

    def _labelled(self, masks: UInt8[Tensor, "b H W"]) -> UInt8[Tensor, "b H W"]:
        """The reference remembers void as class 0; ``clean`` gives it no label."""
        void = masks >= self.setting.n_classes
        if self.setting.variant == "reference":
            return masks.masked_fill(void, 0)
        return masks.masked_fill(void | (masks == self.setting.ignore_index), VOID)

    def _retrieve(self, patches: Float[Tensor, "b h w d"]) -> Float[Tensor, "b c h w"]:
        queries = normalize(patches.flatten(0, 2), dim=-1)
        similarity, rows = self._search.search(queries, self.params.n_neighbours)
        if self.params.search == "ivf" and self._recall is None:
            self._recall = self._measure_recall(queries[:RECALL_QUERIES], rows[:RECALL_QUERIES])
        # The labels of all neighbours of a batch would be its largest tensor: image by image.
        per_image = self.grid**2
        votes = [
            vote(s.cpu(), self._bank.soft_labels(r.cpu()), self.params.beta)
            for s, r in zip(similarity.split(per_image), rows.split(per_image), strict=True)
        ]
        scores = torch.stack(votes).transpose(1, 2).unflatten(2, patches.shape[1:3])
        return scores.to(self.setting.device)

    def _measure_recall(self, queries: Float[Tensor, "q d"], rows: Int64[Tensor, "q k"]) -> float:
        exact = build_search(self._bank.features, self.setting.device, "exact", 0, 0)
        return recall(rows, exact.search(queries, self.params.n_neighbours)[1].cpu())


def count_type(area: int) -> torch.dtype:
    """The smallest integer type that holds the pixel counts of a patch of so many pixels."""
    types = (torch.uint8, torch.int16, torch.int32, torch.int64)
    return next(dtype for dtype in types if area <= torch.iinfo(dtype).max)


def patch_class_counts(
    masks: UInt8[Tensor, "b H W"], patch_size: int, n_classes: int
) -> Int64[Tensor, "b p c"]:
    """Pixels of each class in each patch, patches row by row; void pixels are not counted."""
    grid = masks.shape[1] // patch_size, masks.shape[2] // patch_size
    patches = masks.unflatten(1, (grid[0], patch_size)).unflatten(3, (grid[1], patch_size))
    pixels = patches.permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2).long()
    pixels = pixels.masked_fill(pixels == VOID, n_classes)
    counts = torch.zeros(*pixels.shape[:2], n_classes + 1, dtype=torch.int64)
    return counts.scatter_add_(2, pixels, torch.ones_like(pixels))[..., :n_classes]


def sample_rare(
    counts: Int64[Tensor, "p c"], uniform: Float[Tensor, " p"], n_rows: int
) -> Int64[Tensor, " n_rows"]:
    """Patches of one image for a bounded memory, those with rare classes first.

    A patch scores the sum, over the classes in it, of the number of patches that have that class,
    times a uniform draw; the lowest scores win. A patch without any label comes last.
    """
    present = counts > 0
    score = present.float() @ present.sum(dim=0).float()
    score = torch.where(present.any(dim=1), score * uniform, torch.inf)
    return score.topk(n_rows, largest=False).indices


def vote(
    similarity: Float[Tensor, "q k"], labels: Float[Tensor, "q k c"], beta: float
) -> Float[Tensor, "q c"]:
    """Mean of the neighbours' soft labels under softmax(cosine / beta)."""
    attention = (similarity / beta).softmax(dim=-1)
    return (attention[:, None, :] @ labels)[:, 0]


PROTOCOL = InContext
