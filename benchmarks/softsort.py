"""Soft sorting against PyPI diffsort on the same rows: time in one process, memory in one each.

Forward and backward of n = 49, bitonic network, steepness 100, in float32. `matrices` gives the
sorted rows' permutation matrices a fixed gradient; `loss` is NeCo's cross-entropy between those of
a teacher and of a student. Memory is the peak above what the imports and the inputs take: on the
CPU of the resident set (Linux only), on a GPU of PyTorch's allocator.

python benchmarks/softsort.py [ROWS ...]
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import diffsort
import psutil
import torch
from jaxtyping import Float
from torch import Tensor

from densebench.posttrain.softsort import soft_sort, soft_sort_cross_entropy

N, STEEPNESS, REPEATS = 49, 100.0, 5
MIB = 2**20


class Inputs:
    """Rows like the cosine similarities of a training, and a gradient for the matrices."""

    def __init__(self, rows: int, device: str) -> None:
        random = torch.Generator().manual_seed(0)
        student, teacher = torch.randn(2, rows, N, generator=random) * 0.2
        self.student = student.to(device).requires_grad_()
        self.teacher = teacher.to(device)
        self.gradient = torch.randn(rows, N, N, generator=random).to(device)
        self.peer = diffsort.DiffSortNet("bitonic", N, device=device, steepness=STEEPNESS)


def diffsort_matrices(inputs: Inputs) -> None:
    inputs.peer(inputs.student)[1].backward(inputs.gradient)


def our_matrices(inputs: Inputs) -> None:
    soft_sort(inputs.student, STEEPNESS)[1].backward(inputs.gradient)


def diffsort_loss(inputs: Inputs) -> None:
    with torch.no_grad():
        target: Float[Tensor, "rows n n"] = inputs.peer(inputs.teacher)[1]
    matrices = inputs.peer(inputs.student)[1]
    (-(target * matrices.log()).sum(2).mean()).backward()


def our_loss(inputs: Inputs) -> None:
    soft_sort_cross_entropy(inputs.student, inputs.teacher, STEEPNESS).mean().backward()


TASKS: dict[str, dict[str, Callable[[Inputs], None]]] = {
    "matrices": {"diffsort": diffsort_matrices, "densebench": our_matrices},
    "loss": {"diffsort": diffsort_loss, "densebench": our_loss},
}


def main(*sizes: int) -> None:
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}; best of {REPEATS}")
    print(f"{'rows':>6} {'device':<6} {'task':<9} {'diffsort':>20} {'densebench':>20}  ratios")
    for rows in sizes or (2940, 11760):
        for device in devices:
            for task, contenders in TASKS.items():
                memory = {who: _memory_apart(device, task, who, rows) for who in contenders}
                _report(rows, device, task, _best_times(rows, device, task), memory)


def _report(
    rows: int, device: str, task: str, times: dict[str, float], memory: dict[str, float]
) -> None:
    columns = [f"{times[who]:8.4f} s {memory[who]:5.0f} MiB" for who in times]
    faster, smaller = (cost["diffsort"] / max(cost["densebench"], 1e-9) for cost in (times, memory))
    print(f"{rows:>6} {device:<6} {task:<9} {columns[0]:>20} {columns[1]:>20}", end="  ")
    print(f"{faster:.1f} x faster, {smaller:.1f} x less memory", flush=True)


def _best_times(rows: int, device: str, task: str) -> dict[str, float]:
    """Taken in turns, so that other work on the machine meets both alike."""
    inputs, seconds = Inputs(rows, device), {who: float("inf") for who in TASKS[task]}
    for _ in range(REPEATS):
        for who, work in TASKS[task].items():
            start = perf_counter()
            work(inputs)
            if device == "cuda":
                torch.cuda.synchronize()
            seconds[who] = min(seconds[who], perf_counter() - start)
    return seconds


def _memory_apart(device: str, task: str, who: str, rows: int) -> float:
    command = [sys.executable, __file__, "--memory", device, task, who, str(rows)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _memory(device: str, task: str, who: str, rows: int) -> float:
    """Peak MiB above the inputs of one forward and backward pass, in a fresh process."""
    inputs = Inputs(rows, device)
    TASKS[task][who](Inputs(16, device))  # what is loaded on first use is not the task's
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        TASKS[task][who](inputs)
        return (torch.cuda.max_memory_allocated() - before) / MIB
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    TASKS[task][who](inputs)
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return (int(status.split()[0]) * 1024 - before) / MIB


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        print(_memory(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])))
    else:
        main(*map(int, sys.argv[1:]))
