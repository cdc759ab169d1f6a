"""``source = "timm"``: vision transformers and every other model of timm with a map of features."""

from typing import TYPE_CHECKING

from densebench.backbones.family import Asked, Family
from densebench.cards import BackboneCard, Found

if TYPE_CHECKING:
    from densebench.backbones.base import DenseBackbone


def build(found: Found[BackboneCard], asked: Asked) -> "DenseBackbone":
    """The model with its weights, in its official naming or in timm's own.

    Raises:
        DensebenchError: weights that cannot be had or do not fit.
    """
    from densebench.backbones import timm_cards, timm_vit
    from densebench.backbones.weights import hub

    if asked.random_weights is not None:
        drawn = timm_vit.create(found.card.id, num_classes=0)
        return timm_vit.resized(drawn, found.card, asked.name, asked.image_size)
    path = asked.weights or hub.fetch(found.card, asked.offline, asked.name, found.folder)
    timms = asked.name.startswith("timm:") or timm_cards.is_of_timm(found.card)
    if asked.weights is None and timms:
        return timm_vit.build_from_timm_file(found.card, path, asked.name, asked.image_size)
    return timm_vit.build_timm(found.card, path, asked.name, asked.image_size)


def card_of(model_id: str) -> BackboneCard:
    """The card of ``timm:ID``.

    Raises:
        DensebenchError: timm has no such model or tag.
    """
    from densebench.backbones import timm_cards

    return timm_cards.card_of(model_id)


FAMILY = Family(build=build, card_of=card_of, is_known=True, builds_random=True)
