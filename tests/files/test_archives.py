"""Indexing and reading .tar and .zip: members as unpacking gives them, or one clear line."""

import gzip
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from densebench import DensebenchError
from densebench.files import archives
from densebench.files.archives import open_archive

LONG_AGO = 1_500_000_000
Pack = Callable[..., Path]


@pytest.fixture(params=["tar", "zip"])
def pack(request: pytest.FixtureRequest, tmp_path: Path) -> Pack:
    """Writes an archive of some names with their content."""

    def write(members: dict[str, bytes], name: str = "some") -> Path:
        path = tmp_path / f"{name}.{request.param}"
        if request.param == "tar":
            write_tar(path, members)
        else:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for member, content in members.items():
                    archive.writestr(member, content)
        return path

    return write


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            add(archive, name, content)


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **more: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in more.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(content))


def failure(path: Path) -> str:
    with pytest.raises(DensebenchError) as caught:
        open_archive(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_members_and_folders(pack: Pack) -> None:
    archive = open_archive(
        pack({"b/two.txt": b"2", "b/c/three": b"3" * 5000, "b.txt": b"", "./a": b"1", "b/é": b"4"})
    )
    assert list(archive.children("")) == ["a", "b.txt", "b"]
    assert list(archive.children("b")) == ["c", "two.txt", "é"]
    assert list(archive.children("a")) == list(archive.children("no")) == []
    assert [archive.is_dir(name) for name in ("", "b", "b/c", "a", "b.", "no")] == [
        *[True] * 3,
        *[False] * 3,
    ]
    assert [archive.is_file(name) for name in ("a", "b/c/three", "b", "")] == [True] * 2 + [
        False
    ] * 2
    assert archive.read("b/c/three") == b"3" * 5000
    assert (archive.read("b.txt"), archive.read("b/é")) == (b"", b"4")
    with pytest.raises(FileNotFoundError):
        archive.read("b/four")


NAMES = st.lists(st.sampled_from(["a", "b", "a.b", "a-b", "a0", "é"]), min_size=1, max_size=4)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(members=st.dictionaries(NAMES.map("/".join), st.binary(max_size=2000), max_size=12))
def test_equals_the_unpacked_folder(
    pack: Pack, tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes]
) -> None:
    members = {n: c for n, c in members.items() if not any(o.startswith(n + "/") for o in members)}
    folder = tmp_path_factory.mktemp("unpacked")
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    archive = open_archive(pack(members, folder.name))
    for place, folders, files in os.walk(folder):
        inside = os.path.relpath(place, folder).removeprefix(".")
        assert sorted(archive.children(inside)) == sorted([*folders, *files])
        assert archive.is_dir(inside)
        for file in files:
            name = f"{inside}/{file}".lstrip("/")
            assert archive.read(name) == (folder / name).read_bytes()


def test_names_lead_nowhere_else(pack: Pack, tmp_path: Path) -> None:
    archive = open_archive(
        pack({"../out": b"1", "/abs": b"2", "a/../../out": b"3", "a/../b": b"4", "a/./c": b"5"})
    )
    assert list(archive.children("")) == ["a", "abs", "b"]
    assert archive.read("abs") == b"2"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [
        Path(archive._path).name
    ]


def test_the_last_of_two_members_counts(pack: Pack) -> None:
    path = pack({"a": b"old", "b": b"b"})
    if path.suffix == ".tar":
        with tarfile.open(path, "a") as tar:
            add(tar, "./a", b"new")
    else:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("./a", b"new")
    assert open_archive(path).read("a") == b"new"


def test_links_in_a_tar(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "links.tar", "w") as tar:
        add(tar, "x/mask.png", b"mask")
        add(tar, "y/hard.png", type=tarfile.LNKTYPE, linkname="x/mask.png")
        add(tar, "y/soft.png", type=tarfile.SYMTYPE, linkname="../x/mask.png")
        add(tar, "y/out.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, "y/up.png", type=tarfile.SYMTYPE, linkname="../../etc/passwd")
        add(tar, "y/pipe", type=tarfile.FIFOTYPE)
    archive = open_archive(tmp_path / "links.tar")
    assert list(archive.children("y")) == ["hard.png", "soft.png"]
    assert archive.read("y/hard.png") == archive.read("y/soft.png") == b"mask"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_forms_of_tar(tmp_path: Path, form: int) -> None:
    name = "/".join(["a" * 60, "b" * 60, "c.png"])
    with tarfile.open(tmp_path / "form.tar", "w", format=form) as tar:
        add(tar, name, b"content" * 99)
    assert open_archive(tmp_path / "form.tar").read(name) == b"content" * 99


def test_a_sparse_member_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"x" * 4096)
    command = ["tar", "-S", "-cf", "sparse.tar", "sparse"]
    subprocess.run(command, cwd=tmp_path, check=True)
    with pytest.raises(OSError, match="or sparse"):
        open_archive(tmp_path / "sparse.tar").read("sparse")


