"""The relaxed sorting network as fused CUDA kernels, one program per row at a time.

The permutation matrix of a row stays on chip through all layers. The gradient needs every layer's
differences between wires; a program keeps those of its present row in a scratch space that is
sized by the number of programs, not of rows, and that stays in the L2 cache.

Importing this module raises ImportError where Triton is absent or too old to gather on chip.
"""
# Kernels have no types that mypy knows, nor has triton, which is absent on some platforms.
# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped,import-not-found"

from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from densebench.posttrain.softsort.network import Network, comparators

if not hasattr(tl, "gather"):
    raise ImportError("the fused soft sort needs triton >= 3.2")

LARGEST_N = 64
_PROGRAMS_PER_PROCESSOR = 2
_WARPS = 8


def sort(
    scores: Float[Tensor, "rows n"], network: Network, steepness: float
) -> tuple[Float[Tensor, "rows n"], Float[Tensor, "rows n n"]]:
    """Sorted rows and permutation matrices, as `softsort.soft_sort` describes them."""
    rows, n = scores.shape
    launch = _Launch(scores, network)
    ordered = torch.empty_like(launch.scores)
    storage = scores.new_empty(rows, n, n)
    launch(_sort_kernel, launch.scores, ordered, storage, steepness)
    return ordered, storage.transpose(1, 2)


def sort_backward(
    scores: Float[Tensor, "rows n"],
    network: Network,
    steepness: float,
    grad_sorted: Float[Tensor, "rows n"] | None,
    grad_permutation: Float[Tensor, "rows n n"] | None,
) -> Float[Tensor, "rows n"]:
    """Gradient of the scores from those of `sort`'s outputs; None stands for zero."""
    rows, n = scores.shape
    launch = _Launch(scores, network)
    grad = torch.empty_like(launch.scores)
    pull = torch.zeros_like(launch.scores) if grad_sorted is None else grad_sorted.contiguous()
    outer = grad_permutation
    if outer is None:
        outer = scores.new_zeros(1, 1, 1).expand(rows, n, n)
    inputs = (launch.scores, pull, outer, *outer.stride(), grad, launch.scratch())
    launch(_backward_kernel, *inputs, steepness)
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
    launch = _Launch(student, network)
    loss, grad = student.new_empty(len(student)), torch.zeros_like(launch.scores)
    scratch = launch.scratch() if differentiable else grad
    tensors = (launch.scores, teacher.contiguous(), loss, grad, scratch)
    tiny = torch.finfo(torch.float32).tiny
    launch(_cross_entropy_kernel, *tensors, tiny, *steepness, DIFFERENTIABLE=differentiable)
    return loss, grad


class _Launch:
    """What the three launches share; calling it launches a kernel."""

    def __init__(self, scores: Float[Tensor, "rows n"], network: Network) -> None:
        self._rows, self._n = scores.shape
        self.scores = scores.contiguous()
        self._width = triton.next_power_of_2(self._n)
        self._tables = _tables(network, self._n, self._width, scores.device)
        most = _PROGRAMS_PER_PROCESSOR * _processors(scores.device)
        self._programs = max(1, min(self._rows, most))

    def __call__(self, kernel: Any, *args: Any, **choices: Any) -> None:
        partner, sign = self._tables
        shape = (len(partner), self._rows, self._n)
        with torch.cuda.device_of(self.scores):
            kernel[(self._programs,)](
                *args, partner, sign, *shape, WIDTH=self._width, num_warps=_WARPS, **choices
            )

    def scratch(self) -> Tensor:
        """Per program and layer: a matrix of differences, and the scores' scaled gaps."""
        layers = len(self._tables[0])
        return self.scores.new_empty(self._programs, layers, self._n + 1, self._width)


def _processors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


