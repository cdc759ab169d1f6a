"""PASCAL-Context: 59 classes on the images of VOC 2010, by its owners' files or by converted ones.

Its owners' masks (59_context_labels) and those that are converted from its JSON annotations
(SegmentationClassContext, as mmsegmentation reads them) number the same classes differently.
"""

from dataclasses import dataclass
from pathlib import Path

from densebench.datasets.base import Split, SplitName
from densebench.datasets.classes import VOID, pascal_context_classes
from densebench.datasets.image_files import MASKS, PHOTOS, list_files
from densebench.datasets.kind import labelled
from densebench.datasets.lists import listed_names
from densebench.datasets.masks import LookupReader, lookup_table
from densebench.datasets.pairing import make_split
from densebench.datasets.roots import Layout
from densebench.files.tree import is_dir, locate

OWNERS, CONVERTED = "59_context_labels", "SegmentationClassContext"
LAYOUT = Layout(
    ("VOCdevkit/VOC2010", "VOC2010", "pascal_context", "pcontext"),
    (("JPEGImages", OWNERS), ("JPEGImages", CONVERTED)),
)


@dataclass(frozen=True)
class ContextReader(LookupReader):
    """Reads masks of one of the two numberings; 0, which no class covers, is void."""

    @classmethod
    def of(cls, folder: str) -> "ContextReader":
        """For the masks of a folder: in the owners' order of the classes, or in the alphabet's."""
        names = pascal_context_classes().names
        numbered = names if folder == OWNERS else sorted(names)
        ids = {number: names.index(name) for number, name in enumerate(numbered, start=1)}
        return cls(lookup_table(ids, VOID, range(len(names) + 1)))


def lists_folder(root: Path) -> Path:
    """Where the lists of image names are: its own, or VOC 2010's main ones."""
    own = locate(root, "ImageSets/SegmentationContext")
    return own if is_dir(own) else locate(root, "ImageSets/Main")


def read_split(root: Path, split: SplitName, names: tuple[str, ...] | None = None) -> Split:
    """Train (4,998 images) and val (5,105) of VOC 2010's main lists.

    Raises:
        DensebenchError: a list, an image or a mask is missing.
    """
    names = names or listed_names(lists_folder(root) / f"{split}.txt")
    folder = OWNERS if is_dir(locate(root, OWNERS)) else CONVERTED
    return make_split(
        split,
        names,
        images=list_files(locate(root, "JPEGImages"), PHOTOS),
        masks=list_files(locate(root, folder), MASKS),
        reader=ContextReader.of(folder),
        target=pascal_context_classes().target,
    )


DATASET = labelled(
    lambda card: pascal_context_classes(),
    read_split=lambda card, root, split, names: read_split(root, split, names),
    layout=LAYOUT,
    lists=lambda card, root: lists_folder(root),
)
