"""Where cards lie, and finding them by name, path or pattern.

A card is looked for by path, then in the folders of ``DENSEBENCH_PATH``, then among the user's
post-trained backbones, then in the folders that installed packages register under the entry point
``densebench.cards``, then among our own.
"""

import fnmatch
import os
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from densebench.cards.models import BackboneCard, SuiteCard, TaskCard
from densebench.cards.toml import C, read_toml, suggestion, validate
from densebench.host.errors import DensebenchError
from densebench.host.paths import user_home

CardKind = Literal["backbones", "tasks", "suites", "recipes"]
FOLDERS = {"suites": "tasks/suites"}  # of a kind, where it is not the kind's name


def backbone_card(name: str | os.PathLike[str]) -> BackboneCard:
    """The backbone card of that name, or in the file at that path.

    Raises:
        DensebenchError: no such card (with the nearest names), or the card is not valid.
    """
    path = card_path("backbones", os.fspath(name))
    return _validated(BackboneCard, path)


def backbone_folder(name: str | os.PathLike[str]) -> Path:
    """The folder that a backbone card's relative paths refer to; links are followed."""
    return card_path("backbones", os.fspath(name)).resolve().parent


def task_card(name: str | os.PathLike[str]) -> tuple[TaskCard, Path]:
    """The task card of that name or path, and its file, which relative roots refer to.

    Raises:
        DensebenchError: no such card (with the nearest names), or the card is not valid.
    """
    path = card_path("tasks", os.fspath(name))
    return _validated(TaskCard, path), path


def suite_card(name: str | os.PathLike[str]) -> tuple[SuiteCard, Path]:
    """The suite card of that name or path, and its file, which relative paths refer to.

    Raises:
        DensebenchError: no such card (with the nearest names), or the card is not valid.
    """
    path = card_path("suites", os.fspath(name))
    return _validated(SuiteCard, path), path


def card_path(kind: CardKind, name: str) -> Path:
    """The file of a card, by name or by path."""
    if name.endswith(".toml") or os.sep in name:
        path = Path(name)
        if not path.is_file():
            raise DensebenchError(f"no card at {name}")
        return path
    known = card_names(kind)
    if name not in known:
        raise DensebenchError(
            f"unknown {kind[:-1]} '{name}'{suggestion(name, known)}; see `densebench list {kind}`"
        )
    return known[name]


def match_names(kind: CardKind, pattern: str) -> list[str]:
    """The names of all cards that a shell-style pattern matches, sorted; never none."""
    names = sorted(fnmatch.filter(card_names(kind), pattern))
    if not names:
        raise DensebenchError(f"no {kind[:-1]} matches '{pattern}'; see `densebench list {kind}`")
    return names


def card_names(kind: CardKind) -> dict[str, Path]:
    """Every card by name, the earlier place on the search path before the later.

    Raises:
        DensebenchError: a file that is no TOML, or two cards of one name in one place.
    """
    found: dict[str, Path] = {}
    for folder in search_path():
        here: dict[str, Path] = {}
        for path in card_files(folder, kind):
            name = str(read_toml(path).get("name", path.stem))
            if name in here:
                raise DensebenchError(f"{path}: name '{name}' is already taken by {here[name]}")
            here[name] = path
        found = {**here, **found}
    return dict(sorted(found.items()))


def search_path() -> list[Path]:
    """The folders that hold cards, first one first."""
    user = os.environ.get("DENSEBENCH_PATH", "")
    folders = [Path(part) for part in user.split(os.pathsep) if part]
    for folder in folders:
        if not folder.is_dir():
            raise DensebenchError(f"DENSEBENCH_PATH names {folder}, which is no folder")
    registered = [user_home()] if user_home().is_dir() else []
    return [*folders, *registered, *_entry_point_folders(), own_folder()]


def _entry_point_folders() -> Iterator[Path]:
    """Found without importing the package, which may import torch."""
    for entry in card_entry_points():
        yield from entry_point_folders(entry)


def card_entry_points() -> list[metadata.EntryPoint]:
    """What installed distributions register as places of cards."""
    return list(metadata.entry_points(group="densebench.cards"))


def entry_point_folders(entry: metadata.EntryPoint) -> list[Path]:
    """The folders of the package that an entry point names.

    Raises:
        DensebenchError: there is no such package.
    """
    try:
        spec = find_spec(entry.module)
    except ImportError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise DensebenchError(
            f"entry point '{entry.name}' of densebench.cards: there is no package "
            f"{entry.module}; mend or uninstall the distribution that registers it"
        )
    return [Path(folder) for folder in spec.submodule_search_locations]


def own_folder() -> Path:
    """The folder of the cards that come with the package."""
    packaged = Path(__file__).parents[1] / "_cards"
    return packaged if packaged.is_dir() else Path(__file__).parents[2]


def resource_path(name: str) -> Path:
    """A file of data that comes with the package: beside the cards, or in ``leaderboard``."""
    own = own_folder()
    return own / name if own.name == "_cards" else own / "leaderboard" / name


def card_files(folder: Path, kind: CardKind) -> list[Path]:
    """The cards of a folder of the search path.

    They lie in its sub-folder of that kind; flat files are told apart by the keys they have.

    Raises:
        DensebenchError: a flat file is no TOML.
    """
    # A registered card is a link, and its backbone may have been deleted.
    place = folder / FOLDERS.get(kind, kind)
    nested = [path for path in sorted(place.glob("*.toml")) if path.is_file()]
    if folder in (own_folder(), user_home()):
        return nested
    flat = [p for p in sorted(folder.glob("*.toml")) if flat_kind(p) == kind]
    return nested + flat


def flat_kind(path: Path) -> CardKind | None:
    """The kind of card that a file is; None for another file.

    Told by more keys than one, so that a card where one is missing is still found, and refused.
    """
    keys = read_toml(path).keys()
    if keys & {"protocol", "dataset"}:
        return "tasks"
    if keys & {"optimiser", "training"}:
        return "recipes"
    if keys & {"tasks", "backbones"}:
        return "suites"
    return "backbones" if keys & {"source", "patch_size", "embed_dim"} else None


def _validated(model: type[C], path: Path) -> C:
    return validate(model, read_toml(path), where=str(path))
