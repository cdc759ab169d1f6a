"""The patches of several splits after one PCA, and which of them the class token attends to."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from densebench.datasets.transforms import Transform
from densebench.features.source import PatchSource, of_attention
from densebench.host.errors import DensebenchError
from densebench.learners.attention_masks import foreground
from densebench.learners.clustering import StreamedPCA
from densebench.learners.projection import images


class Attended(NamedTuple):
    """Images of a split: their positions, patches after PCA, masks, and the attended patches."""

    indices: Int64[Tensor, " n"]
    patches: Float[np.ndarray, "n p k"]
    masks: Shaped[Tensor, "n H W"]
    attended: Bool[Tensor, "n h w"]


def fit_together(
    sources: Sequence[PatchSource], view: Transform, reduction: StreamedPCA, n_rows: int
) -> None:
    """Fit a PCA to the patches of all sources, in the first process; the others extract for it."""
    batches = chain.from_iterable(source.batches(view, reach="main") for source in sources)
    rows = (rows for batch in batches for rows in images(batch))
    if sources[0].world.is_main:
        reduction.fit(rows, n_rows)
    for _ in rows:  # which are none in the others
        pass


def attended(
    source: PatchSource, view: Transform, reduction: StreamedPCA, mass: float
) -> Attended | None:
    """All images of a source, in the first process; None in the others.

    Args:
        source: of patches and of attention.
        view: of the images.
        reduction: that is fitted.
        mass: the share of the attention that the attended patches hold.

    Raises:
        DensebenchError: the backbone gives no attention, or no image can be read.
    """
    indices, patches, masks, shown = [], [], [], []
    for batch in source.batches(view, reach="main"):
        patches += [reduction.transform(rows) for rows in images(batch)]
        indices.append(batch.indices)
        masks.append(batch.masks)
    for batch in of_attention(source).batches(view, reach="main"):
        shown.append(foreground(batch.patches.permute(0, 3, 1, 2).float().cpu(), mass))
    if not source.world.is_main:
        return None
    if not indices:
        raise DensebenchError(f"none of the {source.split.name} images could be read")
    return Attended(torch.cat(indices), np.stack(patches), torch.cat(masks), torch.cat(shown))
