from pathlib import Path

import numpy as np
import pytest

from densebench import DensebenchError
from densebench.cards import DatasetCard
from densebench.datasets import load_dataset
from densebench.datasets.cityscapes import city

CITYSCAPES = DatasetCard(kind="cityscapes")


def test_label_ids_become_train_ids(cityscapes_root: Path) -> None:
    dataset = load_dataset(CITYSCAPES, data_root=cityscapes_root.parent)
    assert dataset.train.names == ("aachen_000000_000019", "bremen_000000_000019")
    assert [city(name) for name in dataset.train.names] == ["aachen", "bremen"]
    mask = dataset.val.mask(0)
    assert (mask[0, 1], mask[1, 0], mask[2, 0], mask[0, 0]) == (0, 18, 255, 255)
    assert np.asarray(dataset.val.image(0)).shape == (4, 6, 3)
    assert (len(dataset.classes), dataset.palette[18]) == (19, (119, 11, 32))


def test_every_scored_label_id() -> None:
    from densebench.datasets.classes import cityscapes_train_ids

    # From hbird's key array, which is indexed by label id + 1.
    v = 255
    key = [v, v, v, v, v, v, v, v, 0, 1, v, v, 2, 3, 4, v, v, v, 5, v, 6, 7, 8, 9, 10, 11, 12]
    key += [13, 14, 15, v, v, 16, 17, 18]
    train_ids, label_ids = cityscapes_train_ids()
    assert [train_ids.get(label, v) for label in label_ids] == key[1:]


def test_unknown_label_id(cityscapes_root: Path, write) -> None:
    folder = cityscapes_root / "gtFine/val/frankfurt"
    write.mask(folder / "frankfurt_000000_000019_gtFine_labelIds.png", write.grid(34))
    dataset = load_dataset(CITYSCAPES, data_root=cityscapes_root)
    with pytest.raises(DensebenchError, match="no class: 34; allowed are 0-33"):
        dataset.val.mask(0)


def test_lists_may_give_file_names(cityscapes_root: Path, tmp_path: Path) -> None:
    listed = tmp_path / "some.txt"
    listed.write_text("bremen/bremen_000000_000019_leftImg8bit.png\n")
    dataset = load_dataset(CITYSCAPES, data_root=cityscapes_root, train_list=listed)
    assert dataset.train.names == ("bremen_000000_000019",)


def test_image_without_mask(cityscapes_root: Path, write) -> None:
    write.photo(cityscapes_root / "leftImg8bit/val/lindau/lindau_000000_000019_leftImg8bit.png")
    with pytest.raises(DensebenchError, match=r"1 of 2 images .* the first is 'lindau_000000"):
        load_dataset(CITYSCAPES, data_root=cityscapes_root)


def test_groups_are_cities(cityscapes_root: Path) -> None:
    dataset = load_dataset(DatasetCard(kind="cityscapes"), data_root=cityscapes_root)
    assert dataset.group_name == "cities"
    assert (dataset.train.groups, dataset.val.groups) == (("aachen", "bremen"), ("frankfurt",))
    part = dataset.train.subset([dataset.train.names[1]])
    assert part.groups == ("bremen",)