@pytest.mark.parametrize("ending", ["tar.gz", "tgz", "TAR.XZ"])
def test_compressed_tars_are_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"voc.{ending}"
    path.write_bytes(b"x")
    with pytest.raises(DensebenchError, match=r"unpack it, or repack it as \.tar"):
        archives.refuse_compressed(path)
    write_tar(tmp_path / "plain.tar", {"a": b"1"})
    hidden = tmp_path / "hidden.tar"
    hidden.write_bytes(gzip.compress((tmp_path / "plain.tar").read_bytes()))
    assert failure(hidden).endswith("unpack it, or repack it as .tar")


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.7])
def test_an_archive_that_is_cut_short(pack: Pack, share: float) -> None:
    path = pack({f"{i}": os.urandom(3000) for i in range(9)})
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert f"{path}: not a readable {path.suffix} archive" in failure(path)
    assert failure(path).endswith("fetch it again, or move it away")


def test_a_tar_that_is_cut_between_members_or_damaged(tmp_path: Path) -> None:
    path = tmp_path / "some.tar"
    write_tar(path, {"a": b"1" * 512, "b": b"2" * 512})
    content = path.read_bytes()
    path.write_bytes(content[:2048])
    assert "cut short or damaged at byte 2048" in failure(path)
    path.write_bytes(content[:1024] + b"?" * 512 + content[1536:])
    assert "cut short or damaged at byte 1024" in failure(path)
    path.write_bytes(b"not a tar at all" * 99)
    assert "not a readable .tar archive" in failure(path)


def test_damaged_members_of_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "some.zip"
    stored = os.urandom(4000)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("stored", stored)
        archive.writestr("deflated", bytes(9000), zipfile.ZIP_DEFLATED)
        archive.writestr("lzma", bytes(9000), zipfile.ZIP_LZMA)
    content = path.read_bytes()
    with pytest.raises(OSError, match="neither stored nor deflated"):
        open_archive(path).read("lzma")
    assert open_archive(path).read("deflated") == bytes(9000)
    at = content.index(stored)
    path.write_bytes(content[:at] + b"????" + content[at + 4 :])
    with pytest.raises(OSError, match="checksum"):
        open_archive(path).read("stored")
    path.write_bytes(b"????" + content[4:])
    with pytest.raises(OSError, match="does not lie where"):
        open_archive(path).read("stored")


def test_a_member_that_grows_beyond_its_stated_size(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(50_000_000))
    content = path.read_bytes()
    stated = (50_000_000).to_bytes(4, "little")
    path.write_bytes(content.replace(stated, (1000).to_bytes(4, "little")))
    with pytest.raises(OSError, match="checksum"):
        open_archive(path).read("bomb")
    path.write_bytes(content.replace(stated, (2_000_000_000).to_bytes(4, "little")))
    with pytest.raises(OSError, match="too large"):
        open_archive(path).read("bomb")


