"""The kind of dataset ``coco_things``."""

from densebench.cards import DatasetCard
from densebench.datasets.coco_things import DATASET


def test_twelve_sorted_supercategories() -> None:
    classes = DATASET.target(DatasetCard(kind="coco_things")).classes
    assert len(classes) == 12
    assert list(classes) == sorted(classes)
    assert {"animal", "vehicle", "person"} <= set(classes)
