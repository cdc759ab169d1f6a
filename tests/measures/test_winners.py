from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from densebench.measures import winners
from densebench.measures.winners import winning_classes

SIZES = ((37, 50), (100, 100), (5, 3), (1, 1))


def plainly(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """All classes upsampled, then the first of the highest."""
    dense = interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0]
    return dense.argmax(dim=0)


def regions(classes: int, grid: tuple[int, int], seed: int = 0) -> Tensor:
    """Scores of smooth regions in which few of the classes win."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, classes, 2, 3, generator=generator) * 3
    return interpolate(coarse, size=grid, mode="bicubic")[0].softmax(dim=0)


def last(scores: Tensor) -> Tensor:
    """The same with the classes of a patch beside one another, as protocols give them."""
    return scores.permute(1, 2, 0).contiguous().permute(2, 0, 1)


class TestTheSameAsAllClasses:
    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("grid", [(7, 9), (1, 1), (1, 4), (2, 2)])
    @pytest.mark.parametrize("classes", [1, 2, 21, 151])
    def test_pixel_by_pixel(self, classes: int, grid: tuple[int, int], size: Any) -> None:
        for scores in (regions(classes, grid), torch.rand(classes, *grid)):
            for layout in (scores, last(scores), scores.double()):
                assert torch.equal(winning_classes(layout, size), plainly(layout, size))

    def test_ties_go_to_the_first(self) -> None:
        scores = torch.zeros(4, 3, 3)
        scores[1:3] = 0.5
        assert winning_classes(scores, (8, 8)).eq(1).all()

    @pytest.mark.parametrize("seed", range(40))
    def test_many_exact_ties(self, seed: int) -> None:
        """Scores of halves tie at many pixels; how each is rounded then decides."""
        generator = torch.Generator().manual_seed(seed)
        classes, *sides = torch.randint(2, 30, (5,), generator=generator).tolist()
        grid = (sides[0] % 8 + 1, sides[1] % 8 + 1)
        scores = (torch.randn(classes, *grid, generator=generator) * 2).round() / 2
        size = (3 * sides[2], 3 * sides[3])
        for layout in (scores, last(scores)):
            assert torch.equal(winning_classes(layout, size), plainly(layout, size))

    def test_differences_within_rounding(self) -> None:
        base = torch.rand(3, 5, 5)
        noise = torch.rand(3, 5, 5) * 2e-7
        scores = torch.cat([base, base + noise, base - noise])
        assert torch.equal(winning_classes(scores, (64, 64)), plainly(scores, (64, 64)))

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e4, 1e30])
    def test_a_score_like_no_other(self, value: float) -> None:
        scores = regions(9, (6, 6))
        scores[4, 2, 3] = value
        scores[7] = -1e4
        assert torch.equal(winning_classes(scores, (50, 50)), plainly(scores, (50, 50)))


def test_few_classes_are_upsampled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def noted(scores: Tensor, size: tuple[int, ...]) -> Tensor:
        seen.append(len(scores))
        return interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0]

    monkeypatch.setattr(winners, "upsampled", noted)
    scores = regions(150, (12, 12))
    won = winning_classes(scores, (90, 90)).unique()
    assert len(won) <= seen[0] < 50
