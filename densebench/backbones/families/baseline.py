"""``source = "baseline"``: hand-made descriptors, with no weights to download."""

from typing import TYPE_CHECKING

from densebench.backbones.family import Asked, Family
from densebench.cards import BackboneCard, Found
from densebench.host.errors import DensebenchError

if TYPE_CHECKING:
    from densebench.backbones.base import DenseBackbone


def build(found: Found[BackboneCard], asked: Asked) -> "DenseBackbone":
    """The descriptor, with weights where one of its kind has any.

    Raises:
        DensebenchError: no such descriptor, or weights that it does not take.
    """
    from densebench.backbones.baselines import build_baseline
    from densebench.backbones.weights.state_dict import load_strictly, read_state_dict

    card, file = found.card, asked.weights_of(found)
    built = build_baseline(card)
    if file is not None and not any(True for _ in built.parameters()):
        raise DensebenchError(f"{card.name}: a hand-made descriptor takes no weights ({file})")
    if file is not None:
        load_strictly(built, read_state_dict(file), file, lambda state: "")
    return built


FAMILY = Family(build=build, is_known=True)
