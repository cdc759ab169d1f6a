"""PASCAL VOC 2012 as its owners ship it, and as the hbird and NeCo code expects it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from densebench.datasets.base import Split, SplitName
from densebench.datasets.classes import Classes, voc_classes
from densebench.datasets.files import MASKS, PHOTOS, Listing, list_files
from densebench.datasets.lists import listed_names, read_names
from densebench.datasets.masks import LookupReader, identity_table
from densebench.datasets.pairing import make_split
from densebench.datasets.sbd import find_sbd, read_sbd_mask, sbd_masks, sbd_names
from densebench.files.tree import is_dir, is_file, locate
from densebench.host.errors import DensebenchError


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
    return make_split(split, names, images=images, masks=masks, reader=reader, classes=classes)


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
