import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import roi_align

from densebench.host.errors import DensebenchError
from densebench.posttrain.aligned import Share, aligned_pairs
from densebench.posttrain.neco import (
    NeCoSettings,
    neco_loss,
    neco_loss_from_references,
    pair_loss,
    pair_losses,
    similarities,
)
from densebench.posttrain.patch_queue import Draw, PatchQueue, random_draw
from densebench.posttrain.softsort import soft_sort
from densebench.posttrain.views import PairBoxes, pair_boxes

Golden = Callable[[str], dict[str, np.ndarray]]
FILES = ["neco_g7l4", "neco_g7l7k4"]


class Batch:
    """Inputs of a golden, as leaves that gather gradients."""

    def __init__(self, arrays: dict[str, np.ndarray], dtype: torch.dtype) -> None:
        meta = json.loads(str(arrays["meta"]))
        b, d, g, size = meta["bs"], meta["d"], meta["gc_res"], meta["lc_res"]
        self.batch, self.kernel, self.patch_size = b, meta["kernel"], meta["patch_size"]
        self.global_leaf, self.local_leaf = (
            torch.from_numpy(arrays[name]).to(dtype).requires_grad_()
            for name in ("student_gc", "student_lc")
        )
        self.teacher = list(torch.from_numpy(arrays["teacher"]).to(dtype).view(2, b, g, g, d))
        self.student = [
            *self.global_leaf.view(2, b, g, g, d),
            *self.local_leaf.view(4, b, size, size, d),
        ]
        boxes = (torch.from_numpy(arrays[name]) for name in ("bboxes_gc", "bboxes_all"))
        self.boxes = PairBoxes(*boxes)

    def settings(self, **knobs: Any) -> NeCoSettings:
        return NeCoSettings(self.patch_size, self.kernel, **knobs)


def knobs_of(case: str) -> dict[str, Any]:
    network = "odd_even" if case.startswith("odd_even") else "bitonic"
    student, teacher, similarity = case.removeprefix(f"{network}_").split("_")
    return {
        "network": network,
        "student_steepness": float(student[1:]),
        "teacher_steepness": float(teacher[1:]),
        "similarity": similarity,
    }


def distance(ours: Tensor | None, theirs: np.ndarray) -> float:
    assert ours is not None
    expected = torch.from_numpy(theirs).double()
    return float((ours.double() - expected).norm() / expected.norm())


def check_goldens(arrays: dict[str, np.ndarray], dtype: torch.dtype) -> None:
    cases = [name.removesuffix("/loss64") for name in arrays if name.endswith("/loss64")]
    assert len(cases) >= 6
    for case in cases:
        batch = Batch(arrays, dtype)
        loss = neco_loss_from_references(
            batch.teacher,
            batch.student,
            batch.boxes,
            batch.settings(**knobs_of(case)),
            torch.from_numpy(arrays["perms"].astype(np.int64)),
        )
        loss.backward()
        exact = float(arrays[f"{case}/loss64"])
        assert loss.item() == pytest.approx(exact, rel=1e-8 if dtype == torch.float64 else 1e-6)
        assert loss.item() == pytest.approx(float(arrays[f"{case}/loss"]), rel=1e-6)
        given = iter(torch.from_numpy(arrays["perms"].astype(np.int64)))
        pairs = pair_losses(
            batch.teacher,
            batch.student,
            batch.boxes,
            batch.settings(**knobs_of(case)),
            draw=lambda places, count, given=given: next(given),
        )
        np.testing.assert_allclose(pairs.detach(), arrays[f"{case}/sub"], rtol=2e-6)
        # The goldens' own float32 gradients are up to 1.2e-5 from float64.
        for name, leaf in (("grad_gc", batch.global_leaf), ("grad_lc", batch.local_leaf)):
            if f"{case}/{name}" in arrays:
                assert distance(leaf.grad, arrays[f"{case}/{name}"]) < 1.3e-5, (case, name)
        if f"{case}/grad_gc64" in arrays:
            assert distance(batch.global_leaf.grad, arrays[f"{case}/grad_gc64"]) < 1e-5, case


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FILES)
def test_equals_the_goldens(golden: Golden, name: str, dtype: torch.dtype) -> None:
    check_goldens(golden(name), dtype)


