"""Processes that end when the one that started them does, however that one ends."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 10.0  # seconds between the wish to end and the end


@contextmanager
def tied() -> Iterator[int]:
    """A descriptor for a child: it is at its end as soon as this process has gone."""
    read, write = os.pipe()
    try:
        yield read
    finally:
        os.close(read)
        os.close(write)


def end_with_parent(rope: int) -> None:
    """In the child: end as by Ctrl-C when the parent has gone.

    A terminal's Ctrl-C reaches the child too, and is left to the parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_wait, args=(rope,), daemon=True).start()


def _wait(rope: int) -> None:
    os.read(rope, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(1)
