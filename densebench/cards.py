"""Backbone, task and suite cards: TOML files read into frozen, validated models.

A card is looked for by path, then in the folders of ``DENSEBENCH_PATH``, then among the user's
post-trained backbones, then in the folders that installed packages register under the entry point
``densebench.cards``, then among our own. Nothing here imports
torch, so that listing cards is instant.
"""

import difflib
import fnmatch
import os
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from densebench.errors import DensebenchError
from densebench.paths import user_home

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

C = TypeVar("C", bound=BaseModel)
CardKind = Literal["backbones", "tasks", "suites", "recipes"]
FOLDERS = {"suites": "tasks/suites"}  # of a kind, where it is not the kind's name
UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")  # of a model, of a dataclass
SHA256_PATTERN = r"^[0-9a-f]{64}$"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$"


class Card(BaseModel):
    """What every table of a card shares: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_as_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic would read true as 1."""
        if (
            isinstance(value, bool)
            and cls.model_fields[str(info.field_name)].annotation is not bool
        ):
            raise ValueError("input should be another kind of value")
        return value


class WeightsSource(Card):
    """Where the weights lie: a file of a Hugging Face repository, an address, or a file.

    ``path`` is relative to the folder of the card's own file, so that both can be moved together.
    """

    repo: str | None = None
    file: str | None = None
    revision: str = "main"
    url: str | None = None
    path: str | None = None
    sha256: str | None = Field(default=None, pattern=SHA256_PATTERN)

    @model_validator(mode="after")
    def _one_place(self) -> "WeightsSource":
        if sum(place is not None for place in (self.repo, self.url, self.path)) != 1:
            raise ValueError("give one of repo with file, url, or path")
        if self.repo is not None and self.file is None:
            raise ValueError("repo needs file, the name of the weights file in it")
        return self

    @field_validator("path")
    @classmethod
    def _relative(cls, path: str | None) -> str | None:
        if path is not None and (not path or Path(path).is_absolute()):
            raise ValueError("path must be relative to the card's folder; or use --weights FILE")
        return path


class TrainingCard(Card):
    """How a post-trained backbone came to be.

    ``recipe_hash`` is of everything that makes it but the seed: the recipe with all overrides, the
    base's weights, the content of the images.
    """

    base: str
    base_fingerprint: str = Field(pattern=SHA256_PATTERN)
    recipe: str
    recipe_hash: str = Field(pattern=SHA256_PATTERN)
    seed: int = Field(ge=0)
    steps: int = Field(ge=0)


class BackboneCard(Card):
    """One backbone: how it is built, what its weights are and where they come from.

    ``position_embedding`` names the rule by which the table of learnt positions is resized to the
    input's patch grid; ``drop_keys`` the prefixes of checkpoint keys that are left out on purpose.
    """

    name: str = Field(pattern=NAME_PATTERN)
    description: str = ""
    source: Literal["timm", "open_clip", "python", "baseline"]
    id: str
    weights: WeightsSource | None = None
    patch_size: int = Field(gt=0)
    embed_dim: int = Field(gt=0)
    prefix_tokens: int = Field(default=0, ge=0)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    position_embedding: Literal["dino", "dinov2", "dinov2_reg", "neco", "timm", "none"]
    final_norm: bool = True
    drop_keys: tuple[str, ...] = ()
    license: str
    training_data: str
    adapted_from: str | None = None
    citation: str = ""
    training: TrainingCard | None = None


