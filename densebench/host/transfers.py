"""Progress in bytes and files: a bar on a terminal, a line now and then in a pipe."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from densebench.host.screen import Console
from densebench.host.watcher import Advance, Unit, Watcher

SECONDS_BETWEEN_LINES = 20.0


@contextmanager
def transfer(
    console: Console,
    watcher: Watcher,
    title: str,
    total: int | None,
    unit: Unit,
    done: int,
) -> Iterator[Advance]:
    """A bar with rate and time left, or lines where there is no terminal."""
    if not console.is_terminal:
        yield _Lines(watcher, title, total, unit, done).advance
        return
    with Progress(*_columns(unit), console=console, transient=True) as bar:
        task = bar.add_task(title, total=total, completed=done)
        yield lambda more: bar.advance(task, more)


def _columns(unit: Unit) -> list[ProgressColumn]:
    amounts: list[ProgressColumn] = (
        [DownloadColumn(), TransferSpeedColumn()]
        if unit == "bytes"
        else [MofNCompleteColumn(), _FilesRate()]
    )
    title = TextColumn("{task.description}", markup=False)
    return [title, BarColumn(), *amounts, TextColumn("left"), TimeRemainingColumn()]


class _FilesRate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.0f} files/s")


class _Lines:
    """A line when a step is long, and none when it is short."""

    def __init__(
        self, watcher: Watcher, title: str, total: int | None, unit: Unit, done: int
    ) -> None:
        self._watcher, self._title, self._total, self._unit = watcher, title, total, unit
        self._first = self._done = done
        self._start = self._last = monotonic()

    def advance(self, more: int) -> None:
        """Count; tell when the last line is long ago."""
        self._done += more
        now = monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        rate = (self._done - self._first) / max(now - self._start, 1e-9)
        line = f"{self._title}: {self._amount(self._done)}"
        if self._total is not None:
            left = timedelta(seconds=round((self._total - self._done) / max(rate, 1e-9)))
            line = f"{line} of {self._amount(self._total)}, {left} left"
        self._watcher.say(f"{line}, {self._amount(rate)}/s")

    def _amount(self, value: float) -> str:
        return f"{value / 1e6:,.1f} MB" if self._unit == "bytes" else f"{value:,.0f} files"
