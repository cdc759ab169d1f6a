"""Class scores of whole images from windows that slide over them, at one scale or at several.

Source: facebookresearch/dinov3 at 6876159, dinov3/eval/segmentation/inference.py.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from densebench.datasets.image_files import image_size
from densebench.datasets.sizes import Size
from densebench.datasets.windows import Box, Sliding, Window, Windows, windows_of
from densebench.features.loading import Unreadable
from densebench.features.source import PatchSource
from densebench.host.errors import DensebenchError

Logits = Callable[[Float[Tensor, "b h w d"]], Float[Tensor, "b c h w"]]
ViewOf = Callable[[Size], Window]


class SlidingTest:
    """The windows of a split, and the scores that a head gives them.

    Args:
        source: of the images; its cache is used for the windows.
        ways: how windows go over an image; with several, class probabilities are averaged.
        view_of: the view of a window of that height and width.
    """

    def __init__(self, source: PatchSource, ways: Sequence[Sliding], view_of: ViewOf) -> None:
        self._source, self._ways, self._view_of = source, tuple(ways), view_of
        self._shapes = _image_shapes(source)
        self._windows = [
            [_source_of(source, windows) for windows in windows_of(source.split, self._shapes, way)]
            for way in self._ways
        ]

    def scores(self, logits_of: Logits) -> Iterator[tuple[int, Float[Tensor, "c h w"]]]:
        """The places of the images with their scores; of several processes, in the first.

        Of one way these are logits at the size at which windows went over the image, and of several
        probabilities at the image's own.

        Raises:
            DensebenchError: an image cannot be read, and such are not left out.
        """
        images = list(self._shapes)
        if len(self._ways) == 1:
            yield from self._logits(0, images, logits_of)
            return
        for image in images:
            total, found = torch.zeros(()), 0
            for number, way in enumerate(self._ways):
                for _, logits in self._logits(number, [image], logits_of):
                    found += 1
                    total = total.to(logits.device) + self._probabilities(image, logits, way)
            if found:
                yield image, total / found

    def _probabilities(
        self, image: int, logits: Float[Tensor, "c h w"], way: Sliding
    ) -> Float[Tensor, "c H W"]:
        size = self._shapes[image]
        upsampled = interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
        probabilities = upsampled.softmax(dim=0)
        return probabilities.flip(-1) if way.flipped else probabilities

    def _logits(
        self, number: int, images: Sequence[int], logits_of: Logits
    ) -> Iterator[tuple[int, Float[Tensor, "c h w"]]]:
        """The mean logits of the windows of each image under one of the ways."""
        for source, windows in self._windows[number]:
            view, order = self._view_of(windows.window), windows.of(images)
            if not order:
                continue
            under_way: WindowSum | None = None
            for batch in source.batches(view, order=order, reach="main"):
                outputs = logits_of(batch.patches)
                for place, output in zip(batch.indices.tolist(), outputs, strict=True):
                    image = windows.parents[place]
                    if under_way is not None and under_way.image != image:
                        yield under_way.image, under_way.mean
                    if under_way is None or under_way.image != image:
                        under_way = WindowSum(image, windows.shapes[place])
                    under_way.add(windows.boxes[place], at_pixels(output, view))
            if under_way is not None:
                yield under_way.image, under_way.mean
            self._leave_out(source, windows)

    def _leave_out(self, source: PatchSource, windows: Windows) -> None:
        """Images whose windows could not be read."""
        names = dict(zip(windows.names, windows.parents, strict=True))
        for name, reason in source.unreadable.items():
            self._source.leave_out(Unreadable(self._source.split.names[names[name]], reason))


class WindowSum:
    """The logits of the windows of one image under way."""

    def __init__(self, image: int, shape: Size) -> None:
        self.image, self._shape = image, shape
        self._total: Tensor | None = None
        self._count: Tensor | None = None

    def add(self, box: Box, logits: Float[Tensor, "c h w"]) -> None:
        """Add a window where it lies; what is stretched to a square is the whole image."""
        if self._total is None or self._count is None:
            whole = box == Box(0, self._shape[0], 0, self._shape[1])
            shape = tuple(logits.shape[1:]) if whole else self._shape
            self._total = logits.new_zeros(len(logits), *shape)
            self._count = logits.new_zeros(shape)
            if whole:
                box = Box(0, shape[0], 0, shape[1])
        rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
        self._total[:, rows, columns] += logits
        self._count[rows, columns] += 1

    @property
    def windows(self) -> Float[Tensor, "h w"]:
        """How many there are at every pixel."""
        assert self._count is not None
        return self._count

    @property
    def mean(self) -> Float[Tensor, "c h w"]:
        """The sum over how many windows there are at every pixel."""
        assert self._total is not None
        return self._total / self.windows


def at_pixels(logits: Float[Tensor, "c h w"], view: Window) -> Float[Tensor, "c H W"]:
    """Logits of the patches at the pixels of a window, without what was put beside it.

    Those of a whole image stay on the patch grid, from where they are upsampled to its mask at
    once; only what was put beside it is cut off at its pixels.
    """
    if view.stretched and view.drops:
        return logits
    height, width = view.view_shape
    covered = view.view_shape if view.drops else view.shape
    pixels = interpolate(logits[None], size=covered, mode="bilinear", align_corners=False)[0]
    return pixels[:, :height, :width]


def _source_of(source: PatchSource, windows: Windows) -> tuple[PatchSource, Windows]:
    """The patches of windows; who watches the source's images does not see them."""
    same = {part.name: getattr(source, part.name) for part in fields(PatchSource)}
    same |= {"split": windows, "unreadable": {}, "phase": ""}
    return PatchSource(**same), windows


def _image_shapes(source: PatchSource) -> Mapping[int, Size]:
    """Height and width of the images that can be read."""
    shapes: dict[int, Size] = {}
    split = source.split
    for place, file in enumerate(split.image_files):
        try:
            width, height = image_size(Path(file))
        except DensebenchError as error:
            source.leave_out(Unreadable(split.names[place], str(error)))
        else:
            shapes[place] = height, width
    return shapes
