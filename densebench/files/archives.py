"""Archives that are read where they lie: ``.tar`` and ``.zip``, indexed once, then at random.

Members are only names: nothing is unpacked, and no name or link leads out of the archive. The index
is small (sorted names and a table of numbers) and is kept in the cache for as long as the archive
has the same stamp.
"""

import errno
import hashlib
import io
import os
import posixpath
import sys
import tarfile
import time
import warnings
import weakref
import zipfile
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from densebench.files.atomic import write_atomically
from densebench.files.regular import open_regular
from densebench.host.errors import DensebenchError
from densebench.host.paths import cache_home

SUFFIXES = (".tar", ".zip")
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
_COMPRESSED_STARTS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
# A file that is written again within the clock tick of its date keeps size and date, so a file
# as young as this is not trusted to an index (git calls it racily clean).
YOUNG_NS = 2_000_000_000
_BROKEN = (OSError, ValueError, NotImplementedError, tarfile.TarError, zipfile.BadZipFile)
LARGEST_MEMBER = 1 << 30
OPEN_AT_ONCE = 32
SLOW_TO_INDEX = 1 << 30
LOCAL_HEADER = 30
COLUMNS = 6
UTF8_NAME = 0x800  # the flag of a member
NO_CRC, NOT_READ = -1, -1  # in place of a checksum, and of a method of compression

# Offset of the data (in a zip, of the header before it), stored bytes, bytes, method, CRC-32, and
# in a zip the CRC-32 of the name as it is stored.
Row = tuple[int, int, int, int, int, int]
# Size, dates of the content and of the inode (in nanoseconds), inode.
Stamp = tuple[int, int, int, int]


class Archive:
    """The members of one archive, by path within it.

    Reads do not move a common position, so threads and forked processes may share an archive.
    """

    def __init__(self, path: Path, names: list[str], rows: Int64[np.ndarray, "n 6"]) -> None:
        self._path, self._names, self._rows = path, names, rows
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)

    def is_dir(self, folder: str) -> bool:
        """Whether a member lies below this path; "" is the archive itself."""
        return next(self.children(folder), None) is not None or not folder

    def is_file(self, name: str) -> bool:
        """Whether there is a member of this name."""
        return self._position(name) is not None

    def children(self, folder: str) -> Iterator[str]:
        """The names directly below a folder, each once, sorted."""
        prefix = f"{folder}/" if folder else ""
        i = bisect_left(self._names, prefix)
        while i < len(self._names) and self._names[i].startswith(prefix):
            child, below, _ = self._names[i][len(prefix) :].partition("/")
            yield child
            # "0" is what comes after "/", so this is past all that the sub-folder holds.
            i = bisect_left(self._names, f"{prefix}{child}0", i) if below else i + 1

    def read(self, name: str) -> bytes:
        """A member's content.

        Raises:
            OSError: no such member, or it is damaged, or is of a kind that is not read, or has
                another name in its own header than in the archive's index.
        """
        position = self._position(name)
        if position is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self._path}/{name}")
        offset, stored, size, method, crc, name_crc = map(int, self._rows[position])
        if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _damaged("neither stored nor deflated, or encrypted, or sparse")
        if max(stored, size) > LARGEST_MEMBER:
            raise _damaged("too large to be part of a dataset")
        content = self._bytes(offset + self._header(offset, name_crc), stored)
        if method == zipfile.ZIP_DEFLATED:
            content = _inflated(content, size)
        if len(content) != size or crc not in (NO_CRC, zlib.crc32(content)):
            raise _damaged("its content is not what the archive's checksum says")
        return content

    def _position(self, name: str) -> int | None:
        i = bisect_left(self._names, name)
        return i if i < len(self._names) and self._names[i] == name else None

    def _header(self, offset: int, name_crc: int) -> int:
        """The length of what stands before a zip's member, which only its own header tells."""
        if self._path.suffix.lower() != ".zip":
            return 0
        header = self._bytes(offset, LOCAL_HEADER)
        if not header.startswith(b"PK\3\4"):
            raise _damaged("it does not lie where the archive's index says")
        name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        if zlib.crc32(self._bytes(offset + LOCAL_HEADER, name)) != name_crc:
            raise _damaged("its own header gives it another name than the archive's index")
        return LOCAL_HEADER + name + extra

    def _bytes(self, offset: int, count: int) -> bytes:
        content = os.pread(self._descriptor, count, offset)
        if len(content) != count:
            raise _damaged("the archive is cut short")
        return content


def open_archive(path: str | os.PathLike[str]) -> Archive:
    """The archive at that path; opened and indexed once, until its stamp changes.

    Raises:
        DensebenchError: no readable archive, or a compressed one.
    """
    path = os.path.abspath(path)  # noqa: PTH100 - called for every image; a Path is slow
    return _opened(path, stamp(path))


def stamp(path: str | os.PathLike[str]) -> Stamp:
    """What tells a changed file from the one that it was.

    Size and date can be kept while the content is exchanged; the date of the inode cannot be set.

    Raises:
        OSError: no such file.
    """
    status = os.stat(path)  # noqa: PTH116 - as above
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def is_settled(stamped: Stamp, now_ns: int) -> bool:
    """Whether a file is old enough for a further change to be seen in its stamp."""
    return now_ns - max(stamped[1:3]) > YOUNG_NS


