"""Where cards lie, and finding them by name, path or pattern.

A card is looked for by path, then in the folders of ``DENSEBENCH_PATH``, then among the user's
post-trained backbones, then in the folders that installed packages register under the entry point
``densebench.cards``, then among our own.
"""

import fnmatch
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, Literal

from pydantic import create_model

from densebench.cards.models import (
    NAME_PATTERN,
    BackboneCard,
    DatasetCard,
    LadderCard,
    SuiteCard,
    TaskCard,
)
from densebench.cards.registry import DATASETS, FAMILIES, Registry
from densebench.cards.toml import C, read_toml, suggestion, validate
from densebench.host.console import warn
from densebench.host.errors import DensebenchError
from densebench.host.paths import user_home

CardKind = Literal["backbones", "tasks", "suites", "ladders", "recipes"]
FOLDERS = {
    "suites": "tasks/suites",
    "ladders": "tasks/ladders",
}  # of a kind, where it is not the kind's name


@dataclass(frozen=True)
class Found(Generic[C]):
    """A card and the file that it was read from; where a library names it, no file of that name."""

    card: C
    file: Path

    @property
    def folder(self) -> Path:
        """What the card's relative paths refer to; links are followed."""
        return self.file.resolve().parent


def find_backbone(name: str | os.PathLike[str]) -> Found[BackboneCard]:
    """The backbone card of that name, or in the file at that path.

    Raises:
        DensebenchError: no such card (with the nearest names), or the card is not valid.
    """
    path = card_path("backbones", os.fspath(name))
    values = read_toml(path)
    is_function = ".py:" in str(values.get("id"))  # whose card needs less than others
    source = values.get("source", "python" if is_function else None)
    model = _model(FAMILIES, source, BackboneCard)
    return Found(validate(model, values, str(path)), path)


def find_task(name: str | os.PathLike[str]) -> Found[TaskCard]:
    """The task card of that name or path.

    Raises:
        DensebenchError: no such card (with the nearest names), or the card is not valid.
    """
    path = card_path("tasks", os.fspath(name))
    values = read_toml(path)
    dataset = values.get("dataset")
    kind = dataset.get("kind") if isinstance(dataset, dict) else None
    model = _model(DATASETS, kind, DatasetCard)
    whole = create_model(TaskCard.__name__, __base__=TaskCard, dataset=(model, ...))
    return Found(validate(TaskCard if model is DatasetCard else whole, values, str(path)), path)


def find_suite(name: str | os.PathLike[str]) -> Found[SuiteCard]:
    """The suite card of that name or path.

    Raises:
        DensebenchError: no such card (with the nearest names), or the card is not valid.
    """
    path = card_path("suites", os.fspath(name))
    return Found(validate(SuiteCard, read_toml(path), str(path)), path)


def find_ladder(name: str | os.PathLike[str]) -> Found[LadderCard]:
    """The ladder card of that name or path.

    Raises:
        DensebenchError: no such card (with the nearest names), or the card is not valid.
    """
    path = card_path("ladders", os.fspath(name))
    return Found(validate(LadderCard, read_toml(path), str(path)), path)


def _model(registry: Registry, kind: Any, usual: type[C]) -> type[C]:
    """The card of a registered kind, which may have further keys; an unknown kind's is usual."""
    try:
        registry.check(kind)
    except (ValueError, TypeError):
        return usual
    model: type[C] = registry.load(kind).card
    return model