@lru_cache(maxsize=32)
def _tables(network: Network, n: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Per layer and wire, its partner and the sign of its comparison; idle wires keep their own."""
    layers = comparators(network, n)
    partner = torch.arange(width, dtype=torch.int32).repeat(len(layers), 1)
    sign = torch.zeros(len(layers), width)
    for layer, pairs in enumerate(layers):
        for low, high in pairs:
            partner[layer, low], partner[layer, high] = high, low
            sign[layer, low], sign[layer, high] = 1.0, -1.0
    return partner.to(device), sign.to(device)


@triton.jit
def _minor_weight(gap):
    """atan(1/|gap|)/pi: the smaller of a comparator's weights."""
    size = tl.abs(gap)
    z = tl.where(size > 1.0, 1.0 / tl.maximum(size, 1.0), size)
    s = z * z
    # Abramowitz and Stegun 4.4.49: |error| <= 2e-8 on [0, 1].
    p = s * 0.0028662257 - 0.0161657367
    p = p * s + 0.0429096138
    p = p * s - 0.0752896400
    p = p * s + 0.1065626393
    p = p * s - 0.1420889944
    p = p * s + 0.1999355085
    p = p * s - 0.3333314528
    angle = (z + z * (s * p)) * 0.3183098861837907
    return tl.where(size > 1.0, angle, 0.5 - angle)


@triton.jit
def _weights(gap):
    minor = _minor_weight(gap)
    stay = tl.where(gap >= 0, 1.0 - minor, minor)
    swap = tl.where(gap >= 0, minor, 1.0 - minor)
    return stay, swap


@triton.jit
def _network(values, steepness, partner_ptr, sign_ptr, layers, scratch_ptr, n,
             WIDTH: tl.constexpr, KEEP: tl.constexpr):  # fmt: skip
    """Sort one row; return its values and its matrix (position, input)."""
    wire = tl.arange(0, WIDTH)
    column = tl.arange(0, WIDTH)
    matrix = tl.where(wire[:, None] == column[None, :], 1.0, 0.0)
    for layer in range(layers):
        partner = tl.load(partner_ptr + layer * WIDTH + wire)
        sign = tl.load(sign_ptr + layer * WIDTH + wire)
        other = tl.gather(values, partner, 0)
        gap = (other - values) * (sign * steepness)
        # By default a bound takes the place of a nan, which must be seen in what comes out.
        gap = tl.maximum(gap, -1e18, propagate_nan=tl.PropagateNan.ALL)
        gap = tl.minimum(gap, 1e18, propagate_nan=tl.PropagateNan.ALL)
        stay, swap = _weights(gap)
        values = stay * values + swap * other
        index = tl.broadcast_to(partner[:, None], (WIDTH, WIDTH))
        others = tl.gather(matrix, index, 0)
        if KEEP:
            kept = scratch_ptr + layer * (n + 1) * WIDTH
            tl.store(kept + n * WIDTH + wire, gap)
            at = kept + wire[:, None] * WIDTH + column[None, :]
            tl.store(at, matrix - others, mask=wire[:, None] < n)
        matrix = stay[:, None] * matrix + swap[:, None] * others
    return values, matrix


@triton.jit
def _network_backward(pull, outer, steepness, partner_ptr, sign_ptr, layers, scratch_ptr, n,
                      WIDTH: tl.constexpr):  # fmt: skip
    """Gradient of one row's scores from those of its sorted values and its matrix."""
    wire = tl.arange(0, WIDTH)
    column = tl.arange(0, WIDTH)
    for step in range(layers):
        layer = layers - 1 - step
        partner = tl.load(partner_ptr + layer * WIDTH + wire)
        sign = tl.load(sign_ptr + layer * WIDTH + wire)
        kept = scratch_ptr + layer * (n + 1) * WIDTH
        gap = tl.load(kept + n * WIDTH + wire)
        at = kept + wire[:, None] * WIDTH + column[None, :]
        differences = tl.load(at, mask=wire[:, None] < n, other=0.0)
        stay, swap = _weights(gap)
        slope = 0.3183098861837907 / (1.0 + gap * gap)
        grad_stay = tl.sum(outer * differences, axis=1)
        push = gap * slope * pull - grad_stay * slope * (sign * steepness)
        push -= tl.gather(push, partner, 0)
        pull = stay * pull + swap * tl.gather(pull, partner, 0) + push
        index = tl.broadcast_to(partner[:, None], (WIDTH, WIDTH))
        outer = stay[:, None] * outer + swap[:, None] * tl.gather(outer, index, 0)
    return pull


@triton.jit
def _sort_kernel(scores_ptr, ordered_ptr, storage_ptr, steepness, partner_ptr, sign_ptr, layers,
                 rows, n, WIDTH: tl.constexpr):  # fmt: skip
    wire = tl.arange(0, WIDTH)
    column = tl.arange(0, WIDTH)
    inside = (wire[:, None] < n) & (column[None, :] < n)
    for row in range(tl.program_id(0), rows, tl.num_programs(0)):
        start = row * n.to(tl.int64)
        values = tl.load(scores_ptr + start + wire, mask=wire < n, other=0.0)
        values, matrix = _network(values, steepness, partner_ptr, sign_ptr, layers, storage_ptr, n,
                                  WIDTH, False)  # fmt: skip
        tl.store(ordered_ptr + start + wire, values, mask=wire < n)
        at = storage_ptr + start * n + wire[:, None] * n + column[None, :]
        tl.store(at, matrix, mask=inside)


@triton.jit
def _backward_kernel(scores_ptr, pull_ptr, outer_ptr, row_stride, input_stride, position_stride,
                     grad_ptr, scratch_ptr, steepness, partner_ptr, sign_ptr, layers, rows, n,
                     WIDTH: tl.constexpr):  # fmt: skip
    wire = tl.arange(0, WIDTH)
    column = tl.arange(0, WIDTH)
    inside = (wire[:, None] < n) & (column[None, :] < n)
    scratch_ptr += tl.program_id(0).to(tl.int64) * layers * (n + 1) * WIDTH
    for row in range(tl.program_id(0), rows, tl.num_programs(0)):
        start = row * n.to(tl.int64)
        values = tl.load(scores_ptr + start + wire, mask=wire < n, other=0.0)
        pull = tl.load(pull_ptr + start + wire, mask=wire < n, other=0.0)
        at = outer_ptr + start // n * row_stride
        at += wire[:, None] * position_stride + column[None, :] * input_stride
        outer = tl.load(at, mask=inside, other=0.0)
        # The barriers: what one thread of the program wrote to scratch, another one reads.
        tl.debug_barrier()
        _network(values, steepness, partner_ptr, sign_ptr, layers, scratch_ptr, n, WIDTH, True)
        tl.debug_barrier()
        pull = _network_backward(pull, outer, steepness, partner_ptr, sign_ptr, layers,
                                 scratch_ptr, n, WIDTH)  # fmt: skip
        tl.store(grad_ptr + start + wire, pull, mask=wire < n)


@triton.jit
def _cross_entropy_kernel(student_ptr, teacher_ptr, loss_ptr, grad_ptr, scratch_ptr, tiny,
                          steepness, teacher_steepness, partner_ptr, sign_ptr, layers, rows, n,
                          WIDTH: tl.constexpr, DIFFERENTIABLE: tl.constexpr):  # fmt: skip
    wire = tl.arange(0, WIDTH)
    column = tl.arange(0, WIDTH)
    inside = (wire[:, None] < n) & (column[None, :] < n)
    scratch_ptr += tl.program_id(0).to(tl.int64) * layers * (n + 1) * WIDTH
    for row in range(tl.program_id(0), rows, tl.num_programs(0)):
        start = row * n.to(tl.int64)
        targets = tl.load(teacher_ptr + start + wire, mask=wire < n, other=0.0)
        targets, target = _network(targets, teacher_steepness, partner_ptr, sign_ptr, layers,
                                   scratch_ptr, n, WIDTH, False)  # fmt: skip
        target = tl.where(inside, target, 0.0) / n
        values = tl.load(student_ptr + start + wire, mask=wire < n, other=0.0)
        tl.debug_barrier()
        values, matrix = _network(values, steepness, partner_ptr, sign_ptr, layers, scratch_ptr, n,
                                  WIDTH, DIFFERENTIABLE)  # fmt: skip
        matrix = tl.maximum(matrix, tiny, propagate_nan=tl.PropagateNan.ALL)
        tl.store(loss_ptr + row, -tl.sum(tl.sum(target * tl.log(matrix), axis=1), axis=0))
        if DIFFERENTIABLE:
            tl.debug_barrier()
            pull = _network_backward(tl.zeros_like(values), -target / matrix, steepness,
                                     partner_ptr, sign_ptr, layers, scratch_ptr, n,
                                     WIDTH)  # fmt: skip
            tl.store(grad_ptr + start + wire, pull, mask=wire < n)
