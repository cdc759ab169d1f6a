"""The same operations in the same order at every run, on a GPU as well."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from densebench.host.errors import DensebenchError

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
WORKSPACE = ":4096:8"  # one of the two with which cuBLAS repeats its sums
NONE_SUCH = "does not have a deterministic implementation"


@contextmanager
def always_alike(seed: int) -> Iterator[None]:
    """Only algorithms that repeat to the last bit, and seeded draws; all as before afterwards.

    Raises:
        DensebenchError: an operation has no such algorithm here.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    os.environ.setdefault(CUBLAS, WORKSPACE)  # which cuBLAS reads when it is first used
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    except RuntimeError as error:
        if NONE_SUCH not in str(error):
            raise
        operation = str(error).partition(NONE_SUCH)[0].strip()
        raise DensebenchError(
            f"--deterministic: {operation} has no algorithm that repeats to the last bit on this "
            "device; use --device cpu, or leave --deterministic out"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
