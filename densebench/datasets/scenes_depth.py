"""The embedded scenes with their depth, which is drawn with them: metres, none in the sky."""

from pathlib import Path

from densebench.cards import DatasetCard
from densebench.datasets.base import Split, SplitName
from densebench.datasets.depth_maps import METRES, DepthReader
from densebench.datasets.image_files import MASKS, PHOTOS, list_files
from densebench.datasets.kind import KEYS, DatasetKind
from densebench.datasets.lists import listed_names
from densebench.datasets.pairing import make_split
from densebench.datasets.scenes import DEPTH, depth_root
from densebench.datasets.voc import lists_folder

LISTS: dict[SplitName, str] = {"train": "trainaug", "val": "val"}


def read_split(
    card: DatasetCard, root: Path, split: SplitName, names: tuple[str, ...] | None
) -> Split:
    """The images of the split, as those of the scenes with labels."""
    return make_split(
        split,
        names or listed_names(lists_folder(root) / f"{LISTS[split]}.txt"),
        images=list_files(root / "JPEGImages", PHOTOS),
        masks=list_files(root / DEPTH, MASKS),
        reader=DepthReader(),
        target=METRES,
    )


DATASET = DatasetKind(
    target=lambda card: METRES,
    read_split=read_split,
    locate=lambda card, card_path, data_root: depth_root(),
    lists=lambda card, root: lists_folder(root),
    keys=KEYS - {"root"},
)