@pytest.mark.parametrize("name", FILES)
def test_equals_all_goldens(full_golden: Golden, name: str) -> None:
    check_goldens(full_golden(name), torch.float32)


def test_the_steps_of_a_pair_equal_the_golden(full_golden: Golden) -> None:
    arrays = full_golden("neco_g7l4")
    batch = Batch(arrays, torch.float32)
    pair = next(aligned_pairs(batch.teacher, batch.student, batch.boxes, 14, 7, None))
    drawn = torch.from_numpy(arrays["perms"][0]).long()
    references = pair.teacher.flatten(0, 1)[drawn].view_as(pair.teacher)
    for ours, name in (
        (pair.teacher, "aligned_teacher"),
        (pair.student, "aligned_student"),
        (references, "ref_patches"),
    ):
        theirs = torch.from_numpy(arrays[f"pair01/{name}"]).flatten(2).transpose(1, 2)
        torch.testing.assert_close(ours.detach(), theirs, atol=1e-6, rtol=1e-5)
    for patches, name in ((pair.student, "p"), (pair.teacher, "q")):
        scores = similarities(patches[:1], references[:1], "cosine")[0, :1]
        _, permutation = soft_sort(scores.detach(), 100.0, "bitonic")
        theirs = torch.from_numpy(arrays[f"pair01/{name}_img0_patch00"])
        torch.testing.assert_close(permutation[0].T, theirs, atol=2e-5, rtol=1e-4)


