"""Any folder of images and masks of ids that a card describes."""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from densebench.cards import Card, DatasetCard
from densebench.datasets.base import MaskReader, Split, SplitName
from densebench.datasets.classes import Classes, Colour, distinct_colours
from densebench.datasets.image_files import MASKS, PHOTOS, Listing, list_files
from densebench.datasets.kind import labelled
from densebench.datasets.masks import IdReader, identity_table, lookup_table
from densebench.datasets.pairing import make_split
from densebench.datasets.roots import Layout, base_folder, complete, first_missing, missing
from densebench.datasets.targets import Target
from densebench.files.tree import locate

VOID = "void"  # in `ids`, what is not counted
LARGEST_ID = 65535
LAST_CLASS = 254  # 255 is void wherever labels are kept in a byte

Id = Annotated[int, Field(ge=0, le=LARGEST_ID)]
Shade = Annotated[int, Field(ge=0, le=255)]


class SeededSplit(Card):
    """A share of all images is for validation, drawn by a seed; the rest is for training."""

    val: float = Field(gt=0, lt=1)
    seed: int = Field(default=0, ge=0)


class FolderCard(DatasetCard):
    """A card that says where everything lies.

    ``ids`` maps the ids in masks to the names of classes, or to ``void``; without it they are the
    classes' indices. Lists of images may be left out where ``split`` says how they are drawn.
    """

    ids: dict[Id, str] | None = Field(default=None, min_length=1)
    palette: tuple[tuple[Shade, Shade, Shade], ...] | None = None
    split: SeededSplit | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> "FolderCard":
        lists = () if self.split is not None else ("train", "val")
        needed = ("root", "images", "masks", *lists, "classes")
        absent = [key for key in needed if getattr(self, key) is None]
        if absent:
            how = "; or split = { val = 0.2 } instead of lists" if "val" in absent else ""
            raise ValueError(f"kind 'folder' also needs {', '.join(absent)}{how}")
        return self

    @model_validator(mode="after")
    def _classes_are_meant(self) -> "FolderCard":
        classes = self.classes or ()
        unknown = sorted(set((self.ids or {}).values()) - {*classes, VOID})
        if unknown:
            raise ValueError(f"ids give '{unknown[0]}', which is none of the classes nor '{VOID}'")
        last = max(map(classes.index, {*(self.ids or {}).values()} - {VOID}), default=0)
        if last > LAST_CLASS:
            raise ValueError(
                f"ids give '{classes[last]}', class {last} from 0 on, and masks are kept in bytes, "
                f"whose last class is {LAST_CLASS}; put the classes that masks hold first"
            )
        if self.palette is not None and len(self.palette) != len(classes):
            raise ValueError(
                f"palette has {len(self.palette)} colours, but there are {len(classes)} classes"
            )
        return self


def classes_of(card: DatasetCard) -> Classes:
    """The card's."""
    names = card.classes or ()
    own: tuple[Colour, ...] | None = getattr(card, "palette", None)
    return Classes(names, own or distinct_colours(len(names)), card.ignore_index)


def lists_folder(card: DatasetCard, root: Path) -> Path:
    """Where the lists of image names are kept: beside the card's training list, if it has one."""
    return root if card.train is None else locate(root, str(card.train)).parent


def find_root(card: DatasetCard, card_path: Path | None, data_root: str | Path | None) -> Path:
    """The folder that has the card's images and masks.

    Raises:
        MissingDatasetError: there is none.
    """
    base = base_folder(card, card_path, data_root)
    needs = ((str(card.images), str(card.masks)),)
    found = complete(base, Layout((Path(str(card.root)).name,), needs))
    if found is not None:
        return found
    raise missing(
        f"no dataset in {base}: it needs the card's images = '{card.images}' and "
        f"masks = '{card.masks}'",
        first_missing([base], Layout((), needs)),
    )


def read_split(
    card: DatasetCard, root: Path, split: SplitName, names: tuple[str, ...] | None
) -> Split:
    """The listed images ``NAME.jpg|.jpeg|.png`` with masks ``NAME.png``.

    Where both lie in one folder, its PNGs are masks. Without a list they are the card's share of
    all images that have a mask.

    Raises:
        DensebenchError: an image or a mask is missing, or is there under two suffixes.
    """
    reader = IdReader(table_of(card))
    return paired(card, root, split, names, reader, classes_of(card).target)


def paired(
    card: DatasetCard,
    root: Path,
    split: SplitName,
    names: tuple[str, ...] | None,
    reader: MaskReader,
    target: Target,
) -> Split:
    """The same of maps of any kind, which a reader reads.

    Raises:
        DensebenchError: an image or a map is missing, or is there under two suffixes.
    """
    images, masks = both_listings(card, root)
    if names is None and isinstance(card, FolderCard) and card.split is not None:
        names = drawn(images, masks, card.split)[split]
    return make_split(split, names, images=images, masks=masks, reader=reader, target=target)


def both_listings(card: DatasetCard, root: Path) -> tuple[Listing, Listing]:
    """The images and the masks.

    Raises:
        DensebenchError: one is there under two suffixes, or a folder cannot be listed.
    """
    image_folder, mask_folder = locate(root, str(card.images)), locate(root, str(card.masks))
    together = image_folder.resolve() == mask_folder.resolve()
    photos = tuple(s for s in PHOTOS if s not in MASKS) if together else PHOTOS
    return list_files(image_folder, photos), list_files(mask_folder, MASKS)


def drawn(
    images: Listing, masks: Listing, how: SeededSplit
) -> dict[SplitName, tuple[str, ...] | None]:
    """The names of both splits, sorted; at least one image is in each, where there are two.

    Without any pair there are no lists, so that what is missing is told.
    """
    pairs = sorted(images.files.keys() & masks.files.keys())
    if not pairs:
        return {"train": None, "val": None}
    order = np.random.default_rng(how.seed).permutation(len(pairs))
    n_val = min(max(1, round(how.val * len(pairs))), max(1, len(pairs) - 1))
    val = tuple(sorted(pairs[i] for i in order[:n_val]))
    return {"train": tuple(sorted(set(pairs) - set(val))), "val": val}


def table_of(card: DatasetCard) -> tuple[int, ...]:
    """The class of each id, as the card says it."""
    classes = classes_of(card)
    ids: dict[int, str] | None = getattr(card, "ids", None)
    if ids is None:
        return identity_table(classes)
    known = {id_: classes.names.index(name) for id_, name in ids.items() if name != VOID}
    void = {id_ for id_, name in ids.items() if name == VOID}
    return lookup_table(known, card.ignore_index, void)


DATASET = labelled(
    classes_of,
    read_split=read_split,
    locate=find_root,
    lists=lists_folder,
    card=FolderCard,
    keys=frozenset(FolderCard.model_fields),
)
