"""``source = "open_clip"``: the image towers of open_clip's models."""

from typing import TYPE_CHECKING

from densebench.backbones.family import Asked, Family
from densebench.cards import BackboneCard, Found

if TYPE_CHECKING:
    from densebench.backbones.base import DenseBackbone


def build(found: Found[BackboneCard], asked: Asked) -> "DenseBackbone":
    """The image tower with its weights.

    Raises:
        DensebenchError: weights that cannot be had or do not fit.
    """
    from densebench.backbones import clip
    from densebench.backbones.weights import hub

    if asked.random_weights is not None:
        return clip.build_random(found.card, asked.name, asked.image_size)
    path = asked.weights or hub.fetch(found.card, asked.offline, asked.name, found.folder)
    return clip.build_clip(found.card, path, asked.name, asked.image_size)


def card_of(model_id: str) -> BackboneCard:
    """The card of ``open_clip:ARCH/TAG``.

    Raises:
        DensebenchError: open_clip has no such model, or its image tower is no transformer.
    """
    from densebench.backbones import clip

    return clip.card_of(model_id)


FAMILY = Family(build=build, card_of=card_of, is_known=True, builds_random=True)