def refuse_compressed(path: Path) -> None:
    """Refuses a compressed tar.

    Raises:
        DensebenchError: it is one, by its name.
    """
    if path.name.lower().endswith(COMPRESSED) and path.is_file():
        raise _compressed(path)


@lru_cache(maxsize=OPEN_AT_ONCE)
def _opened(path: str, stamped: Stamp) -> Archive:
    place = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
    kept = cache_home() / "archives" / f"{place}.npz"
    index = _kept_index(kept, stamped)
    if index is None:
        index = _new_index(Path(path))
        if is_settled(stamped, time.time_ns()):
            _keep_index(kept, stamped, *index)
    return Archive(Path(path), *index)


def _new_index(path: Path) -> tuple[list[str], Int64[np.ndarray, "n 6"]]:
    is_tar = path.suffix.lower() == ".tar"
    if is_tar and path.stat().st_size > SLOW_TO_INDEX:
        print(f"indexing {path}, once", file=sys.stderr)
    try:
        open_regular(path).close()
        found = _tar_rows(path) if is_tar else _zip_rows(path)
    except _BROKEN as error:
        if _start(path).startswith(_COMPRESSED_STARTS):
            raise _compressed(path) from error
        raise DensebenchError(
            f"{path}: not a readable {path.suffix} archive ({error}); fetch it again, "
            "or move it away"
        ) from error
    names = sorted(found)
    return names, np.array([found[name] for name in names], np.int64).reshape(-1, COLUMNS)


def _start(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(8)
    except OSError:
        return b""


def _tar_rows(path: Path) -> dict[str, Row]:
    """Files by name, the last of a name; links become what they point to inside the archive."""
    rows: dict[str, Row] = {}
    links: dict[str, str] = {}
    end = path.stat().st_size
    with tarfile.open(path, "r:") as tar:
        while member := tar.next():
            tar.members.clear()  # type: ignore[attr-defined]  # it keeps a kilobyte of each
            name = _clean(member.name)
            if tar.offset > end:
                raise tarfile.ReadError("it is cut short")
            if member.isreg():
                method = NOT_READ if member.issparse() else zipfile.ZIP_STORED
                rows[name] = member.offset_data, member.size, member.size, method, NO_CRC, NO_CRC
            elif member.issym():
                links[name] = _clean(posixpath.join(posixpath.dirname(name), member.linkname))
            elif member.islnk():
                links[name] = _clean(member.linkname)
        _check_end(path, tar.offset)
    rows |= {name: rows[target] for name, target in links.items() if target in rows}
    rows.pop("", None)
    return rows


def _check_end(path: Path, offset: int) -> None:
    """A tar ends in a block of zeros; tarfile takes any other block for the end as well."""
    with path.open("rb") as file:
        file.seek(offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"it is cut short or damaged at byte {offset}")


def _zip_rows(path: Path) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                method = NOT_READ if info.flag_bits & 1 else info.compress_type
                sizes = info.compress_size, info.file_size
                checks = info.CRC, _name_crc(info)
                rows[_clean(info.filename)] = info.header_offset, *sizes, method, *checks
    rows.pop("", None)
    return rows


def _name_crc(info: zipfile.ZipInfo) -> int:
    """CRC-32 of a member's name as the archive's index stores it."""
    encoding = "utf-8" if info.flag_bits & UTF8_NAME else "cp437"
    return zlib.crc32(info.orig_filename.encode(encoding))


def _clean(name: str) -> str:
    """The name as a path below the archive, or "" for one that leads out of it."""
    path = posixpath.normpath(name.lstrip("/"))
    return "" if path in (".", "..") or path.startswith("../") or "\0" in path else path


def _inflated(content: bytes, size: int) -> bytes:
    """The content of a deflated member; never more than one byte beyond its stated size."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
    except zlib.error as error:
        raise _damaged(str(error)) from error


def _damaged(reason: str) -> OSError:
    return OSError(errno.EIO, reason)


def _compressed(path: Path) -> DensebenchError:
    return DensebenchError(
        f"{path}: a compressed tar cannot be read at random; unpack it, or repack it as .tar"
    )


def _kept_index(file: Path, wanted: Stamp) -> tuple[list[str], Int64[np.ndarray, "n 6"]] | None:
    """The index from the cache, unless there is none, or the archive has changed since."""
    try:
        open_regular(file).close()
        with np.load(file) as kept:
            rows, names = kept["rows"], bytes(kept["names"]).decode("utf-8", "surrogateescape")
            listed = names.split("\0") if names else []
            if tuple(kept["stamp"].tolist()) == wanted and rows.shape == (len(listed), COLUMNS):
                return listed, rows
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        pass
    return None


def _keep_index(
    file: Path, stamped: Stamp, names: list[str], rows: Int64[np.ndarray, "n 6"]
) -> None:
    text = "\0".join(names).encode("utf-8", "surrogateescape")
    content = io.BytesIO()
    np.savez(content, stamp=np.array(stamped), names=np.frombuffer(text, np.uint8), rows=rows)
    try:
        write_atomically(file, content.getvalue())
    except OSError as error:
        warnings.warn(
            f"the index of an archive cannot be kept in {file.parent} ({error.strerror}); "
            "it is made again each time",
            stacklevel=2,
        )
