"""Pieces of a dataset: whole, or not there."""

from pathlib import Path

import pytest

from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.prepare.pieces import count_files, is_done, require_vacant, unpack_pieces
from densebench.prepare.sources import Archive, Piece

PIECE = Piece(archive="a.zip", members="box/", target="place", suffix=".txt", files=2)
ARCHIVE = Archive(size=1, unpacked=1)
PLENTY = 10**9


def unpack(tmp_path: Path, body: bytes, ear: Watcher | None = None) -> None:
    (tmp_path / "a.zip").write_bytes(body)
    unpack_pieces(tmp_path / "a.zip", ARCHIVE, {"p": PIECE}, tmp_path, PLENTY, ear or Watcher())


def test_files_are_counted_by_their_ending(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.txt", "deep/b.txt", "._c.txt", "d.png"):
        (tmp_path / name).write_text("x")
    assert count_files(tmp_path, ".txt") == 2
    assert count_files(tmp_path / "a.txt", ".txt") == 1
    assert count_files(tmp_path / "nowhere", ".txt") == 0


def test_whole(tmp_path: Path, pack) -> None:
    assert not is_done("p", PIECE, tmp_path)
    unpack(tmp_path, pack.zip({"box/a.txt": b"a", "box/b.txt": b"b"}))
    assert is_done("p", PIECE, tmp_path)
    (tmp_path / "place" / "a.txt").unlink()
    assert not is_done("p", PIECE, tmp_path)
    with pytest.raises(DensebenchError, match="has 1 of 2 files"):
        require_vacant(PIECE, tmp_path)


def test_another_release_is_told_and_counts_as_whole(tmp_path: Path, pack, ear) -> None:
    unpack(tmp_path, pack.zip({"box/a.txt": b"a"}), ear)
    assert any("1 files came out of a.zip, and 2 were expected" in line for line in ear.lines)
    assert is_done("p", PIECE, tmp_path)


def test_an_archive_without_it_leaves_nothing(tmp_path: Path, pack) -> None:
    with pytest.raises(DensebenchError, match="another release, or not the official"):
        unpack(tmp_path, pack.zip({"other/a.txt": b"a"}))
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] in ([], ["place"])
    assert not is_done("p", PIECE, tmp_path)
