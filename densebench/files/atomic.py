"""Files that are written whole or not at all."""

import fcntl
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from densebench.files.locks import is_free

PART = ".part"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file or none: to a temporary sibling first, then renamed over the target."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A temporary sibling to write to, which takes the file's place when all went well.

    What a process that was killed left of an earlier try is removed. The user's umask decides who
    may read the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, f".{path.name}.")
    part, file = _new_part(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def require_writable(folder: Path) -> None:
    """Nothing, if files can be written there now; found out before hours of work, not after.

    Nothing is left there: of a folder that is still to be made, the one that will hold it is tried.

    Raises:
        OSError: they cannot; it names the folder.
    """
    try:
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error


def remove_leftovers(folder: Path, start: str = ".") -> None:
    """Remove the parts that nobody writes: a writer holds a lock on its own while it lives."""
    with suppress(OSError), os.scandir(folder) as entries:
        parts = [e.path for e in entries if e.name.startswith(start) and e.name.endswith(PART)]
        for part in map(Path, parts):
            if is_free(part):
                part.unlink(missing_ok=True)


def _new_part(path: Path) -> tuple[Path, BinaryIO]:
    while True:
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{PART}")
        file = part.open("xb")
        with suppress(OSError):  # some file systems have no locks; nobody removes parts there
            fcntl.flock(file, fcntl.LOCK_EX)
        if part.exists():  # it was not taken for a leftover in the moment before the lock
            return part, file
        file.close()
