"""Heights and widths: of squares, and brought to multiples of the patch size."""

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
