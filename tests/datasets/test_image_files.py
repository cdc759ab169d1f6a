"""Image files are opened by an allow-list of formats, and read as the values that they hold."""

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from densebench.datasets.image_files import image_size, read_colours, read_image, read_indices
from densebench.host.errors import DensebenchError

READERS = (read_image, image_size, read_indices, read_colours)


def png(values: np.ndarray, bits: int, kind: int) -> bytes:
    """A PNG written by hand, since Pillow writes no 2-bit grey; of colour type 2 grey in RGB."""
    height, width = values.shape
    values = np.repeat(values, 3, axis=1) if kind == 2 else values
    packed = values.astype(">u2").view(np.uint8) if bits == 16 else None
    if packed is None:
        spread = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        packed = np.packbits(spread.reshape(height, -1).astype(np.uint8), axis=1)
    rows = b"".join(b"\0" + row.tobytes() for row in packed.reshape(height, -1))
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(range(12))) if kind == 3 else b""
    body = chunk(b"IHDR", header) + palette + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def chunk(name: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


RAMP = np.arange(16).reshape(4, 4)


def test_sixteen_bits_of_grey_are_not_clipped(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(RAMP * 4096 + 255, 16, 0))
    Image.fromarray((RAMP * 4096 + 255).astype(np.uint16)).save(tmp_path / "a.tif")
    for name in ("a.png", "a.tif"):
        found = np.asarray(read_image(tmp_path / name))
        assert (found == (RAMP * 16)[..., None]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_values_of_no_known_range_are_refused(tmp_path: Path, dtype: type) -> None:
    Image.fromarray((RAMP / 16).astype(dtype)).save(tmp_path / "a.tif")
    with pytest.raises(DensebenchError, match=r"a\.tif: .*range is not known"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("bits", [2, 4])
def test_a_grey_mask_of_few_bits_is_refused_and_a_palette_one_is_read(
    tmp_path: Path, bits: int
) -> None:
    values = RAMP % 4
    (tmp_path / "grey.png").write_bytes(png(values, bits, 0))
    (tmp_path / "palette.png").write_bytes(png(values, bits, 3))
    with pytest.raises(DensebenchError, match=f"must be 8-bit .*stored as L;{bits}"):
        read_indices(tmp_path / "grey.png")
    assert (read_indices(tmp_path / "palette.png") == values).all()


def test_a_mask_of_sixteen_bit_colours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(RAMP, 16, 2))
    with pytest.raises(DensebenchError, match="must be 8-bit RGB"):
        read_colours(tmp_path / "a.png")


@pytest.mark.parametrize("reader", READERS)
def test_another_format_starts_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: object
) -> None:
    trace = tmp_path / "started"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {trace}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    content = BytesIO()
    Image.new("RGB", (8, 8)).save(content, "EPS")
    file = tmp_path / "i4.png"
    file.write_bytes(content.getvalue())
    with pytest.raises(DensebenchError, match=r"i4\.png: not a readable"):
        reader(file)  # type: ignore[operator]
    assert not trace.exists()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "zero", "urandom", "folder", "absent", "empty"])
def test_what_is_no_file_of_an_image_is_refused(tmp_path: Path, reader: object, kind: str) -> None:
    file = tmp_path / "a.png"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "empty":
        file.touch()
    elif kind != "absent":
        file.symlink_to(f"/dev/{kind}")
    with pytest.raises(DensebenchError, match=r"a\.png: not a readable"):
        reader(file)  # type: ignore[operator]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif"])
def test_the_formats_of_datasets_are_read(tmp_path: Path, suffix: str) -> None:
    Image.new("RGB", (8, 6), (250, 10, 10)).save(tmp_path / f"a.{suffix}")
    assert image_size(tmp_path / f"a.{suffix}") == (8, 6)
    red, green, _ = np.asarray(read_image(tmp_path / f"a.{suffix}"))[3, 3]
    assert red > 200
    assert green < 50


def test_a_telephones_jpeg_of_several_pictures_is_read(tmp_path: Path) -> None:
    other = [Image.new("RGB", (8, 6))]
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=other)
    assert read_image(tmp_path / "a.jpg").size == (8, 6)
