"""Zips with checksums that torch.load does not look at."""

import os
from pathlib import Path

import pytest
import torch

from densebench.files.zipped import check_parts


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.save({"weight": torch.arange(4096.0)}, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def test_as_written(saved: Path) -> None:
    check_parts(saved)


def test_a_flipped_bit_that_torch_does_not_see(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 1
    saved.write_bytes(content)
    torch.load(saved, weights_only=True)
    with pytest.raises(ValueError, match=r"checksum of its part .* does not match"):
        check_parts(saved)


def test_cut_off(saved: Path) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[200:])
    with pytest.raises(ValueError, match="damaged"):
        check_parts(saved)


def test_no_zip_is_not_its_business(tmp_path: Path) -> None:
    (tmp_path / "other.bin").write_bytes(b"no zip at all")
    check_parts(tmp_path / "other.bin")


def test_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError):
        check_parts(tmp_path / "pipe")
