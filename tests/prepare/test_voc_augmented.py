"""VOC's augmented training set, made of VOC and SBD."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.prepare.voc_augmented import ROOT, SBD, augmented_names, build_voc


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """VOC labels a (train) and v (val); SBD labels a, b and v."""
    voc, sbd = tmp_path / ROOT, tmp_path / SBD
    lists = voc / "ImageSets" / "Segmentation"
    for folder in (lists, voc / "SegmentationClass", sbd / "cls"):
        folder.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("v\n")
    (sbd / "train.txt").write_text("a\nb\n")
    (sbd / "val.txt").write_text("v\n")
    for name in "av":
        Image.fromarray(np.full((2, 3), 7, np.uint8)).save(voc / f"SegmentationClass/{name}.png")
    for name in "abv":
        mask = np.full((2, 3), 9, np.uint8)
        savemat(sbd / "cls" / f"{name}.mat", {"GTcls": {"Segmentation": mask}})
    return tmp_path


def test_names_are_all_that_is_labelled_less_val(root: Path) -> None:
    assert augmented_names(root / ROOT, root / SBD) == ("a", "b")


def test_vocs_own_mask_goes_before_sbds(root: Path) -> None:
    build_voc(root, 2, Watcher())
    folder = root / ROOT / "SegmentationClassAug"
    masks = {file.stem: np.asarray(Image.open(file)) for file in folder.glob("*.png")}
    assert {name: int(mask.max()) for name, mask in masks.items()} == {"a": 7, "b": 9, "v": 7}
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    build_voc(root, 2, Watcher())
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def test_another_number_of_names_is_another_release(root: Path) -> None:
    with pytest.raises(DensebenchError, match="give 2 training images and not 3"):
        build_voc(root, 3, Watcher())


def test_a_mask_that_cannot_be_converted_leaves_nothing(root: Path) -> None:
    (root / SBD / "cls" / "b.mat").write_bytes(b"no mat")
    with pytest.raises(DensebenchError, match=r"b\.mat"):
        build_voc(root, 2, Watcher())
    assert not (root / ROOT / "SegmentationClassAug").exists()
    assert not list((root / ROOT).glob(".*"))
