"""One entry of the feature cache: two mapped arrays, and a description with their checksums."""

import json
import os
import sys
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from densebench.features.storing import decoded, encoded, file_type
from densebench.files.atomic import write_atomically
from densebench.files.regular import open_regular, read_json

BLOCK_IMAGES = 16
NOTES = "blocks-*.jsonl"  # of processes that write at the same time
# How a file that was cut short or changed shows itself when it is read.
DAMAGE = (OSError, ValueError, KeyError, TypeError, IndexError)


@dataclass(frozen=True)
class EntryInfo:
    """One entry as a list shows it; ``about`` has names, which older entries lack."""

    key: str
    folder: Path
    n_bytes: int
    images: int
    filled: int
    used: float  # seconds since the epoch
    spec: dict[str, Any]
    about: dict[str, str]


@dataclass(frozen=True)
class Block:
    """One that a process wrote while others wrote others.

    Attributes:
        number: of the block.
        checksum: of its patches and masks.
        device: where they were computed.
        unreadable: names and reasons of images that could not be read so far.
    """

    number: int
    checksum: int
    device: str
    unreadable: dict[str, str]


class Entry:
    """Patches (n, h, w, D) and masks (n, S, S) of one view; ``filled`` images are there."""

    def __init__(self, folder: Path, meta: dict[str, Any]) -> None:
        self.folder, self._meta = folder, meta
        self.form: str = meta["dtype"]  # in which patches are stored
        self._exact: bool = meta.get("exact", False)
        self.beyond: set[int] = set()  # blocks after the first one that is missing
        self.filled: int = meta["filled"]
        self.unreadable: dict[str, str] = meta["unreadable"]
        patches = file_type(meta["dtype"])
        self._patches = _mapped(folder / "patches.npy", patches, meta["patches"])
        self._masks = _mapped(folder / "masks.npy", meta.get("values", "uint8"), meta["masks"])

    def __len__(self) -> int:
        return int(self._meta["patches"][0])

    def read(
        self, indices: np.ndarray
    ) -> tuple[Float[np.ndarray, "b h w d"], Shaped[np.ndarray, "b S S"]]:
        """Copies of some images' patches, as float32, and masks."""
        return decoded(self._patches[indices], self.form), self._masks[indices]

    def write(
        self, start: int, patches: Float[np.ndarray, "b h w d"], masks: Shaped[np.ndarray, "b S S"]
    ) -> None:
        """Put the next images; they count once ``commit`` is called.

        Raises:
            DensebenchError: a feature cannot be stored in the entry's form.
        """
        self._patches[start : start + len(patches)] = encoded(patches, self.form, self._exact)
        self._masks[start : start + len(masks)] = masks

    def as_read(self, patches: Float[np.ndarray, "b h w d"]) -> Float[np.ndarray, "b h w d"]:
        """A copy of what ``read`` will give of patches that are written.

        Raises:
            DensebenchError: a feature cannot be stored in the entry's form.
        """
        return decoded(encoded(patches, self.form, self._exact), self.form)

    @property
    def devices(self) -> list[str]:
        """Where the patches were computed; ``unknown`` for entries that do not say."""
        return list(self._meta.get("devices", ["unknown"]))

    def note_device(self, device: str) -> None:
        """What is written from now on comes from that device; it stands with the next commit."""
        known = self._meta.get("devices", ["unknown"] if self.filled else [])
        self._meta["devices"] = sorted({*known, device})

    def commit(self, filled: int) -> None:
        """Make all images before ``filled`` count, with checksums of every whole block.

        Nothing is done where there is no further block: the disk is waited for once for each.
        """
        sums = self._meta["checksums"]
        blocks = -(-filled // BLOCK_IMAGES) if filled == len(self) else filled // BLOCK_IMAGES
        if filled and blocks == len(sums) and filled < len(self):
            return
        self.flush()
        sums += [self.checksum(block) for block in range(len(sums), blocks)]
        self._settle(min(filled, blocks * BLOCK_IMAGES))

    def take(self, noted: Iterable[Block], verify: bool) -> None:
        """Count blocks that several processes wrote, if asked only those that are sound."""
        sums: list[int] = self._meta["checksums"]
        found = {block.number: block for block in noted if block.number >= len(sums)}
        if verify:
            found = {n: b for n, b in found.items() if self.checksum(n) == b.checksum}
        for block in found.values():
            self.unreadable |= block.unreadable
            self.note_device(block.device)
        while len(sums) in found:
            sums.append(found[len(sums)].checksum)
        self.beyond = {number for number in found if number >= len(sums)}
        self._settle(min(len(self), len(sums) * BLOCK_IMAGES))

    @property
    def missing(self) -> list[int]:
        """The images that are not there yet."""
        rest = range(self.filled, len(self))
        return [image for image in rest if image // BLOCK_IMAGES not in self.beyond]

    def _settle(self, filled: int) -> None:
        """Have the description say what counts; whole entries need no notes beside it."""
        self.filled = filled
        self._meta |= {"filled": filled, "unreadable": self.unreadable}
        write_atomically(self.folder / "meta.json", json.dumps(self._meta))
        if filled == len(self):
            for file in self.folder.glob(NOTES):
                file.unlink(missing_ok=True)

    def flush(self) -> None:
        """Wait for the disk; on Linux by the files, so that other threads need not wait."""
        if sys.platform != "linux":
            self._patches.flush()
            self._masks.flush()
            return
        for name in ("patches.npy", "masks.npy"):
            with (self.folder / name).open("rb+") as file:
                os.fsync(file.fileno())

    def is_sound(self) -> bool:
        """Whether every block is what was written."""
        sums = self._meta["checksums"]
        if self.filled != min(len(self), len(sums) * BLOCK_IMAGES):
            return False
        return all(self.checksum(block) == known for block, known in enumerate(sums))

    def checksum(self, block: int) -> int:
        """Of the patches and masks of a block as they are now."""
        rows = slice(block * BLOCK_IMAGES, (block + 1) * BLOCK_IMAGES)
        patches = np.ascontiguousarray(self._patches[rows]).view(np.uint8).data
        return zlib.crc32(np.ascontiguousarray(self._masks[rows]).data, zlib.crc32(patches))


def _mapped(file: Path, dtype: str, shape: list[int]) -> np.memmap:
    if not file.exists():
        np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=tuple(shape))
        _reserve(file)
    open_regular(file).close()
    mapped: np.memmap = np.lib.format.open_memmap(file, mode="r+")
    if mapped.shape != tuple(shape) or mapped.dtype != dtype:
        raise ValueError(f"{file} is not what its description says")
    return mapped


def _reserve(file: Path) -> None:
    """Take the disk's space at once: a map of a sparse file kills the process on a full disk."""
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)


def read_meta(folder: Path) -> dict[str, Any]:
    """An entry's description."""
    meta: dict[str, Any] = read_json(folder / "meta.json")
    return meta


def entry_info(folder: Path) -> EntryInfo | None:
    """What a list shows of an entry; nothing for one that is damaged, or just now removed."""
    with suppress(*DAMAGE):
        meta, used = read_meta(folder), (folder / "meta.json").stat().st_mtime
        images, filled, spec = meta["patches"][0], meta["filled"], meta["spec"]
        if {"transform", "size"} <= dict(spec["view"]).keys():  # which is shown
            size, about = entry_bytes(folder), dict(meta.get("about", {}))
            return EntryInfo(folder.name, folder, size, images, filled, used, spec, about)
    return None


def entry_bytes(folder: Path) -> int:
    """What an entry takes on the disk."""
    return sum(file.stat().st_size for file in folder.iterdir())
