"""Images brought to a multiple of the patch, as DINOv3's dense evaluations do."""

from typing import TYPE_CHECKING

from jaxtyping import Float

if TYPE_CHECKING:  # sizes are asked for where nothing is to be computed
    from torch import Tensor

from densebench.datasets.sizes import padded_size, padding_offset


def centre_padded(
    images: "Float[Tensor, '*b c h w']", patch_size: int
) -> "Float[Tensor, '*b c H W']":
    """Zeros around normalised images, so that the patch size divides them (``CENTER_PADDING``)."""
    from torch.nn import functional

    height, width = images.shape[-2:]
    padded = padded_size((height, width), patch_size)
    top, left = padding_offset((height, width), patch_size)
    below, right = padded[0] - height - top, padded[1] - width - left
    return functional.pad(images, (left, right, top, below))
