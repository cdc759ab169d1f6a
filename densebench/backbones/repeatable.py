"""Whether a backbone gives the same features again: of one batch, and of it in parts.

Dropout that is left on, statistics of the batch and random positions make every number another
one at each run, or at each batch size; that is found out before anything is computed with it.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from densebench.backbones.base import DenseBackbone
from densebench.datasets.sizes import Size, as_size
from densebench.host.device import exact_products

TOLERANCE = 1e-5  # of the largest feature: products round by the batch's shape


@torch.inference_mode()
def largest_difference(
    backbone: DenseBackbone, size: int | Size, device: torch.device, batch: int = 2
) -> float:
    """How far two passes of one batch, and of its images one by one, lie apart at most.

    Args:
        backbone: On its device, in evaluation mode.
        size: Side of square images in pixels, or height and width.
        device: Where it runs.
        batch: Images of the batch.

    Returns:
        The largest absolute difference, as a share of the largest absolute feature.
    """
    draws = torch.Generator().manual_seed(0)
    height, width = as_size(size)
    images = torch.randn(batch, 3, height, width, generator=draws).to(device)
    with exact_products(True):
        first, again = backbone(images).float(), backbone(images).float()
        alone = torch.cat([backbone(image[None]).float() for image in images])
    largest = max(float(first.abs().max()), torch.finfo(torch.float32).tiny)
    apart = max(_apart(first, again), _apart(first, alone))
    return apart / largest


def disagreement(backbone: DenseBackbone, difference: float) -> str:
    """What is wrong, and what to do, in one line."""
    return (
        f"{backbone.name} gives other features for the same images at each pass or batch size "
        f"(they differ by {difference:.1g} of the largest); switch off dropout, statistics of the "
        "batch and other randomness in its forward"
    )


def _apart(one: Float[Tensor, "*n"], other: Float[Tensor, "*n"]) -> float:
    return float((one - other).abs().nan_to_num(nan=0.0, posinf=0.0).max())
