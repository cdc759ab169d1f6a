"""Files are written whole or not at all."""

import os
from pathlib import Path
from typing import Any

import pytest

from densebench.files.atomic import PART, replacing, write_atomically


def files_under(folder: Path) -> list[str]:
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())


def test_text_and_bytes_replace_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "file"
    for content in ("grün", "short", b"\x00\xff"):
        write_atomically(file, content)
        wanted = content.encode() if isinstance(content, str) else content
        assert file.read_bytes() == wanted
        assert files_under(tmp_path) == ["a/b/file"]


@pytest.mark.parametrize("stage", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, error: BaseException
) -> None:
    def fail(*_: Any) -> None:
        raise error

    file = tmp_path / "file"
    write_atomically(file, "old")
    monkeypatch.setattr(*((os, "fsync") if stage == "fsync" else (Path, "replace")), fail)
    with pytest.raises(type(error)):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert files_under(tmp_path) == ["file"]


def test_others_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_atomically(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_the_umask_decides_who_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_atomically(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(
    tmp_path: Path,
) -> None:
    (tmp_path / f".file.0123{PART}").write_text("half")
    (tmp_path / f".other.0123{PART}").write_text("half")
    with replacing(tmp_path / "file") as slow:
        slow.write(b"slow")
        write_atomically(tmp_path / "file", "fast")
    assert (tmp_path / "file").read_text() == "slow"
    assert files_under(tmp_path) == [f".other.0123{PART}", "file"]
