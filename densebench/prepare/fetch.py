"""The official archives: where they are fetched, and how they are recognised."""

import os
from pathlib import Path
from urllib.parse import quote

from densebench.files.download import Network, download
from densebench.files.wanted import Wanted, check
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.prepare.sources import Archive

MIRROR = "DENSEBENCH_MIRROR"


def address(file: str, archive: Archive) -> str | None:
    """Where an archive is fetched: its own address, or by its name from the mirror.

    Raises:
        DensebenchError: the mirror is no http address.
    """
    return None if archive.url is None else mirrored(archive.url, file)


def mirrored(url: str, path: str) -> str:
    """The address itself, or where the mirror, if there is one, has the same file.

    Raises:
        DensebenchError: the mirror is no http address.
    """
    mirror = os.environ.get(MIRROR)
    if not mirror:
        return url
    if not mirror.startswith(("http://", "https://")):
        raise DensebenchError(f"{MIRROR} must be an http or https address, not '{mirror}'")
    return f"{mirror.rstrip('/')}/{quote(path)}"


def check_archive(path: Path, archive: Archive, watcher: Watcher) -> None:
    """Compare a file with the size and the checksum of the table.

    Raises:
        DensebenchError: it is another file.
    """
    check(path, _wanted(path.name, archive), watcher)


def fetch(
    file: str, archive: Archive, folder: Path, watcher: Watcher, network: Network | None = None
) -> Path:
    """The verified archive in ``folder``: what is there of it is used, the rest is downloaded.

    Raises:
        UnreachableError: it cannot be had, or the server gives something else.
        DensebenchError: it is too large for the disk, or is not the official one.
    """
    url = address(file, archive)
    if url is None:
        raise DensebenchError(f"{file} is behind an account and cannot be downloaded")
    return download(url, folder / file, _wanted(file, archive), watcher, network)


def _wanted(file: str, archive: Archive) -> Wanted:
    return Wanted(
        size=archive.size,
        about=archive.about,
        checksum=archive.checksum,
        called="official archive",
        instead=f"get {file} in another way and give its folder with --from DIR, or a mirror's "
        f"address with {MIRROR}",
        elsewhere="another --root",
    )
