"""Where a run computes."""

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from densebench.host.errors import DensebenchError


def pick_device(name: str) -> torch.device:
    """The device of a run; ``auto`` takes a GPU where there is one.

    Raises:
        DensebenchError: a GPU is asked for and there is none, or the name is no device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DensebenchError(f"'{name}' is no device; take auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise DensebenchError(f"runs on '{name}' are not supported; take auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DensebenchError("no GPU is available to torch here; use --device cpu")
    return device


@contextmanager
def exact_products(exact: bool) -> Iterator[None]:
    """Matrix products and convolutions of a GPU in whole float32 (``exact``), or in TF32.

    torch leaves convolutions in TF32, with 10 bits of mantissa, unless it is told otherwise.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = not exact
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


@contextmanager
def whole_sums() -> Iterator[None]:
    """Matrix products of a GPU summed in float32, of float32 in whole float32.

    torch lets products of half precision be summed in half precision, unless it is told otherwise.
    """
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_fp16_reduced_precision_reduction
    matmul.allow_fp16_reduced_precision_reduction = False
    try:
        with exact_products(True):
            yield
    finally:
        matmul.allow_fp16_reduced_precision_reduction = before


@contextmanager
def one_thread() -> Iterator[None]:
    """On a processor by one thread: results whose last bits do not depend on the number of them.

    Each thread takes a stretch of a tensor. torch computes the last few elements of a stretch by
    another routine than the rest, and a sum is rounded by how many stretches there were.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def room_on_gpu(advice: str) -> Iterator[None]:
    """Whatever goes beyond the GPU's memory ends in one line.

    Raises:
        DensebenchError: the GPU's memory was too small, with the advice.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        reason = str(error).partition(". ")[0]
        raise DensebenchError(f"the GPU's memory is too small: {reason}; {advice}") from error


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's architecture with its threads."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads, {sys.platform})"


def peak_cuda(device: torch.device) -> int | None:
    """The most bytes that tensors took on a GPU so far."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def free_on_gpu(device: torch.device) -> int:
    """Bytes of a GPU that nothing takes; none of a processor's."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the host on a device, without waiting for what the device is at."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
