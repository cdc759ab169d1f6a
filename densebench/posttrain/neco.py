"""The NeCo loss: student patches should order reference patches as the teacher's do.

Pariza et al., "Near, far: Patch-ordering enhances vision foundation models' scene understanding"
(ICLR 2025), as vpariza/NeCo computes it. For every global crop and every other view: the teacher's
patches of the crop and the student's of the view are aligned on the region that both show; their
similarities to reference patches are sorted softly; the loss is the cross-entropy between the two
relaxed permutation matrices, averaged over views, then over global crops.

Grids are the outputs of the projection head, L2-normalised per patch in the published training.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_align

from densebench.distributed import World
from densebench.errors import DensebenchError
from densebench.posttrain.softsort import Network, soft_sort_cross_entropy
from densebench.posttrain.views import PairBoxes

Similarity = Literal["cosine", "euclidean"]

_ENTRIES_PER_IMAGE = 10


@dataclass(frozen=True)
class NeCoSettings:
    """The knobs of the loss; the defaults are the published ones.

    `align_size` is the side of the aligned grids: it gives align_size**2 patches and as many
    references per image. `euclidean` sorts distances where `cosine` sorts similarities.
    """

    patch_size: int
    align_size: int = 7
    network: Network = "bitonic"
    student_steepness: float = 100.0
    teacher_steepness: float = 100.0
    similarity: Similarity = "cosine"

    def __post_init__(self) -> None:
        if self.patch_size < 1 or self.align_size < 2:
            raise DensebenchError(
                f"patch_size is {self.patch_size} and align_size {self.align_size}: "
                "they must be at least 1 and 2"
            )
        if self.similarity not in get_args(Similarity):
            raise DensebenchError(
                f"no similarity {self.similarity!r}: use one of {get_args(Similarity)}"
            )


@dataclass(frozen=True)
class _Pair:
    """A global crop and a view, aligned; n is align_size**2."""

    global_crop: int
    teacher: Float[Tensor, "b n d"]
    student: Float[Tensor, "b n d"]
    foreground: Bool[Tensor, "b n"] | None


@dataclass(frozen=True)
class Share:
    """Which images of a step a loss is about: those from `start` on, of `total`.

    References from a queue are drawn for all `total` images and the share takes its own, so that
    the loss of a step does not depend on how many portions or processes it is split into.
    """

    total: int
    start: int = 0


class PatchQueue(nn.Module):
    """The latest teacher patches of every global crop, to draw reference patches from.

    Args:
        global_crops: number of queues.
        dim: of the patch embeddings.
        capacity: patches per queue.
    """

    patches: Tensor
    entered: Tensor

    def __init__(self, global_crops: int, dim: int, capacity: int = 8192) -> None:
        super().__init__()
        if min(global_crops, dim, capacity) < 1:
            raise DensebenchError(
                f"a patch queue of {global_crops} crops, {dim} dimensions and {capacity} patches "
                "holds nothing: all three must be at least 1"
            )
        self.register_buffer("patches", torch.zeros(global_crops, capacity, dim))
        self.register_buffer("entered", torch.zeros(global_crops, dtype=torch.int64))

    @torch.no_grad()
    def enter(
        self,
        teacher: Sequence[Float[Tensor, "b h w d"]],
        generator: Generator | None = None,
        foreground: Sequence[Bool[Tensor, "b h w"]] | None = None,
        world: World | None = None,
    ) -> None:
        """Replace the oldest patches by min(10 * b, capacity) random ones of every global crop.

        Call it before the loss of the same batch, as the published trainer does. In a `world` of
        several processes b counts the images of all, in the order of their ranks, every generator
        must be in the same state, and every queue ends up the same.
        """
        world = world or World()
        for crop, grid in enumerate(teacher):
            rows = grid.flatten(0, 2)
            eligible = None if foreground is None else foreground[crop].flatten()
            pool = _pool(len(rows), eligible, world)
            count = min(_ENTRIES_PER_IMAGE * len(grid) * world.size, self.patches.shape[1])
            drawn = torch.randperm(len(pool), generator=generator)[:count]
            self._replace(crop, _gathered(rows, pool[drawn].to(rows.device), world))

    def _replace(self, crop: int, patches: Float[Tensor, "n d"]) -> None:
        start, capacity = int(self.entered[crop]), self.patches.shape[1]
        places = torch.arange(start, start + len(patches), device=patches.device) % capacity
        self.patches[crop, places] = patches.to(self.patches.dtype)
        self.entered[crop] += len(patches)

    def filled(self, crop: int) -> int:
        """How many patches a global crop's queue holds."""
        return min(int(self.entered[crop]), self.patches.shape[1])

    def draw(
        self, crop: int, count: int, generator: Generator | None = None
    ) -> Float[Tensor, "count d"]:
        """Random patches of a global crop's queue, each once before any of them twice."""
        held = self.patches[crop, : self.filled(crop)]
        return held[_choice(len(held), count, generator).to(held.device)]


