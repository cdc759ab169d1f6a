"""From the table ``[dataset]`` of a task card to images and masks."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from densebench.cards import DatasetCard
from densebench.datasets import ade20k, camvid, cityscapes, coco, folder, voc
from densebench.datasets.base import Dataset, Split, SplitName
from densebench.datasets.classes import (
    Classes,
    ade20k_classes,
    camvid_classes,
    cityscapes_classes,
    coco_stuff,
    coco_things,
    distinct_colours,
    supercategory_classes,
    voc_classes,
)
from densebench.datasets.lists import find_list, listed_names
from densebench.datasets.roots import find_root
from densebench.host.errors import DensebenchError

ReadSplit = Callable[[Path, SplitName, tuple[str, ...] | None], Split]


@dataclass(frozen=True)
class _Source:
    """One kind of dataset.

    Attributes:
        classes: its classes.
        read_split: reads a split, of the given names or of the kind's own.
        lists: the folder in which it keeps lists of names, if it does.
        keys: the keys of ``[dataset]`` that mean something for it.
        group_name: what the groups of its images are, if it has groups.
    """

    classes: Classes
    read_split: ReadSplit
    lists: Callable[[Path], Path | None] = lambda root: None
    keys: frozenset[str] = frozenset({"kind", "root", "train", "val", "subset"})
    group_name: str | None = None


def load_dataset(
    card: DatasetCard,
    *,
    card_path: Path | None = None,
    data_root: str | Path | None = None,
    train_list: Path | None = None,
    val_list: Path | None = None,
) -> Dataset:
    """Finds the dataset on disk and pairs its images with their masks; reads no pixel yet.

    Args:
        card: what to read.
        card_path: the card's file, to whose folder a relative ``root`` refers.
        data_root: the dataset's folder or the one that holds it, instead of the card's ``root``.
            The kind ``scenes``, which is part of the package, has no use for it.
        train_list: names of the training images, one a line; a bare word, such as ``memory``,
            names a list that the dataset keeps itself.
        val_list: the same for validation.

    Raises:
        DensebenchError: the dataset, a list, an image or a mask is missing, or a key of the card
            has no meaning for its kind.
    """
    source = _source(card)
    _check_keys(card, source)
    root = _scenes_root() if card.kind == "scenes" else find_root(card, card_path, data_root)
    train = _names(train_list, card.train, source, root)
    val = _names(val_list, card.val, source, root)
    return Dataset(
        kind=card.kind,
        root=root,
        classes=source.classes.names,
        ignore_index=source.classes.ignore_index,
        palette=source.classes.palette,
        train=source.read_split(root, "train", train),
        val=source.read_split(root, "val", val),
        group_name=source.group_name,
    )


def _source(card: DatasetCard) -> _Source:
    return _SOURCES[card.kind](card)


def _voc(card: DatasetCard) -> _Source:
    return _Source(voc_classes(), voc.read_split, voc.lists_folder)


def _ade20k(card: DatasetCard) -> _Source:
    return _Source(ade20k_classes(), ade20k.read_split)


def _coco_things(card: DatasetCard) -> _Source:
    return _Source(supercategory_classes(coco_things()), coco.read_things)


def _coco_stuff(card: DatasetCard) -> _Source:
    return _Source(supercategory_classes(coco_stuff()), coco.read_stuff)


def _cityscapes(card: DatasetCard) -> _Source:
    return _Source(cityscapes_classes(), cityscapes.read_split, group_name="cities")


def _camvid(card: DatasetCard) -> _Source:
    return _Source(camvid_classes(), camvid.read_split, camvid.lists_folder, group_name="sequences")


def _folder(card: DatasetCard) -> _Source:
    names = card.classes or ()
    classes = Classes(names, distinct_colours(len(names)), card.ignore_index)
    return _Source(
        classes,
        partial(folder.read_split, card, classes),
        partial(folder.lists_folder, card),
        frozenset(DatasetCard.model_fields),
    )


def _scenes(card: DatasetCard) -> _Source:
    from densebench.datasets.scenes import CLASSES, PALETTE

    classes = Classes(tuple(CLASSES), tuple(PALETTE))
    return _Source(
        classes,
        partial(voc.read_split, classes=classes),
        voc.lists_folder,
        frozenset({"kind", "train", "val", "subset"}),
    )


_SOURCES: dict[str, Callable[[DatasetCard], _Source]] = {
    "voc": _voc,
    "ade20k": _ade20k,
    "coco_things": _coco_things,
    "coco_stuff": _coco_stuff,
    "cityscapes": _cityscapes,
    "camvid": _camvid,
    "folder": _folder,
    "scenes": _scenes,
}


def _scenes_root() -> Path:
    from densebench.datasets.scenes import scenes_root

    return scenes_root()


def _check_keys(card: DatasetCard, source: _Source) -> None:
    idle = sorted(card.model_fields_set - source.keys)
    if card.ignore_index == source.classes.ignore_index and "ignore_index" in idle:
        idle.remove("ignore_index")
    if idle:
        raise DensebenchError(
            f"key 'dataset.{idle[0]}' has no meaning for kind '{card.kind}', which takes "
            f"{', '.join(sorted(source.keys))}; remove it, or use kind 'folder'"
        )


def _names(
    given: Path | None, in_card: str | None, source: _Source, root: Path
) -> tuple[str, ...] | None:
    own = source.lists(root)
    if given is not None:
        return listed_names(find_list(given, own, Path()))
    if in_card is not None:
        return listed_names(find_list(in_card, own, root))
    return None
