"""ADE20K as released for scene parsing (ADEChallengeData2016)."""

from pathlib import Path

from densebench.datasets.base import Split, SplitName
from densebench.datasets.classes import ade20k_classes
from densebench.datasets.files import MASKS, PHOTOS, list_files
from densebench.datasets.masks import LookupReader, identity_table
from densebench.datasets.pairing import make_split
from densebench.files.tree import locate

FOLDERS: dict[SplitName, str] = {"train": "training", "val": "validation"}


def read_split(root: Path, split: SplitName, names: tuple[str, ...] | None = None) -> Split:
    """Every image of the split. Masks keep 0 (``other``, ignored) to 150 as they are.

    Raises:
        DensebenchError: a folder, an image or a mask is missing.
    """
    classes = ade20k_classes()
    images = list_files(locate(root, f"images/{FOLDERS[split]}"), PHOTOS)
    masks = list_files(locate(root, f"annotations/{FOLDERS[split]}"), MASKS)
    reader = LookupReader(identity_table(classes))
    return make_split(split, names, images=images, masks=masks, reader=reader, classes=classes)
