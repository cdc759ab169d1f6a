"""Where a model's files are: in a folder, or in a repository of the hub and then in its cache."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from densebench.backbones.hf.configuration import (
    CONFIG,
    PREPROCESSORS,
    Configuration,
    read_configuration,
    read_normalisation,
)
from densebench.backbones.hf.filling import INDEX, SAVED, shards
from densebench.backbones.hf.kinds import HEADS
from densebench.backbones.weights import hub
from densebench.backbones.weights.on_hub import is_known_missing, is_there
from densebench.cards import BackboneCard, Found, WeightsSource
from densebench.host.console import warn
from densebench.host.errors import DensebenchError

PREFIX = "hf:"
# In this order: what cannot run code comes first.
WEIGHTS = (SAVED, SAVED + INDEX, "pytorch_model.bin")


@dataclass(frozen=True)
class Repository:
    """The files that lie beside a file of weights.

    Attributes:
        called: what the user calls the backbone.
        weights: the file of weights.
        folder: what a path is relative to.
        offline: never use the network.
    """

    called: str
    weights: WeightsSource
    folder: Path = Path()
    offline: bool = False

    def source(self, name: str) -> WeightsSource:
        """A file by its name.

        Raises:
            DensebenchError: nothing is beside an address.
        """
        own = self.weights
        if own.path is not None:
            return WeightsSource(path=str(Path(own.path).with_name(name)))
        if own.repo is None:
            raise DensebenchError(
                f"{self.called}: a card of source hf has weights of a repo or of a path, beside "
                f"which {CONFIG} lies; a url says nothing of the model"
            )
        within = str(Path(str(own.file)).with_name(name))
        return WeightsSource(repo=own.repo, file=within, revision=own.revision)

    def file(self, name: str) -> Path:
        """A file that must be there, fetched where it is not here.

        Raises:
            DensebenchError: it cannot be had.
        """
        source = self.source(name)
        if source.path is not None and not (self.folder / source.path).is_file():
            raise DensebenchError(f"{self.called}: there is no {name} in {self._place}")
        return hub.fetch_source(source, self.called, self.offline, self.folder)

    def optional(self, name: str) -> Path | None:
        """A file, or None where the model has none of that name.

        Raises:
            DensebenchError: whether it has one cannot be known now.
        """
        source = self.source(name)
        if source.path is not None:
            path = self.folder / source.path
            return path if path.is_file() else None
        if is_known_missing(source):
            return None
        try:
            return hub.fetch_source(source, self.called, self.offline)
        except hub.NoSuchFileError:
            return None

    def here(self, name: str) -> Path | None:
        """A file, if it is on this machine already."""
        return hub.cached_source(self.source(name), self.folder)

    def pinned(self) -> "Repository":
        """The same at the commit that its configuration was first fetched at."""
        if self.weights.repo is None:
            return self
        commit = hub.revision(self.source(CONFIG))
        return replace(self, weights=self.weights.model_copy(update={"revision": commit}))

    def with_weights(self) -> "Repository":
        """The same, its weights the first of the files that it has."""
        sources = [self.source(name) for name in WEIGHTS]
        found = next((s for s in sources if hub.cached_source(s, self.folder) is not None), None)
        if found is None and self.weights.repo is not None and not self.offline:
            found = next((s for s in sources if is_there(s)), None)
        return replace(self, weights=found or sources[0])

    @property
    def _place(self) -> Path:
        return (self.folder / str(self.weights.path)).parent


def found_by_name(model_id: str, offline: bool = False) -> Found[BackboneCard]:
    """The card of ``hf:ORG/MODEL`` or ``hf:FOLDER``, from what its own files say.

    Raises:
        DensebenchError: no such folder or repository, or a model that can be no backbone.
    """
    called, folder = PREFIX + model_id, Path(model_id)
    if model_id and folder.is_dir():
        there = Repository(called, WeightsSource(path=SAVED), folder)
    else:
        _check_id(model_id)
        there = Repository(called, WeightsSource(repo=model_id, file=SAVED), offline=offline)
    configuration = read_configuration(there.file(CONFIG))
    there = there.pinned().with_weights()
    name = folder.resolve().name if there.weights.path else model_id
    return Found(_card(there, configuration, name), _file_of(there, called))


def _file_of(there: Repository, called: str) -> Path:
    """The file that the card's relative paths refer to."""
    return there.folder / CONFIG if there.weights.path else Path(called)


def _check_id(model_id: str) -> None:
    """Nothing, for what may be a repository of the hub."""
    parts = Path(model_id).parts
    if Path(model_id).exists() or len(parts) > 2 or model_id.startswith((".", "/", "~")):
        raise DensebenchError(
            f"{PREFIX}{model_id}: is no folder; give hf:FOLDER, where config.json and the weights "
            "lie, or hf:ORG/MODEL"
        )
    try:
        validate_repo_id(model_id)
    except (HFValidationError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DensebenchError(
            f"{PREFIX}{model_id:.80}: there is no such folder, and nothing on the hub can be "
            f"called so: {reason}"
        ) from error


def _card(there: Repository, configuration: Configuration, name: str) -> BackboneCard:
    normalised = read_normalisation(configuration, there.optional)
    kind = configuration.kind
    if normalised is None:
        warn(
            f"{there.called}: has no {PREPROCESSORS[0]}, so its images are normalised as those of "
            f"published models of its kind: mean {kind.mean}, deviation {kind.std}"
        )
    mean, std = normalised or (kind.mean, kind.std)
    return BackboneCard(
        name=re.sub(r"[^A-Za-z0-9_.\-]", "-", name).lstrip("-._") or "model",
        description=f"{kind.model} of transformers",
        source="hf",
        id=name,
        weights=there.weights,
        mean=mean,
        std=std,
        position_embedding=kind.positions,
        drop_keys=HEADS,
        license="not stated",
        training_data="not stated",
        **configuration.facts(),
    )


def beside(found: Found[BackboneCard]) -> list[Path]:
    """What a card's features follow from beside its weights, as far as it is here."""
    if found.card.weights is None:
        return []
    there = Repository(found.card.name, found.card.weights, found.folder)
    files = [there.here(CONFIG)]
    weights = hub.cached(found.card, found.folder)
    if weights is not None and weights.name.endswith(INDEX):
        files += [there.here(name) for name in shards(weights)]
    return [file for file in files if file is not None]
