"""Locks: a file that one process at a time holds, for as long as it lives."""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from densebench.host.errors import DensebenchError


@contextmanager
def held(path: Path, taken: Callable[[], None]) -> Iterator[None]:
    """The lock; ``taken`` is called where another process holds it, and either raises or waits.

    The file is made where it is absent, and is never written to: a link in its place is refused.

    Raises:
        DensebenchError: a link, or something other than a file, lies there.
        OSError: the lock cannot be made.
    """
    descriptor = _opened(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            taken()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        # To close it is not enough: loader processes that were forked meanwhile have it open too.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def is_free(path: Path) -> bool:
    """Whether no process holds this lock just now; False where that cannot be told."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _opened(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _no_lock(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_lock(path)
    return descriptor


def _no_lock(path: Path) -> DensebenchError:
    return DensebenchError(
        f"{path}: a lock belongs here, and a link or no file lies in its place; remove it"
    )
