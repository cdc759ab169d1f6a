"""The labels of all pixels of a patch: as they are, their mode, and votes position by position.

Source: facebookresearch/capi at 98b4fa1, eval_segmentation.py.
"""

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped, UInt8
from torch import Tensor

VOID = 255
CHUNK_PATCHES = 16_384


def pixel_labels(masks: Shaped[Tensor, "b H W"], patch_size: int) -> Shaped[Tensor, "b p a"]:
    """The labels of each patch's pixels row by row, patches row by row."""
    rows, columns = masks.shape[1] // patch_size, masks.shape[2] // patch_size
    patches = masks.unflatten(1, (rows, patch_size)).unflatten(3, (columns, patch_size))
    return patches.permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)


def as_map(labels: Shaped[Tensor, "p a"], grid: tuple[int, int]) -> Shaped[Tensor, "H W"]:
    """The image that ``pixel_labels`` took apart, of ``grid`` square patches."""
    side = round(labels.shape[1] ** 0.5)
    patches = labels.unflatten(1, (side, side)).unflatten(0, grid)
    return patches.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)


def modes(labels: UInt8[Tensor, "n a"]) -> UInt8[Tensor, " n"]:
    """The most frequent label of each patch, void counted as one; the smallest of equals."""
    found = np.empty(len(labels), dtype=np.uint8)
    for start in range(0, len(labels), CHUNK_PATCHES):
        part = labels[start : start + CHUNK_PATCHES].numpy()
        cells = np.arange(len(part))[:, None] * (VOID + 1) + part
        counts = np.bincount(cells.ravel(), minlength=len(part) * (VOID + 1))
        found[start : start + len(part)] = counts.reshape(len(part), -1).argmax(axis=1)
    return torch.from_numpy(found)


def is_one_of(labels: UInt8[Tensor, "*n"], ids: frozenset[int]) -> Bool[Tensor, "*n"]:
    """Which labels are among some ids."""
    return torch.isin(labels, torch.tensor(sorted(ids), dtype=torch.uint8))


def vote(
    labels: UInt8[Tensor, "q k a"], unheard: frozenset[int] = frozenset()
) -> UInt8[Tensor, "q a"]:
    """The most frequent label of the neighbours at each pixel position; the smallest of equals.

    Labels in ``unheard`` do not vote. A position at which no neighbour has another one takes what
    is most frequent over the whole patch.
    """
    counted = [label for label in labels.unique().tolist() if label not in unheard]
    here, everywhere = _Leader(labels[:, 0]), _Leader(labels[:, 0, :1])
    for label in counted:
        votes = (labels == label).sum(dim=1)
        here.hear(label, votes)
        if unheard:
            everywhere.hear(label, votes.sum(dim=1, keepdim=True))
    return here.label.where(here.votes > 0, everywhere.label)


class _Leader:
    """Who has most votes so far; of equals, who was heard first."""

    def __init__(self, like: UInt8[Tensor, "q a"]) -> None:
        self.label = torch.zeros_like(like)
        self.votes = torch.zeros(like.shape, dtype=torch.int64, device=like.device)

    def hear(self, label: int, votes: Int[Tensor, "q a"]) -> None:
        better = votes > self.votes
        self.label[better] = label
        self.votes = torch.where(better, votes, self.votes)
