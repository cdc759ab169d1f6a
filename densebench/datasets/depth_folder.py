"""Any folder of images and 16-bit depth PNGs that a card describes."""

from pathlib import Path

from pydantic import Field, model_validator

from densebench.cards import DatasetCard
from densebench.datasets import folder
from densebench.datasets.base import Split, SplitName
from densebench.datasets.depth_maps import METRES, MILLIMETRE, DepthReader
from densebench.datasets.kind import KEYS, DatasetKind

NEEDED = ("root", "images", "masks", "train", "val")
LARGEST_SCALE = 1000.0  # metres; more is no depth of anything


class DepthFolderCard(DatasetCard):
    """A card that says where everything lies: the depth in the folder ``masks``.

    ``scale`` is how many metres a value of 1 stands for; 0 is no depth.
    """

    scale: float = Field(default=MILLIMETRE, gt=0, le=LARGEST_SCALE)

    @model_validator(mode="after")
    def _is_complete(self) -> "DepthFolderCard":
        absent = [key for key in NEEDED if getattr(self, key) is None]
        if absent:
            raise ValueError(f"kind 'depth_folder' also needs {', '.join(absent)}")
        return self


def read_split(
    card: DatasetCard, root: Path, split: SplitName, names: tuple[str, ...] | None
) -> Split:
    """The listed images ``NAME.jpg|.jpeg|.png`` with depth ``NAME.png``.

    Raises:
        DensebenchError: an image or its depth is missing, or is there under two suffixes.
    """
    assert isinstance(card, DepthFolderCard)
    return folder.paired(card, root, split, names, DepthReader(card.scale), METRES)


DATASET = DatasetKind(
    target=lambda card: METRES,
    read_split=read_split,
    locate=folder.find_root,
    lists=folder.lists_folder,
    card=DepthFolderCard,
    keys=KEYS | {"images", "masks"},
)
