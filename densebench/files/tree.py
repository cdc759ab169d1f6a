"""Files of a dataset, in folders and in archives alike.

A path may lead through an archive as through a folder: ``coco/train2017.zip/train2017/9.jpg``.
:func:`locate` finds such a path; everything else here takes it like any other.
"""

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from densebench.files.archives import SUFFIXES, Archive, open_archive, stamp
from densebench.files.regular import open_regular

_STEP = re.compile(r"\.(?:tar|zip)(?=/|$)", re.IGNORECASE)

__all__ = [
    "archive_of",
    "exists",
    "is_dir",
    "is_file",
    "list_names",
    "locate",
    "open_file",
    "read_text",
    "stamp",
]


def archive_of(path: str | os.PathLike[str]) -> tuple[str, str] | None:
    """The archive through which a path leads, and the rest of the path within it."""
    text = os.fspath(path)
    for step in _STEP.finditer(text):
        if os.path.isfile(text[: step.end()]):  # noqa: PTH113 - called for every image
            return text[: step.end()], text[step.end() + 1 :]
    return None


def locate(root: Path, inside: str) -> Path:
    """Where ``root / inside`` is: there, or in an archive on the way that holds it.

    An archive below ``root`` counts as if it had been unpacked where it lies.

    Raises:
        DensebenchError: an archive on the way cannot be read.
    """
    plain = root / inside
    if exists(plain) or Path(inside).is_absolute():
        return plain
    parts = Path(inside).parts
    for depth in range(len(parts) - 1, -1, -1):
        rest = "/".join(parts[depth:])
        for file in _archives_in(root.joinpath(*parts[:depth])):
            archive = open_archive(file)
            if archive.is_dir(rest) or archive.is_file(rest):
                return file / rest
    return plain


def exists(path: Path) -> bool:
    """Whether there is a file or a folder."""
    return is_dir(path) or is_file(path)


def is_dir(path: Path) -> bool:
    """Whether this is a folder, or an archive, or a folder in one."""
    inner = _inside(path)
    return path.is_dir() if inner is None else inner[0].is_dir(inner[1])


def is_file(path: Path) -> bool:
    """Whether this is a file, other than an archive."""
    inner = _inside(path)
    return path.is_file() if inner is None else inner[0].is_file(inner[1])


def list_names(folder: Path) -> list[str]:
    """The names in a folder.

    Raises:
        OSError: no such folder.
    """
    inner = _inside(folder)
    if inner is None or not inner[0].is_dir(inner[1]):
        return os.listdir(folder)  # noqa: PTH208 - a Path for each of 118,287 is slow
    return list(inner[0].children(inner[1]))


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """A file for reading; a member of an archive lies in memory.

    Raises:
        OSError: no such file, or it cannot be read.
    """
    inner = _inside(path)
    return open_regular(path) if inner is None else io.BytesIO(inner[0].read(inner[1]))


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """The text of a file.

    Raises:
        OSError: no such file, or it cannot be read.
        UnicodeDecodeError: it is no text.
    """
    with open_file(path) as file:
        return file.read().decode(encoding)


def _inside(path: str | os.PathLike[str]) -> tuple[Archive, str] | None:
    found = archive_of(path)
    return None if found is None else (open_archive(found[0]), found[1])


def _archives_in(folder: Path) -> Iterator[Path]:
    """The archives of a real folder, by name; macOS leaves a ._NAME beside each."""
    if folder.is_dir():
        for name in sorted(os.listdir(folder)):  # noqa: PTH208
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield folder / name
