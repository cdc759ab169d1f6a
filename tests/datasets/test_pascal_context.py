"""PASCAL-Context in the two layouts in which it is passed around."""

from pathlib import Path

import numpy as np
import pytest

from densebench import DensebenchError
from densebench.cards import DatasetCard
from densebench.datasets import load_dataset, pascal_context
from densebench.datasets.classes import VOID, pascal_context_classes

CARD = DatasetCard(kind="pascal_context")
# The ids of two classes in each kind of masks, by the lists that are public with them.
OWNERS = {1: "aeroplane", 15: "person", 59: "wood", 21: "bag", 52: "bedclothes"}
CONVERTED = {1: "aeroplane", 37: "person", 59: "wood", 2: "bag", 4: "bedclothes"}
IDS = {"59_context_labels": OWNERS, "SegmentationClassContext": CONVERTED}


@pytest.fixture(params=sorted(IDS))
def root(request, tmp_path: Path, write) -> Path:
    """Two training and two validation images, all of whose masks show every known id."""
    folder = tmp_path / "data/VOCdevkit/VOC2010"
    lists = "Main" if request.param == "59_context_labels" else "SegmentationContext"
    for split, names in (("train", ["2008_000002", "2008_000003"]), ("val", ["2008_000007"])):
        write.list(folder / f"ImageSets/{lists}/{split}.txt", names)
        for name in names:
            ids = np.resize([0, *IDS[request.param]], (4, 6))
            write.photo(folder / f"JPEGImages/{name}.jpg")
            write.mask(folder / request.param / f"{name}.png", ids)
    return folder


def test_both_numberings_are_of_the_same_classes(root: Path) -> None:
    dataset = load_dataset(CARD, data_root=root.parents[1])
    assert dataset.root == root
    assert (dataset.train.names, dataset.val.names) == (
        ("2008_000002", "2008_000003"),
        ("2008_000007",),
    )
    folder = next(name for name in IDS if (root / name).is_dir())
    wanted = [VOID, *(dataset.classes.index(name) for name in IDS[folder].values())]
    np.testing.assert_array_equal(dataset.val.mask(0), np.resize(wanted, (4, 6)))
    assert dataset.ignore_index == VOID


def test_the_classes_are_59_and_distinct() -> None:
    names = pascal_context_classes().names
    assert len(names) == len(set(names)) == 59
    assert sorted(names)[:3] == ["aeroplane", "bag", "bed"]


def test_an_id_that_is_no_class_is_refused(root: Path, write) -> None:
    folder = next(name for name in IDS if (root / name).is_dir())
    write.mask(root / folder / "2008_000007.png", write.grid(60))
    split = pascal_context.read_split(root, "val")
    with pytest.raises(DensebenchError, match="60; allowed are 0-59"):
        split.mask(0)


def test_a_missing_mask_is_named(root: Path) -> None:
    folder = next(name for name in IDS if (root / name).is_dir())
    (root / folder / "2008_000003.png").unlink()
    why = "1 of 2 images of the train split are without a mask, the first is '2008_000003'"
    with pytest.raises(DensebenchError, match=why):
        pascal_context.read_split(root, "train")


def test_without_masks_it_says_what_is_needed(tmp_path: Path, write) -> None:
    write.photo(tmp_path / "VOC2010/JPEGImages/2008_000002.jpg")
    with pytest.raises(DensebenchError, match=r"no pascal_context dataset in .*59_context_labels"):
        load_dataset(CARD, data_root=tmp_path)
