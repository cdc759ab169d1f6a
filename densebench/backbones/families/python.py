"""``source = "python"``: a card whose ``id`` is a function in a Python file of the user's."""

from typing import TYPE_CHECKING

from densebench.backbones.family import Asked, Family
from densebench.cards import BackboneCard, Found

if TYPE_CHECKING:
    from densebench.backbones.base import DenseBackbone


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
FAMILY = Family(build=build)
