"""What a kind of dataset is: how its cards are read, where it lies, and what its releases are.

A kind is one module that exports ``DATASET``: beside this file, where the module's name is the
kind's, or in an installed package, under an entry point ``densebench.datasets``. Reading a task
card imports the module of its kind, so that it imports no torch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from densebench.cards import DATASETS, DatasetCard
from densebench.datasets.base import Split, SplitName
from densebench.datasets.classes import Classes, Colour
from densebench.datasets.roots import Layout, base_folder, find_layout
from densebench.datasets.targets import Target

ReadSplit = Callable[[DatasetCard, Path, SplitName, tuple[str, ...] | None], Split]
FindRoot = Callable[[DatasetCard, Path | None, str | Path | None], Path]
KEYS = frozenset({"kind", "root", "train", "val", "subset"})


def _uncoloured(card: DatasetCard) -> tuple[Colour, ...]:
    return ()


def _no_lists(card: DatasetCard, root: Path) -> Path | None:
    return None


def _nothing_known(root: Path, place: Path) -> Iterator[str]:
    return iter(())


@dataclass(frozen=True)
class DatasetKind:
    """One kind of dataset. Each function is given the card; roots are the dataset's own folder.

    Attributes:
        target: what its maps hold.
        read_split: a split, of the given names or of the kind's own; reads no pixel.
        layout: how its folder is recognised; None where ``locate`` finds it.
        locate: finds its folder, from the card, the card's file and the user's data root.
        lists: the folder in which it keeps lists of names, if it does.
        card: what ``[dataset]`` may hold; a kind with further keys makes a card of its own.
        keys: those that mean something for it.
        palette: the colours of its classes.
        group_name: what the groups of its images are, if it has groups.
        annotations: folders of which one is there wherever this kind is, of several that share
            their images.
        is_quick: whether it is read in seconds when it is large.
        other_releases: what of another release lies in the folder of datasets, or in its own.
        known_count: what a split with another number of images than was released is.
    """

    target: Callable[[DatasetCard], Target]
    read_split: ReadSplit
    layout: Layout | None = None
    locate: FindRoot | None = None
    lists: Callable[[DatasetCard, Path], Path | None] = _no_lists
    card: type[DatasetCard] = DatasetCard
    keys: frozenset[str] = KEYS
    palette: Callable[[DatasetCard], tuple[Colour, ...]] = _uncoloured
    group_name: str | None = None
    annotations: tuple[str, ...] = ()
    is_quick: bool = True
    other_releases: Callable[[Path, Path], Iterator[str]] = _nothing_known
    known_count: Callable[[SplitName, int], str] = lambda split, count: ""

    def find_root(
        self, card: DatasetCard, card_path: Path | None, data_root: str | Path | None
    ) -> Path:
        """The dataset's own folder.

        ``data_root`` goes first, then the card's ``root`` (relative to the card's folder), then the
        folder of datasets; each may be the dataset itself or what holds it.

        Raises:
            MissingDatasetError: there is no such dataset.
            DensebenchError: an archive in its place cannot be read.
        """
        if self.locate is not None:
            return self.locate(card, card_path, data_root)
        if self.layout is None:
            return base_folder(card, card_path, data_root)
        return find_layout(card.kind, self.layout, base_folder(card, card_path, data_root))


def labelled(classes: Callable[[DatasetCard], Classes], **others: Any) -> DatasetKind:
    """A kind whose maps are labels, in the colours of its classes."""
    return DatasetKind(
        target=lambda card: classes(card).target,
        palette=lambda card: classes(card).palette,
        **others,
    )


def dataset_kind(name: str) -> DatasetKind:
    """The kind of a card's ``kind``.

    Raises:
        DensebenchError: there is none, or the package that registers it is broken.
    """
    kind: DatasetKind = DATASETS.load(name)
    return kind