class DatasetCard(Card):
    """Which labelled images: a kind of layout, and for ``folder`` where everything lies.

    ``subset`` is the share of the training images that a protocol is defined on: ``1/N`` for a
    published list, ``own:1/N`` for a seeded share.
    """

    kind: Literal[
        "voc", "ade20k", "coco_things", "coco_stuff", "cityscapes", "camvid", "folder", "scenes"
    ]
    root: str | None = None
    images: str | None = None
    masks: str | None = None
    train: str | None = None
    val: str | None = None
    classes: tuple[str, ...] | None = None
    ignore_index: int = Field(default=255, ge=0, le=255)
    subset: str | None = Field(default=None, pattern=r"^(own:)?1/[1-9][0-9]*$")

    @model_validator(mode="after")
    def _folder_is_complete(self) -> "DatasetCard":
        if self.kind == "folder":
            needed = ("root", "images", "masks", "train", "val", "classes")
            missing = [key for key in needed if getattr(self, key) is None]
            if missing:
                raise ValueError(f"kind 'folder' also needs {', '.join(missing)}")
        return self

    @field_validator("classes")
    @classmethod
    def _distinct_classes(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and (not classes or len(set(classes)) != len(classes)):
            raise ValueError("class names must be distinct, and at least one")
        return classes


class TaskCard(Card):
    """One task: a dataset and the protocol, with its parameters, that scores a backbone on it.

    ``params`` is checked against the protocol's own model when the task is loaded to be run.
    """

    name: str = Field(pattern=NAME_PATTERN)
    description: str = ""
    protocol: str
    dataset: DatasetCard
    params: dict[str, Any] = Field(default_factory=dict)


class SuiteCard(Card):
    """Tasks and backbones that belong together: the columns and rows of a published table.

    Both are named as the command line names them; a path is relative to the card's folder, and
    ``suite:NAME`` stands for another suite's. ``source`` is whose table it is, as the published
    numbers name it.
    """

    name: str = Field(pattern=NAME_PATTERN)
    description: str = ""
    source: str
    tasks: tuple[str, ...] = Field(min_length=1)
    backbones: tuple[str, ...] = Field(min_length=1)


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
    packaged = Path(__file__).parent / "_cards"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent


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


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dictionary.

    Raises:
        DensebenchError: the file cannot be read or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DensebenchError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise DensebenchError(f"{path}: cannot be read: {error.strerror}") from error


def parse_value(text: str) -> Any:
    """A value in TOML's notation; what is none, such as a bare word, is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _validated(model: type[C], path: Path) -> C:
    return validate(model, read_toml(path), where=str(path))


def validate(model: type[C], values: dict[str, Any], where: str) -> C:
    """``values`` as a model, or one line that names the place, the key and what is allowed.

    Raises:
        DensebenchError: an unknown or missing key, or a bad value.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise DensebenchError(f"{where}: {_first_problem(model, error)}") from None


def _first_problem(model: type[BaseModel], error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    # A misspelt key is unknown and missing at once; the unknown one tells which it was.
    problem = next((p for p in problems if p["type"] in UNKNOWN_KEY), problems[0])
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    if problem["type"] in UNKNOWN_KEY:
        allowed = sorted(_fields(_model_at(model, path[:-1])))
        return (
            f"unknown key '{key}'{suggestion(path[-1], allowed)}; allowed are {', '.join(allowed)}"
        )
    if problem["type"] == "missing":
        return f"missing key '{key}'"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return f"key '{key}': {message}" + _given(problem) if key else message


def _given(problem: Any) -> str:
    value = problem["input"]
    return "" if isinstance(value, dict) else f", not {value!r}"


def _model_at(model: type, path: list[str]) -> type:
    """The model of a nested table, following the annotation of each key on the way."""
    for key in (part for part in path if not part.isdecimal()):  # a list's model is its items'
        annotation = _fields(model)[key]
        options = [annotation, *getattr(annotation, "__args__", ())]
        model = next(o for o in options if isinstance(o, type) and _fields(o))
    return model


def _fields(model: type) -> dict[str, Any]:
    """Keys of a model or a dataclass, with what they hold."""
    if issubclass(model, BaseModel):
        return {key: field.annotation for key, field in model.model_fields.items()}
    return {f.name: f.type for f in fields(model)} if is_dataclass(model) else {}


def suggestion(name: str, known: Any) -> str:
    """``" (did you mean 'x'?)"`` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""
