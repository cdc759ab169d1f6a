"""Files that are no image or no mask, or one that must not be taken for another."""

import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def saved(format_: str, dtype: type = np.uint8, shape: tuple[int, ...] = (42, 56)) -> bytes:
    content = BytesIO()
    Image.fromarray(np.ones(shape, dtype)).save(content, format_)
    return content.getvalue()


def png(width: int, height: int, bits: int, colour: int, data: bytes) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


GOOD = saved("PNG", shape=(42, 56, 3))
# What lies in place of a picture: its content, or how it is made.
NO_IMAGE: dict[str, bytes | Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "urandom": lambda path: path.symlink_to("/dev/urandom"),
    "null": lambda path: path.symlink_to("/dev/null"),
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path.name),
    "dangling": lambda path: path.symlink_to("nowhere"),
    "empty": b"",
    "text": b"no picture",
    "noise": bytes(range(256)) * 8,
    "eps": saved("EPS", shape=(42, 56, 3)),
    "gif": saved("GIF"),
    "ppm": saved("PPM"),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "float tiff": saved("TIFF", np.float32),
    "whole tiff": saved("TIFF", np.int32),
    "cut": GOOD[: len(GOOD) // 2],
    "header alone": GOOD[:30],
    "bad checksum": GOOD[:40] + bytes([GOOD[40] ^ 255]) + GOOD[41:],
    "bomb": png(50_000, 50_000, 8, 2, b""),
    "no pixels": png(0, 0, 8, 2, b""),
    "too few": png(56, 42, 8, 2, b"\0\1\2"),
}
NO_MASK: dict[str, bytes | Callable[[Path], object]] = {
    **{name: NO_IMAGE[name] for name in NO_IMAGE if "tiff" not in name},
    "jpeg": saved("JPEG"),
    "colours": GOOD,
    "no class of 16 bits": png(56, 42, 16, 0, (b"\0" + b"\2\7" * 56) * 42),
    "too few of 16 bits": png(56, 42, 16, 0, b"\0\0\1"),
    "grey of 2 bits": png(56, 42, 2, 0, (b"\0" + bytes(14)) * 42),
    "one bit": saved("PNG", bool),
    "no class": saved("PNG") and png(56, 42, 8, 0, (b"\0" + b"\7" * 56) * 42),
    "another size": png(55, 42, 8, 0, (b"\0" + bytes(55)) * 42),
}
COMMANDS = {
    "extract": "extract --backbone rgb_s14 --image {} --size 28 --out out.npz",
    "extract folder": "extract --backbone rgb_s14 --image data/images --size 28 --out out.npz",
    "predict": "predict --backbone net.py:make --head head.safetensors --image {} --out out.png",
    "run": "run --backbone hog_s14 --task data/retrieval.toml --results new",
    "train": "posttrain --backbone net.py:make --recipe tiny.toml --name new --data data/images",
}
MASK_COMMANDS = {
    "retrieval": "run --backbone hog_s14 --task data/retrieval.toml --results new",
    "linear": "run --backbone hog_s14 --task data/linear.toml --results new",
    "init": "data init data --name new",
    "verify": "data verify data/retrieval.toml",
}


def put(path: Path, content: bytes | Callable[[Path], object]) -> None:
    path.unlink(missing_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)


@pytest.mark.parametrize("kind", NO_IMAGE)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_image(attempt: Callable, place: Path, kind: str, command: str) -> None:
    file = place / "data/images/picture01.png"
    put(file, NO_IMAGE[kind])
    # A folder may be called like a picture; in one that is listed it is none.
    asked = COMMANDS[command].format("data/images/picture01.png").split()
    fine = (command, kind) in (("train", "folder"), ("train", "loop"), ("train", "dangling"))
    attempt(*asked, may_work=fine)
    assert not list(place.glob("new/**/*.json"))


@pytest.mark.parametrize("kind", NO_MASK)
@pytest.mark.parametrize("command", MASK_COMMANDS)
@pytest.mark.parametrize("split", ["picture01", "picture05"], ids=["train", "val"])
def test_no_mask(attempt: Callable, place: Path, kind: str, command: str, split: str) -> None:
    put(place / f"data/masks/{split}.png", NO_MASK[kind])
    # A card is made of whatever ids there are; that sizes differ is for the check to find.
    fine = command == "init" and kind in ("no class", "no class of 16 bits", "another size")
    attempt(*MASK_COMMANDS[command].split(), may_work=fine, unwanted=("data/new.toml",))
    assert not list(place.glob("new/**/*.json"))


@pytest.mark.parametrize("kind", [kind for kind in NO_IMAGE if kind != "folder"])
@pytest.mark.parametrize("names", [["picture04", "picture05"], ["picture00", "picture01"]])
@pytest.mark.parametrize("command", MASK_COMMANDS)
def test_what_is_left_out_leaves_a_mark(
    attempt: Callable, place: Path, kind: str, names: list[str], command: str
) -> None:
    """Of the training images two are left; of the validation images none, and there is no score."""
    for name in names:
        put(place / f"data/images/{name}.png", NO_IMAGE[kind])
    done = attempt(*MASK_COMMANDS[command].split(), "--skip-bad", may_work="picture00" in names)
    records = list(place.glob("new/**/*.json"))
    assert bool(records) == (done.code == 0)
    for record in records:
        assert all(name in record.read_text() for name in names)
