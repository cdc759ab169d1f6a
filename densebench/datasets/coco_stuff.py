"""COCO-Stuff: the 15 super-categories of stuff in the stuff annotations of COCO 2017."""

from densebench.datasets import coco
from densebench.datasets.classes import coco_stuff, supercategory_classes
from densebench.datasets.kind import labelled

DATASET = labelled(
    lambda card: supercategory_classes(coco_stuff()),
    read_split=lambda card, root, split, names: coco.read_stuff(root, split, names),
    layout=coco.LAYOUT,
    annotations=coco.annotation_folders(coco.STUFF_MAPS),
    is_quick=False,
    other_releases=coco.other_releases,
)
