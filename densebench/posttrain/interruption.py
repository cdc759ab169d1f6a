"""Ctrl-C and SIGTERM as a wish that is asked for, so that a training can save first."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

SECOND_THOUGHT = 1.0  # seconds; torchrun passes on a Ctrl-C that the process got already


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Whether a signal asked to stop; a second Ctrl-C some time later ends at once."""
    asked: list[float] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(monotonic())
        if number == signal.SIGINT and asked[-1] - asked[0] > SECOND_THOUGHT:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
