"""Masks that several passes of a run use are decoded once."""

import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from densebench.datasets.base import Mask, MaskReader, Split

LIMIT = 64_000_000  # bytes; some thousand label maps take these, packed
FASTEST = 1


@dataclass
class DecodedOnce:
    """A reader that keeps what it read, packed, until ``limit`` bytes are taken or a little more.

    The first masks stay: passes go through all of them in turn, and whatever made room for the
    last would never find any. Of worker processes each keeps its own.
    """

    reader: MaskReader
    limit: int = LIMIT
    _packed: dict[Path, tuple[bytes, np.dtype[Any], tuple[int, ...]]] = field(default_factory=dict)
    _taken: int = 0

    def read(self, file: Path) -> Mask:
        """The mask, as the reader gives it; a new array each time."""
        if file in self._packed:
            packed, dtype, shape = self._packed[file]
            return np.frombuffer(bytearray(zlib.decompress(packed)), dtype).reshape(shape)
        mask = self.reader.read(file)
        if self._taken < self.limit:
            packed = zlib.compress(mask.tobytes(), FASTEST)
            self._packed[file] = packed, mask.dtype, mask.shape
            self._taken += len(packed)
        return mask

    def rules(self, file: Path) -> bytes:
        """The reader's."""
        return self.reader.rules(file)


def decoded_once(split: Split) -> Split:
    """The split, whose masks are decoded once."""
    return replace(split, reader=DecodedOnce(split.reader))
