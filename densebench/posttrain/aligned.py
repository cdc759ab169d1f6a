"""A global crop and a view, aligned on the region that both show."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchvision.ops import roi_align

from densebench.host.errors import DensebenchError
from densebench.posttrain.views import PairBoxes


@dataclass(frozen=True)
class Share:
    """Which images of a step a batch is: those from `start` on, of `total`.

    References are drawn for all `total` images and the share takes its own, so that the loss of a
    step does not depend on how many portions or processes it is split into.
    """

    total: int
    start: int = 0


@dataclass(frozen=True)
class Pair:
    """A global crop of t images and a view of b of them, aligned; n is align_size**2.

    `foreground` tells which of the crop's patches are wholly in its mask, `others` the same for
    the crop aligned with every view v.
    """

    global_crop: int
    teacher: Float[Tensor, "t n d"]
    student: Float[Tensor, "b n d"]
    foreground: Bool[Tensor, "t n"] | None
    others: Bool[Tensor, "t v n"] | None


def aligned_pairs(
    teacher: Sequence[Float[Tensor, "t h w d"]],
    student: Sequence[Float[Tensor, "b _ _ d"]],
    boxes: PairBoxes,
    patch_size: int,
    align_size: int,
    foreground: Sequence[Bool[Tensor, "t h w"]] | None,
) -> Iterator[Pair]:
    """All pairs of a global crop and another view, in the order of crops, then of views.

    Every grid is aligned on all its regions at once.
    """

    def aligned(grid: Tensor, regions: Tensor) -> Tensor:
        return _aligned(grid, regions, patch_size, align_size)

    crops = range(len(teacher))
    seen = []  # of every view, on the regions that it shares with the other global crops
    for view, grid in enumerate(student):
        others = [crop for crop in crops if crop != view]
        parts = aligned(grid, boxes.in_view[:, view, others]).unbind(1) if others else ()
        seen.append(dict(zip(others, parts, strict=True)))
    for crop, grid in enumerate(teacher):
        regions = boxes.in_global[:, crop]
        targets, masks = aligned(grid.detach(), regions), None
        if foreground is not None:
            covered = aligned(foreground[crop][..., None].to(torch.float32), regions)
            masks = covered[..., 0] >= 1
        for view in (view for view in range(len(student)) if view != crop):
            mask = None if masks is None else masks[:, view]
            yield Pair(crop, targets[:, view], seen[view][crop], mask, masks)


def _aligned(
    grid: Float[Tensor, "b h w d"],
    regions: Float[Tensor, "b k 4"],
    patch_size: int,
    align_size: int,
) -> Float[Tensor, "b k n d"]:
    """The grid's patches on align_size**2 points of every region, in at least float32."""
    grid = grid if grid.dtype == torch.float64 else grid.float()
    boxes = (regions / patch_size).to(grid).flatten(0, 1)
    image = torch.arange(len(grid), device=grid.device).repeat_interleave(
        regions.shape[1], output_size=len(boxes)
    )
    places = torch.cat([image[:, None].to(grid), boxes], dim=1)
    maps = roi_align(grid.permute(0, 3, 1, 2), places, align_size, aligned=True)
    return maps.flatten(2).transpose(1, 2).unflatten(0, regions.shape[:2])


def check_batch(
    teacher: Sequence[Float[Tensor, "t h w d"]],
    student: Sequence[Float[Tensor, "b _ _ d"]],
    boxes: PairBoxes,
    share: Share | None,
) -> None:
    """Nothing, for grids and boxes that belong together.

    Raises:
        DensebenchError: they do not.
    """
    crops, views = len(teacher), len(student)
    if not 1 <= crops <= views or views < 2:
        raise DensebenchError(
            f"{crops} teacher grids and {views} student grids: give one per global crop and one "
            "per view, at least two views, the global crops first"
        )
    batch, taught = len(student[0]), len(teacher[0])
    known = {batch} if share is None else {batch, share.total}
    alike = all(len(g) == taught for g in teacher) and all(len(g) == batch for g in student)
    if len({g.shape[-1] for g in (*teacher, *student)}) > 1 or not alike or taught not in known:
        found = sorted({(len(g), g.shape[-1]) for g in (*teacher, *student)})
        raise DensebenchError(f"the grids differ in (batch, dimensions): {found}")
    shapes = tuple(boxes.in_global.shape), tuple(boxes.in_view.shape)
    expected = (taught, crops, views, 4), (batch, views, crops, 4)
    if shapes != expected:
        raise DensebenchError(f"the boxes have shapes {shapes}: these grids need {expected}")
