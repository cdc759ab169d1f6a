"""COCO-Things: the 12 super-categories of things in the panoptic annotations of COCO 2017."""

from densebench.datasets import coco
from densebench.datasets.classes import coco_things, supercategory_classes
from densebench.datasets.kind import labelled

DATASET = labelled(
    lambda card: supercategory_classes(coco_things()),
    read_split=lambda card, root, split, names: coco.read_things(root, split, names),
    layout=coco.LAYOUT,
    annotations=coco.annotation_folders((*coco.PANOPTIC, *coco.CATEGORY_MAPS[1:])),
    is_quick=False,
    other_releases=coco.other_releases,
)
