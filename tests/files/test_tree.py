"""Files in folders and in archives alike."""

import tarfile
import zipfile
from pathlib import Path

import pytest

from densebench.files.tree import (
    archive_of,
    exists,
    is_dir,
    is_file,
    list_names,
    locate,
    open_file,
    read_text,
)


@pytest.fixture(params=["folder", "tar", "zip"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """``sub/images/{a,b}.txt``, as it is or packed where it lies."""
    source = tmp_path / ("root" if request.param == "folder" else "packed")
    (source / "sub" / "images").mkdir(parents=True)
    for name in "ab":
        (source / "sub" / "images" / f"{name}.txt").write_text(name)
    if request.param != "folder":
        (tmp_path / "root").mkdir()
        archive = tmp_path / "root" / f"sub.{request.param}"
        if request.param == "tar":
            with tarfile.open(archive, "w") as tar:
                tar.add(source / "sub", "sub")
        else:
            with zipfile.ZipFile(archive, "w") as box:
                for name in "ab":
                    box.write(source / "sub" / "images" / f"{name}.txt", f"sub/images/{name}.txt")
    return tmp_path / "root"


def test_all_ask_alike(root: Path) -> None:
    folder = locate(root, "sub/images")
    assert is_dir(folder) and exists(folder) and not is_file(folder)
    assert sorted(list_names(folder)) == ["a.txt", "b.txt"]
    assert is_file(folder / "a.txt") and not is_dir(folder / "a.txt")
    assert read_text(folder / "a.txt") == "a"
    with open_file(folder / "b.txt") as file:
        assert file.read() == b"b"
    assert not exists(folder / "c.txt")
    with pytest.raises(OSError):
        read_text(folder / "c.txt")


def test_what_is_nowhere_stays_where_it_would_be(root: Path) -> None:
    assert locate(root, "other/images") == root / "other/images"


def test_a_folder_of_an_archives_name_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "sub.zip" / "images").mkdir(parents=True)
    assert archive_of(tmp_path / "sub.zip" / "images") is None
    assert is_dir(tmp_path / "sub.zip" / "images")