def card_path(kind: CardKind, name: str) -> Path:
    """The file of a card, by name or by path.

    Raises:
        DensebenchError: no such card (with the nearest names), or what is wrong with its file.
    """
    if name.endswith(".toml") or os.sep in name:
        path = Path(name)
        if not path.is_file():
            raise DensebenchError(f"no card at {name}")
        return path
    survey = _survey(kind)
    if name in survey.problems:
        raise DensebenchError(survey.problems[name])
    known = survey.warned().files
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

    A file that is no TOML, and two cards of one name in one place, are warned of and left out.
    """
    return _survey(kind).warned().files


def card_problems(kind: CardKind) -> list[str]:
    """Why files are left out of the cards of a kind, each in one line."""
    return list(_survey(kind).problems.values())


@dataclass(frozen=True)
class _Survey:
    """The cards of one kind in all places: files by name, and what is wrong with other names."""

    files: dict[str, Path]
    problems: dict[str, str]

    def warned(self) -> "_Survey":
        """The same, once the user is told what is left out."""
        for problem in self.problems.values():
            warn(f"{problem}; it is left out")
        return self


def _survey(kind: CardKind) -> _Survey:
    files: dict[str, Path] = {}
    problems: dict[str, str] = {}
    for folder in search_path():
        here, bad = _in_one_place(folder, kind)
        # A name is settled by the first place that has it, even if what is there is of no use.
        problems |= {n: p for n, p in bad.items() if n not in files and n not in problems}
        files |= {n: f for n, f in here.items() if n not in files and n not in problems}
    return _Survey(dict(sorted(files.items())), problems)


def _in_one_place(folder: Path, kind: CardKind) -> tuple[dict[str, Path], dict[str, str]]:
    here: dict[str, Path] = {}
    bad: dict[str, str] = {}
    for path, flat in _candidates(folder, kind):
        try:
            head = _head(path)
        except DensebenchError as error:
            bad.setdefault(path.stem, str(error))
            continue
        if flat and _kind_of(head.keys) != kind:
            continue
        if re.fullmatch(NAME_PATTERN, head.name) is None:
            bad[path.stem] = f"{path}: {head.name!r} is no name of a card"
        elif head.name in here:
            other = here[head.name]
            bad[head.name] = f"{path}: name '{head.name}' is already taken by {other}"
        else:
            here[head.name] = path
    return {name: path for name, path in here.items() if name not in bad}, bad


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
    """Found without importing the package, which may import torch; what is broken is left out."""
    for entry in card_entry_points():
        try:
            yield from entry_point_folders(entry)
        except DensebenchError as error:
            warn(f"{error}; its cards are left out")


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
    found = _candidates(folder, kind)
    return [path for path, flat in found if not flat or flat_kind(path) == kind]


def flat_kind(path: Path) -> CardKind | None:
    """The kind of card that a file is; None for another file.

    Told by more keys than one, so that a card where one is missing is still found, and refused.

    Raises:
        DensebenchError: it is no TOML.
    """
    return _kind_of(_head(path).keys)


def _candidates(folder: Path, kind: CardKind) -> list[tuple[Path, bool]]:
    """The files that may be cards of a kind, and whether they are flat, so may be of another."""
    # A registered card is a link, and its backbone may have been deleted.
    place = folder / FOLDERS.get(kind, kind)
    nested = [(path, False) for path in sorted(place.glob("*.toml")) if path.is_file()]
    if folder in (own_folder(), user_home()):
        return nested
    return nested + [(path, True) for path in sorted(folder.glob("*.toml")) if path.is_file()]


@dataclass(frozen=True)
class _Head:
    """What is remembered of a TOML file: the name that it gives itself, and its keys."""

    name: str
    keys: frozenset[str]


def _head(path: Path) -> _Head:
    """Read again only where the file has changed."""
    try:
        now = path.stat()
    except OSError as error:
        raise DensebenchError(f"{path}: cannot be read: {error.strerror}") from error
    return _head_at(path, (now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino))


@lru_cache(maxsize=4096)
def _head_at(path: Path, stamp: tuple[int, ...]) -> _Head:
    values = read_toml(path)
    return _Head(str(values.get("name", path.stem)), frozenset(values))


def _kind_of(keys: frozenset[str]) -> CardKind | None:
    if "rung" in keys:
        return "ladders"
    if keys & {"protocol", "dataset"}:
        return "tasks"
    if keys & {"optimiser", "training"}:
        return "recipes"
    if keys & {"tasks", "backbones"}:
        return "suites"
    return "backbones" if keys & {"source", "patch_size", "embed_dim"} else None
