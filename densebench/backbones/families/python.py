"""``source = "python"``: a card whose ``id`` is a function in a Python file of the user's."""

from typing import TYPE_CHECKING

from pydantic import Field, PositiveFloat

from densebench.backbones.family import Asked, Family
from densebench.cards import BackboneCard, Found
from densebench.cards.models import PositionEmbedding

if TYPE_CHECKING:
    from densebench.backbones.base import DenseBackbone


class PythonCard(BackboneCard):
    """A function: what its card does not state, the module says."""

    patch_size: int = Field(default=0, ge=0)
    embed_dim: int = Field(default=0, ge=0)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)
    position_embedding: PositionEmbedding = "none"
    license: str = "not stated"
    training_data: str = "not stated"


def build(found: Found[BackboneCard], asked: Asked) -> "DenseBackbone":
    """What the function returns, with the card's weights where it names any.

    Raises:
        DensebenchError: an error in the plug-in, or weights that cannot be had or do not fit.
    """
    from densebench.backbones import plugin

    return plugin.build_plugin(
        found.card.id,
        card=found.card,
        folder=found.folder,
        weights=asked.weights_of(found),
        image_size=asked.image_size,
    )


# What a plug-in does beside its weights is not known.
FAMILY = Family(build=build, card=PythonCard)
