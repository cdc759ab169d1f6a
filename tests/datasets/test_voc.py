import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from densebench import DensebenchError
from densebench.cards import DatasetCard
from densebench.datasets import load_dataset
from densebench.datasets.sbd import read_sbd_mask

VOC = DatasetCard(kind="voc")


def test_train_is_trainaug_and_val_has_the_own_masks(voc_home: Path) -> None:
    dataset = load_dataset(VOC, data_root=voc_home)
    assert dataset.root == voc_home / "VOCdevkit" / "VOC2012"
    assert dataset.train.names == ("2007_000032", "2008_000002")
    assert set(np.unique(dataset.train.mask(0))) == {0, 2}, "the augmented mask, not VOC's own"
    assert dataset.val.names == ("2007_000033",)
    assert set(np.unique(dataset.val.mask(0))) == {0, 20}
    assert dataset.val.mask(0).dtype == np.uint8
    assert dataset.val.mask(0).shape == (4, 6)
    image = dataset.val.image(0)
    assert (image.mode, image.size) == ("RGB", (6, 4))
    assert (len(dataset.classes), dataset.ignore_index, len(dataset.palette)) == (21, 255, 21)


@pytest.mark.parametrize("part", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_the_root_may_be_the_dataset_or_what_holds_it(voc_home: Path, part: str) -> None:
    assert len(load_dataset(VOC, data_root=voc_home / part).train) == 2


def test_palette_masks_give_indices_and_keep_void(voc_home: Path) -> None:
    dataset = load_dataset(VOC, data_root=voc_home, val_list=Path("train"))
    assert set(np.unique(dataset.val.mask(0))) == {0, 1, 255}


def test_hbirds_layout(hbird_root: Path) -> None:
    dataset = load_dataset(VOC, data_root=str(hbird_root))
    assert (dataset.train.names, dataset.val.names) == (("a",), ("b",))
    assert set(np.unique(dataset.train.mask(0))) == {0, 4}
    assert set(np.unique(dataset.val.mask(0))) == {0, 5}


def test_augmented_masks_go_before_the_own_ones(voc_home: Path) -> None:
    train = load_dataset(VOC, data_root=voc_home, train_list=Path("train")).train
    assert train.names == ("2007_000032",), "which both folders of masks have"
    assert set(np.unique(train.mask(0))) == {0, 2}


def test_own_masks_serve_a_training_list_that_they_cover_whole(voc_home: Path) -> None:
    shutil.rmtree(voc_home / "VOCdevkit/VOC2012/SegmentationClassAug")
    dataset = load_dataset(VOC, data_root=voc_home, train_list=Path("train"))
    assert set(np.unique(dataset.train.mask(0))) == {0, 1, 255}
    with pytest.raises(DensebenchError, match="2 of 2 images of the train split are without"):
        load_dataset(VOC, data_root=voc_home)


def test_sbd_gives_the_list_and_the_masks_that_are_missing(
    voc_home: Path, write: SimpleNamespace
) -> None:
    root = voc_home / "VOCdevkit/VOC2012"
    shutil.rmtree(root / "SegmentationClassAug")
    (root / "ImageSets/Segmentation/trainaug.txt").unlink()
    sbd = voc_home / "benchmark_RELEASE" / "dataset"
    for name, value in (("2007_000032", 9), ("2007_000033", 9), ("2008_000002", 7)):
        write.sbd(sbd / "cls" / f"{name}.mat", write.grid(value))
    write.list(sbd / "train.txt", ["2008_000002"])
    write.list(sbd / "val.txt", ["2007_000032", "2007_000033"])
    train = load_dataset(VOC, data_root=voc_home).train
    assert train.names == ("2007_000032", "2008_000002"), "VOC's val set is taken out"
    assert set(np.unique(train.mask(0))) == {0, 1, 255}, "VOC's own mask goes before SBD's"
    np.testing.assert_array_equal(train.mask(1), write.grid(7))
    assert len(train.fingerprint()) == 64


def test_without_augmented_list_and_sbd_says_what_to_add(voc_home: Path) -> None:
    (voc_home / "VOCdevkit/VOC2012/ImageSets/Segmentation/trainaug.txt").unlink()
    with pytest.raises(DensebenchError, match=r"trainaug\.txt: no such list, and no SBD"):
        load_dataset(VOC, data_root=voc_home)


def test_sbd_mask_errors(tmp_path: Path, write: SimpleNamespace) -> None:
    broken = tmp_path / "broken.mat"
    broken.write_bytes(b"no matlab file")
    with pytest.raises(DensebenchError, match=r"broken\.mat: not a readable SBD mask"):
        read_sbd_mask(broken)
    from scipy import io

    other = tmp_path / "other.mat"
    io.savemat(other, {"GTinst": {"Segmentation": np.zeros((2, 2), np.uint8)}})
    with pytest.raises(DensebenchError, match=r"other\.mat: not a readable SBD mask"):
        read_sbd_mask(other)
    wide = tmp_path / "wide.mat"
    io.savemat(wide, {"GTcls": {"Segmentation": np.zeros((2, 2), np.float64)}})
    with pytest.raises(DensebenchError, match=r"8-bit matrix, not float64"):
        read_sbd_mask(wide)
    row = tmp_path / "row.mat"
    write.sbd(row, [[1, 2, 3]])
    assert read_sbd_mask(row).shape == (1, 3)


def test_lists_of_the_real_dataset(real_data: Path) -> None:
    dataset = load_dataset(
        VOC, data_root=real_data, train_list=Path("memory"), val_list=Path("query")
    )
    assert (len(dataset.train), len(dataset.val)) == (600, 400)
    assert not set(dataset.train.names) & set(dataset.val.names)
    seen: set[int] = set()
    for i in range(40):
        mask = dataset.val.mask(i)
        assert mask.shape[::-1] == dataset.val.image(i).size
        seen |= set(np.unique(mask).tolist())
    assert {0, 15, 255} <= seen <= {*range(21), 255}


def test_scenes_are_read_as_voc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = pytest.importorskip("densebench.datasets.scenes")
    root = tmp_path / "scenes"
    monkeypatch.setattr(scenes, "scenes_root", lambda: root)
    write_scenes(root, len(scenes.CLASSES))
    dataset = load_dataset(DatasetCard(kind="scenes"), data_root="/no/such/place")
    assert dataset.root == root
    assert dataset.classes == scenes.CLASSES
    assert dataset.palette == scenes.PALETTE
    assert dataset.train.mask(0).max() == len(scenes.CLASSES) - 1
    with pytest.raises(DensebenchError, match=r"'dataset\.root' has no meaning"):
        load_dataset(DatasetCard(kind="scenes", root="here"))


def write_scenes(root: Path, n_classes: int) -> None:
    from PIL import Image

    for folder in ("JPEGImages", "SegmentationClass", "SegmentationClassAug"):
        (root / folder).mkdir(parents=True)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for name, listed, folder in (
        ("a", "trainaug", "SegmentationClassAug"),
        ("b", "val", "SegmentationClass"),
    ):
        Image.new("RGB", (3, 2)).save(root / "JPEGImages" / f"{name}.jpg")
        Image.new("L", (3, 2), n_classes - 1).save(root / folder / f"{name}.png")
        (lists / f"{listed}.txt").write_text(f"{name}\n")
