"""What work tells while it is under way; whoever shows it is passed whole."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

Unit = Literal["images", "bytes", "files"]
Advance = Callable[[int], object]


class Watcher:
    """Is told of what happens; the command line shows it, this one is silent."""

    def say(self, line: str) -> None:
        """One line about what comes next."""

    def status(self, text: str) -> None:
        """What the phase under way is at."""

    def advance(self, phase: str, done: int) -> None:
        """So many more units of a phase are done; nothing where it is not under way."""

    @contextmanager
    def phase(
        self, name: str, total: int | None, unit: Unit = "images", done: int = 0
    ) -> Iterator[Advance]:
        """A phase over ``total`` units, ``done`` of which were there before.

        Gives what counts its further units; who has no hold of that says ``advance``.
        """
        yield lambda _: None
