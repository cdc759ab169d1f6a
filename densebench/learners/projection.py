"""The patches of a split after PCA, which several processes extract and project together."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from densebench.datasets.transforms import Transform
from densebench.features.source import PatchBatch, PatchSource
from densebench.learners.batching import complete, last_apart
from densebench.learners.clustering import StreamedPCA


class Projected(NamedTuple):
    """Some images: their positions in the split, their patches after PCA, and their masks."""

    indices: Int64[Tensor, " i"]
    patches: Float[Tensor, "i p k"]
    masks: Shaped[Tensor, "i H W"]


class Projection:
    """Two passes through a split: one to fit a PCA, one to project by it.

    Args:
        source: of the patches.
        view: of the images.
        drop: in batches of how many images they are counted, in the order of their list, for the
            last incomplete batch to be dropped; None where all images count.
    """

    def __init__(self, source: PatchSource, view: Transform, drop: int | None) -> None:
        self._source, self._view, self._drop = source, view, drop

    def fitted(self, reduction: StreamedPCA, n_rows: int) -> StreamedPCA:
        """The PCA, which the first process fits to the patches of all, image by image."""
        world = self._source.world
        rows = (rows for batch in self._for_main() for rows in images(batch))
        if world.is_main:
            reduction.fit(rows, n_rows)
        for _ in rows:  # which are none in the others
            pass
        return world.from_main(reduction)

    def own(self, reduction: StreamedPCA) -> Projected:
        """What this process extracted, projected."""
        indices, patches, masks = [], [], []
        for batch in self._own():
            patches += [torch.from_numpy(reduction.transform(rows)) for rows in images(batch)]
            indices.append(batch.indices)
            masks.append(batch.masks)
        if not indices:
            return Projected(torch.empty(0, dtype=torch.int64), torch.empty(0), torch.empty(0))
        return Projected(torch.cat(indices), torch.stack(patches), torch.cat(masks))

    def everywhere(
        self, own: Projected, shape: tuple[int, int]
    ) -> tuple[Float[Tensor, "n p k"], Int64[Tensor, " i"]]:
        """The patches of all processes in the order in which one goes through the images.

        Args:
            own: what this process projected.
            shape: of the patches of an image.

        Returns:
            These, and where in them the own images are.
        """
        world, split = self._source.world, self._source.split
        if world.size == 1:
            return own.patches, torch.arange(len(own.indices))
        scored = {index for part in world.each(own.indices.tolist()) for index in part}
        order = range(len(split)) if self._drop is None or split.order is None else split.order
        place = {index: n for n, index in enumerate(i for i in order if i in scored)}
        places = torch.tensor([place[index] for index in own.indices.tolist()], dtype=torch.int64)
        every = torch.zeros(len(place), *shape)
        if len(places):
            every[places] = own.patches
        return world.sum(every), places

    def _for_main(self) -> Iterator[PatchBatch]:
        """All images that count, for the first process."""
        if self._drop is None:
            return self._source.batches(self._view, reach="main")
        order = self._source.split.order
        return complete(self._source.batches(self._view, order=order, reach="main"), self._drop)

    def _own(self) -> Iterator[PatchBatch]:
        """Those of them that this process extracts."""
        if self._drop is None:
            return self._source.batches(self._view, reach="own")
        told = last_apart(self._source, self._view, self._drop)
        return (batch for batch, dropped in told if not dropped)


def images(batch: PatchBatch) -> Iterator[Float[np.ndarray, "p d"]]:
    """Patches image by image: sums and products round alike, whatever is extracted at once."""
    return (patches.flatten(0, 1).cpu().numpy().copy() for patches in batch.patches)
