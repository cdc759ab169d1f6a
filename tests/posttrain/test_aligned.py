"""Grids aligned on what two views share."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import roi_align

from densebench.posttrain import aligned
from densebench.posttrain.aligned import aligned_pairs
from densebench.posttrain.views import PairBoxes, pair_boxes

PATCH, ALIGN = 14, 3
SIZES = [84, 84, 42, 42]


def batch() -> tuple[list[Tensor], list[Tensor], PairBoxes]:
    """Three images' grids of two global and two local views, and their boxes."""
    random = torch.Generator().manual_seed(0)
    student = [
        torch.randn(3, size // PATCH, size // PATCH, 5, generator=random, dtype=torch.float64)
        for size in SIZES
    ]
    corners = 20 * torch.rand(3, 4, 2, generator=random, dtype=torch.float64)
    extents = 40 + 30 * torch.rand(3, 4, 2, generator=random, dtype=torch.float64)
    boxes = pair_boxes(torch.cat([corners, corners + extents], dim=-1), SIZES, 2)
    return [grid + 1 for grid in student[:2]], student, boxes


def test_every_pair_is_its_own_roi_align() -> None:
    teacher, student, boxes = batch()
    found = [*aligned_pairs(teacher, student, boxes, PATCH, ALIGN, None)]
    assert [pair.global_crop for pair in found] == [0] * 3 + [1] * 3
    order = [(crop, view) for crop in (0, 1) for view in range(4) if view != crop]
    for (crop, view), pair in zip(order, found, strict=True):
        for ours, grid, regions in (
            (pair.teacher, teacher[crop], boxes.in_global[:, crop, view]),
            (pair.student, student[view], boxes.in_view[:, view, crop]),
        ):
            patches = [*(regions / PATCH)[:, None]]
            theirs = roi_align(grid.permute(0, 3, 1, 2), patches, ALIGN, aligned=True)
            torch.testing.assert_close(ours, theirs.flatten(2).transpose(1, 2), atol=0, rtol=1e-14)


def test_one_call_a_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def counted(grids: Tensor, *given: Any, **more: Any) -> Tensor:
        sizes.append((len(grids), len(given[0])))
        return roi_align(grids, *given, **more)

    monkeypatch.setattr(aligned, "roi_align", counted)
    list(aligned_pairs(*batch(), PATCH, ALIGN, None))
    # Views on the global crops that they are not, then global crops on all views: three images.
    assert sizes == [(3, 3), (3, 3), (3, 6), (3, 6), (3, 12), (3, 12)]


def test_gradients_reach_a_grid_from_all_its_pairs() -> None:
    teacher, student, boxes = batch()
    student = [grid.requires_grad_() for grid in student]
    pairs = [*aligned_pairs(teacher, student, boxes, PATCH, ALIGN, None)]
    sum(pair.student.sum() for pair in pairs).backward()  # type: ignore[union-attr]
    points = torch.tensor([1.0, 1, 2, 2], dtype=torch.float64) * 3 * ALIGN**2 * 5
    found = torch.stack([grid.grad.sum() for grid in student])  # type: ignore[union-attr]
    torch.testing.assert_close(found, points)
