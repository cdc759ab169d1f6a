"""Which pieces of a dataset are on disk: whole, or not at all.

A piece appears under its own name only when all of it was written, so that its files need merely
be counted. What an official archive held is kept beside the data, for releases that hold another
number of files than the table says.
"""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from densebench.files.atomic import write_atomically
from densebench.files.regular import read_json
from densebench.files.unpack import Take, unpack
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.prepare.sources import Archive, Piece

HOME = ".densebench"


def own_folder(root: Path) -> Path:
    """What densebench keeps beside the datasets."""
    return root / HOME


def count_files(place: Path, suffix: str) -> int:
    """The files with this ending in a folder and all below it; 1 for a file that is not empty."""
    if place.is_file():
        return int(place.stat().st_size > 0)
    return sum(
        name.endswith(suffix) and not name.startswith(".")
        for _, _, names in os.walk(place)
        for name in names
    )


def is_done(name: str, piece: Piece, root: Path) -> bool:
    """Whether the whole piece is there."""
    return count_files(root / piece.target, piece.suffix) >= _expected(name, piece, root)


def require_vacant(piece: Piece, root: Path) -> None:
    """Nothing, if a piece that is not whole can be put in its place.

    Raises:
        DensebenchError: something of the user's is there.
    """
    place = root / piece.target
    if place.is_file() or (place.is_dir() and any(place.iterdir())):
        found = count_files(place, piece.suffix)
        raise DensebenchError(
            f"{place}: has {found:,} of {piece.files:,} files; complete it, or move it away so "
            "that it can be made anew"
        )


def unpack_pieces(
    archive_file: Path,
    archive: Archive,
    pieces: dict[str, Piece],
    root: Path,
    free: int,
    watcher: Watcher,
) -> None:
    """Take pieces out of a verified archive, each into a sibling that is then renamed.

    Raises:
        DensebenchError: the archive is unsafe, damaged, or does not hold a piece.
    """
    temporaries = {name: _temporary(root / piece.target) for name, piece in pieces.items()}
    takes = [_take(pieces[name], place) for name, place in temporaries.items()]
    total = sum(piece.files for piece in pieces.values())
    clear(temporaries.values())
    try:
        with watcher.phase(f"unpacking {archive_file.name}", total, "files") as advance:
            unpack(archive_file, takes, free, advance)
        found = {name: count_files(temporaries[name], p.suffix) for name, p in pieces.items()}
        missing = next((name for name, count in found.items() if not count), None)
        if missing is not None:
            raise DensebenchError(
                f"{archive_file}: holds no {pieces[missing].inner or pieces[missing].members}; "
                "it is another release, or not the official archive"
            )
        for name, piece in pieces.items():
            _keep(name, piece, archive_file, archive, temporaries[name], found[name], root, watcher)
    finally:
        clear(temporaries.values())


def clear(places: Iterable[Path]) -> None:
    """Remove temporary files and folders that are there."""
    for place in places:
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)


def _take(piece: Piece, place: Path) -> Take:
    return Take(piece.members, place, piece.suffix, piece.inner, piece.inner_folders)


def _temporary(place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    return place.with_name(f".{place.name}.unpacking")


def _keep(
    name: str,
    piece: Piece,
    archive_file: Path,
    archive: Archive,
    temporary: Path,
    found: int,
    root: Path,
    watcher: Watcher,
) -> None:
    if found != piece.files:
        watcher.say(
            f"{piece.target}: {found:,} files came out of {archive_file.name}, and {piece.files:,} "
            "were expected"
        )
    place = root / piece.target
    if place.is_dir():
        place.rmdir()  # which is empty, as `require_vacant` has seen
    # The stamp goes first: without its folder it says nothing.
    stamp = {"archive": archive_file.name, "checksum": archive.checksum, "files": found}
    write_atomically(_stamp_file(name, root), json.dumps(stamp))
    temporary.replace(place)


def _expected(name: str, piece: Piece, root: Path) -> int:
    try:
        stamp = read_json(_stamp_file(name, root))
        return max(1, int(stamp["files"]))
    except (OSError, ValueError, KeyError, TypeError):
        return piece.files


def _stamp_file(name: str, root: Path) -> Path:
    return own_folder(root) / "pieces" / f"{name}.json"
