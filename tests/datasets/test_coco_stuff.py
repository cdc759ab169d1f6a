"""The kind of dataset ``coco_stuff``."""

from densebench.cards import DatasetCard
from densebench.datasets.coco_stuff import DATASET


def test_fifteen_sorted_supercategories_without_other() -> None:
    classes = DATASET.target(DatasetCard(kind="coco_stuff")).classes
    assert len(classes) == 15
    assert list(classes) == sorted(classes)
    assert "other" not in classes
    assert {"sky", "water", "ground"} <= set(classes)
