"""The relaxed sorting network in plain PyTorch: any device, any floating type.

A comparator is `a' = lerp(a, b, swap)`, `b' = lerp(b, a, swap)`, and so is its transpose, which the
gradient needs. All comparators of a layer are two strided views, so nothing is gathered; `lerp`
never leaves the range of its ends, so no weight becomes negative. Rows of scores are taken in
blocks, with the row index as the contiguous axis; the backward pass computes a block's layers again
instead of keeping those of all blocks.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from densebench.posttrain.softsort.layers import Layer, Plan, Stage, plan_of
from densebench.posttrain.softsort.network import Network

# Beyond this the other weight is below 1e-18; the square still fits into float32.
_LARGEST_GAP = 1e18
# Size of a block's permutation matrices: large enough for the cost of a call to be small beside its
# work, small enough for the last-level cache.
_BLOCK_BYTES = 4 * 2**20
_CUDA_BLOCK_BYTES = 32 * 2**20


def sort(
    scores: Float[Tensor, "rows n"], network: Network, steepness: float
) -> tuple[Float[Tensor, "rows n"], Float[Tensor, "rows n n"]]:
    """Sorted rows and permutation matrices, as `softsort.soft_sort` describes them."""
    rows, n = scores.shape
    ordered = torch.empty_like(scores)
    # Stored position-major: a block then leaves by a plain transposition of a 2-d matrix.
    storage = scores.new_empty(rows, n * n)
    parts = _parts(scores)
    block = _Block(plan_of(network, scores), parts, steepness, differentiable=False)
    for part in parts:
        ordered[part] = block.relax(scores[part]).T
        storage[part].copy_(block.permute().view(n * n, -1).T)
    return ordered, storage.view(rows, n, n).transpose(1, 2)


def sort_backward(
    scores: Float[Tensor, "rows n"],
    network: Network,
    steepness: float,
    grad_sorted: Float[Tensor, "rows n"] | None,
    grad_permutation: Float[Tensor, "rows n n"] | None,
) -> Float[Tensor, "rows n"]:
    """Gradient of the scores from those of `sort`'s outputs; None stands for zero."""
    grad, parts = torch.empty_like(scores), _parts(scores)
    wanted = grad_permutation is not None
    block = _Block(plan_of(network, scores), parts, steepness, differentiable=wanted)
    for part in parts:
        block.relax(scores[part])
        grad_swap = None
        if grad_permutation is not None:
            block.permute()
            grad_swap = block.permute_backward(grad_permutation[part].permute(2, 1, 0))
        pull = None if grad_sorted is None else grad_sorted[part].T
        grad[part] = block.relax_backward(pull, grad_swap).T
    return grad


def cross_entropy(
    student: Float[Tensor, "rows n"],
    teacher: Float[Tensor, "rows n"],
    network: Network,
    steepness: tuple[float, float],
    differentiable: bool,
) -> tuple[Float[Tensor, " rows"], Float[Tensor, "rows n"]]:
    """Loss per row (`softsort.soft_sort_cross_entropy`) and its gradient in the student's scores.

    The gradient is left at zero unless `differentiable`.
    """
    rows, n = student.shape
    loss, grad, parts = student.new_empty(rows), torch.zeros_like(student), _parts(student)
    plan = plan_of(network, student)
    ours = _Block(plan, parts, steepness[0], differentiable)
    theirs = _Block(plan, parts, steepness[1], differentiable=False)
    for part in parts:
        theirs.relax(teacher[part])
        ours.relax(student[part])
        target = theirs.permute().div_(-n)
        matrix = ours.permute().clamp_min_(torch.finfo(student.dtype).tiny)
        loss[part] = matrix.log().mul_(target).sum((0, 1))
        if differentiable:
            grad_swap = ours.permute_backward(target.div_(matrix))
            grad[part] = ours.relax_backward(None, grad_swap).T
    return loss, grad


