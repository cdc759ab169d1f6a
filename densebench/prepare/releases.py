"""Wrong and old releases, known by what they hold and named as such."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from densebench.datasets import coco
from densebench.datasets.kind import dataset_kind

CLASS_FOLDERS = 1000
OTHER_IMAGENETS = {100: "ImageNet-100", 200: "Tiny ImageNet"}


def release_problems(dataset: str, kind: str | None, root: Path, place: Path) -> list[str]:
    """What of another release lies where a dataset should be, one sentence each.

    Args:
        dataset: the dataset's name.
        kind: of its labels; None for images alone.
        root: the folder of datasets.
        place: the dataset's own folder, or where it should be.
    """
    look = _OF_IMAGES.get(dataset) if kind is None else dataset_kind(kind).other_releases
    return [] if look is None else list(look(root, place))


def _imagenet(root: Path, place: Path) -> Iterator[str]:
    train = place / "train"
    classes = sum(entry.is_dir() for entry in os.scandir(train)) if train.is_dir() else 0
    if classes and classes != CLASS_FOLDERS:
        known = OTHER_IMAGENETS.get(classes, "ImageNet-21k" if classes > CLASS_FOLDERS else "part")
        yield f"{train}: has {classes:,} class folders, not ILSVRC 2012's 1,000 (is it {known}?)"


_OF_IMAGES: dict[str, Callable[[Path, Path], Iterator[str]]] = {
    "coco_unlabeled": coco.other_releases,
    "imagenet": _imagenet,
}
