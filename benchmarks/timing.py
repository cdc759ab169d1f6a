"""What the benchmarks share: contenders in turn, a line on the machine and its load, results."""

import io
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from time import perf_counter

import torch

Work = Callable[[], object]
Clock = Callable[[], float]
RESULTS = Path(__file__).with_name("results")


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


class _Both(io.StringIO):
    """Keeps what is printed, and prints it."""

    def __init__(self, screen: io.TextIOBase) -> None:
        super().__init__()
        self._screen = screen

    def write(self, text: str) -> int:
        self._screen.write(text)
        self._screen.flush()
        return super().write(text)


@contextmanager
def recorded(name: str, about: str) -> Iterator[None]:
    """Print, and at the end write what was printed to ``results``, under what it is about."""
    kind = "gpu" if torch.cuda.is_available() else "cpu"
    printed = _Both(sys.stdout)  # type: ignore[arg-type]
    with redirect_stdout(printed):
        print(f"before: {machine()}")
        yield
        print(f"after: {machine()}")
    title, _, text = about.strip().partition("\n")
    words = f"# {title.rstrip('.')}\n\n{text.strip()}\n\n```\n{printed.getvalue()}```\n"
    (RESULTS / f"{name}_{kind}.md").write_text(words, encoding="utf-8")
