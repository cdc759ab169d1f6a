"""The protocols by name: one module each that exports ``PROTOCOL``, ours or an installed package's.

Ours are found by looking into this package; others by their entry points ``densebench.protocols``.
The names below are what a protocol of one's own is made of; they outlive any move of the modules.
"""

from densebench.cards import PROTOCOLS, TaskCard, validate
from densebench.datasets.transforms import FlippedCrop, JitteredCrop, Squash
from densebench.features.source import PatchBatch, PatchSource
from densebench.measures.scoring import Prediction, Scoring, upsampled
from densebench.protocols.base import Needs, Protocol, ProtocolParams, Setting

__all__ = [
    "FlippedCrop",
    "JitteredCrop",
    "Needs",
    "PatchBatch",
    "PatchSource",
    "Prediction",
    "Protocol",
    "ProtocolParams",
    "Scoring",
    "Setting",
    "Squash",
    "load_protocol",
    "protocol_names",
    "task_params",
    "upsampled",
]


def protocol_names() -> list[str]:
    """The names that a task card's ``protocol`` may have."""
    return PROTOCOLS.names()


def load_protocol(name: str) -> type[Protocol]:
    """The protocol class of that name.

    Raises:
        DensebenchError: there is none, or the package that registers it is broken.
    """
    protocol: type[Protocol] = PROTOCOLS.load(name)
    return protocol


def task_params(card: TaskCard, where: str) -> ProtocolParams:
    """The card's parameters, checked against its protocol's own, published values filled in.

    Raises:
        DensebenchError: no such protocol, an unknown key or a bad value.
    """
    return validate(load_protocol(card.protocol).Params, card.params, f"{where} [params]")
