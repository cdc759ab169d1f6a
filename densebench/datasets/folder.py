"""Any folder of images and 8-bit masks that a card describes."""

from pathlib import Path

from densebench.cards import DatasetCard
from densebench.datasets.base import Split, SplitName
from densebench.datasets.classes import Classes
from densebench.datasets.files import MASKS, PHOTOS, list_files
from densebench.datasets.masks import LookupReader, identity_table
from densebench.datasets.pairing import make_split
from densebench.files.tree import locate


def lists_folder(card: DatasetCard, root: Path) -> Path:
    """Where the lists of image names are kept: beside the card's training list."""
    return locate(root, str(card.train)).parent


def read_split(
    card: DatasetCard,
    classes: Classes,
    root: Path,
    split: SplitName,
    names: tuple[str, ...] | None,
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
    reader = LookupReader(identity_table(classes))
    return make_split(split, names, images=images, masks=masks, reader=reader, classes=classes)
