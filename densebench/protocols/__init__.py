"""The protocols by name: one module each, found by looking into this package."""

import pkgutil
from importlib import import_module

from densebench.cards import TaskCard, suggestion, validate
from densebench.host.errors import DensebenchError
from densebench.protocols.base import Protocol, ProtocolParams


def protocol_names() -> list[str]:
    """The names that a task card's ``protocol`` may have."""
    modules = {module.name for module in pkgutil.iter_modules(__path__)}
    return sorted(modules - {"base"})


def load_protocol(name: str) -> type[Protocol]:
    """The protocol class of that name.

    Raises:
        DensebenchError: there is none.
    """
    known = protocol_names()
    if name not in known:
        raise DensebenchError(
            f"unknown protocol '{name}'{suggestion(name, known)}; known are {', '.join(known)}"
        )
    protocol: type[Protocol] = import_module(f"{__name__}.{name}").PROTOCOL
    return protocol


def task_params(card: TaskCard, where: str) -> ProtocolParams:
    """The card's parameters, checked against its protocol's own, published values filled in.

    Raises:
        DensebenchError: no such protocol, an unknown key or a bad value.
    """
    return validate(load_protocol(card.protocol).Params, card.params, f"{where} [params]")
