"""Patch features of loose images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from densebench.features.arrays import extract_images, image_files
from densebench.host.errors import DensebenchError


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, name in enumerate(("b.png", "a.JPG", "c.webp")):
        Image.new("RGB", (28, 28), (40 * number, 90, 200)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


def test_a_folders_images_by_name(images: Path) -> None:
    assert [file.name for file in image_files(images)] == ["a.JPG", "b.png", "c.webp"]
    assert image_files(images / "b.png") == [images / "b.png"]
    with pytest.raises(DensebenchError, match="no image there"):
        image_files(images / "nowhere")


def test_written_whole_or_not_at_all(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "features.npz"
    assert extract_images("rgb_s14", images, 28, out, device="cpu") == (3, 2, 2, 6)
    with np.load(out) as arrays:
        assert arrays["names"].tolist() == ["a.JPG", "b.png", "c.webp"]
    before = out.read_bytes()
    (images / "d.png").write_bytes(b"no image")
    with pytest.raises(DensebenchError, match=r"d\.png"):
        extract_images("rgb_s14", images, 28, out, device="cpu")
    assert out.read_bytes() == before


def test_more_than_there_is_memory(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DENSEBENCH_MEMORY", "1000")
    with pytest.raises(DensebenchError, match="smaller --size"):
        extract_images("rgb_s14", images, 28, tmp_path / "x.npz", device="cpu")
    assert not (tmp_path / "x.npz").exists()
