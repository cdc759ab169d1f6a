"""Archives that want to write elsewhere, to fill the disk, or are damaged."""

import io
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from densebench.files import unpack as unpacking
from densebench.files.unpack import Take, unpack
from densebench.host.errors import DensebenchError

PLENTY = 10**9


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """Where archives lie; what is unpacked goes to `box/out`."""
    folder = tmp_path / "box"
    folder.mkdir()
    return folder


def out(box: Path, body: bytes, *, free: int = PLENTY, **take: Any) -> dict[str, bytes]:
    """Unpack an archive, and give the files."""
    file = box / "archive"
    file.write_bytes(body)
    done: list[int] = []
    unpack(file, [Take(take.pop("members", ""), box / "out", **take)], free, done.append)
    found = {
        str(path.relative_to(box / "out")): path.read_bytes()
        for path in (box / "out").rglob("*")
        if path.is_file()
    }
    assert sum(done) == len(found)
    return found


def nothing_escaped(box: Path) -> bool:
    return {path.name for path in box.parent.iterdir()} <= {"box", "cache"} and {
        path.name for path in box.iterdir()
    } <= {"archive", "out"}


KINDS = ["zip", "tar", "tgz"]


def packed(pack: Any, kind: str, members: dict[str, bytes]) -> bytes:
    if kind == "zip":
        return pack.zip(members)
    return pack.tar(members, "w:gz" if kind == "tgz" else "w")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wanted_is_taken(box: Path, pack: Any, kind: str) -> None:
    members = {
        "a/one.jpg": b"1",
        "a/deep/two.jpg": b"2" * 3_000_000,
        "a/three.png": b"3",
        "a/._one.jpg": b"of a Mac",
        "b/four.jpg": b"4",
    }
    found = out(box, packed(pack, kind, members), members="a/", suffix=".jpg")
    assert found == {"one.jpg": b"1", "deep/two.jpg": b"2" * 3_000_000}


def test_one_file_and_several_takes_in_one_go(box: Path, pack: Any) -> None:
    (box / "archive").write_bytes(pack.tar({"x/list.txt": b"names", "x/im/1": b"1"}))
    takes = [Take("x/list.txt", box / "list"), Take("x/im/", box / "im")]
    unpack(box / "archive", takes, PLENTY, lambda _: None)
    assert (box / "list").read_bytes() == b"names"
    assert (box / "im" / "1").read_bytes() == b"1"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/tmp/evil", "a/..", "C:/evil", "..\\evil", "C:evil"]
)
def test_names_that_lead_out(box: Path, pack: Any, kind: str, name: str) -> None:
    for wanted in ("", "a/"):  # even where nobody wants it
        with pytest.raises(DensebenchError, match=r"refused, since its member '.*' lies outside"):
            out(box, packed(pack, kind, {name: b"evil"}), members=wanted)
    assert nothing_escaped(box)


def linked(kind: bytes, name: str, target: str) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as opened:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        opened.addfile(info)
        payload = tarfile.TarInfo(f"{name}/evil")
        payload.size = 4
        opened.addfile(payload, io.BytesIO(b"evil"))
    return body.getvalue()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["/etc", "../../..", "a/../../.."])
def test_links_that_lead_out(box: Path, kind: bytes, target: str) -> None:
    with pytest.raises(DensebenchError, match="links out of the folder to"):
        out(box, linked(kind, "link", target))
    assert nothing_escaped(box)


def test_links_that_stay_inside(box: Path) -> None:
    with pytest.raises(DensebenchError, match="'link' is a link where a file should be"):
        out(box, linked(tarfile.SYMTYPE, "link", "images"))
    assert out(box, linked(tarfile.SYMTYPE, "link", "images"), members="link/") == {"evil": b"evil"}


def test_a_link_in_a_zip(box: Path) -> None:
    for target, reason in (("/etc/passwd", "links out of the folder"), ("1", "is a link where")):
        body = io.BytesIO()
        with zipfile.ZipFile(body, "w") as opened:
            info = zipfile.ZipInfo("a/link")
            info.external_attr = 0o120777 << 16
            opened.writestr(info, target)
        with pytest.raises(DensebenchError, match=reason):
            out(box, body.getvalue())


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices(box: Path, kind: bytes) -> None:
    with pytest.raises(DensebenchError, match="refused, since 'link' is a device or pipe"):
        out(box, linked(kind, "link", ""))


