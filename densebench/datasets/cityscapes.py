"""Cityscapes with fine annotations, as its owners ship it: a folder for each city."""

from collections.abc import Iterator
from pathlib import Path

from densebench.datasets.base import Split, SplitName
from densebench.datasets.classes import VOID, cityscapes_classes, cityscapes_train_ids
from densebench.datasets.image_files import Listing, list_files
from densebench.datasets.kind import labelled
from densebench.datasets.masks import LookupReader, lookup_table
from densebench.datasets.pairing import make_split
from densebench.datasets.roots import Layout
from densebench.files.tree import is_dir, list_names, locate

LAYOUT = Layout(
    ("cityscapes", "Cityscapes"),
    (("leftImg8bit/train", "leftImg8bit/val", "gtFine/train", "gtFine/val"),),
)
IMAGE_ENDING = "_leftImg8bit"
MASK_ENDING = "_gtFine_labelIds"


def read_split(root: Path, split: SplitName, names: tuple[str, ...] | None = None) -> Split:
    """Every image of the split, named ``CITY_SEQUENCE_FRAME``, grouped by city; train ids.

    Raises:
        DensebenchError: a folder, an image or a mask is missing.
    """
    classes = cityscapes_classes()
    images = _list_cities(locate(root, f"leftImg8bit/{split}"), IMAGE_ENDING)
    masks = _list_cities(locate(root, f"gtFine/{split}"), MASK_ENDING)
    train_ids, label_ids = cityscapes_train_ids()
    reader = LookupReader(lookup_table(train_ids, VOID, label_ids))
    return make_split(
        split,
        names,
        images=images,
        masks=masks,
        reader=reader,
        target=classes.target,
        group=city,
    )


def city(name: str) -> str:
    """The city in which an image was taken."""
    return name.partition("_")[0]


def _list_cities(folder: Path, ending: str) -> Listing:
    files: dict[str, str] = {}
    names = sorted(list_names(folder)) if is_dir(folder) else []
    for place in (folder / name for name in names if is_dir(folder / name)):
        found = list_files(place, (".png",)).files
        files |= {n.removesuffix(ending): file for n, file in found.items() if n.endswith(ending)}
    return Listing(folder, files)


def other_releases(root: Path, place: Path) -> Iterator[str]:
    """What of another release lies where this one should be, one sentence each."""
    if (place / "gtCoarse").is_dir() and not (place / "gtFine").is_dir():
        yield f"{place / 'gtCoarse'} has the coarse annotations; densebench reads gtFine"


DATASET = labelled(
    lambda card: cityscapes_classes(),
    read_split=lambda card, root, split, names: read_split(root, split, names),
    layout=LAYOUT,
    group_name="cities",
    other_releases=other_releases,
)
