"""Blocks of an entry that several processes write at once, each its own, in any order.

Each process notes the blocks that it has written, with their checksums, in a file of its own beside
the entry. Whoever opens an unfinished entry reads all notes, so that a block is written once.
"""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from densebench.features.entries import BLOCK_IMAGES, NOTES, Block, Entry
from densebench.files.atomic import write_atomically


def noted(folder: Path) -> list[Block]:
    """The blocks that are noted beside an entry; a line that a kill left half written is none."""
    found = []
    for file in sorted(folder.glob(NOTES)):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, TypeError):
                found.append(_read(line))
    return found


def _read(line: str) -> Block:
    block = Block(**json.loads(line))
    whole = isinstance(block.number, int) and isinstance(block.checksum, int)
    if not (whole and block.number >= 0 and isinstance(block.unreadable, dict)):
        raise ValueError("no block")
    return block


def recover(entry: Entry) -> None:
    """Count what processes wrote before they were ended, and keep the notes of it."""
    found = noted(entry.folder)
    last = -(-len(entry) // BLOCK_IMAGES)
    entry.take([block for block in found if block.number < last], verify=True)
    kept = entry.folder / NOTES.replace("*", "kept")
    files = [file for file in entry.folder.glob(NOTES) if file != kept]
    if found and entry.beyond:
        sound = [b for b in found if entry.checksum(b.number) == b.checksum]
        left = {b.number: b for b in sound if b.number in entry.beyond}
        write_atomically(kept, "".join(map(_line, left.values())))
    for file in files:
        file.unlink(missing_ok=True)


def _line(block: Block) -> str:
    return json.dumps(asdict(block)) + "\n"


def shares(missing: Sequence[int], size: int, count: int) -> list[list[int]]:
    """The images that each of so many processes extracts: whole blocks, and whole batches.

    Args:
        missing: images of whole blocks, in their order.
        size: images of a batch, of which each comes out as one process alone would have it.
        count: of the processes.
    """
    span = math.lcm(size, BLOCK_IMAGES)
    spans = [list(missing[start : start + span]) for start in range(0, len(missing), span)]
    return [[image for part in spans[place::count] for image in part] for place in range(count)]


class BlockNotes:
    """The blocks of one process, noted as they are written.

    Args:
        entry: which they belong to.
        name: of the process, which no other has.
        images: that it writes, whole blocks in their order.
        device: where it computes them.
    """

    def __init__(self, entry: Entry, name: str, images: Sequence[int], device: str) -> None:
        self._entry, self._device = entry, device
        self._file = entry.folder / NOTES.replace("*", name)
        self._left = sorted({image // BLOCK_IMAGES for image in images})

    def commit(self, end: int) -> None:
        """All own images before ``end`` are written."""
        last = len(self._entry)
        whole = [n for n in self._left if min(last, (n + 1) * BLOCK_IMAGES) <= end]
        if not whole:
            return
        self._left = self._left[len(whole) :]
        self._entry.flush()
        known = self._device, dict(self._entry.unreadable)
        blocks = [Block(number, self._entry.checksum(number), *known) for number in whole]
        with self._file.open("a", encoding="utf-8") as file:
            file.writelines(map(_line, blocks))
