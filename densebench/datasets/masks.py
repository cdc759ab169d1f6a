"""From the ids in an 8-bit mask file to class indices."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Int16, Integer, UInt8

from densebench.datasets.classes import Classes
from densebench.datasets.image_files import read_ids, read_indices
from densebench.host.errors import DensebenchError

NO_CLASS = -1
SHOWN_IDS = 8


@dataclass(frozen=True)
class LookupReader:
    """Reads 8-bit masks and maps each id by a table of 256 entries.

    Attributes:
        table: class index or ignore index by id, or ``NO_CLASS`` where an id must not occur.
    """

    table: tuple[int, ...]

    def read(self, file: Path) -> UInt8[np.ndarray, "h w"]:
        """Class index of every pixel.

        Raises:
            DensebenchError: the file is no 8-bit mask, or holds an id that is no class.
        """
        return self.decode(read_indices(file), file)

    def decode(self, ids: Integer[np.ndarray, "h w"], file: Path) -> UInt8[np.ndarray, "h w"]:
        """The classes of the ids that were read from ``file``."""
        classes: Int16[np.ndarray, "h w"] = np.asarray(self.table, dtype=np.int16)[ids]
        bad = classes == NO_CLASS
        if bad.any():
            allowed = [i for i, target in enumerate(self.table) if target != NO_CLASS]
            raise unknown_ids(file, ids[bad], ranges(allowed))
        mask: UInt8[np.ndarray, "h w"] = classes.astype(np.uint8)
        return mask

    def rules(self, file: Path) -> bytes:
        """The table."""
        return _packed(self.table)


@dataclass(frozen=True)
class IdReader(LookupReader):
    """Reads masks of 16 bits as well, whose ids the table may hold beyond 255."""

    def read(self, file: Path) -> UInt8[np.ndarray, "h w"]:
        """Class index of every pixel.

        Raises:
            DensebenchError: the file is no mask of one channel, or holds an id that is no class.
        """
        ids = read_ids(file)
        beyond = ids >= len(self.table)
        if beyond.any():
            allowed = [i for i, target in enumerate(self.table) if target != NO_CLASS]
            raise unknown_ids(file, ids[beyond], ranges(allowed))
        return self.decode(ids, file)


@lru_cache(maxsize=8)
def _packed(table: tuple[int, ...]) -> bytes:
    return np.asarray(table, dtype="<i2").tobytes()


def unknown_ids(file: Path, ids: Integer[np.ndarray, " n"], allowed: str) -> DensebenchError:
    """The error that names the file, the ids that it must not hold, and what it may hold."""
    found = np.unique(ids).tolist()
    more = " and more" if len(found) > SHOWN_IDS else ""
    shown = ", ".join(map(str, found[:SHOWN_IDS]))
    return DensebenchError(
        f"{file}: the mask holds ids that are no class: {shown}{more}; allowed are {allowed}"
    )


def identity_table(classes: Classes) -> tuple[int, ...]:
    """Ids that are class indices, or the ignore index, already."""
    same = {i: i for i in range(min(len(classes.names), 255))}  # a byte holds void beyond them
    return lookup_table(same, classes.ignore_index, {classes.ignore_index})


def lookup_table(
    classes: Mapping[int, int], ignore_index: int, ignored: Iterable[int]
) -> tuple[int, ...]:
    """A table from the class of each id, and the ids that become the ignore index.

    It has 256 entries, and more where ids go beyond.
    """
    ignored = set(ignored)
    table = [NO_CLASS] * max(256, 1 + max((*classes, *ignored), default=0))
    for i in ignored:
        table[i] = ignore_index
    for i, index in classes.items():
        table[i] = index
    return tuple(table)


def ranges(values: Iterable[int]) -> str:
    """Sorted numbers in short: ``0-20, 255``."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1][1:] = [value]
        else:
            runs.append([value])
    return ", ".join("-".join(map(str, run)) for run in runs)
