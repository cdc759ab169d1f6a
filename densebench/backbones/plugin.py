"""Backbones of the user: a function in a Python file that returns a module.

The function takes no arguments. The module's ``forward`` gives (batch, h, w, dim) features of
normalised images, and it has ``patch_size``; ``mean``, ``std`` (ImageNet's if absent) and
``embed_dim`` (found by a dry run if absent) are optional. A card may state them instead. A method
``attention`` of images, (batch, heads, h, w), is what protocols of attention maps look at.
"""

import hashlib
import importlib.util
import re
import sys
from functools import cached_property
from pathlib import Path
from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from densebench.backbones.attention import is_attention
from densebench.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Triple, describe, shape_text
from densebench.backbones.trainable import Trainable
from densebench.backbones.user_code import (
    check_tensors,
    dry_run_size,
    guarded,
    three_numbers,
    whole,
)
from densebench.backbones.weights.state_dict import load_strictly, read_state_dict, strip_prefixes
from densebench.cards import BackboneCard, suggestion
from densebench.datasets.sizes import Size, as_size
from densebench.host.errors import DensebenchError

SAID = ("patch_size", "embed_dim", "mean", "std")  # by a module, or by its card
TARGET = re.compile(r"^(?P<file>.+\.py)(?::(?P<function>\w*))?$")


