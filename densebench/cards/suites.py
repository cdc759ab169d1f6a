"""Suites: tasks and backbones that belong together, such as those of a published table.

``suite:NAME`` stands for a suite's tasks where tasks are named, and for its backbones where
backbones are. Nothing here imports torch.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from densebench.cards import search as cards
from densebench.host.errors import DensebenchError

PREFIX = "suite:"
Part = Literal["tasks", "backbones"]
PARTS: tuple[Part, ...] = get_args(Part)
_FILE = re.compile(r"\.toml$|\.py(:\w+)?$")


def suite_members(name: str, part: Part) -> list[str]:
    """The tasks or the backbones of a suite, each once, in the card's order.

    Args:
        name: A suite card's name or path, with or without ``suite:``.
        part: Which of the two.

    Raises:
        DensebenchError: no such suite, one that holds itself, or a member that does not exist.
    """
    return list(dict.fromkeys(_members(name.removeprefix(PREFIX), part, ())))


def _members(name: str, part: Part, outer: tuple[Path, ...]) -> Iterator[str]:
    found = cards.find_suite(name)
    card, file = found.card, found.file
    if file in outer:
        raise DensebenchError(f"{file}: suite '{card.name}' holds itself")
    for member in getattr(card, part):
        if member.startswith(PREFIX):
            yield from _members(_placed(member.removeprefix(PREFIX), file), part, (*outer, file))
        else:
            yield _existing(_placed(member, file), part, file)


def _placed(member: str, file: Path) -> str:
    """A path is relative to the suite card's folder; a name stays as it is."""
    return str(file.parent / member) if _FILE.search(member) else member


def _existing(member: str, part: Part, file: Path) -> str:
    is_card = ":" not in member and not member.endswith(".py")
    try:
        if is_card:
            cards.card_path(part, member)
    except DensebenchError as error:
        raise DensebenchError(f"{file}: {error}") from None
    return member
