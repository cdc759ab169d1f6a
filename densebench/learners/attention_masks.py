"""Which patches show the foreground, from the attention of a class token.

Source: ``process_attentions`` and ``EvaluateAttnMaps`` of vpariza/NeCo at 3932160, after Ziegler
and Asano, "Self-supervised learning of object parts for semantic segmentation", arXiv 2204.13101.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import label
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

KERNEL, SIGMA = 7, 0.6
SMALLEST_GRID = KERNEL // 2 + 1  # that the border can be reflected in
SMALLEST_PART = 3
_EIGHT_NEIGHBOURS = np.ones((3, 3))


def merged(attention: Float[Tensor, "b heads h w"]) -> Float[Tensor, "b h w"]:
    """The mean over heads, blurred.

    It is added up head by head, as the published code does, so that it is rounded alike.
    """
    heads = attention.shape[1]
    mean = sum((attention[:, head] / heads for head in range(1, heads)), attention[:, 0] / heads)
    return gaussian_blur(mean[:, None], [KERNEL] * 2, [SIGMA] * 2)[:, 0]


def most_attended(attention: Float[Tensor, "*b h w"], mass: float) -> Bool[Tensor, "*b h w"]:
    """The patches that together hold the share ``mass`` of each map.

    From the smallest on, as the published code adds them up: the mass is cut where it cuts it.
    """
    ordered, order = attention.flatten(-2).sort(dim=-1)
    passed = (ordered / ordered.sum(dim=-1, keepdim=True)).cumsum(dim=-1) > 1 - mass
    kept = torch.zeros_like(passed).scatter(-1, order, passed)
    return kept.unflatten(-1, attention.shape[-2:])


def without_small_parts(
    masks: Bool[Tensor, "b h w"], smallest: int = SMALLEST_PART
) -> Bool[Tensor, "b h w"]:
    """What lies in parts of ``smallest`` patches or more; neighbours at a corner are connected."""
    if not len(masks):
        return masks
    kept = [_large_parts(mask, smallest) for mask in masks.cpu().numpy()]
    return torch.from_numpy(np.stack(kept)).to(masks.device)


def foreground(
    attention: Float[Tensor, "b heads h w"], mass: float, smallest: int = SMALLEST_PART
) -> Bool[Tensor, "b h w"]:
    """The most attended patches of all heads together, without small parts."""
    return without_small_parts(most_attended(merged(attention), mass), smallest)


def _large_parts(mask: Bool[np.ndarray, "h w"], smallest: int) -> Bool[np.ndarray, "h w"]:
    parts, _ = label(mask, structure=_EIGHT_NEIGHBOURS)
    large = np.bincount(parts.ravel()) >= smallest
    large[0] = False
    return large[parts]
