"""The two boxes that evaluations of depth on NYUv2 cut, in proportion to the image.

Of 480x640 pixels; other sizes are scaled and rounded down. Sources: ``NYU`` is what
facebookresearch/dinov3 at 6876159 trains on, without the white border of the registered images;
``EIGEN`` is what Eigen et al. ("Depth map prediction from a single image", 2014) score.
"""

from typing import Literal, NamedTuple

from densebench.datasets.sizes import Size

BoxName = Literal["full", "nyu", "nyu_eigen"]
HEIGHT, WIDTH = 480, 640


class Box(NamedTuple):
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, the last ones exclusive."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> Size:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """Of an array whose last two axes are rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


NYU, EIGEN = Box(45, 472, 43, 608), Box(45, 471, 41, 601)


def box(name: BoxName, size: Size) -> Box:
    """The box of that name in an image of a height and a width."""
    height, width = size
    if name == "full":
        return Box(0, height, 0, width)
    of_nyu = NYU if name == "nyu" else EIGEN
    rows = (int(row / HEIGHT * height) for row in of_nyu[:2])
    columns = (int(column / WIDTH * width) for column in of_nyu[2:])
    return Box(*rows, *columns)
