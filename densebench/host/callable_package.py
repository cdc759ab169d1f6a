"""Packages that are functions as well, where the Python API has one of their name."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def make_callable(package: str, module: str, function: str) -> None:
    """Have ``package(...)`` call a function of a module, which is imported at the first call.

    ``densebench.backbones("dinov2_*")`` and ``densebench.backbones.load_backbone`` are both so
    natural that neither gives way to the other.
    """

    class CallablePackage(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return getattr(import_module(module), function)(*args, **kwargs)

    sys.modules[package].__class__ = CallablePackage
