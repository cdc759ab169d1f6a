"""The feature cache: patches and masks of one view of one split, memory-mapped on disk.

An entry's key is the hash of everything that changes features (weights, view, precision, images)
and nothing else, so that all protocols that see the same features share it. Entries are filled
image by image in order; an interrupted fill goes on where it stopped. One process fills at a time,
others wait. Every block has a checksum, and an entry that does not match is made anew.
"""

import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from densebench.files.atomic import write_atomically
from densebench.files.hashes import content_hash
from densebench.files.locks import held
from densebench.files.regular import read_json
from densebench.host.errors import DensebenchError
from densebench.host.memory import gigabytes
from densebench.host.paths import cache_home
from densebench.host.watcher import Watcher

DEFAULT_LIMIT_GB = 50.0
BLOCK_IMAGES = 16
FREE_MARGIN = 1_000_000_000
# How a file that was cut short or changed shows itself when it is read.
DAMAGE = (OSError, ValueError, KeyError, TypeError, IndexError)


@dataclass(frozen=True)
class EntryInfo:
    """One entry as a list shows it."""

    key: str
    folder: Path
    n_bytes: int
    images: int
    filled: int
    used: float  # seconds since the epoch
    spec: dict[str, Any]


class Entry:
    """Patches (n, h, w, D) and masks (n, S, S) of one view; ``filled`` images are there."""

    def __init__(self, folder: Path, meta: dict[str, Any]) -> None:
        self._folder, self._meta = folder, meta
        self.filled: int = meta["filled"]
        self.unreadable: dict[str, str] = meta["unreadable"]
        self._patches = _mapped(folder / "patches.npy", meta["dtype"], meta["patches"])
        self._masks = _mapped(folder / "masks.npy", meta.get("values", "uint8"), meta["masks"])

    def __len__(self) -> int:
        return int(self._meta["patches"][0])

    def read(
        self, indices: np.ndarray
    ) -> tuple[Float[np.ndarray, "b h w d"], Shaped[np.ndarray, "b S S"]]:
        """Copies of some images' patches, as float32, and masks."""
        return self._patches[indices].astype(np.float32), self._masks[indices]

    def write(
        self, start: int, patches: Float[np.ndarray, "b h w d"], masks: Shaped[np.ndarray, "b S S"]
    ) -> None:
        """Put the next images; they count once ``commit`` is called.

        Raises:
            DensebenchError: a feature is beyond the range of the cache's precision.
        """
        largest = np.abs(patches).max()
        if largest > np.finfo(self._patches.dtype).max:
            raise DensebenchError(f"features reach {largest:.3g}, beyond fp16; use --cache fp32")
        self._patches[start : start + len(patches)] = patches
        self._masks[start : start + len(masks)] = masks

    @property
    def devices(self) -> list[str]:
        """Where the patches were computed; ``unknown`` for entries that do not say."""
        return list(self._meta.get("devices", ["unknown"]))

    def note_device(self, device: str) -> None:
        """What is written from now on comes from that device; it stands with the next commit."""
        known = self._meta.get("devices", ["unknown"] if self.filled else [])
        self._meta["devices"] = sorted({*known, device})

    def commit(self, filled: int) -> None:
        """Make all images before ``filled`` count, with checksums of every whole block."""
        self._patches.flush()
        self._masks.flush()
        sums = self._meta["checksums"]
        blocks = -(-filled // BLOCK_IMAGES) if filled == len(self) else filled // BLOCK_IMAGES
        sums += [self._checksum(block) for block in range(len(sums), blocks)]
        self.filled = min(filled, blocks * BLOCK_IMAGES)
        self._meta |= {"filled": self.filled, "unreadable": self.unreadable}
        write_atomically(self._folder / "meta.json", json.dumps(self._meta))

    def is_sound(self) -> bool:
        """Whether every block is what was written."""
        sums = self._meta["checksums"]
        if self.filled != min(len(self), len(sums) * BLOCK_IMAGES):
            return False
        return all(self._checksum(block) == known for block, known in enumerate(sums))

    def _checksum(self, block: int) -> int:
        rows = slice(block * BLOCK_IMAGES, (block + 1) * BLOCK_IMAGES)
        patches = np.ascontiguousarray(self._patches[rows]).view(np.uint8).data
        return zlib.crc32(np.ascontiguousarray(self._masks[rows]).data, zlib.crc32(patches))


@dataclass(frozen=True)
class FeatureCache:
    """The folder of all entries, with a limit on their size.

    When a new entry would exceed the limit, the entries that were used the longest ago go first.
    """

    folder: Path
    limit: int
    dtype: str = "float32"
    watcher: Watcher = field(default_factory=Watcher)
    _verified: set[Path] = field(default_factory=set)
    _complaints: set[str] = field(default_factory=set)

    @contextmanager
    def open(
        self,
        spec: dict[str, Any],
        patches: tuple[int, int, int, int],
        masks: tuple[int, int, int],
        values: str = "uint8",
    ) -> Iterator[Entry | None]:
        """The entry of ``spec``, locked until it is filled; nothing when there is no place."""
        key = content_hash({**spec, "dtype": self.dtype})[:32]
        with ExitStack() as stack:
            entry = None
            try:
                stack.enter_context(self._lock(key))
                entry = self._open(key, spec, (patches, masks), values)
            except OSError as error:
                self._complain(f"features cannot be kept in {self.folder}: {error.strerror}")
            if entry is not None and entry.filled == len(entry):
                stack.close()  # whole entries are only read, by as many as like to
            yield entry

    def entries(self) -> list[EntryInfo]:
        """Every entry, the one that was used last first."""
        found = [_info(path.parent) for path in self.folder.glob("*/meta.json")]
        return sorted((info for info in found if info is not None), key=lambda info: -info.used)

    def clear(self, keys: list[str] | None = None) -> int:
        """Remove all entries, or those whose keys begin as given; returns the bytes freed.

        What a process is filling just now stays.
        """
        wanted = [e for e in self.entries() if not keys or any(e.key.startswith(k) for k in keys)]
        freed = sum(entry.n_bytes for entry in wanted if self._remove(entry.folder))
        return freed if keys else freed + self._sweep()

    def _open(
        self,
        key: str,
        spec: dict[str, Any],
        shapes: tuple[tuple[int, ...], tuple[int, ...]],
        values: str,
    ) -> Entry | None:
        folder = self.folder / key
        entry = self._sound_entry(folder)
        if entry is not None:
            os.utime(folder / "meta.json")
            return entry
        sizes = np.dtype(self.dtype).itemsize, np.dtype(values).itemsize
        needed = sum(int(np.prod(s)) * size for s, size in zip(shapes, sizes, strict=True))
        if not self._make_room(needed):
            return None
        meta: dict[str, Any] = {"spec": spec, "dtype": self.dtype, "values": values}
        meta |= {"patches": shapes[0], "masks": shapes[1], "filled": 0}
        meta |= {"checksums": [], "unreadable": {}}
        try:
            folder.mkdir(parents=True)
            entry = Entry(folder, meta)
            entry.commit(0)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return entry

    def _sound_entry(self, folder: Path) -> Entry | None:
        """The entry that is there, if it is whole; what is not is removed with a warning."""
        if not folder.exists():
            return None
        with suppress(*DAMAGE):
            entry = Entry(folder, _read_meta(folder))
            if folder in self._verified or entry.is_sound():
                self._verified.add(folder)
                return entry
        self.watcher.say(f"warning: cached features {folder} are damaged; they are extracted again")
        shutil.rmtree(folder)
        return None

    def _make_room(self, needed: int) -> bool:
        self._sweep()
        free = shutil.disk_usage(_existing(self.folder)).free - FREE_MARGIN
        used = self.entries()
        total = sum(entry.n_bytes for entry in used)
        if needed <= min(self.limit, free + total):
            while used and (total + needed > self.limit or needed > free):
                oldest = used.pop()
                if self._remove(oldest.folder):
                    total, free = total - oldest.n_bytes, free + oldest.n_bytes
        if total + needed <= self.limit and needed <= free:
            return True
        self._complain(
            f"features of {gigabytes(needed)} are not kept (limit {gigabytes(self.limit)}, "
            f"free {gigabytes(max(0, free))})"
        )
        return False

    def _complain(self, problem: str) -> None:
        """Say once, and not in every epoch, that there is no place."""
        if not self._complaints:
            self.watcher.say(
                f"{problem}; the run goes on, and starts them again if it is interrupted"
            )
        self._complaints.add(problem)

    def _remove(self, folder: Path) -> bool:
        """Remove an entry, unless a process is filling it."""
        try:
            with held(self.folder / f"{folder.name}.lock", taken=_give_up):
                shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            return False
        return True

    def _sweep(self) -> int:
        """Remove what has no readable description, as a kill may leave; returns the bytes freed."""
        folders = [path for path in self.folder.glob("*") if path.is_dir()]
        sizes = {folder: _size(folder) for folder in folders if _info(folder) is None}
        return sum(size for folder, size in sizes.items() if self._remove(folder))

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        waiting = "another process extracts the same features; waiting for it"
        with held(self.folder / f"{key}.lock", taken=lambda: self.watcher.say(waiting)):
            yield


def feature_cache(dtype: str = "float32", watcher: Watcher | None = None) -> FeatureCache:
    """The user's cache; ``DENSEBENCH_CACHE_LIMIT`` is its size in GB (50 by default).

    Raises:
        DensebenchError: the limit is no number.
    """
    text = os.environ.get("DENSEBENCH_CACHE_LIMIT", str(DEFAULT_LIMIT_GB))
    try:
        limit = int(float(text) * 1e9)
    except (ValueError, OverflowError):
        limit = -1
    if limit < 0:
        raise DensebenchError(f"DENSEBENCH_CACHE_LIMIT must be a number of GB, not '{text}'")
    return FeatureCache(cache_home() / "features", limit, dtype, watcher or Watcher())


def _mapped(file: Path, dtype: str, shape: list[int]) -> np.memmap:
    if not file.exists():
        np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=tuple(shape))
        _reserve(file)
    mapped: np.memmap = np.lib.format.open_memmap(file, mode="r+")
    if mapped.shape != tuple(shape) or mapped.dtype != dtype:
        raise ValueError(f"{file} is not what its description says")
    return mapped


def _reserve(file: Path) -> None:
    """Take the disk's space at once: a map of a sparse file kills the process on a full disk."""
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)


def _read_meta(folder: Path) -> dict[str, Any]:
    meta: dict[str, Any] = read_json(folder / "meta.json")
    return meta


def _info(folder: Path) -> EntryInfo | None:
    """What a list shows of an entry; nothing for one that is damaged, or just now removed."""
    with suppress(*DAMAGE):
        meta, used = _read_meta(folder), (folder / "meta.json").stat().st_mtime
        images, filled, spec = meta["patches"][0], meta["filled"], meta["spec"]
        return EntryInfo(folder.name, folder, _size(folder), images, filled, used, spec)
    return None


def _give_up() -> None:
    raise BlockingIOError


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def age(seconds: float) -> str:
    """How long ago a time was, for people."""
    passed = time.time() - seconds
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if passed >= length:
            return f"{passed / length:.0f} {unit} ago"
    return "just now"
