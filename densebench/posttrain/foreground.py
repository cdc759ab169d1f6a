"""Which patches show the foreground, from a backbone's own attention."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import label
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from densebench.host.errors import DensebenchError

KERNEL, SIGMA = 7, 0.6
_EIGHT_NEIGHBOURS = np.ones((3, 3))


def foreground(
    attention: Float[Tensor, "b heads h w"], mass: float = 0.6, smallest: int = 3
) -> Bool[Tensor, "b h w"]:
    """The patches that hold most of the class token's attention.

    Heads are averaged, the mean is blurred, and of the most attended patches that together hold
    `mass` of the attention those are foreground that lie in parts of `smallest` patches or more
    (neighbours at the corner count as connected).

    Raises:
        DensebenchError: the grid is too small for the blur.

    Source: Ziegler and Asano, "Self-supervised learning of object parts for semantic segmentation"
    (Leopart), arXiv 2204.13101, whose masks NeCo offers; vpariza/NeCo trains with 0.6 and 3.
    """
    if min(attention.shape[-2:]) <= KERNEL // 2:
        raise DensebenchError(
            f"loss.masks need global views of {KERNEL // 2 + 1}x{KERNEL // 2 + 1} patches or more, "
            f"not {attention.shape[-2]}x{attention.shape[-1]}; raise views.global_size"
        )
    blurred = gaussian_blur(attention.mean(dim=1, keepdim=True), [KERNEL] * 2, [SIGMA] * 2)
    # From the smallest on, as the published code adds them up: the mass is cut where it cuts it.
    ordered, order = blurred.flatten(1).sort(dim=1)
    passed = (ordered / ordered.sum(dim=1, keepdim=True)).cumsum(dim=1)
    kept = torch.zeros_like(passed, dtype=torch.bool).scatter(1, order, passed > 1 - mass)
    return _without_small_parts(kept.unflatten(1, attention.shape[-2:]), smallest)


def _without_small_parts(masks: Bool[Tensor, "b h w"], smallest: int) -> Bool[Tensor, "b h w"]:
    kept = [_large_parts(mask, smallest) for mask in masks.cpu().numpy()]
    return torch.from_numpy(np.stack(kept)).to(masks.device)


def _large_parts(mask: Bool[np.ndarray, "h w"], smallest: int) -> Bool[np.ndarray, "h w"]:
    parts, _ = label(mask, structure=_EIGHT_NEIGHBOURS)
    large = np.bincount(parts.ravel()) >= smallest
    large[0] = False
    return large[parts]
