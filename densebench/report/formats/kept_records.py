"""The records of a board inside its page, so that it needs no file beside it."""

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from densebench.files.regular import read_bytes
from densebench.host.errors import DensebenchError
from densebench.report.board.rows import Row
from densebench.report.formats.links import relative_link

BUDGET = 8_000_000  # characters of all records of a page, packed


@dataclass
class KeptRecords:
    """Collects records while the rows of a page are written.

    Attributes:
        folder: where the page is to lie; the records' names start from there.
        packed: each record's file, as it is, in gzip and base64; none of one that would make the
            page too large.
    """

    folder: Path
    packed: list[str | None] = field(default_factory=list)
    _left: int = BUDGET

    def add(self, row: Row) -> list[dict[str, Any]]:
        """What the page says of the runs of a row: the file's name, its seeds, its place here.

        Raises:
            DensebenchError: a file that was there is gone.
        """
        return [
            {
                "name": relative_link(path, self.folder),
                "seeds": _seeds(row, number),
                "place": self._add(path),
            }
            for number, (path, _) in enumerate(row.found)
        ]

    def _add(self, path: Path) -> int:
        try:
            content = gzip.compress(read_bytes(path), mtime=0)
        except OSError as error:
            raise DensebenchError(f"{path}: cannot be read: {error.strerror}") from error
        text = base64.b64encode(content).decode()
        fits = len(text) <= self._left
        self._left -= len(text) if fits else 0
        self.packed.append(text if fits else None)
        return len(self.packed) - 1


def _seeds(row: Row, number: int) -> str:
    """What tells one run of a row from the others: ``training 1, seed 0``."""
    seeds: Sequence[int] = row.seeds_of(row.found[number][1])
    return ", ".join(f"{name} {seed}" for name, seed in zip(row.varied, seeds, strict=True))