def test_the_index_is_made_once(
    pack: Pack, tmp_path: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack({"a": b"first", "b": b"2"})
    made: list[Path] = []
    make = archives._new_index
    monkeypatch.setattr(archives, "_new_index", lambda path: made.append(path) or make(path))
    for _ in range(2):
        assert open_archive(path).read("a") == b"first"
        archives._opened.cache_clear()  # as another process
    assert made == [path]
    (kept,) = (tmp_path / "cache" / "archives").iterdir()
    for content in (b"", b"{", kept.read_bytes()[:200]):
        kept.write_bytes(content)
        archives._opened.cache_clear()
        assert open_archive(path).read("b") == b"2"
    assert len(made) == 4
    pack({"a": b"other", "c": b"3"})
    assert open_archive(path).read("a") == b"other"
    assert not open_archive(path).is_file("b")


def test_an_archive_that_keeps_size_and_date_is_indexed_anew(pack: Pack, settled: None) -> None:
    path = pack({"a": b"1", "b": b"2"})
    os.utime(path, (LONG_AGO, LONG_AGO))
    assert open_archive(path).is_file("a")
    pack({"c": b"1", "d": b"2"})
    os.utime(path, (LONG_AGO, LONG_AGO))
    assert open_archive(path).is_file("c")
    archives._opened.cache_clear()  # as another process
    assert open_archive(path).is_file("c")


def test_an_index_of_the_older_form_is_made_anew(pack: Pack, tmp_path: Path, settled: None) -> None:
    path = pack({"a": b"1", "b": b"2"})
    open_archive(path)
    (kept,) = (tmp_path / "cache" / "archives").iterdir()
    with np.load(kept) as index:
        older = {**index, "rows": index["rows"][::-1, :5], "stamp": index["stamp"][:2]}
    np.savez(kept, **older)
    archives._opened.cache_clear()
    assert (open_archive(path).read("a"), open_archive(path).read("b")) == (b"1", b"2")


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_member_that_a_flipped_bit_renames_is_not_read(tmp_path: Path, place: str) -> None:
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images/00000001.png", b"one")
        archive.writestr("images/00000002.png", b"two")
    content = bytearray(path.read_bytes())
    name = b"images/00000001.png"
    at = content.index(name) if place == "first" else content.rindex(name)
    content[at + len("images/0000000")] ^= 2  # 1 becomes 3
    path.write_bytes(content)
    renamed = "images/00000001.png" if place == "first" else "images/00000003.png"
    with pytest.raises(OSError, match="its own header gives it another name"):
        open_archive(path).read(renamed)
    assert open_archive(path).read("images/00000002.png") == b"two"


def test_names_beyond_ascii_are_compared_as_they_are_stored(tmp_path: Path) -> None:
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("straße/é.png", b"one")
    content = path.read_bytes()
    assert open_archive(path).read("straße/é.png") == b"one"
    # An old archiver: the same length in code page 437, without the flag that says UTF-8.
    old = content.replace("straße/é.png".encode(), b"stra\xe1e/\x82.pngXX")
    old = old.replace(b"\0\x08", b"\0\0")
    path.write_bytes(old)
    assert open_archive(path).read("straße/é.pngXX") == b"one"


def test_a_young_archive_is_not_trusted_to_the_index(pack: Pack) -> None:
    path = pack({"a": b"1", "b": b"2"})
    date = path.stat().st_mtime_ns
    assert open_archive(path).is_file("a")
    archives._opened.cache_clear()
    pack({"c": b"1", "d": b"2"})
    os.utime(path, ns=(date, date))
    assert open_archive(path).is_file("c")


def test_an_index_that_cannot_be_kept_is_told(
    pack: Pack, tmp_path: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack({"a": b"1"})
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="index of an archive cannot be kept"):
        assert open_archive(path).read("a") == b"1"


def test_threads_and_a_forked_process_share_an_archive(pack: Pack) -> None:
    members = {str(i): os.urandom(2000) for i in range(50)}
    archive = open_archive(pack(members))
    child = os.fork()
    if child == 0:
        os._exit(0 if all(archive.read(n) == c for n, c in members.items()) else 1)
    with ThreadPoolExecutor(8) as pool:
        read = dict(zip(members, pool.map(archive.read, members), strict=True))
    assert read == members
    assert os.waitpid(child, 0)[1] == 0


MEMORY_SCRIPT = """
import sys, psutil
import densebench.datasets.load
from densebench.files import archives
from densebench.files.archives import open_archive
archives.YOUNG_NS = -1
before = psutil.Process().memory_info().rss
archive = open_archive(sys.argv[1])
print(psutil.Process().memory_info().rss - before, sum(1 for _ in archive.children("train2017")))
"""


def test_the_index_of_coco_is_small(tmp_path: Path) -> None:
    """120,000 members: under 50 MB, by the first process and by those that find the index."""
    path = tmp_path / "many.tar"
    count = 120_000
    with path.open("wb") as file:
        for i in range(count):
            info = tarfile.TarInfo(f"train2017/{i:012d}.jpg")
            info.size = 1
            file.write(info.tobuf(tarfile.USTAR_FORMAT) + b"x" + bytes(511))
        file.write(bytes(1024))
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", MEMORY_SCRIPT, path], capture_output=True, text=True, check=True
        )
        grown, found = map(int, done.stdout.split())
        assert found == count
        assert grown < 50_000_000
