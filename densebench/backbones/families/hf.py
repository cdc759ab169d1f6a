"""``source = "hf"``: vision transformers of Hugging Face transformers."""

from pathlib import Path
from typing import TYPE_CHECKING

from densebench.backbones.family import Asked, Family
from densebench.cards import BackboneCard, Found
from densebench.host.errors import DensebenchError

if TYPE_CHECKING:
    from densebench.backbones.base import DenseBackbone


def build(found: Found[BackboneCard], asked: Asked) -> "DenseBackbone":
    """The encoder with its weights, by the configuration that lies beside them.

    Raises:
        DensebenchError: files that cannot be had or do not fit.
    """
    from densebench.backbones.hf.configuration import CONFIG, read_configuration
    from densebench.backbones.hf.filling import filled, random_model, read_weights
    from densebench.backbones.hf.repository import Repository
    from densebench.backbones.hf.transformer import HfBackbone

    card = found.card
    if card.weights is None:
        raise DensebenchError(
            f"card {card.name}: a card of source hf needs [weights], repo and file or path, "
            "beside which its config.json lies"
        )
    there = Repository(asked.name, card.weights, found.folder, asked.offline)
    configuration = read_configuration(there.file(CONFIG))
    if asked.random_weights is not None:
        model = random_model(configuration, asked.random_weights)
    else:
        path = asked.weights_of(found)
        assert path is not None  # the card names one
        own = path.parent if asked.weights is not None else None
        state = read_weights(path, lambda name: own / name if own else there.file(name))
        model = filled(configuration, state, path, card.drop_keys)
    return HfBackbone(model, configuration, card, _called(found, asked.name))


def _called(found: Found[BackboneCard], name: str) -> str:
    """A folder counts by its name, wherever it lies."""
    is_folder = found.card.weights is not None and found.card.weights.path is not None
    return f"hf:{found.card.id}" if is_folder and name.startswith("hf:") else name


def found_by_name(model_id: str, offline: bool = False) -> Found[BackboneCard]:
    """The card of ``hf:ORG/MODEL`` or ``hf:FOLDER``.

    Raises:
        DensebenchError: no such folder or repository, or a model that can be no backbone.
    """
    from densebench.backbones.hf import repository

    return repository.found_by_name(model_id, offline)


def also_reads(found: Found[BackboneCard]) -> list[Path]:
    """The configuration, and the files that weights are spread over."""
    from densebench.backbones.hf.repository import beside

    return beside(found)


FAMILY = Family(
    build=build,
    found_by_name=found_by_name,
    also_reads=also_reads,
    is_known=True,
    builds_random=True,
)
