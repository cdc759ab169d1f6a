"""NYUv2 by its two lists, in each way in which it lies on disks."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from densebench.cards import DatasetCard
from densebench.datasets.load import load_dataset
from densebench.datasets.nyuv2 import read_lines, read_split
from densebench.host.errors import DensebenchError

TRAIN = ("kitchen_0028b/rgb_00045", "kitchen_0028b/rgb_00046", "study_0004/rgb_00045")
TEST = ("bathroom/rgb_00045", "bedroom/rgb_00001")


def write_pair(folder: Path, name: str, seed: int) -> str:
    """An image and its depth; returns the line of a list."""
    rng = np.random.default_rng(seed)
    depth_name = name.replace("rgb", "sync_depth")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"{name}.jpg")
    depth = rng.integers(0, 11_000, (12, 16)).astype(np.uint16)
    Image.fromarray(depth).save(folder / f"{depth_name}.png")
    return f"{name}.jpg {depth_name}.png 518.8579"


def write_nyu(root: Path, train: str = "", test: str = "") -> Path:
    """The dataset, with its two parts in these folders."""
    for kind, part, names in (("train", train, TRAIN), ("test", test, TEST)):
        lines = [write_pair(root / part, name, seed) for seed, name in enumerate(names)]
        (root / f"nyu_{kind}.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize(
    ("train", "test"), [("", ""), ("sync", "official_splits/test"), ("train", "test")]
)
@pytest.mark.parametrize("folder", ["", "nyu", "nyuv2"])
def test_every_layout_is_read(tmp_path: Path, train: str, test: str, folder: str) -> None:
    write_nyu(tmp_path / folder, train, test)
    dataset = load_dataset(DatasetCard(kind="nyuv2"), data_root=tmp_path)
    assert dataset.target.kind == "depth"
    assert dataset.train.names == tuple(name.replace("/", "-") for name in TRAIN)
    assert dataset.val.names == tuple(name.replace("/", "-") for name in TEST)
    depth = dataset.val.mask(0)
    file = next((tmp_path / folder).rglob("bathroom/sync_depth_00045.png"))
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth, np.float32(np.asarray(Image.open(file)) / 1000))
    assert dataset.val.image(0).size == (16, 12)


def test_paths_may_begin_with_a_slash_and_depth_may_be_absent(tmp_path: Path) -> None:
    write_nyu(tmp_path)
    file = tmp_path / "nyu_test.txt"
    lines = [f"/{line.replace(' ', ' /', 1)}" for line in file.read_text().splitlines()]
    file.write_text("\n".join([*lines, "/bedroom/rgb_00007.jpg None 518.8579", ""]))
    assert len(read_split(tmp_path, "val")) == len(TEST)


def test_it_is_read_from_an_archive(tmp_path: Path) -> None:
    write_nyu(tmp_path / "nyuv2", "sync", "official_splits/test")
    plain = read_split(tmp_path / "nyuv2", "train")
    shutil.make_archive(str(tmp_path / "packed" / "nyuv2"), "zip", tmp_path, "nyuv2")
    packed = load_dataset(DatasetCard(kind="nyuv2"), data_root=tmp_path / "packed").train
    assert packed.names == plain.names
    np.testing.assert_array_equal(packed.mask(1), plain.mask(1))


def test_names_may_be_of_both_lists(tmp_path: Path) -> None:
    write_nyu(tmp_path, "sync", "official_splits/test")
    names = ("bathroom-rgb_00045", "study_0004-rgb_00045")
    assert read_split(tmp_path, "train", names).names == names


BAD = [
    ("kitchen/a.jpg", "line 1 is not IMAGE DEPTH FOCAL"),
    ("a.jpg b.png far", "line 1 is not IMAGE DEPTH FOCAL"),
    ("a.jpg b.png nan", "line 1 is not IMAGE DEPTH FOCAL"),
    ("../a.jpg ../b.png 1", "leads out of the dataset"),
    ("a.jpg b.png 1\na.jpg b.png 1", "'a' is there 2 times"),
    ("", "the list is empty"),
    ("bath/rgb_1.jpg bath/depth_1.png 1", "listed images of the val split are missing"),
]


@pytest.mark.parametrize(("text", "told"), BAD, ids=[told[:20] for _, told in BAD])
def test_a_list_that_is_wrong_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    write_nyu(tmp_path)
    (tmp_path / "nyu_test.txt").write_text(text)
    with pytest.raises(DensebenchError, match=told) as caught:
        read_split(tmp_path, "val")
    assert "\n" not in str(caught.value)


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DensebenchError, match="not a readable list"):
        read_lines(tmp_path / "list.txt")
    with pytest.raises(DensebenchError, match="no such list"):
        read_lines(tmp_path / "gone.txt")


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(DensebenchError, match="no nyuv2 dataset") as caught:
        load_dataset(DatasetCard(kind="nyuv2"), data_root=tmp_path)
    assert "nyu_train.txt + nyu_test.txt" in str(caught.value)
    write_nyu(tmp_path)
    next(tmp_path.rglob("bathroom/sync_depth_00045.png")).unlink()
    with pytest.raises(DensebenchError, match="without a mask, the first is 'bathroom-rgb_00045'"):
        read_split(tmp_path, "val")
