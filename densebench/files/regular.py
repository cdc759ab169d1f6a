"""Regular files alone are read: a pipe would wait for ever, a device would never end."""

import errno
import json
import os
import stat
from typing import Any, BinaryIO


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A regular file for reading; links are followed.

    Raises:
        OSError: no such file, it cannot be read, or it is a folder, a pipe, a socket or a device.
    """
    # Without a wait: to open a pipe that nobody writes to would never return.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except ValueError as error:  # a NUL, or what no file system's encoding holds
        raise OSError(errno.EINVAL, f"no name of a file ({error})") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return os.fdopen(descriptor, "rb")


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: as :func:`open_regular`.
    """
    with open_regular(path) as file:
        return file.read()


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value in a JSON file.

    Raises:
        OSError: as :func:`open_regular`.
        ValueError: it is no JSON, or is nested beyond all reason.
    """
    return parse_json(read_bytes(path))


def parse_json(content: bytes | str) -> Any:
    """The value of a JSON text, in UTF-8 where it is bytes.

    Raises:
        ValueError: it is no JSON, or is nested beyond all reason.
    """
    try:
        return json.loads(content if isinstance(content, str) else content.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
