"""The phases of a run, with the time and memory that each takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from densebench.host.memory import peak_rss
from densebench.host.watcher import Advance, Watcher


class Phases:
    """Shows each phase to the watcher.

    Attributes:
        seconds: wall time by phase.
        peak: resident bytes of the process at most, at the end of each phase.
    """

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.seconds: dict[str, float] = {}
        self.peak: dict[str, int] = {}

    @contextmanager
    def phase(self, name: str, total: int = 0) -> Iterator[Advance]:
        """A phase over ``total`` images, or a further part of it; told how many more are done."""
        start = perf_counter()
        with self._watcher.phase(name, total) as advance:
            yield advance
        self.seconds[name] = round(self.seconds.get(name, 0.0) + perf_counter() - start, 3)
        self.peak[name] = peak_rss()
