"""Cross-entropy over the pixels of masks, of logits on the patch grid.

On a GPU torch's backward pass of bilinear upsampling, and its cross-entropy of maps, add in any
order, so that no two trainings are alike. There the upsampling is two products with matrices, and
pixels stand in one row: the same sums to rounding, in the same order every time. A processor keeps
torch's own, with which the recorded numbers were made.
"""

from functools import lru_cache

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

from densebench.host.device import exact_products

MATRICES = 32  # of sizes, that are remembered


def upsampled_loss(
    logits: Float[Tensor, "b c h w"], truth: Int64[Tensor, "b H W"], ignore_index: int
) -> Float[Tensor, ""]:
    """The mean loss over the pixels that have a label."""
    size = truth.shape[1], truth.shape[2]
    if logits.device.type == "cpu":
        pixels = interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return cross_entropy(pixels, truth, ignore_index=ignore_index)
    return repeatable_loss(logits, truth, ignore_index)


def repeatable_loss(
    logits: Float[Tensor, "b c h w"], truth: Int64[Tensor, "b H W"], ignore_index: int
) -> Float[Tensor, ""]:
    """The same by operations that repeat to the last bit on any device, backwards as well."""
    pixels = bilinear(logits, (truth.shape[1], truth.shape[2])).permute(0, 2, 3, 1).flatten(0, 2)
    return cross_entropy(pixels, truth.flatten(), ignore_index=ignore_index)


def bilinear(values: Float[Tensor, "*n h w"], size: tuple[int, int]) -> Float[Tensor, "*n H W"]:
    """``interpolate(mode="bilinear", align_corners=False)`` as two matrix products."""
    rows, columns = (
        weights(before, after).to(values.device, values.dtype)
        for before, after in zip(values.shape[-2:], size, strict=True)
    )
    with exact_products(True):
        return rows @ (values @ columns.T)


@lru_cache(MATRICES)
def weights(before: int, after: int) -> Float[Tensor, "after before"]:
    """What each of ``after`` pixels takes of ``before``, by the distance of their centres."""
    centres = ((torch.arange(after, dtype=torch.float64) + 0.5) * before / after - 0.5).clamp(min=0)
    lower = centres.floor().long().clamp(max=before - 1)
    upper = (lower + 1).clamp(max=before - 1)
    share = (centres - lower)[:, None]
    matrix = torch.zeros(after, before, dtype=torch.float64)
    matrix.scatter_add_(1, lower[:, None], 1 - share)
    matrix.scatter_add_(1, upper[:, None], share)
    return matrix.float()