def neco_loss(
    teacher: Sequence[Float[Tensor, "b h w d"]],
    student: Sequence[Float[Tensor, "b _ _ d"]],
    boxes: PairBoxes,
    settings: NeCoSettings,
    *,
    generator: Generator | None = None,
    queue: PatchQueue | None = None,
    foreground: Sequence[Bool[Tensor, "b h w"]] | None = None,
    share: Share | None = None,
) -> Float[Tensor, ""]:
    """The loss of a batch, with reference patches drawn at random for every pair.

    Args:
        teacher: patch grids of the global crops; no gradient flows into them.
        student: patch grids of all views, the global crops first.
        boxes: where every pair shows the same region, in pixels, as `views.pair_boxes` gives it.
        settings: the knobs.
        generator: of the draws; torch's default one when None.
        queue: draws from it once it holds patches; from the pair's own teacher patches without.
        foreground: per global crop a mask of patches; only patches aligned wholly with it count,
            and only these become references from the batch. A pair without any counts as 0.
        share: which part of a step this batch is; all of it when None.

    Raises:
        DensebenchError: for grids and boxes that do not belong together.
    """

    def references(pair: _Pair) -> Tensor | None:
        b, n, d = pair.teacher.shape
        if queue is not None and queue.filled(pair.global_crop):
            whole = share or Share(b)
            drawn = queue.draw(pair.global_crop, whole.total * n, generator)
            return drawn.view(whole.total, n, d)[whole.start : whole.start + b]
        pool = pair.teacher.flatten(0, 1)
        if pair.foreground is not None:
            pool = pool[pair.foreground.flatten()]
        if not len(pool):
            return None
        return pool[_choice(len(pool), b * n, generator).to(pool.device)].view(b, n, d)

    return _mean_loss(teacher, student, boxes, settings, foreground, references)


def neco_loss_from_references(
    teacher: Sequence[Float[Tensor, "b h w d"]],
    student: Sequence[Float[Tensor, "b _ _ d"]],
    boxes: PairBoxes,
    settings: NeCoSettings,
    references: Iterable[Int[Tensor, " b*n"]],
    *,
    foreground: Sequence[Bool[Tensor, "b h w"]] | None = None,
) -> Float[Tensor, ""]:
    """The loss of a batch with given reference patches; the rest as for `neco_loss`.

    `references` holds one set of indices per pair, in the order of global crops and then of the
    other views: which of the pair's aligned teacher patches (image-major, then row-major) are the
    references of image 0, then of image 1, ...
    """
    given = iter(references)

    def chosen(pair: _Pair) -> Tensor:
        pool = pair.teacher.flatten(0, 1)
        return pool[next(given).to(pool.device)].view(len(pair.teacher), -1, pool.shape[-1])

    return _mean_loss(teacher, student, boxes, settings, foreground, chosen)


