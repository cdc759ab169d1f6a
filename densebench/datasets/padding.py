"""Images brought to a multiple of the patch, as DINOv3's dense evaluations do."""

from typing import TYPE_CHECKING

from jaxtyping import Float

if TYPE_CHECKING:  # sizes are asked for where nothing is to be computed
    from torch import Tensor

Size = tuple[int, int]  # height, width


def as_size(size: int | Size) -> Size:
    """Height and width, of a square's side as well."""
    return (size, size) if isinstance(size, int) else size


def side_of(size: Size) -> int | Size:
    """The side of a square, as it is written; of what is none, height and width."""
    return size[0] if size[0] == size[1] else size


def padded_size(size: Size, patch_size: int) -> Size:
    """The smallest multiples of the patch size that are not below a height and a width.

    ``STRETCH`` resizes to them, ``CENTER_PADDING`` pads.
    """
    height, width = (-(-side // patch_size) * patch_size for side in size)
    return height, width


def padding_offset(size: Size, patch_size: int) -> Size:
    """Rows above and columns left of a centred image: the smaller half of what is missing."""
    padded = padded_size(size, patch_size)
    top, left = ((p - side) // 2 for p, side in zip(padded, size, strict=True))
    return top, left


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
