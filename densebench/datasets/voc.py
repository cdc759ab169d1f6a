"""PASCAL VOC 2012 as its owners ship it, and as the hbird and NeCo code expects it."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from densebench.datasets.base import Split, SplitName
from densebench.datasets.classes import Classes, voc_classes
from densebench.datasets.image_files import MASKS, PHOTOS, Listing, list_files
from densebench.datasets.kind import labelled
from densebench.datasets.lists import listed_names, read_names
from densebench.datasets.masks import LookupReader, identity_table
from densebench.datasets.pairing import make_split
from densebench.datasets.roots import Layout
from densebench.datasets.sbd import find_sbd, read_sbd_mask, sbd_masks, sbd_names
from densebench.files.tree import is_dir, is_file, locate
from densebench.host.errors import DensebenchError

LAYOUT = Layout(
    ("VOCdevkit/VOC2012", "VOC2012", "VOCdevkit", "VOCSegmentation", "voc", "VOC"),
    (("JPEGImages", "ImageSets/Segmentation"), ("images", "sets")),
)
# Names in the segmentation lists (train, val) of each year's development kit.
VOC_YEARS = {
    (209, 213): 2007,
    (511, 512): 2008,
    (749, 750): 2009,
    (964, 964): 2010,
    (1112, 1111): 2011,
}
VOC_2007_NAME = re.compile(r"\d{6}")
TRAINAUG_LENGTHS = {
    1464: "VOC's own train set, without SBD",
    2913: "VOC's own train and val sets",
    5623: "SBD's list without VOC's images (train_noval)",
    8498: "SBD's train list alone",
    11355: "all of SBD, VOC's validation images among them",
    12031: "all of VOC and SBD, validation images among them",
}


@dataclass(frozen=True)
class VocReader(LookupReader):
    """Reads palette PNGs and, where the augmented masks come from SBD itself, its .mat files."""

    def read(self, file: Path) -> UInt8[np.ndarray, "h w"]:
        """Class index of every pixel.

        Raises:
            DensebenchError: the file is no mask, or holds an id that is no class.
        """
        if file.suffix == ".mat":
            return self.decode(read_sbd_mask(file), file)
        return super().read(file)


def lists_folder(root: Path) -> Path:
    """Where the lists of image names are kept."""
    official = locate(root, "ImageSets/Segmentation")
    return official if is_dir(official) else locate(root, "sets")


def read_split(
    root: Path,
    split: SplitName,
    names: tuple[str, ...] | None = None,
    classes: Classes | None = None,
) -> Split:
    """Train: ``trainaug`` with the augmented masks; val: ``val`` with VOC's own masks.

    This is what hbird (``hbird/data/voc_data.py``) and NeCo read.

    Raises:
        DensebenchError: a list, an image or a mask is missing.
    """
    classes = classes or voc_classes()
    official = locate(root, "JPEGImages")
    images = list_files(official if is_dir(official) else locate(root, "images"), PHOTOS)
    if split == "val":
        names = names or listed_names(lists_folder(root) / "val.txt")
        masks = list_files(locate(root, "SegmentationClass"), MASKS)
    else:
        names = names or _augmented_names(root)
        masks = _train_masks(root, names)
    reader = VocReader(identity_table(classes))
    return make_split(
        split, names, images=images, masks=masks, reader=reader, target=classes.target
    )


def _augmented_names(root: Path) -> tuple[str, ...]:
    lists = lists_folder(root)
    if is_file(lists / "trainaug.txt"):
        return listed_names(lists / "trainaug.txt")
    sbd = find_sbd(root)
    if sbd is None:
        raise DensebenchError(
            f"{lists / 'trainaug.txt'}: no such list, and no SBD (a folder SBD or "
            "benchmark_RELEASE/dataset with cls/*.mat, train.txt and val.txt) to make it of; "
            "add one of them, or name another list of training images"
        )
    # The 10,582 names of trainaug: all that SBD or VOC's train set labels, less VOC's val set.
    labelled = {*sbd_names(sbd), *read_names(lists / "train.txt")}
    return tuple(sorted(labelled.difference(read_names(lists / "val.txt"))))


def _train_masks(root: Path, names: tuple[str, ...]) -> Listing:
    augmented = _list_if_there(locate(root, "SegmentationClassAug"))
    own = _list_if_there(locate(root, "SegmentationClass"))
    for masks in (augmented, own):
        if all(name in masks.files for name in names):
            return masks
    sbd = find_sbd(root)
    if sbd is None:
        return augmented
    # VOC's own mask goes first where both label an image, as in the SegmentationClassAug that is
    # passed around: it was made by copying VOC's masks over the converted ones of SBD.
    converted = sbd_masks(sbd)
    return Listing(converted.folder, {**converted.files, **own.files})


def _list_if_there(folder: Path) -> Listing:
    return list_files(folder, MASKS) if is_dir(folder) else Listing(folder, {})


def other_releases(root: Path, place: Path) -> Iterator[str]:
    """What of another release lies where this one should be, one sentence each."""
    older = [path for base in (root, root / "VOCdevkit") for path in base.glob("VOC20[01][0-9]")]
    if not is_dir(place):
        for path in sorted({path.name for path in older} - {"VOC2012"}):
            yield f"{path} is there, but not VOC2012, which densebench reads"
        if any((root / sbd).is_dir() for sbd in ("SBD", "benchmark_RELEASE")):
            yield "SBD is there, but not VOC2012, whose images and val set it does not replace"
        return
    old = [name for name in _stems(place / "JPEGImages") if VOC_2007_NAME.fullmatch(name)]
    if old:
        yield f"{len(old):,} images are VOC 2007's (such as {old[0]}); VOC 2012 is without them"
    lists = lists_folder(place)
    train, val = _names(lists / "train.txt"), _names(lists / "val.txt")
    year = VOC_YEARS.get((len(train), len(val)))
    if year is not None:
        yield (
            f"{lists}: train.txt and val.txt have {len(train):,} and {len(val):,} names, which are "
            f"VOC {year}'s and not VOC 2012's"
        )
    leaked = sorted(set(_names(lists / "trainaug.txt")).intersection(val))
    if leaked:
        yield (
            f"{lists / 'trainaug.txt'}: {len(leaked):,} of its names are in val.txt too (such as "
            f"{leaked[0]}), so that validation images would be trained on"
        )


def known_count(split: SplitName, count: int) -> str:
    """What a list of another length than trainaug's is, where it is known."""
    known = TRAINAUG_LENGTHS.get(count) if split == "train" else None
    return f" (this is {known})" if known else ""


def _stems(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(entry.name.partition(".")[0] for entry in os.scandir(folder))


def _names(file: Path) -> tuple[str, ...]:
    try:
        return read_names(file)
    except DensebenchError:
        return ()


DATASET = labelled(
    lambda card: voc_classes(),
    read_split=lambda card, root, split, names: read_split(root, split, names),
    layout=LAYOUT,
    lists=lambda card, root: lists_folder(root),
    other_releases=other_releases,
    known_count=known_count,
)