def pair_loss(
    student: Float[Tensor, "b n d"],
    teacher: Float[Tensor, "b n d"],
    references: Float[Tensor, "b m d"],
    settings: NeCoSettings,
    foreground: Bool[Tensor, "b n"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy between how aligned teacher and student patches order an image's references.

    Averaged over patches (those in `foreground`) and references. 0, with a zero gradient, when no
    patch is left.
    """
    target = similarities(teacher.detach(), references.detach(), settings.similarity)
    scores = similarities(student, references.detach(), settings.similarity)
    if foreground is not None:
        scores, target = scores[foreground], target[foreground]
    else:
        scores, target = scores.flatten(0, 1), target.flatten(0, 1)
    if not len(scores):
        return student.sum() * 0
    return soft_sort_cross_entropy(
        scores, target, settings.student_steepness, settings.teacher_steepness, settings.network
    ).mean()


def similarities(
    patches: Float[Tensor, "b n d"], references: Float[Tensor, "b m d"], similarity: Similarity
) -> Float[Tensor, "b n m"]:
    """Cosine similarity, or Euclidean distance, of every patch to every reference of its image."""
    if similarity == "euclidean":
        return torch.cdist(patches, references)
    directions = functional.normalize(references, dim=-1)
    return functional.normalize(patches, dim=-1) @ directions.transpose(1, 2)


def _mean_loss(
    teacher: Sequence[Float[Tensor, "b h w d"]],
    student: Sequence[Float[Tensor, "b _ _ d"]],
    boxes: PairBoxes,
    settings: NeCoSettings,
    foreground: Sequence[Bool[Tensor, "b h w"]] | None,
    references: Callable[[_Pair], Tensor | None],
) -> Float[Tensor, ""]:
    _check(teacher, student, boxes)
    losses = []
    # Half precision cannot tell close similarities apart at a steepness of 100.
    with torch.autocast(student[0].device.type, enabled=False):
        for pair in _aligned_pairs(teacher, student, boxes, settings, foreground):
            chosen = references(pair)
            if chosen is None:
                losses.append(pair.student.sum() * 0)
                continue
            target, chosen = pair.teacher.to(pair.student), chosen.to(pair.student)
            losses.append(pair_loss(pair.student, target, chosen, settings, pair.foreground))
    return torch.stack(losses).mean()


def _pool(rows: int, eligible: Bool[Tensor, " rows"] | None, world: World) -> Int[Tensor, " n"]:
    """Which rows may enter, counted over all processes."""
    if eligible is None:
        return torch.arange(rows * world.size)
    marks = torch.zeros(world.size, rows, dtype=torch.int64, device=eligible.device)
    marks[world.rank] = eligible
    return world.sum(marks).flatten().nonzero()[:, 0].cpu()


def _gathered(
    rows: Float[Tensor, "rows d"], wanted: Int[Tensor, " n"], world: World
) -> Float[Tensor, "n d"]:
    """Some rows of all processes: each gives its own, and the sum with zeros is exact."""
    own = wanted // len(rows) == world.rank
    given = rows.new_zeros(len(wanted), rows.shape[1])
    given[own] = rows[wanted[own] % len(rows)]
    return world.sum(given)


def _choice(pool: int, count: int, generator: Generator | None) -> Int[Tensor, " count"]:
    """Random indices into a pool, each once before any of them twice."""
    return torch.randperm(max(pool, count), generator=generator)[:count] % pool


def _aligned_pairs(
    teacher: Sequence[Float[Tensor, "b h w d"]],
    student: Sequence[Float[Tensor, "b _ _ d"]],
    boxes: PairBoxes,
    settings: NeCoSettings,
    foreground: Sequence[Bool[Tensor, "b h w"]] | None,
) -> Iterator[_Pair]:
    for crop, grid in enumerate(teacher):
        regions = boxes.in_global[:, crop]
        aligned, masks = _aligned(grid.detach(), regions, settings), None
        if foreground is not None:
            covered = _aligned(foreground[crop][..., None].to(torch.float32), regions, settings)
            masks = covered[..., 0] >= 1
        for view in (view for view in range(len(student)) if view != crop):
            seen = _aligned(student[view], boxes.in_view[:, view, crop, None], settings)
            mask = None if masks is None else masks[:, view]
            yield _Pair(crop, aligned[:, view], seen[:, 0], mask)


def _aligned(
    grid: Float[Tensor, "b h w d"], regions: Float[Tensor, "b k 4"], settings: NeCoSettings
) -> Float[Tensor, "b k n d"]:
    """The grid's patches on align_size**2 points of every region, in at least float32."""
    grid = grid if grid.dtype == torch.float64 else grid.float()
    patches = list((regions / settings.patch_size).to(grid))
    size = settings.align_size
    maps = roi_align(grid.permute(0, 3, 1, 2), patches, size, aligned=True)
    return maps.flatten(2).transpose(1, 2).unflatten(0, regions.shape[:2])


def _check(
    teacher: Sequence[Float[Tensor, "b h w d"]],
    student: Sequence[Float[Tensor, "b _ _ d"]],
    boxes: PairBoxes,
) -> None:
    crops, views = len(teacher), len(student)
    if not 1 <= crops <= views or views < 2:
        raise DensebenchError(
            f"{crops} teacher grids and {views} student grids: give one per global crop and one "
            "per view, at least two views, the global crops first"
        )
    outer = {(grid.shape[0], grid.shape[-1]) for grid in (*teacher, *student)}
    if len(outer) > 1:
        raise DensebenchError(f"the grids differ in (batch, dimensions): {sorted(outer)}")
    batch = teacher[0].shape[0]
    shapes = tuple(boxes.in_global.shape), tuple(boxes.in_view.shape)
    expected = (batch, crops, views, 4), (batch, views, crops, 4)
    if shapes != expected:
        raise DensebenchError(f"the boxes have shapes {shapes}: these grids need {expected}")
