"""Whose weights have been loaded, as far as folders of results tell."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from densebench.cards import BackboneCard
from densebench.files.regular import read_json
from densebench.records.called import AS_THE_CARD_SAYS, safe_name


def has_record(card: BackboneCard, folders: Sequence[Path]) -> bool:
    """Whether a run of a card's own weights is kept in one of the folders, of any layers.

    One such record is read, and not checked: what it says of a number is not asked.
    """
    return any(_is_of(card, file) for folder in folders for file in _files(card.name, folder))


def _files(name: str, folder: Path) -> Iterator[Path]:
    row = safe_name(name)
    for pattern in (f"{row}/*/*.json", f"{row}_layer*/*/*.json"):
        yield from folder.glob(pattern)


def _is_of(card: BackboneCard, file: Path) -> bool:
    with suppress(OSError, ValueError, LookupError, TypeError):
        backbone: dict[str, Any] = read_json(file)["backbone"]
        said, own = backbone["card"], card.model_dump(mode="json")
        same = all(said[key] == own[key] for key in ("source", "id", "weights"))
        return same and backbone["weights"] == AS_THE_CARD_SAYS
    return False