class _Block:
    """The memory of one block of rows on its way through the network, used again and again.

    Matrices are (slot, input, row). After the last layer a wire is a sorted position.
    """

    def __init__(
        self, plan: Plan, parts: list[slice], steepness: float, differentiable: bool
    ) -> None:
        n, like, layers = plan.start.shape[0], plan.start, plan.layers
        rows = parts[0].stop if parts else 0
        self._plan, self._n, self._rows, self._steepness = plan, n, rows, steepness
        # Per layer and pair: the scaled gap of the scores, and the weight of the other's value.
        pairs = [(layer.groups, layer.reach) for layer in layers]
        self._gap = [like.new_empty(*shape, rows) for shape in pairs]
        self._swap = [like.new_empty(*shape, rows) for shape in pairs]
        # Zeros, since empty slots are read: what they hold must be finite.
        self._pair = [like.new_zeros(plan.slots * n * rows) for _ in range(2)]
        self._difference = [
            like.new_empty(*shape, width, rows)
            for shape, width in zip(pairs, plan.widths, strict=True)
            if differentiable
        ]
        self._one = like.new_ones(())

    def relax(self, scores: Float[Tensor, "rows n"]) -> Float[Tensor, "n rows"]:
        """Sort the scores, and keep every layer's weights."""
        slots = scores.new_zeros(self._plan.slots, self._rows)
        values = slots[self._plan.first :][: self._n].copy_(scores.T)
        for layer, gap, swap in zip(self._plan.layers, self._gap, self._swap, strict=True):
            a, b = layer.halves(slots)
            torch.sub(b, a, out=gap).mul_(layer.sign * self._steepness)
            gap.clamp_(-_LARGEST_GAP, _LARGEST_GAP)
            # atan2(1, v) is pi/2 - atan(v), exact to the last digits where that difference isn't.
            minor = torch.atan2(self._one, gap.abs()).div_(layer.divisor)
            major, wins = 1 - minor, gap >= 0
            stay = torch.where(wins, major, minor)
            torch.where(wins, minor, major, out=swap)
            moved = (a * stay).addcmul_(b, swap)
            b.mul_(stay).addcmul_(a, swap)
            a.copy_(moved)
        return values

    def permute(self) -> Float[Tensor, "n n rows"]:
        """The permutation matrices of the relaxed rows; valid until the block is used again."""
        matrix = self._next(self._plan.start.shape[1])
        self._wires(matrix).copy_(self._plan.start)
        index = 0
        for stage in self._plan.stages:
            if stage.half:
                matrix = _merge(matrix, stage, self._next(stage.width))
            for layer in stage.layers:
                if self._difference:
                    a, b = layer.halves(matrix)
                    torch.sub(b, a, out=self._difference[index])
                matrix = self._mix(matrix, layer, index)
                index += 1
        return self._wires(matrix)

    def permute_backward(self, grad: Float[Tensor, "n n rows"]) -> list[Tensor]:
        """Gradient of every layer's `swap` from that of the matrices."""
        matrix, index, grads = self._next(self._n), len(self._swap), []
        self._wires(matrix).copy_(grad)
        for stage in reversed(self._plan.stages):
            for layer in reversed(stage.layers):
                index -= 1
                a, b = layer.halves(matrix)
                product = torch.sub(a, b).mul_(self._difference[index])
                grads.append(product.sum(2))
                matrix = self._mix(matrix, layer, index)
            if stage.half:
                matrix = _split(matrix, stage, self._next(stage.half))
        return grads[::-1]

    def relax_backward(
        self, grad: Float[Tensor, "n rows"] | None, grad_swap: list[Tensor] | None
    ) -> Float[Tensor, "n rows"]:
        """Gradient of the scores from that of the sorted scores and of every layer's `swap`."""
        slots = self._one.new_zeros(self._plan.slots, self._rows)
        wires = slots[self._plan.first :][: self._n]
        if grad is not None:
            wires.copy_(grad)
        for index in reversed(range(len(self._swap))):
            layer, gap, swap = self._plan.layers[index], self._gap[index], self._swap[index]
            a, b = layer.halves(slots)
            # The slope first: the gradient of a near-impossible order is large enough to overflow.
            slope = gap.square().add_(1).mul_(math.pi).reciprocal_()
            push = (gap * slope).mul_(a - b)
            if grad_swap is not None:
                push.addcmul_(slope.mul_(grad_swap[index]), layer.sign * self._steepness)
            moved = torch.lerp(a, b, swap).add_(push)
            b.lerp_(a, swap).sub_(push)
            a.copy_(moved)
        return wires

    def _mix(self, matrix: Tensor, layer: Layer, index: int) -> Tensor:
        out = self._next(matrix.shape[1])
        (a, b), (new_a, new_b) = layer.halves(matrix), layer.halves(out)
        swap = self._swap[index][:, :, None]
        torch.lerp(a, b, swap, out=new_a)
        torch.lerp(b, a, swap, out=new_b)
        return out

    def _next(self, width: int) -> Tensor:
        """The one of two matrices that the previous call did not give."""
        self._pair.reverse()
        flat = self._pair[0][: self._plan.slots * width * self._rows]
        return flat.view(self._plan.slots, width, self._rows)

    def _wires(self, slots: Tensor) -> Tensor:
        return slots[self._plan.first : self._plan.first + self._n]


def _merge(halves: Tensor, stage: Stage, out: Tensor) -> Tensor:
    """Join pairs of groups: a wire keeps its columns, on the side of the group it came from."""
    left = stage.width - stage.half
    source, target = (part.unflatten(0, (-1, 2, stage.half)) for part in (halves, out))
    target[:, 0, :, :left] = source[:, 0, :, stage.missing :]
    target[:, 0, :, left:] = 0
    target[:, 1, :, :left] = 0
    target[:, 1, :, left:] = source[:, 1]
    return out


def _split(joined: Tensor, stage: Stage, out: Tensor) -> Tensor:
    """The transpose of `_merge`."""
    left = stage.width - stage.half
    source, target = (part.unflatten(0, (-1, 2, stage.half)) for part in (joined, out))
    target[:, 0, :, : stage.missing] = 0
    target[:, 0, :, stage.missing :] = source[:, 0, :, :left]
    target[:, 1] = source[:, 1, :, left:]
    return out


def _parts(scores: Float[Tensor, "rows n"]) -> list[slice]:
    """Blocks of rows, all of one size; the last may take rows of its neighbour once more."""
    rows, n = scores.shape
    budget = _CUDA_BLOCK_BYTES if scores.is_cuda else _BLOCK_BYTES
    blocks = math.ceil(rows * n * n * scores.element_size() / budget)
    size = max(1, math.ceil(rows / max(1, blocks)))
    return [slice(min(first, rows - size), first + size) for first in range(0, rows, size)]
