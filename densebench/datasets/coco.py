"""COCO-Things and COCO-Stuff: super-categories of COCO 2017 as classes.

The classes are those of NeCo's and hbird's readers (``data/coco/coco_data_module.py``): the sorted
super-categories of the things in the panoptic annotations, and of the stuff annotations.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from densebench.datasets.base import MaskReader, Split, SplitName
from densebench.datasets.classes import (
    COCO_OTHER,
    VOID,
    coco_panoptic,
    coco_stuff,
    coco_things,
    supercategory_classes,
    supercategory_indices,
)
from densebench.datasets.image_files import MASKS, PHOTOS, Listing, list_files
from densebench.datasets.masks import LookupReader, lookup_table
from densebench.datasets.pairing import make_split
from densebench.datasets.panoptic import read_panoptic
from densebench.datasets.roots import Layout
from densebench.files.tree import is_dir, is_file, locate
from densebench.host.errors import DensebenchError

LAYOUT = Layout(
    ("coco", "COCO", "coco2017"),
    (
        ("images/train2017", "images/val2017", "annotations"),
        ("train2017", "val2017", "annotations"),
    ),
)
OLD_NAME = re.compile(r"COCO_(train|val|test)2014_")
PANOPTIC = ("panoptic_{}2017", "panoptic_annotations/panoptic_{}2017")
# Panoptic masks that were converted to category ids; the typing error is NeCo's own.
CATEGORY_MAPS = (
    "{}2017",
    "panoptic_annotations/semantic_segmenations_{}2017",
    "panoptic_annotations/semantic_segmentations_{}2017",
)
STUFF_MAPS = ("stuff_annotations/stuff_{}2017_pixelmaps", "stuff_{}2017_pixelmaps")
NESTED = "an archive inside another must be taken out of it"


def read_things(root: Path, split: SplitName, names: tuple[str, ...] | None = None) -> Split:
    """The 12 super-categories of things; stuff and what is not labelled are ignored.

    Reads panoptic PNGs with their JSON or, where these are not there, maps of category ids.

    Raises:
        DensebenchError: a folder, the JSON, an image or a mask is missing.
    """
    classes = supercategory_classes(coco_things())
    images = list_files(_images(root, split), PHOTOS)
    masks, reader = _thing_masks(root, split)
    return make_split(
        split, names, images=images, masks=masks, reader=reader, target=classes.target
    )


def read_stuff(root: Path, split: SplitName, names: tuple[str, ...] | None = None) -> Split:
    """The 15 super-categories of stuff; things (0) and ``other`` (183) are ignored.

    Raises:
        DensebenchError: the stuff pixel maps, an image or a mask is missing.
    """
    classes = supercategory_classes(coco_stuff())
    images = list_files(_images(root, split), PHOTOS)
    folder = _first_there(root, split, STUFF_MAPS)
    if folder is None:
        raise _no_stuff(root, split)
    table = lookup_table(supercategory_indices(coco_stuff()), VOID, (0, COCO_OTHER))
    reader = LookupReader(table)
    masks = list_files(folder, MASKS)
    return make_split(
        split, names, images=images, masks=masks, reader=reader, target=classes.target
    )


def annotation_folders(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The folders of both splits."""
    return tuple(f"annotations/{p.format(split)}" for p in patterns for split in ("train", "val"))


def _thing_masks(root: Path, split: SplitName) -> tuple[Listing, MaskReader]:
    panoptic = _panoptic(root, split)
    maps = _first_there(root, split, CATEGORY_MAPS)
    # Two ways of keeping the same labels. The official one goes first: COCO-Stuff's stuffthingmaps
    # are often kept under the name of the second, and hold other ids.
    if panoptic is not None and (is_file(panoptic[1]) or maps is None):
        reader = read_panoptic(panoptic[1])
        listed = list_files(panoptic[0], MASKS)
        described = {name: file for name, file in listed.files.items() if name in reader.spans}
        return Listing(listed.folder, described), reader
    if maps is None:
        raise DensebenchError(
            f"{root / 'annotations'}: no masks of things for {split}2017; looked for "
            f"{_looked_for(split, PANOPTIC)} (each with its .json beside it), "
            f"{_looked_for(split, CATEGORY_MAPS)}; {NESTED}"
        )
    stuff = [category.id for category in coco_panoptic() if not category.is_thing]
    table = lookup_table(supercategory_indices(coco_things()), VOID, (0, *stuff, VOID))
    return list_files(maps, MASKS), LookupReader(table)


def _images(root: Path, split: SplitName) -> Path:
    usual = locate(root, f"images/{split}2017")
    return usual if is_dir(usual) else locate(root, f"{split}2017")


def _panoptic(root: Path, split: SplitName) -> tuple[Path, Path] | None:
    """The panoptic PNGs and their JSON, which may lie in different archives."""
    for pattern in PANOPTIC:
        inside = f"annotations/{pattern.format(split)}"
        folder = locate(root, inside)
        if is_dir(folder):
            return folder, locate(root, f"{inside}.json")
    return None


def _first_there(root: Path, split: SplitName, patterns: tuple[str, ...]) -> Path | None:
    folders = (locate(root, f"annotations/{pattern.format(split)}") for pattern in patterns)
    return next((folder for folder in folders if is_dir(folder)), None)


def _looked_for(split: SplitName, patterns: tuple[str, ...]) -> str:
    return ", ".join(pattern.format(split) for pattern in patterns)


def _no_stuff(root: Path, split: SplitName) -> DensebenchError:
    panoptic = _panoptic(root, split)
    why = (
        f" ({panoptic[0]} will not do: the panoptic annotations merge stuff classes and are "
        "not the same labels)"
        if panoptic is not None
        else ""
    )
    return DensebenchError(
        f"{root / 'annotations'}: coco_stuff needs the stuff pixel maps of {split}2017, "
        f"as {_looked_for(split, STUFF_MAPS)}{why}; "
        f"get stuff_annotations_trainval2017.zip; {NESTED}"
    )


def other_releases(root: Path, place: Path) -> Iterator[str]:
    """What of another release lies where this one should be, one sentence each."""
    for split in ("train", "val"):
        folders = [base / f"{split}2014" for base in (place / "images", place, root)]
        there = next((folder for folder in folders if folder.is_dir()), None)
        if there is not None and not (place / "images" / f"{split}2017").is_dir():
            yield f"{there} is of COCO 2014, whose split is another one than COCO 2017's"
        for base in (place / "images", place):
            old = [n for n in _stems(base / f"{split}2017") if OLD_NAME.match(n)]
            if old:
                yield f"{base / f'{split}2017'}: {len(old):,} images are COCO 2014's ({old[0]})"


def _stems(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(entry.name.partition(".")[0] for entry in os.scandir(folder))
