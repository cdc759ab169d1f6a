"""The feature cache: patches and masks of one view of one split, memory-mapped on disk.

An entry's key is the hash of everything that changes features (weights, view, precision, images)
and nothing else, so that all protocols that see the same features share it. Entries are filled
image by image in order; an interrupted fill goes on where it stopped. One process fills at a time,
others wait. Every block has a checksum, and an entry that does not match is made anew.
"""

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from densebench.features.blocks import recover
from densebench.features.entries import DAMAGE, Entry, EntryInfo, entry_bytes, entry_info, read_meta
from densebench.features.storing import Stored, file_type
from densebench.files.hashes import content_hash
from densebench.files.locks import held
from densebench.host.errors import DensebenchError
from densebench.host.memory import gigabytes
from densebench.host.paths import cache_home
from densebench.host.watcher import Watcher

DEFAULT_LIMIT_GB = 50.0
FREE_MARGIN = 1_000_000_000


@dataclass(frozen=True)
class FeatureCache:
    """The folder of all entries, with a limit on their size.

    When a new entry would exceed the limit, the entries that were used the longest ago go first.
    None goes that was used through the same object: a run whose views do not all fit keeps the
    first of them for the next run, and writes nothing that it would remove again. What is said
    ``about`` the features of new entries is for who lists them; it is in no key.
    """

    folder: Path
    limit: int
    dtype: str = "float32"
    watcher: Watcher = field(default_factory=Watcher)
    about: Mapping[str, str] = field(default_factory=dict)
    _verified: set[Path] = field(default_factory=set)
    _complaints: set[str] = field(default_factory=set)
    _used: set[Path] = field(default_factory=set)

    @contextmanager
    def open(
        self,
        spec: dict[str, Any],
        patches: tuple[int, int, int, int],
        masks: tuple[int, int, int],
        values: str = "uint8",
        given: Stored = "float32",
    ) -> Iterator[Entry | None]:
        """The entry of ``spec``, locked until it is filled; nothing when there is no place.

        Features that are ``given`` in half precision are kept in it, as they are.
        """
        key = self._key(spec)
        with ExitStack() as stack:
            entry = None
            try:
                stack.enter_context(self._lock(key))
                entry = self._open(key, spec, (patches, masks), values, given)
            except OSError as error:
                self._complain(f"features cannot be kept in {self.folder}: {error.strerror}")
            if entry is not None and entry.filled == len(entry):
                stack.close()  # whole entries are only read, by as many as like to
            yield entry

    def whole(self, spec: dict[str, Any]) -> Entry | None:
        """The entry of ``spec`` as another process has just left it; nothing if it is not whole."""
        folder = self.folder / self._key(spec)
        with suppress(*DAMAGE):
            entry = Entry(folder, read_meta(folder))
            return entry if entry.filled == len(entry) else None
        return None

    def _key(self, spec: dict[str, Any]) -> str:
        return content_hash({**spec, "dtype": self.dtype})[:32]

    def entries(self) -> list[EntryInfo]:
        """Every entry, the one that was used last first."""
        found = [entry_info(path.parent) for path in self.folder.glob("*/meta.json")]
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
        given: Stored,
    ) -> Entry | None:
        folder = self.folder / key
        form = given if self.dtype == "float32" else self.dtype
        entry = self._sound_entry(folder, form)
        if entry is not None:
            os.utime(folder / "meta.json")
            self._used.add(folder)
            return entry
        sizes = np.dtype(file_type(form)).itemsize, np.dtype(values).itemsize
        needed = sum(int(np.prod(s)) * size for s, size in zip(shapes, sizes, strict=True))
        if not self._make_room(needed):
            return None
        meta: dict[str, Any] = {"spec": spec, "dtype": form, "values": values}
        meta |= {"about": dict(self.about)} if self.about else {}
        meta |= {"exact": True} if form != self.dtype else {}
        meta |= {"patches": shapes[0], "masks": shapes[1], "filled": 0}
        meta |= {"checksums": [], "unreadable": {}}
        try:
            folder.mkdir(parents=True)
            entry = Entry(folder, meta)
            entry.commit(0)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._used.add(folder)
        return entry

    def _sound_entry(self, folder: Path, form: str) -> Entry | None:
        """The entry that is there, if it is sound; what is not is removed with a warning.

        One that another machine left unfinished, where features have other bits, is removed too.
        """
        if not folder.exists():
            return None
        with suppress(*DAMAGE):
            entry = Entry(folder, read_meta(folder))
            if entry.filled < len(entry) and entry.form != form:
                shutil.rmtree(folder)
                return None
            if folder in self._verified or entry.is_sound():
                self._verified.add(folder)
                if entry.missing:
                    recover(entry)
                return entry
        self.watcher.say(f"warning: cached features {folder} are damaged; they are extracted again")
        shutil.rmtree(folder)
        return None

    def _make_room(self, needed: int) -> bool:
        self._sweep()
        free = shutil.disk_usage(_existing(self.folder)).free - FREE_MARGIN
        entries = self.entries()
        others = [entry for entry in entries if entry.folder not in self._used]
        total, removable = (sum(e.n_bytes for e in part) for part in (entries, others))
        if needed <= min(self.limit - total, free) + removable:
            while others and (total + needed > self.limit or needed > free):
                oldest = others.pop()
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
        sizes = {folder: entry_bytes(folder) for folder in folders if entry_info(folder) is None}
        return sum(size for folder, size in sizes.items() if self._remove(folder))

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        waiting = "another process extracts the same features; waiting for it"
        with held(self.folder / f"{key}.lock", taken=lambda: self.watcher.say(waiting)):
            yield


def feature_cache(
    dtype: str = "float32",
    watcher: Watcher | None = None,
    about: Mapping[str, str] | None = None,
) -> FeatureCache:
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
    return FeatureCache(cache_home() / "features", limit, dtype, watcher or Watcher(), about or {})


def _give_up() -> None:
    raise BlockingIOError


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
