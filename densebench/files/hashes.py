"""Hashes of values and of files, and the index that spares hashing a file twice.

The index is one small JSON file a folder, in the cache: file name -> stamp, hash. Of a file in an
archive the stamp is the archive's.
"""

import hashlib
import json
import os
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from densebench.files.archives import Stamp, is_settled, stamp
from densebench.files.atomic import write_atomically
from densebench.files.regular import read_json
from densebench.files.tree import archive_of, open_file
from densebench.host.errors import DensebenchError
from densebench.host.paths import cache_home
from densebench.host.watcher import Advance

THREADS = 8
BLOCK = 1 << 20
BATCH = 512
HANDFUL = 64
HASH_BYTES = 32
Entry = tuple[Stamp, str]


def content_hash(value: Any) -> str:
    """SHA-256 of a JSON-like value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def content_hashes(
    files: Iterable[str], fresh: bool = False, advance: Advance = lambda _: None
) -> dict[str, str]:
    """SHA-256 (hex) of each file's content, from the index where it still holds.

    ``fresh`` reads every file, and corrects the index; ``advance`` is told how many more are done.

    Raises:
        DensebenchError: a file cannot be read.
    """
    places = _places(files)
    by_folder: dict[str, set[str]] = defaultdict(set)
    for folder, name in places.values():
        by_folder[folder].add(name)
    with ThreadPoolExecutor(THREADS) as pool:
        hashes = {
            f: _folder_hashes(f, sorted(names), pool, fresh, advance)
            for f, names in by_folder.items()
        }
    return {file: hashes[folder][name] for file, (folder, name) in places.items()}


def _places(files: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Each file's folder, absolute, and its name in that.

    Strings all through: a Path for each of COCO's 236,574 files takes longer than its index.
    """
    places, absolute = {}, {}
    for file in files:
        start, slash, name = file.rpartition(os.sep)
        if (start, slash) not in absolute:
            absolute[start, slash] = os.path.abspath(start + slash)  # noqa: PTH100
        places[file] = absolute[start, slash], name
    return places


def _folder_hashes(
    folder: str, names: list[str], pool: ThreadPoolExecutor, anew: bool, advance: Advance
) -> dict[str, str]:
    index_file = _index_file(folder)
    index = {} if anew else _read_index(index_file)
    parts = [names[i : i + BATCH] for i in range(0, len(names), BATCH)]
    stamps = dict(zip(names, chain(*pool.map(partial(_stamps, folder), parts)), strict=True))
    stale = [name for name in names if name not in index or index[name][0] != stamps[name]]
    advance(len(names) - len(stale))
    started = time.time_ns()
    fresh: dict[str, str] = {}
    for hashed in pool.map(partial(_file_hashes, folder), _shares(stale)):
        fresh |= hashed
        advance(len(hashed))
    settled = {
        name: (stamps[name], digest)
        for name, digest in fresh.items()
        if is_settled(stamps[name], started)
    }
    if settled:
        # Read again: another process may have added to it while we were hashing.
        _write_index(index_file, {**_read_index(index_file), **settled})
    return {name: fresh[name] if name in fresh else index[name][1] for name in names}


def _stamps(folder: str, names: list[str]) -> list[Stamp]:
    archive = archive_of(folder)
    stamps: list[Stamp] = []
    start = os.path.join(folder, "")  # noqa: PTH118 - see _places
    for name in names:
        file = start + name if archive is None else archive[0]
        try:
            stamps.append(stamp(file))
        except OSError as error:
            raise DensebenchError(f"{file}: cannot be read: {error.strerror}") from error
    return stamps


def _shares(names: list[str]) -> list[list[str]]:
    """Names by the handful: to hand one over takes longer than to hash a small file."""
    size = max(1, min(HANDFUL, len(names) // (4 * THREADS)))
    return [names[i : i + size] for i in range(0, len(names), size)]


def _file_hashes(folder: str, names: list[str]) -> dict[str, str]:
    return {name: _file_hash(folder, name) for name in names}


def _file_hash(folder: str, name: str) -> str:
    file = Path(folder, name)
    total = hashlib.sha256()
    try:
        with open_file(file) as stream:
            while block := stream.read(BLOCK):
                total.update(block)
    except OSError as error:
        raise DensebenchError(f"{file}: cannot be read: {error.strerror}") from error
    return total.hexdigest()


def _index_file(folder: str) -> Path:
    place = hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]
    return cache_home() / "hashes" / f"{place}.json"


def _read_index(file: Path) -> dict[str, Entry]:
    """The index, or an empty one where there is none that can be trusted."""
    try:
        entries = read_json(file)
        return {str(name): _entry(*values) for name, values in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _entry(stamped: list[int], digest: str) -> Entry:
    size, mtime_ns, ctime_ns, inode = map(int, stamped)
    if len(bytes.fromhex(digest)) != HASH_BYTES:
        raise ValueError("not a SHA-256")
    return (size, mtime_ns, ctime_ns, inode), digest


def _write_index(file: Path, entries: dict[str, Entry]) -> None:
    """Replaces the index in one step, so that a reader sees the old one or the new one."""
    try:
        write_atomically(file, json.dumps(entries))
    except OSError as error:
        warnings.warn(
            f"the hashes of the dataset cannot be kept in {file.parent} ({error.strerror}); "
            "they are computed again each time",
            stacklevel=2,
        )