def published_references(arrays: dict[str, np.ndarray], batch: Batch) -> list[Tensor]:
    """The masked variant's draws: the published code filters patches by other views' masks."""
    n, references = batch.kernel**2, []
    masks = torch.from_numpy(arrays["fgmask/attn_hard"])
    for crop in range(2):
        ours = masks[crop * batch.batch : (crop + 1) * batch.batch]
        regions = list(batch.boxes.in_global[:, crop] / batch.patch_size)
        covered = roi_align(ours, regions, batch.kernel, aligned=True) >= 1
        rows = covered[batch.batch * crop : batch.batch * (crop + 1)].flatten().nonzero()[:, 0]
        cycled = rows.repeat(-(-batch.batch * n // len(rows)))[: batch.batch * n]
        for pair in range(5 * crop, 5 * crop + 5):
            references.append(cycled[torch.from_numpy(arrays[f"fgmask/perm{pair}"]).long()])
    return references


def test_masked_loss_equals_the_golden(golden: Golden) -> None:
    arrays = golden("neco_g7l4")
    batch = Batch(arrays, torch.float32)
    loss = neco_loss_from_references(
        batch.teacher,
        batch.student,
        batch.boxes,
        batch.settings(),
        published_references(arrays, batch),
        foreground=list(torch.from_numpy(arrays["fgmask/attn_hard"]).bool().view(2, 2, 7, 7)),
    )
    loss.backward()
    assert loss.item() == pytest.approx(float(arrays["fgmask/loss"]), rel=1e-6)
    assert loss.item() == pytest.approx(arrays["fgmask/sub"].mean(), rel=1e-6)
    assert distance(batch.global_leaf.grad, arrays["fgmask/grad_gc"]) < 1e-5


SETTINGS = NeCoSettings(patch_size=14, align_size=3)
CROPS = torch.tensor(
    [
        [[0.0, 0, 100, 100], [20, 30, 120, 110], [40, 40, 90, 90]],
        [[10.0, 0, 90, 100], [0, 10, 80, 110], [20, 50, 70, 100]],
    ]
)


def grids(seed: int = 0, d: int = 8) -> tuple[list[Tensor], list[Tensor], PairBoxes]:
    random = torch.Generator().manual_seed(seed)
    sizes = [5, 5, 3]
    student = [torch.randn(2, s, s, d, generator=random).requires_grad_() for s in sizes]
    teacher = [torch.randn(2, s, s, d, generator=random).requires_grad_() for s in sizes[:2]]
    return teacher, student, pair_boxes(CROPS, [size * 14 for size in sizes], 2)


def seeded(seed: int) -> Draw:
    return random_draw(torch.Generator().manual_seed(seed))


def test_gradient_reaches_every_view_but_no_teacher() -> None:
    teacher, student, boxes = grids()
    neco_loss(teacher, student, boxes, SETTINGS, draw=seeded(0)).backward()
    assert all(grid.grad is None for grid in teacher)
    assert all(grid.grad is not None and grid.grad.abs().sum() > 0 for grid in student)


def test_draws_follow_the_generator_alone() -> None:
    inputs = grids()
    losses = [neco_loss(*inputs, SETTINGS, draw=seeded(seed)).item() for seed in (1, 2, 1)]
    assert losses[0] == losses[2] != losses[1]
    random = torch.Generator().manual_seed(1)
    references = [torch.randperm(2 * 9, generator=random) for _ in range(4)]
    given = neco_loss_from_references(*inputs, SETTINGS, references)
    assert given.item() == losses[0]


def test_student_that_orders_as_the_teacher_does_loses_least() -> None:
    random = torch.Generator().manual_seed(0)
    teacher, other = torch.randn(2, 2, 9, 8, generator=random)
    references = torch.randn(2, 9, 8, generator=random)
    agreeing = pair_loss(3 * teacher, teacher, references, SETTINGS)
    assert agreeing < pair_loss(other, teacher, references, SETTINGS) / 2


def test_similarities() -> None:
    patches, references = torch.randn(2, 4, 3), torch.randn(2, 5, 3)
    cosine = torch.cosine_similarity(patches[:, :, None], references[:, None], dim=-1)
    torch.testing.assert_close(similarities(patches, references, "cosine"), cosine)
    distances = (patches[:, :, None] - references[:, None]).norm(dim=-1)
    torch.testing.assert_close(similarities(patches, references, "euclidean"), distances)


@pytest.mark.parametrize("network", ["bitonic", "odd_even"])
@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e6])
def test_extreme_grids_are_finite(network: Any, scale: float) -> None:
    teacher, student, boxes = grids()
    for similarity in ("cosine", "euclidean"):
        leaves = [(grid.detach() * scale).requires_grad_() for grid in student]
        settings = NeCoSettings(14, 3, network, similarity=similarity)  # type: ignore[arg-type]
        loss = neco_loss(teacher, leaves, boxes, settings, draw=seeded(0))
        loss.backward()
        assert loss.isfinite()
        assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


