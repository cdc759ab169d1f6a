"""What is there of a file that is still being fetched."""

from pathlib import Path

import pytest

from densebench.files.partial import Part, Version

FIRST = Version("http://here/a", '"1"', None, 4)


def test_from_nothing_to_the_file(tmp_path: Path) -> None:
    part = Part(tmp_path / "a")
    assert (part.n_bytes(), part.version()) == (0, None)
    part.begin(FIRST, from_start=True)
    part.file.write_bytes(b"ab")
    assert (part.n_bytes(), Part(tmp_path / "a").version()) == (2, FIRST)
    part.file.write_bytes(b"abcd")
    part.finish()
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert part.n_bytes() == 4


def test_from_the_start_the_old_bytes_go_before_the_new_note(tmp_path: Path) -> None:
    part = Part(tmp_path / "a")
    part.begin(FIRST, from_start=True)
    part.file.write_bytes(b"old")
    part.begin(FIRST, from_start=False)
    assert part.n_bytes() == 3
    part.begin(FIRST, from_start=True)
    assert part.n_bytes() == 0


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"url": 1, "more": 2}'])
def test_a_note_that_cannot_be_read_vouches_for_nothing(tmp_path: Path, note: str) -> None:
    (tmp_path / "a.part.json").write_text(note)
    assert Part(tmp_path / "a").version() is None


def test_discarded(tmp_path: Path) -> None:
    part = Part(tmp_path / "a")
    part.begin(FIRST, from_start=True)
    part.file.write_bytes(b"ab")
    part.discard()
    assert list(tmp_path.iterdir()) == []
