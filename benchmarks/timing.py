"""What the benchmarks share: contenders in turn, and a line on the machine and its load."""

import os
import platform
from collections.abc import Callable, Mapping
from time import perf_counter

import torch

Work = Callable[[], object]
Clock = Callable[[], float]


def alternating(
    contenders: Mapping[str, Work], repeats: int, clock: Clock = perf_counter
) -> dict[str, float]:
    """The least seconds of each, all in turn, so that others' work disturbs all alike."""
    least = dict.fromkeys(contenders, float("inf"))
    for _ in range(repeats):
        for name, work in contenders.items():
            least[name] = min(least[name], seconds(work, clock))
    return least


def seconds(work: Work, clock: Clock = perf_counter) -> float:
    """Of one call, up to its end on the GPU."""
    start = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def machine() -> str:
    """Processor, threads and versions, and how many processes wanted to run in the last minute."""
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    cores = f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{cores}, torch {torch.__version__}, {load}"
