"""From the table ``[dataset]`` of a task card to images and masks."""

from pathlib import Path

from densebench.cards import DatasetCard
from densebench.datasets.base import Dataset
from densebench.datasets.image_files import each_folder_once
from densebench.datasets.kind import DatasetKind, dataset_kind
from densebench.datasets.lists import find_list, listed_names
from densebench.host.errors import DensebenchError


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
    kind = dataset_kind(card.kind)
    _check_keys(card, kind)
    root = kind.find_root(card, card_path, data_root)
    own = kind.lists(card, root)
    with each_folder_once():
        return Dataset(
            kind=card.kind,
            root=root,
            target=kind.target(card),
            palette=kind.palette(card),
            train=kind.read_split(card, root, "train", _names(train_list, card.train, own, root)),
            val=kind.read_split(card, root, "val", _names(val_list, card.val, own, root)),
            group_name=kind.group_name,
        )


def _check_keys(card: DatasetCard, kind: DatasetKind) -> None:
    allowed = kind.keys | (kind.card.model_fields.keys() - DatasetCard.model_fields.keys())
    idle = sorted(card.model_fields_set - allowed)
    target = kind.target(card)
    if target.is_labels and card.ignore_index == target.void and "ignore_index" in idle:
        idle.remove("ignore_index")
    if idle:
        raise DensebenchError(
            f"key 'dataset.{idle[0]}' has no meaning for kind '{card.kind}', which takes "
            f"{', '.join(sorted(allowed))}; remove it, or use kind 'folder'"
        )


def _names(
    given: Path | None, in_card: str | None, own: Path | None, root: Path
) -> tuple[str, ...] | None:
    if given is not None:
        return listed_names(find_list(given, own, Path()))
    if in_card is not None:
        return listed_names(find_list(in_card, own, root))
    return None
