"""What in-context retrieval of depth remembers: patches with the mean depth of their pixels."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from densebench.learners.memory_bank import MemoryBank


class DepthBank(MemoryBank):
    """Rows of features, each with one depth in metres instead of the pixels of classes."""

    def __init__(self, rows: int, width: int, fp16: bool, stretch: range | None = None) -> None:
        super().__init__(rows, width, n_classes=1, area=1, fp16=fp16, stretch=stretch)
        self._counts = torch.empty(rows, 1)

    def soft_labels(self, rows: Int64[Tensor, "*n"]) -> Float[Tensor, "*n 1"]:
        """The depth of some rows, where another bank has frequencies of classes."""
        return self._counts[rows.to(self._counts.device)]

    def labels(self, rows: Int64[Tensor, "*n"]) -> Int64[Tensor, "*n"]:
        """The depth of some rows in centimetres."""
        return (100 * self.soft_labels(rows)[..., 0]).round().long()


def patch_depths(
    depth: Float[Tensor, "b H W"], patch_size: int, nearest: float, farthest: float
) -> Float[Tensor, "b p 1"]:
    """The mean depth of each patch over its pixels between the two, row by row; 0 of none."""
    rows, columns = depth.shape[1] // patch_size, depth.shape[2] // patch_size
    tiles = depth.unflatten(1, (rows, patch_size)).unflatten(3, (columns, patch_size))
    pixels = tiles.permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)
    counted = (pixels > nearest) & (pixels < farthest)
    total = torch.where(counted, pixels.double(), 0.0).sum(dim=-1, keepdim=True)
    count = counted.sum(dim=-1, keepdim=True)
    return (total / count.clamp(min=1)).float()
