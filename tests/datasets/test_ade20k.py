from pathlib import Path

import numpy as np
import pytest

from densebench import DensebenchError
from densebench.cards import DatasetCard
from densebench.datasets import ade20k, load_dataset

ADE = DatasetCard(kind="ade20k")


def test_classes_are_kept_and_other_is_ignored(ade_root: Path) -> None:
    dataset = load_dataset(ADE, data_root=ade_root.parent)
    assert dataset.root == ade_root
    assert dataset.train.names == ("ADE_train_00000001", "ADE_train_00000002")
    assert dataset.ignore_index == 0
    assert (len(dataset.classes), dataset.classes[0], dataset.classes[150]) == (
        151,
        "other",
        "flag",
    )
    assert set(np.unique(dataset.val.mask(1))) == {0, 150}


def test_void_255_is_no_id_of_ade20k(ade_root: Path, write) -> None:
    mask = ade_root / "annotations/validation/ADE_val_00000001.png"
    write.mask(mask, write.grid(255))
    split = ade20k.read_split(ade_root, "val")
    with pytest.raises(DensebenchError, match=rf"{mask}: .* 255; allowed are 0-150"):
        split.mask(0)


def test_a_split_that_is_absent_is_named(real_data: Path) -> None:
    with pytest.raises(DensebenchError, match=r"first that is missing is \S+images/training;"):
        load_dataset(ADE, data_root=real_data)


def test_real_validation_images(real_data: Path) -> None:
    split = ade20k.read_split(real_data / "ADEChallengeData2016", "val")
    assert split.names == tuple(f"ADE_val_0000000{i}" for i in (1, 2, 3))
    mask = split.mask(2)
    assert mask.shape == (300, 400)
    found = {split.classes[i] for i in np.unique(mask)}
    assert {"other", "sky", "building", "tree", "road", "sidewalk", "car", "bus"} <= found
