"""Which patches show the foreground, from a backbone's own attention."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from densebench.errors import DensebenchError

KERNEL, SIGMA, KEPT_MASS = 7, 0.6, 0.65


def foreground(attention: Float[Tensor, "b heads h w"]) -> Bool[Tensor, "b h w"]:
    """The patches that hold most of the class token's attention.

    Every head is blurred, heads are averaged, and the most attended patches that together hold
    65% of the attention are foreground. At least one patch of an image is.

    Raises:
        DensebenchError: the grid is too small for the blur.

    Source: Ziegler and Asano, "Self-supervised learning of object parts for semantic segmentation"
    (Leopart), arXiv 2204.13101, whose masks NeCo offers.
    """
    if min(attention.shape[-2:]) <= KERNEL // 2:
        raise DensebenchError(
            f"loss.masks need global views of {KERNEL // 2 + 1}x{KERNEL // 2 + 1} patches or more, "
            f"not {attention.shape[-2]}x{attention.shape[-1]}; raise views.global_size"
        )
    blurred = gaussian_blur(attention, [KERNEL, KERNEL], [SIGMA, SIGMA])
    mass = blurred.mean(dim=1).flatten(1)
    mass = mass / mass.sum(dim=1, keepdim=True)
    ordered, order = mass.sort(dim=1, descending=True)
    before = ordered.cumsum(dim=1) - ordered
    kept = torch.zeros_like(mass, dtype=torch.bool).scatter(1, order, before < KEPT_MASS)
    return kept.unflatten(1, attention.shape[-2:])
