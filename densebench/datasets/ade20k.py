"""ADE20K as released for scene parsing (ADEChallengeData2016)."""

import os
from collections.abc import Iterator
from pathlib import Path

from densebench.datasets.base import Split, SplitName
from densebench.datasets.classes import ade20k_classes
from densebench.datasets.image_files import MASKS, PHOTOS, list_files
from densebench.datasets.kind import labelled
from densebench.datasets.masks import LookupReader, identity_table
from densebench.datasets.pairing import make_split
from densebench.datasets.roots import Layout
from densebench.files.tree import is_dir, locate

LAYOUT = Layout(
    ("ADEChallengeData2016", "ade/ADEChallengeData2016", "ade20k", "ADE20K"),
    (
        (
            "images/training",
            "annotations/training",
            "images/validation",
            "annotations/validation",
        ),
    ),
)
FULL_RELEASES = ("ADE20K_2016_07_26", "ADE20K_2021_17_01")
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
    return make_split(
        split, names, images=images, masks=masks, reader=reader, target=classes.target
    )


def other_releases(root: Path, place: Path) -> Iterator[str]:
    """What of another release lies where this one should be, one sentence each."""
    full = [name for name in FULL_RELEASES if (root / name).is_dir()]
    if not is_dir(place) and full:
        yield f"{full[0]} is the full ADE20K; densebench reads ADEChallengeData2016 (150 classes)"
    training = place / "images" / "training"
    if training.is_dir() and any(
        entry.is_dir() or entry.name.endswith("_seg.png") for entry in os.scandir(training)
    ):
        yield (
            f"{training}: is of the full ADE20K (folders of scenes or _seg.png files); densebench "
            "reads ADEChallengeData2016 (150 classes)"
        )


DATASET = labelled(
    lambda card: ade20k_classes(),
    read_split=lambda card, root, split, names: read_split(root, split, names),
    layout=LAYOUT,
    other_releases=other_releases,
)
