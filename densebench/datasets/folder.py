"""Any folder of images and 8-bit masks that a card describes."""

from pathlib import Path

from pydantic import model_validator

from densebench.cards import DatasetCard
from densebench.datasets.base import MaskReader, Split, SplitName
from densebench.datasets.classes import Classes, distinct_colours
from densebench.datasets.image_files import MASKS, PHOTOS, list_files
from densebench.datasets.kind import labelled
from densebench.datasets.masks import LookupReader, identity_table
from densebench.datasets.pairing import make_split
from densebench.datasets.roots import Layout, base_folder, complete, first_missing, missing
from densebench.datasets.targets import Target
from densebench.files.tree import locate


class FolderCard(DatasetCard):
    """A card that says where everything lies."""

    @model_validator(mode="after")
    def _is_complete(self) -> "FolderCard":
        needed = ("root", "images", "masks", "train", "val", "classes")
        absent = [key for key in needed if getattr(self, key) is None]
        if absent:
            raise ValueError(f"kind 'folder' also needs {', '.join(absent)}")
        return self


def classes_of(card: DatasetCard) -> Classes:
    """The card's."""
    names = card.classes or ()
    return Classes(names, distinct_colours(len(names)), card.ignore_index)


def lists_folder(card: DatasetCard, root: Path) -> Path:
    """Where the lists of image names are kept: beside the card's training list."""
    return locate(root, str(card.train)).parent


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
    """The listed images with their masks, as :func:`paired` finds them."""
    classes = classes_of(card)
    return paired(card, root, split, names, LookupReader(identity_table(classes)), classes.target)


def paired(
    card: DatasetCard,
    root: Path,
    split: SplitName,
    names: tuple[str, ...] | None,
    reader: MaskReader,
    target: Target,
) -> Split:
    """The listed images ``NAME.jpg|.jpeg|.png`` with masks ``NAME.png``.

    Where both lie in one folder, its PNGs are masks.

    Raises:
        DensebenchError: an image or a mask is missing, or is there under two suffixes.
    """
    image_folder, mask_folder = locate(root, str(card.images)), locate(root, str(card.masks))
    together = image_folder.resolve() == mask_folder.resolve()
    photos = tuple(s for s in PHOTOS if s not in MASKS) if together else PHOTOS
    images = list_files(image_folder, photos)
    masks = list_files(mask_folder, MASKS)
    return make_split(split, names, images=images, masks=masks, reader=reader, target=target)


DATASET = labelled(
    classes_of,
    read_split=read_split,
    locate=find_root,
    lists=lists_folder,
    card=FolderCard,
    keys=frozenset(FolderCard.model_fields),
)
