"""Unpacking that trusts no archive: names, links, kinds and sizes are checked before a write."""

import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from densebench.host.errors import DensebenchError
from densebench.host.watcher import Advance

BLOCK = 1 << 20
MAX_MEMBERS = 4_000_000
# Photographs and PNGs hardly shrink, and JSON to a tenth; a bomb grows a thousandfold.
MAX_RATIO = 40
FLOOR = 64 << 20
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    RuntimeError,  # of zipfile: encrypted, or packed in a way that it does not know
)


@dataclass(frozen=True)
class Member:
    """What an archive says of one of its members."""

    name: str
    size: int
    kind: Literal["file", "folder", "link", "other"]
    link: str
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True)
class Take:
    """Which members are wanted, and the new file or folder that they go to.

    ``members``, ``suffix``, ``inner`` and ``inner_folders`` are those of a ``Piece``.
    """

    members: str
    into: Path
    suffix: str = ""
    inner: str | None = None
    inner_folders: bool = False

    def place(self, name: str) -> Path | None:
        """Where a member goes, if it is wanted."""
        if self.inner is not None:
            return None
        if self.members and not self.members.endswith("/"):
            return self.into if name == self.members else None
        if not name.startswith(self.members) or not name.endswith(self.suffix):
            return None
        path = PurePosixPath(name[len(self.members) :])
        # macOS adds such files to the archives that it packs.
        return None if path.name.startswith(("._", ".DS_Store")) else self.into / path


class Budget:
    """How many bytes may still be written."""

    def __init__(self, n_bytes: int, reason: str) -> None:
        self.left = n_bytes
        self._reason = reason

    def spend(self, n_bytes: int, archive: Path) -> None:
        """Count bytes.

        Raises:
            DensebenchError: more than there may be.
        """
        self.left -= n_bytes
        if self.left < 0:
            raise DensebenchError(
                f"{archive}: not unpacked, since it holds more than {self._reason}"
            )


def unpack(archive: Path, takes: Sequence[Take], free: int, advance: Advance) -> None:
    """Write the wanted members of a tar, gzipped tar or zip into new files and folders.

    All members are checked, wanted or not. What was written stays where an error is raised, so
    that the caller unpacks into a temporary place.

    Args:
        archive: the file.
        takes: what is wanted.
        free: bytes that may be written.
        advance: told the number of files written.

    Raises:
        DensebenchError: the archive is damaged; a member is absolute, climbs out, is a device, or
            links out; a wanted member is a link or comes twice; or it grows beyond ``free``, or
            beyond what an archive of images can.
    """
    bound = max(MAX_RATIO * archive.stat().st_size, FLOOR)
    reason = f"{bound:,} bytes, which an archive of images of its size cannot"
    total = Budget(bound, reason)
    space = Budget(min(free, bound), reason if bound <= free else "the free space takes")
    _unpack(archive, takes, total, space, advance)


def _unpack(
    archive: Path,
    takes: Sequence[Take],
    total: Budget,
    space: Budget,
    advance: Advance,
) -> None:
    try:
        with _members(archive) as members:
            for count, member in enumerate(members):
                if count >= MAX_MEMBERS:
                    raise DensebenchError(f"{archive}: more than {MAX_MEMBERS:,} members")
                _check(member, archive)
                total.spend(member.size, archive)
                for take in takes:
                    _take(member, take, archive, total, space, advance)
    except _BROKEN as error:
        raise _damaged(archive, error) from error
    except FileExistsError as error:
        raise DensebenchError(f"{archive}: holds {Path(error.filename).name} twice") from error


def _take(
    member: Member,
    take: Take,
    archive: Path,
    total: Budget,
    space: Budget,
    advance: Advance,
) -> None:
    if take.inner is not None and fnmatch(member.name, take.inner) and member.kind == "file":
        _unpack_inner(member, take, archive, total, space, advance)
        return
    place = take.place(member.name)
    if place is None or member.kind == "folder":
        return
    if member.kind != "file":
        raise DensebenchError(f"{archive}: {member.name!r} is a link where a file should be")
    _write(member, place, archive, space)
    advance(1)


