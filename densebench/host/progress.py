"""Progress on a terminal: a bar with a rate and the time left for each phase, on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.text import Text

from densebench.host.screen import Console
from densebench.host.transfers import transfer
from densebench.host.watcher import Advance, Unit, Watcher

SECONDS_BETWEEN_LINES = 20.0
MINUTE = 60
TITLES = {
    "fit": "training images",
    "predict": "validation images",
    "posttrain": "images seen",
}


class RateColumn(ProgressColumn):
    """Images per second."""

    def render(self, task: Task) -> Text:
        """The rate so far, once there is one."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} images/s")


class TimeColumn(ProgressColumn):
    """The time that is left; of a phase that is done, the time that it took."""

    def render(self, task: Task) -> Text:
        """In hours, minutes and seconds."""
        if task.finished:
            return Text(f"took {_taken(task.finished_time or 0.0)}")
        return Text(f"{_clock(task.elapsed)}, {_clock(task.time_remaining)} left")


def _clock(seconds: float | None) -> str:
    return "-:--:--" if seconds is None else str(timedelta(seconds=int(seconds)))


def _taken(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < MINUTE else _clock(seconds)


class Lines:
    """Progress for a file or a pipe: a line now and then instead of a bar."""

    def __init__(self, watcher: Watcher, title: str, total: int) -> None:
        self._watcher, self._title, self._total = watcher, title, total
        self._done, self.status = 0, ""
        self._start = self._last = monotonic()

    def advance(self, done: int) -> None:
        """Count images; tell when all are done, or when the last line is long ago."""
        self._done += done
        now = monotonic()
        if self._done < self._total and now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        took = now - self._start
        rate = self._done / max(took, 1e-9)
        left = timedelta(seconds=round((self._total - self._done) / max(rate, 1e-9)))
        time = f"{left} left" if self._done < self._total else f"took {_taken(took)}"
        line = f"{self._title}: {self._done}/{self._total}, {rate:.1f} images/s, {time}"
        self._watcher.say(f"{line}, {self.status}" if self.status else line)


class TerminalWatcher(Watcher):
    """Shows a run on a console: a bar per phase, or lines where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._show: Callable[[str], None] = lambda _: None
        self._under_way: dict[str, Advance] = {}

    def say(self, line: str) -> None:
        """Print one line."""
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def status(self, text: str) -> None:
        """Put a text behind the bar's title, or at the end of the lines."""
        self._show(text)

    def advance(self, phase: str, done: int) -> None:
        """Count in the bar or the lines of a phase, while it is under way."""
        if phase in self._under_way:
            self._under_way[phase](done)

    @contextmanager
    def phase(
        self, name: str, total: int | None, unit: Unit = "images", done: int = 0
    ) -> Iterator[Advance]:
        """A bar for a phase; phases without images are too short for one."""
        with self._shown(name, total, unit, done) as advance:
            self._under_way[name] = advance
            try:
                yield advance
            finally:
                del self._under_way[name]

    @contextmanager
    def _shown(self, name: str, total: int | None, unit: Unit, done: int) -> Iterator[Advance]:
        if unit != "images":
            with transfer(self._console, self, name, total, unit, done) as advance:
                yield advance
            return
        if not total:
            yield lambda _: None
            return
        title = TITLES.get(name, name)
        if not self._console.is_terminal:
            lines = Lines(self, title, total)
            self._show = lambda text: setattr(lines, "status", text)
            yield lines.advance
            return
        with self._new_bar() as bar:
            task = bar.add_task(title, total=total)
            self._show = lambda text: bar.update(task, description=f"{title}, {text}")
            yield lambda done: bar.advance(task, done)

    def _new_bar(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            RateColumn(),
            TimeColumn(),
            console=self._console,
        )