def test_autocast_changes_nothing() -> None:
    inputs = grids()
    plain = neco_loss(*inputs, SETTINGS, draw=seeded(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(neco_loss(*inputs, SETTINGS, draw=seeded(0)), plain)


def test_half_precision_grids() -> None:
    teacher, student, boxes = grids()
    halves = [grid.detach().bfloat16().requires_grad_() for grid in student]
    loss = neco_loss(teacher, halves, boxes, SETTINGS, draw=seeded(0))
    loss.backward()
    assert loss.dtype == torch.float32
    assert halves[0].grad is not None
    assert halves[0].grad.dtype == torch.bfloat16


def test_nothing_in_the_foreground_is_no_loss() -> None:
    teacher, student, boxes = grids()
    empty = [torch.zeros(2, 5, 5, dtype=torch.bool)] * 2
    loss = neco_loss(teacher, student, boxes, SETTINGS, foreground=empty)
    loss.backward()
    assert loss.item() == 0
    assert all(grid.grad is not None and not grid.grad.any() for grid in student)


def test_references_come_from_the_foreground_or_the_queue() -> None:
    """A background of nan would show in the loss."""
    teacher, student, boxes = grids()
    whole = [torch.ones(2, 5, 5, dtype=torch.bool)] * 2
    plain = neco_loss(teacher, student, boxes, SETTINGS, draw=seeded(3))
    masked = neco_loss(teacher, student, boxes, SETTINGS, draw=seeded(3), foreground=whole)
    assert masked.item() == pytest.approx(plain.item())
    queue = PatchQueue(2, 8, capacity=50)
    unfilled = neco_loss(teacher, student, boxes, SETTINGS, draw=seeded(3), queue=queue)
    assert unfilled.item() == plain.item()
    queue.enter([torch.full_like(grid, torch.nan) for grid in teacher], seeded(0))
    queued = neco_loss(teacher, student, boxes, SETTINGS, draw=seeded(3), queue=queue)
    assert queued.isnan()


def test_published_slice_of_masks_is_of_other_images_and_views() -> None:
    """Three images, the second global crop: the masks of image 0 with views 3, 4 and 5."""
    teacher, student, boxes = grids()
    marks: list[Tensor] = []

    def note(places: Tensor, count: int) -> Tensor:
        marks.append(places)
        return random_draw()(places, count)

    left = torch.zeros(2, 5, 5, dtype=torch.bool)
    left[0] = True  # all of image 0, nothing of image 1
    for kind in ("exact", "published"):
        marks.clear()
        settings = NeCoSettings(14, 3, masked_references=kind)  # type: ignore[arg-type]
        neco_loss(teacher, student, boxes, settings, draw=note, foreground=[left, left])
        # Masks lie image by image, then view by view: crop 0's slice is image 0, views 0 and 1;
        # crop 1's is image 0, view 2, and image 1, view 0.
        expected = [9] * 4 if kind == "exact" else [18, 18, 9, 9]
        assert [len(places) for places in marks] == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, s, b: (t[:0], s, b), "0 teacher grids"),
        (lambda t, s, b: (t, s[:1], b), "1 student grids"),
        (lambda t, s, b: (t, [s[0][..., :4], *s[1:]], b), "batch, dimensions"),
        (lambda t, s, b: (t, s, PairBoxes(b.in_view, b.in_global)), "boxes have shapes"),
    ],
)
def test_bad_batches(change: Callable[..., Any], message: str) -> None:
    with pytest.raises(DensebenchError, match=message):
        neco_loss(*change(*grids()), SETTINGS)


def test_bad_settings() -> None:
    with pytest.raises(DensebenchError, match=r"'dot'.*euclidean"):
        NeCoSettings(14, similarity="dot")  # type: ignore[arg-type]
    with pytest.raises(DensebenchError, match="align_size 1"):
        NeCoSettings(14, align_size=1)
    with pytest.raises(DensebenchError, match="holds nothing"):
        PatchQueue(2, 8, capacity=0)


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_shares_average_to_the_loss_of_the_whole_batch(similarity: Any) -> None:
    teacher, student, boxes = grids()
    settings = NeCoSettings(patch_size=14, align_size=3, similarity=similarity)
    queue = PatchQueue(2, 8, capacity=30)
    queue.enter(teacher, seeded(5))
    known = {"draw": seeded(3), "queue": queue}
    whole = neco_loss(teacher, student, boxes, settings, **known)
    gradients = torch.autograd.grad(whole, student)
    halves = []
    for image in (0, 1):
        own = slice(image, image + 1)
        ours, theirs = ([grid[own] for grid in views] for views in (teacher, student))
        region = PairBoxes(boxes.in_global[own], boxes.in_view[own])
        known = {"draw": seeded(3), "queue": queue, "share": Share(2, image)}
        halves.append(neco_loss(ours, theirs, region, settings, **known))
    together = torch.stack(halves).mean()
    torch.testing.assert_close(together, whole)
    for ours, theirs in zip(torch.autograd.grad(together, student), gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not torch.isclose(*halves)