def test_bombs(box: Path, pack: Any) -> None:
    zeros = {"a.jpg": bytes(120 << 20)}
    for kind in ("zip", "tgz"):
        body = packed(pack, kind, zeros)
        assert len(body) < 200_000
        with pytest.raises(
            DensebenchError, match=r"holds more than 67,108,864 bytes, which an arc"
        ):
            out(box, body)
        assert not list(box.glob("out/*"))  # known before a byte was written
        with pytest.raises(DensebenchError, match="holds more than"):
            out(box, body, members="nothing/")


def test_a_bomb_in_an_archive_in_an_archive(box: Path, pack: Any) -> None:
    inner = pack.zip({"a.jpg": bytes(120 << 20)})
    with pytest.raises(DensebenchError, match="holds more than 67,108,864 bytes"):
        out(box, pack.zip({"in/x.zip": inner}), inner="in/*.zip")
    assert nothing_escaped(box)


def test_a_zip_that_lies_about_sizes(box: Path, pack: Any) -> None:
    body = bytearray(pack.zip({"a.jpg": bytes(50_000_000)}))
    for mark, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", body, body.index(mark) + offset, 10)
    with pytest.raises(DensebenchError, match="a damaged archive"):
        out(box, bytes(body))
    assert sum(file.stat().st_size for file in box.glob("out/*")) <= 10


def test_free_space_is_a_bound(box: Path, pack: Any) -> None:
    members = {f"{n}.jpg": bytes(1000) for n in range(5)}
    with pytest.raises(DensebenchError, match="holds more than the free space takes"):
        out(box, pack.tar(members), free=4500)
    shutil.rmtree(box / "out")
    assert len(out(box, pack.tar(members), free=5000)) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_twice(box: Path, pack: Any, kind: str) -> None:
    body = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(body, "w") as opened, pytest.warns(UserWarning, match="Duplicate"):
            opened.writestr("1.jpg", b"1")
            opened.writestr("1.jpg", b"2")
    else:
        with tarfile.open(fileobj=body, mode="w:gz" if kind == "tgz" else "w") as opened_tar:
            for _ in range(2):
                opened_tar.addfile(tarfile.TarInfo("1.jpg"))
    with pytest.raises(DensebenchError, match=r"holds 1\.jpg twice"):
        out(box, body.getvalue())


@pytest.mark.parametrize("kind", KINDS)
def test_cut_off(box: Path, pack: Any, kind: str) -> None:
    body = packed(pack, kind, {f"{n}.jpg": pack.photo(n) * 50 for n in range(9)})
    with pytest.raises(DensebenchError, match=r"a damaged archive .* delete it and get it again"):
        out(box, body[: len(body) // 2])


@pytest.mark.parametrize("kind", ["zip", "tgz"])
def test_a_flipped_bit(box: Path, pack: Any, kind: str) -> None:
    body = bytearray(packed(pack, kind, {"1.jpg": pack.photo(1) * 50}))
    body[len(body) // 2] ^= 16
    with pytest.raises(DensebenchError, match="a damaged archive"):
        out(box, bytes(body))


@pytest.mark.parametrize("body", [b"", b"<html>", b"PK\5\6" + bytes(9), b"\x1f\x8b" + bytes(30)])
def test_no_archive_at_all(box: Path, body: bytes) -> None:
    with pytest.raises(DensebenchError, match="a damaged archive"):
        out(box, body)


def test_an_encrypted_zip(box: Path, pack: Any) -> None:
    body = bytearray(pack.zip({"1.jpg": b"1"}))
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        body[body.index(mark) + offset] |= 1
    with pytest.raises(DensebenchError, match=r"a damaged archive \(.*encrypted"):
        out(box, bytes(body))


def test_too_many_members(box: Path, pack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 3)
    with pytest.raises(DensebenchError, match="more than 3 members"):
        out(box, pack.tar({str(n): b"" for n in range(4)}))


def test_archives_in_an_archive(box: Path, pack: Any) -> None:
    inner = {f"n{k}.tar": pack.tar({f"n{k}_1.JPEG": b"%d" % k}) for k in range(3)}
    found = out(box, pack.tar(inner), inner="n*.tar", inner_folders=True, suffix=".JPEG")
    assert found == {f"n{k}/n{k}_1.JPEG": b"%d" % k for k in range(3)}
    assert nothing_escaped(box)


def test_an_archive_in_an_archive_is_checked_too(box: Path, pack: Any) -> None:
    with pytest.raises(DensebenchError, match="lies outside of the folder"):
        out(box, pack.zip({"x.zip": pack.zip({"../evil": b""})}), inner="*.zip")
    assert nothing_escaped(box)
