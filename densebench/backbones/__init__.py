"""How a name becomes a backbone: cards, timm, open_clip, baselines and plug-ins.

The names below are imported on first use, so that what a card may say is known without torch.
``densebench.backbones("dinov2_*")`` lists names: the package is callable.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from densebench.host.callable_package import make_callable

if TYPE_CHECKING:
    from densebench.backbones.base import DenseBackbone, check_divisible
    from densebench.backbones.family import Asked, Family
    from densebench.backbones.load import card_for, find, load_backbone, weights_file

_LAZY = {
    "Asked": "densebench.backbones.family",
    "DenseBackbone": "densebench.backbones.base",
    "Family": "densebench.backbones.family",
    "card_for": "densebench.backbones.load",
    "check_divisible": "densebench.backbones.base",
    "find": "densebench.backbones.load",
    "load_backbone": "densebench.backbones.load",
    "weights_file": "densebench.backbones.load",
}
__all__ = [
    "Asked",
    "DenseBackbone",
    "Family",
    "card_for",
    "check_divisible",
    "find",
    "load_backbone",
    "weights_file",
]


make_callable(__name__, "densebench.cards", "backbones")


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'densebench.backbones' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)
