"""NeCo's views by both engines, and what else of its step is not the network's.

Processor seconds of one process, one thread, both sides in turn: an image's views by Pillow, by
torch split into the worker's part and the part where the training runs, in batches; then the
alignment and the teacher's step as they are now and as they were, tensor by tensor.

python benchmarks/views.py --images FOLDER [--count 16] [--repeats 3]
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time

import torch
from timing import alternating, machine
from torch import Tensor, nn
from torchvision.ops import roi_align

from densebench.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from densebench.posttrain.aligned import aligned_pairs
from densebench.posttrain.finishing import Finishing
from densebench.posttrain.photographs import (
    Photographs,
    Portion,
    Schedule,
    ViewDataset,
    find_photographs,
    portions,
)
from densebench.posttrain.recipe import load_recipe
from densebench.posttrain.teacher import follow
from densebench.posttrain.views import Engine, MultiCrop, PairBoxes, ViewSettings, pair_boxes

PATCH, ALIGN, DIM, BATCH = 14, 7, 256, 64
Work = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path, nargs="+", required=True)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    found = find_photographs(options.images)
    some = Photographs(found.files[:: max(1, len(found) // options.count)][: options.count], ())
    _print_views(some, options.repeats)
    _print_step(options.repeats)
    print(machine())


def _print_views(photographs: Photographs, repeats: int) -> None:
    count = len(photographs)
    begun = _portion(photographs, "torch")
    finish = Finishing(IMAGENET_MEAN, IMAGENET_STD, torch.device("cpu"))
    _check(finish(begun.images, begun.distortions), _portion(photographs, "pillow").images)
    work: dict[str, Work] = {
        "pillow": lambda: _portion(photographs, "pillow"),
        "torch, the worker's part": lambda: _portion(photographs, "torch"),
        "torch, the batch's part": lambda: finish(begun.images, begun.distortions),
    }
    seconds = alternating(work, repeats, process_time)
    seconds["torch, both"] = (
        seconds["torch, the worker's part"] + seconds["torch, the batch's part"]
    )
    print(f"\n{count} images, views of neco_dinov2; equal by both engines, bit for bit\n")
    print("| engine | ms an image | images/s of a core |\n| --- | --- | --- |")
    for name, taken in seconds.items():
        print(f"| {name} | {1e3 * taken / count:.1f} | {count / taken:.0f} |")


def _portion(photographs: Photographs, engine: Engine) -> Portion:
    settings: ViewSettings = load_recipe("neco_dinov2", {"views.engine": engine}).views
    views = MultiCrop(settings, IMAGENET_MEAN, IMAGENET_STD)
    schedule = Schedule(len(photographs), len(photographs), seed=0, length=1)
    ((portion,),) = portions(ViewDataset(photographs, views, 0), schedule, 0, (0, 1), 1, 0)
    return portion


def _check(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
    if not all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)):
        raise SystemExit("the engines differ")


def _print_step(repeats: int) -> None:
    grids, boxes = _batch()
    student, teacher = (_network() for _ in range(2))
    print(f"\nA step's other parts: {BATCH} images, two global and four local views; ViT-S\n")
    print("| part | s before | s now |\n| --- | --- | --- |")
    for part, before, now in (
        ("alignment, forward", lambda: _by_pair(grids, boxes), lambda: _now(grids, boxes)),
        (
            "alignment, forward and backward",
            lambda: _backward(_by_pair(grids, boxes)),
            lambda: _backward(_now(grids, boxes)),
        ),
        (
            "the teacher's step",
            lambda: _one_by_one(teacher, student),
            lambda: follow(teacher, student, 0.9995),
        ),
    ):
        taken = alternating({"before": before, "now": now}, repeats, process_time)
        print(f"| {part} | {taken['before']:.3f} | {taken['now']:.3f} |")
    print(
        f"\nCalls of roi_align a step: {2 + 2 * 5} before, of {BATCH} lists of boxes each; "
        f"{len(grids) + 2} now, of one tensor. Kernels of the teacher's step on a GPU: three a "
        f"tensor before, {3 * len([*student.parameters()])}; a few for all now."
    )


def _batch() -> tuple[list[Tensor], PairBoxes]:
    random, sizes = torch.Generator().manual_seed(0), [518] * 2 + [98] * 4
    grids = [
        torch.randn(BATCH, size // PATCH, size // PATCH, DIM, generator=random).requires_grad_()
        for size in sizes
    ]
    corners = 100 * torch.rand(BATCH, 6, 2, generator=random)
    extents = 150 + 100 * torch.rand(BATCH, 6, 2, generator=random)
    return grids, pair_boxes(torch.cat([corners, corners + extents], dim=-1), sizes, 2)


def _now(grids: Sequence[Tensor], boxes: PairBoxes) -> list[Tensor]:
    pairs = aligned_pairs(grids[:2], grids, boxes, PATCH, ALIGN, None)
    return [pair.student for pair in pairs]


def _by_pair(grids: Sequence[Tensor], boxes: PairBoxes) -> list[Tensor]:
    """A call a pair, with a list of boxes an image, as it was."""

    def aligned(grid: Tensor, regions: Tensor) -> Tensor:
        patches = list((regions / PATCH).to(grid))
        maps = roi_align(grid.permute(0, 3, 1, 2), patches, ALIGN, aligned=True)
        return maps.flatten(2).transpose(1, 2).unflatten(0, regions.shape[:2])

    seen = []
    for crop in (0, 1):
        aligned(grids[crop].detach(), boxes.in_global[:, crop])
        for view in (view for view in range(len(grids)) if view != crop):
            seen.append(aligned(grids[view], boxes.in_view[:, view, crop, None])[:, 0])
    return seen


def _backward(seen: Sequence[Tensor]) -> None:
    torch.stack([part.sum() for part in seen]).sum().backward()


def _network() -> nn.Module:
    """As many tensors of such sizes as a ViT-S has."""
    blocks = [nn.TransformerEncoderLayer(384, 6, 1536, batch_first=True) for _ in range(12)]
    return nn.Sequential(*blocks)


@torch.no_grad()
def _one_by_one(teacher: nn.Module, student: nn.Module) -> None:
    for own, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
        own.mul_(0.9995).add_((1 - 0.9995) * theirs)


if __name__ == "__main__":
    main()
