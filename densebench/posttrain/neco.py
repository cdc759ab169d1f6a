"""The NeCo loss: student patches should order reference patches as the teacher's do.

Pariza et al., "Near, far: Patch-ordering enhances vision foundation models' scene understanding"
(ICLR 2025), as vpariza/NeCo computes it. For every global crop and every other view: the teacher's
patches of the crop and the student's of the view are aligned on the region that both show; their
similarities to reference patches are sorted softly; the loss is the cross-entropy between the two
relaxed permutation matrices, averaged over views, then over global crops.

Grids are the outputs of the projection head, L2-normalised per patch in the published training.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from densebench.host.errors import DensebenchError
from densebench.posttrain.aligned import Pair, Share, aligned_pairs, check_batch
from densebench.posttrain.patch_queue import Draw, PatchQueue, random_draw
from densebench.posttrain.softsort import Network, soft_sort_cross_entropy
from densebench.posttrain.views import PairBoxes

Similarity = Literal["cosine", "euclidean"]
MaskedReferences = Literal["published", "exact"]


@dataclass(frozen=True)
class NeCoSettings:
    """The knobs of the loss; the defaults are the published ones.

    `align_size` is the side of the aligned grids: it gives align_size**2 patches and as many
    references per image. `euclidean` sorts distances where `cosine` sorts similarities.
    `masked_references` says by which mask references from the batch are chosen: by the pair's own,
    or as published by a slice that belongs to other images and views.
    """

    patch_size: int
    align_size: int = 7
    network: Network = "bitonic"
    student_steepness: float = 100.0
    teacher_steepness: float = 100.0
    similarity: Similarity = "cosine"
    masked_references: MaskedReferences = "published"

    def __post_init__(self) -> None:
        if self.patch_size < 1 or self.align_size < 2:
            raise DensebenchError(
                f"patch_size is {self.patch_size} and align_size {self.align_size}: "
                "they must be at least 1 and 2"
            )
        for key, allowed in (
            ("similarity", get_args(Similarity)),
            ("masked_references", get_args(MaskedReferences)),
        ):
            if getattr(self, key) not in allowed:
                raise DensebenchError(f"no {key} {getattr(self, key)!r}: use one of {allowed}")


def pair_losses(
    teacher: Sequence[Float[Tensor, "t h w d"]],
    student: Sequence[Float[Tensor, "b _ _ d"]],
    boxes: PairBoxes,
    settings: NeCoSettings,
    *,
    draw: Draw | None = None,
    queue: PatchQueue | None = None,
    foreground: Sequence[Bool[Tensor, "t h w"]] | None = None,
    share: Share | None = None,
) -> Float[Tensor, " pairs"]:
    """The loss of every pair of a batch, with reference patches drawn for each.

    Where a batch is a share of a step and references come from the batch, or a mask counts, give
    the teacher's side (`teacher`, `boxes.in_global`, `foreground`) of all images of the step.

    Args:
        teacher: patch grids of the global crops; no gradient flows into them.
        student: patch grids of all views, the global crops first.
        boxes: where every pair shows the same region, in pixels, as `views.pair_boxes` gives it.
        settings: the knobs.
        draw: which of the possible references are taken; at random when None.
        queue: draws from it once it holds patches; from the pair's own teacher patches without.
        foreground: per global crop a mask of patches; only patches aligned wholly with it count,
            and only such become references from the batch. A pair without any counts as 0.
        share: which part of a step this batch is; all of it when None.

    Raises:
        DensebenchError: for grids and boxes that do not belong together.
    """
    check_batch(teacher, student, boxes, share)
    b, t = len(student[0]), len(teacher[0])
    share, draw = share or Share(b), draw or random_draw()
    own = slice(share.start, share.start + b) if t == share.total else slice(0, b)
    losses = []
    # Half precision cannot tell close similarities apart at a steepness of 100.
    with torch.autocast(student[0].device.type, enabled=False):
        pairs = aligned_pairs(
            teacher, student, boxes, settings.patch_size, settings.align_size, foreground
        )
        for pair in pairs:
            chosen = _references(pair, settings, draw, queue, share)
            if chosen is None:
                losses.append(pair.student.sum() * 0)
                continue
            losses.append(_share_of_loss(pair, chosen, own, settings))
    return torch.stack(losses)


def _references(
    pair: Pair, settings: NeCoSettings, draw: Draw, queue: PatchQueue | None, share: Share
) -> Float[Tensor, "b n d"] | None:
    """A pair's reference patches, for the images of the share; None if there is no such patch."""
    b, n, d = pair.student.shape
    if queue is not None and queue.counted(pair.global_crop):
        drawn = queue.draw(pair.global_crop, share.total * n, draw)
        return drawn.view(share.total, n, d)[share.start : share.start + b]
    pool = pair.teacher.flatten(0, 1)
    places = _eligible(pair, settings)
    if not len(places):
        return None
    drawn = pool[draw(places, len(pool)).to(pool.device)].view_as(pair.teacher)
    return drawn if len(drawn) == b else drawn[share.start : share.start + b]


def _eligible(pair: Pair, settings: NeCoSettings) -> Int[Tensor, " n"]:
    """Which of the pair's aligned teacher patches (image-major, row-major) may be references."""
    if pair.foreground is None or pair.others is None:
        return torch.arange(pair.teacher.shape[:2].numel(), device=pair.teacher.device)
    if settings.masked_references == "exact":
        return pair.foreground.flatten().nonzero()[:, 0]
    # vpariza/NeCo slices t masks from t * crop on, where masks lie image by image, then view by
    # view: other images' and views' masks than those of this pair.
    t = len(pair.others)
    masks = pair.others.flatten(0, 1)[t * pair.global_crop : t * (pair.global_crop + 1)]
    return masks.flatten().nonzero()[:, 0]


def _share_of_loss(
    pair: Pair, references: Float[Tensor, "b n d"], own: slice, settings: NeCoSettings
) -> Float[Tensor, ""]:
    """The pair's loss over the batch, weighted so that the mean over all shares is the step's."""
    target, chosen = pair.teacher[own].to(pair.student), references.to(pair.student)
    if pair.foreground is None:
        return pair_loss(pair.student, target, chosen, settings)
    mask = pair.foreground[own]
    loss = pair_loss(pair.student, target, chosen, settings, mask)
    return loss * (mask.float().mean() / pair.foreground.float().mean().clamp_min(1e-30))


def neco_loss(
    teacher: Sequence[Float[Tensor, "t h w d"]],
    student: Sequence[Float[Tensor, "b _ _ d"]],
    boxes: PairBoxes,
    settings: NeCoSettings,
    *,
    draw: Draw | None = None,
    queue: PatchQueue | None = None,
    foreground: Sequence[Bool[Tensor, "t h w"]] | None = None,
    share: Share | None = None,
) -> Float[Tensor, ""]:
    """The loss of a batch: the mean of `pair_losses`, which takes the same arguments."""
    losses = pair_losses(
        teacher,
        student,
        boxes,
        settings,
        draw=draw,
        queue=queue,
        foreground=foreground,
        share=share,
    )
    return losses.mean()


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

    `references` holds one set of indices per pair that has any, in the order of global crops and
    then of the other views: which of the pair's aligned teacher patches (image-major, then
    row-major) are the references of image 0, then of image 1, ...
    """
    given = iter(references)
    return neco_loss(
        teacher,
        student,
        boxes,
        settings,
        draw=lambda places, count: next(given),
        foreground=foreground,
    )


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
