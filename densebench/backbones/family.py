"""What a family of backbones is: all cards of one ``source``, and how they become backbones.

A family is one module that exports ``FAMILY``: in ``families`` beside this file, or in an installed
package, under an entry point ``densebench.backbones``. Reading its cards imports that module, so
that what needs torch is imported when it builds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from densebench.cards import FAMILIES, BackboneCard, Found

if TYPE_CHECKING:
    from densebench.backbones.base import DenseBackbone
    from densebench.datasets.sizes import Size


@dataclass(frozen=True)
class Asked:
    """What is asked of a backbone.

    Attributes:
        name: what the user calls it.
        weights: a file to use instead of the card's.
        image_size: side in pixels of the images to come, or height and width, if it is known.
        offline: never use the network.
        random_weights: the seed of weights that are drawn instead of any that were learnt.
    """

    name: str
    weights: Path | None = None
    image_size: "int | Size | None" = None
    offline: bool = False
    random_weights: int | None = None

    def weights_of(self, found: Found[BackboneCard]) -> Path | None:
        """The file of the weights: the user's or the card's; None where the card names none.

        Raises:
            DensebenchError: the weights cannot be had.
        """
        if self.weights is not None or found.card.weights is None:
            return self.weights
        from densebench.backbones.weights import hub

        return hub.fetch(found.card, self.offline, self.name, found.folder)


@dataclass(frozen=True)
class Family:
    """One source of backbones.

    Attributes:
        build: a backbone with its weights, from a card and what is asked.
        card: what its cards hold; a family with further keys makes a card of its own.
        card_of: the card of an ID that is named ``SOURCE:ID``, where the family can make one.
        found_by_name: the same where the card is made of files of the model's own: with the place
            that its paths refer to, and told whether the network is off.
        also_reads: files beside the weights that decide about the features, as far as they are on
            this machine.
        is_known: whether the card, its ``weights``, what ``also_reads`` gives, and the code of
            densebench and of the family alone decide about the features; then a run that is done
            is told by the weights' hash, without opening them. What else ``build`` reads would go
            unnoticed.
        builds_random: whether ``build`` draws weights where a seed is asked for.
    """

    build: "Callable[[Found[BackboneCard], Asked], DenseBackbone]"
    card: type[BackboneCard] = BackboneCard
    card_of: Callable[[str], BackboneCard] | None = None
    found_by_name: Callable[[str, bool], Found[BackboneCard]] | None = None
    also_reads: Callable[[Found[BackboneCard]], list[Path]] | None = None
    is_known: bool = False
    builds_random: bool = False

    def beside(self, found: Found[BackboneCard]) -> list[str]:
        """What ``also_reads`` gives, if it is there."""
        return [] if self.also_reads is None else [str(file) for file in self.also_reads(found)]


def family_of(source: str) -> Family:
    """The family of a card's ``source``.

    Raises:
        DensebenchError: there is none, or the package that registers it is broken.
    """
    family: Family = FAMILIES.load(source)
    return family