def _unpack_inner(
    member: Member,
    take: Take,
    archive: Path,
    total: Budget,
    space: Budget,
    advance: Advance,
) -> None:
    """Unpack an archive within the archive, one at a time, by way of a temporary file."""
    name = PurePosixPath(member.name)
    temporary = take.into.with_name(f"{take.into.name}.{name.name}")
    temporary.unlink(missing_ok=True)
    into = take.into / name.stem if take.inner_folders else take.into
    try:
        _write(member, temporary, archive, space)
        _unpack(temporary, [Take(take.members, into, take.suffix)], total, space, advance)
    finally:
        temporary.unlink(missing_ok=True)
    space.left += member.size


def _write(member: Member, place: Path, archive: Path, space: Budget) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with member.open() as source, place.open("xb") as file:
        while block := source.read(BLOCK):
            written += len(block)
            space.spend(len(block), archive)
            file.write(block)
    if written != member.size:
        raise _damaged(archive, EOFError(f"{member.name} has {written} of {member.size} bytes"))


def _check(member: Member, archive: Path) -> None:
    if not _stays_inside(member.name):
        raise DensebenchError(
            f"{archive}: refused, since its member {member.name!r} lies outside of the folder"
        )
    if member.kind == "other":
        raise DensebenchError(f"{archive}: refused, since {member.name!r} is a device or pipe")
    if member.kind == "link" and not _stays_inside(member.link):
        raise DensebenchError(
            f"{archive}: refused, since {member.name!r} links out of the folder to {member.link!r}"
        )


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    odd = "\\" in name or "\0" in name or ":" in name.partition("/")[0]
    return not odd and not path.is_absolute() and ".." not in path.parts


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            yield _zip_members(opened)
    else:
        with tarfile.open(archive, "r:*") as opened_tar:
            yield _tar_members(opened_tar)


def _zip_members(opened: zipfile.ZipFile) -> Iterator[Member]:
    for info in opened.infolist():
        mode = info.external_attr >> 16
        kind: Literal["file", "folder", "link", "other"] = "file"
        if info.is_dir():
            kind = "folder"
        elif stat.S_ISLNK(mode):
            kind = "link"
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            kind = "other"
        link = opened.read(info).decode(errors="replace") if _short_link(kind, info) else ""
        # zipfile itself cuts a name at a NUL; the stored one is checked.
        name = info.filename if "\0" not in info.orig_filename else info.orig_filename
        yield Member(name, info.file_size, kind, link, partial(opened.open, info))


def _short_link(kind: str, info: zipfile.ZipInfo) -> bool:
    return kind == "link" and info.file_size < BLOCK


def _tar_members(opened: tarfile.TarFile) -> Iterator[Member]:
    while (info := opened.next()) is not None:
        kind: Literal["file", "folder", "link", "other"] = "other"
        if info.isreg():
            kind = "file"
        elif info.isdir():
            kind = "folder"
        elif info.issym() or info.islnk():
            kind = "link"
        name = info.name.removeprefix("./")
        yield Member(name, info.size, kind, info.linkname, partial(_open_tar, opened, info))
        opened.members = []  # type: ignore[attr-defined]  # else all of them stay in memory
    # The checksum of a compressed tar stands after its padding.
    for _ in range(FLOOR // BLOCK):
        if opened.fileobj is None or not opened.fileobj.read(BLOCK):
            return


def _open_tar(opened: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = opened.extractfile(info)
    if file is None:
        raise tarfile.ReadError(f"{info.name} is no file")
    return file


def _damaged(archive: Path, error: BaseException) -> DensebenchError:
    reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
    return DensebenchError(f"{archive}: a damaged archive ({reason}); delete it and get it again")