class PluginBackbone(Trainable):
    """A user's module, reachable as ``module``.

    Args:
        module: Its ``forward`` gives (batch, h, w, dim).
        target: ``FILE.py:FUNCTION``, as the user wrote it.
        code: SHA-256 of that file, which counts as a choice that changes features. Other files
            that it imports are not looked at.
        embed_dim: Length of a feature vector.
        card: The card that names the plug-in, if there is one.
    """

    def __init__(
        self,
        module: nn.Module,
        target: str,
        code: str,
        embed_dim: int,
        card: BackboneCard | None = None,
    ) -> None:
        patch_size = _patch_size(module, target)
        mean = _triple(module, "mean", card.mean if card else IMAGENET_MEAN, target)
        std = _triple(module, "std", card.std if card else IMAGENET_STD, target)
        name = card.name if card else target
        super().__init__(name, patch_size, embed_dim, mean=mean, std=std, card=card)
        self.module = module
        self.target = target
        self.code = code

    def patch_map(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
        """What the module gives."""
        with guarded(_who(self.target), _file(self.target)):
            features: Tensor = self.module(images)
        return features

    @property
    def encoder(self) -> nn.Module:
        """The user's module."""
        return self.module

    def blocks(self) -> list[nn.Module]:
        """The module's own ``blocks``, if it has a list of that name."""
        own = getattr(self.module, "blocks", None)
        return list(own) if isinstance(own, nn.ModuleList | nn.Sequential) else []

    @cached_property
    def attention_heads(self) -> int:
        """How many maps the module's ``attention`` gives, found by a dry run; 0 without one."""
        if not callable(getattr(self.module, "attention", None)):
            return 0
        size = dry_run_size(self.patch_size)
        device = next((p.device for p in self.module.parameters()), torch.device("cpu"))
        with torch.no_grad():
            found = self.attention(torch.zeros(1, 3, size, size, device=device))
        return 0 if found is None else found.shape[1]

    def attention(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b heads h w"] | None:
        """What the module's own ``attention`` gives, if it has one.

        Raises:
            DensebenchError: an error in it, or it gives no map of shares for each head.
        """
        own = getattr(self.module, "attention", None)
        if not callable(own):
            return None
        with guarded(_who(self.target), _file(self.target)):
            found = own(images)
        if not is_attention(found, images, self.patch_size):
            raise DensebenchError(
                f"plug-in '{self.target}': attention gives {describe(found)} for images of "
                f"{shape_text(tuple(images.shape))}; expected real numbers "
                "(batch, heads, height, width)"
            )
        return found

    def layer_norms(self) -> list[nn.Module]:
        """The module's own ``norm``, if it has one of that name."""
        own = getattr(self.module, "norm", None)
        return [own] if isinstance(own, nn.Module) else []

    def choices(self) -> dict[str, object]:
        """The plug-in's code and the function in it; not where the file lies."""
        return {"source": "python", "code": self.code, "function": self.target.rpartition(":")[2]}


def is_target(name: str) -> bool:
    """Whether a name has the form of a plug-in: ``FILE.py`` or ``FILE.py:FUNCTION``."""
    return TARGET.match(name) is not None


def build_plugin(
    target: str,
    card: BackboneCard | None = None,
    folder: Path | None = None,
    weights: Path | None = None,
    image_size: int | Size | None = None,
) -> PluginBackbone:
    """The backbone that a function in a Python file returns.

    Args:
        target: ``FILE.py:FUNCTION``.
        card: The card that names it; what it states is checked against the module.
        folder: What a relative FILE is relative to; the working directory if not given.
        weights: A state dict to load into the module, strictly, in its own naming.
        image_size: Side in pixels of the image of the dry run, or height and width.

    Raises:
        DensebenchError: no such file or function, an error in it, or not a backbone.
    """
    path, function = find_plugin(target, folder)
    code = hashlib.sha256(path.read_bytes()).hexdigest()
    with guarded(_who(target), _file(target)):
        module = _call(path, function, target)
    if weights is not None:
        state = strip_prefixes(read_state_dict(weights), module.state_dict().keys())
        load_strictly(module, state, weights, lambda state: "")
    check_tensors(module, _who(target))
    module.eval()
    stated = getattr(module, "embed_dim", (card.embed_dim or None) if card else None)
    if stated is None:
        stated = _found_embed_dim(module, target, image_size)
    embed_dim = whole(stated, "embed_dim", "the length of a feature vector", _who(target))
    built = PluginBackbone(module, target, code, embed_dim, card)
    if card is not None:
        _check_card(card, built)
        built.card = card.model_copy(update={key: getattr(built, key) for key in SAID})
    return built


def find_plugin(target: str, folder: Path | None = None) -> tuple[Path, str]:
    """The file and the function of ``FILE.py:FUNCTION``; runs nothing.

    Raises:
        DensebenchError: another form, or no such file.
    """
    matched = TARGET.match(target)
    function = matched["function"] if matched else None
    if matched is None or not function:
        raise DensebenchError(f"plug-in '{target}': give FILE.py:FUNCTION")
    path = (folder or Path()) / matched["file"]
    if not path.is_file():
        raise DensebenchError(f"plug-in '{target}': no file {path}")
    return path.resolve(), function


def _call(path: Path, function: str, target: str) -> nn.Module:
    loaded = _import(path)
    factory = getattr(loaded, function, None)
    if not callable(factory):
        defined = [n for n, v in vars(loaded).items() if callable(v) and not n.startswith("_")]
        hint = suggestion(function, defined)
        raise DensebenchError(f"plug-in '{target}': no function '{function}' in {path}{hint}")
    module = factory()
    if not isinstance(module, nn.Module):
        raise DensebenchError(f"plug-in '{target}': gives {describe(module)}, not an nn.Module")
    return module


def _import(path: Path) -> ModuleType:
    """Run the file as a module of its own; imports of files beside it work meanwhile."""
    name = f"densebench_plugin_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # it is a .py file
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded  # pickling and dataclasses look their module up there
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(loaded)
    finally:
        sys.path.remove(str(path.parent))
    return loaded


def _patch_size(module: nn.Module, target: str) -> int:
    value = getattr(module, "patch_size", None)
    return whole(value, "patch_size", "a whole number of pixels", _who(target))


def _triple(module: nn.Module, key: str, default: Triple, target: str) -> Triple:
    return three_numbers(key, getattr(module, key, default), _who(target))


def _found_embed_dim(module: nn.Module, target: str, image_size: int | Size | None) -> int:
    """The length of the vectors that a module gives for one image."""
    patch_size = _patch_size(module, target)
    height, width = as_size(image_size or dry_run_size(patch_size))
    with guarded(_who(target), _file(target)), torch.no_grad():
        features = module(torch.zeros(1, 3, height, width))
    if not isinstance(features, Tensor) or features.ndim != 4:
        raise DensebenchError(
            f"plug-in '{target}': forward gives {describe(features)} for one {height}x{width} "
            "image; expected (batch, height, width, dim)"
        )
    return features.shape[-1]


def _who(target: str) -> str:
    return f"plug-in '{target}'"


def _file(target: str) -> str:
    return target.rpartition(":")[0]


def _check_card(card: BackboneCard, built: PluginBackbone) -> None:
    for key in SAID:
        if key in card.model_fields_set and getattr(card, key) != getattr(built, key):
            raise DensebenchError(
                f"card {card.name}: {key} is {getattr(card, key)}, "
                f"but {card.id} has {getattr(built, key)}"
            )
