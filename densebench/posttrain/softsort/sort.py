"""Differentiable sorting of rows of scores with a relaxed sorting network.

The relaxation is that of Petersen et al., "Monotonic Differentiable Sorting Networks" (ICLR 2022),
with the Cauchy distribution; values and gradients equal PyPI `diffsort` 0.2.0.

A comparator of two wires with scores a and b sends `alpha*a + (1 - alpha)*b` to the wire of the
minimum and `(1 - alpha)*a + alpha*b` to the other, with
`alpha = atan(steepness*(b - a))/pi + 1/2`. The same weights mix the two wires' columns of the
permutation matrix, which is where all the time and memory goes.
"""

import warnings
from functools import lru_cache
from types import ModuleType
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from densebench.host.errors import DensebenchError
from densebench.posttrain.softsort.network import Network


def soft_sort(
    scores: Float[Tensor, "rows n"], steepness: float = 100.0, network: Network = "bitonic"
) -> tuple[Float[Tensor, "rows n"], Float[Tensor, "rows n n"]]:
    """Sort each row in ascending order, softly.

    Args:
        scores: one row per sort, any n >= 2. Half precision is computed in float32.
        steepness: inverse temperature; the sort is hard in the limit.
        network: which sorting network to relax.

    Returns:
        The sorted rows, and the relaxed permutation matrices: `permutation[r, i, j]` is the weight
        of input i at sorted position j; its rows and columns sum to 1.

    Raises:
        DensebenchError: for scores of another shape or type, or an unknown network.
    """
    _check(scores, steepness, network)
    ordered, permutation = _SoftSort.apply(_computed(scores), float(steepness), network)
    return ordered.to(scores.dtype), permutation.to(scores.dtype)


def soft_sort_cross_entropy(
    student: Float[Tensor, "rows n"],
    teacher: Float[Tensor, "rows n"],
    steepness: float = 100.0,
    teacher_steepness: float | None = None,
    network: Network = "bitonic",
) -> Float[Tensor, " rows"]:
    """Cross-entropy between the relaxed permutation matrices of two sets of scores.

    Per row: `-sum_ij T[i, j] log S[i, j] / n`, with T the teacher's and S the student's matrix.
    Equals the same sum over `soft_sort`'s matrices, but holds those of a few rows at a time. A
    weight of S that underflows counts as the smallest normal number: never log(0).

    Args:
        student: scores that receive the gradient.
        teacher: scores that don't.
        steepness: the student's.
        teacher_steepness: the teacher's; the student's when None.
        network: which sorting network to relax.

    Raises:
        DensebenchError: for scores of another shape or type, or an unknown network.
    """
    teacher_steepness = steepness if teacher_steepness is None else teacher_steepness
    _check(student, steepness, network)
    _check(teacher, teacher_steepness, network)
    if student.shape != teacher.shape or student.device != teacher.device:
        raise DensebenchError(
            f"student scores {tuple(student.shape)} on {student.device} and teacher scores "
            f"{tuple(teacher.shape)} on {teacher.device} must agree: give both a row per patch"
        )
    scores = _computed(student)
    target = teacher.detach().to(scores.dtype)
    steepnesses = (float(steepness), float(teacher_steepness))
    loss: Tensor = _CrossEntropy.apply(scores, target, steepnesses, network)
    return loss.to(student.dtype)


class _SoftSort(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, steepness: float, network: Network) -> Any:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(scores)
        ctx.steepness, ctx.network = steepness, network
        return _backend(scores).sort(scores, network, steepness)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_sorted: Tensor | None, grad_permutation: Tensor | None) -> Any:
        (scores,) = ctx.saved_tensors
        if grad_sorted is None and grad_permutation is None:
            return None, None, None
        grad = _backend(scores).sort_backward(
            scores, ctx.network, ctx.steepness, grad_sorted, grad_permutation
        )
        return grad, None, None


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, steepness: tuple[float, float], network: Network
    ) -> Any:
        wanted = ctx.needs_input_grad[0]
        loss, grad = _backend(student).cross_entropy(student, teacher, network, steepness, wanted)
        ctx.save_for_backward(grad)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> Any:
        # A row's loss depends on that row's scores alone, so its gradient was known in forward.
        (grad,) = ctx.saved_tensors
        return grad_loss[:, None] * grad, None, None, None


def _backend(scores: Tensor) -> ModuleType:
    """The fused CUDA kernels where they serve these scores, else plain PyTorch."""
    from densebench.posttrain.softsort import on_torch

    if not scores.is_cuda or scores.dtype != torch.float32:
        return on_torch
    fused = _fused(scores.device)
    if fused is None or scores.shape[1] > fused.LARGEST_N:
        return on_torch
    return fused


@lru_cache(maxsize=16)
def _fused(device: torch.device) -> ModuleType | None:
    """The fused kernels, if Triton can build them here; it needs a C compiler to start them."""
    try:
        from densebench.posttrain.softsort import on_triton
    except ImportError:
        return None
    try:
        on_triton.sort(torch.zeros(1, 2, device=device), "bitonic", 1.0)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # whatever Triton and the compilers that it calls raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        warnings.warn(
            f"the fused soft sort cannot be built here ({reason}); plain PyTorch takes its place, "
            "with the same numbers, but slower and in more memory; Triton needs a C compiler",
            stacklevel=2,
        )
        return None
    return on_triton


def _computed(scores: Tensor) -> Tensor:
    return scores if scores.dtype == torch.float64 else scores.float()


def _check(scores: Tensor, steepness: float, network: str) -> None:
    if scores.ndim != 2 or scores.shape[1] < 2 or not scores.is_floating_point():
        raise DensebenchError(
            f"soft sort takes floating-point scores of shape (rows, n >= 2), not {scores.dtype} "
            f"of shape {tuple(scores.shape)}"
        )
    if not steepness > 0:
        raise DensebenchError(f"steepness is {steepness}: give a positive number")
    if network not in get_args(Network):
        raise DensebenchError(f"no sorting network {network!r}: use one of {get_args(Network)}")
