"""Backbones that are already here: any module of torch, with what it does not say of itself."""

import hashlib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from densebench.backbones.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    DenseBackbone,
    describe,
)
from densebench.backbones.trainable import Trainable
from densebench.backbones.user_code import (
    check_tensors,
    dry_run_size,
    guarded,
    three_numbers,
    whole,
)
from densebench.cards.block_numbers import checked_layers
from densebench.host.errors import DensebenchError

Layout = Literal["BhwD", "BDhw", "BND"]
PLAIN: Layout = "BhwD"


class InMemoryBackbone(Trainable):
    """A module as it is now, reachable as ``module``; its fingerprint follows its weights.

    Args:
        module: Gives features of normalised images, arranged as ``layout`` says.
        name: Of the leaderboard's row.
        patch_size: Side of a patch in pixels.
        embed_dim: Length of a feature vector.
        mean: What is subtracted from an image in [0, 1], per channel.
        std: What it is divided by after that.
        layout: ``BhwD``, ``BDhw``, or ``BND``: patches row by row after ``prefix_tokens`` others.
        prefix_tokens: Of the class and of registers, before the patches.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str,
        patch_size: int,
        embed_dim: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        layout: Layout = PLAIN,
        prefix_tokens: int = 0,
    ) -> None:
        mean, std = three_numbers("mean", mean, name), three_numbers("std", std, name)
        super().__init__(name, patch_size, embed_dim, mean=mean, std=std)
        self.module = module
        self.layout, self.prefix_tokens = layout, prefix_tokens

    def patch_map(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
        """What the module gives, rearranged."""
        with guarded(self.name):
            features: Tensor = self.module(images)
        sides = tuple(side // self.patch_size for side in images.shape[-2:])
        found: Tensor = arranged(features, self.layout, self.prefix_tokens, (sides[0], sides[1]))
        return found

    @property
    def encoder(self) -> nn.Module:
        """The user's module."""
        return self.module

    def blocks(self) -> list[nn.Module]:
        """The module's own ``blocks``, if it has a list of that name."""
        own = getattr(self.module, "blocks", None)
        return list(own) if isinstance(own, nn.ModuleList | nn.Sequential) else []

    def choices(self) -> dict[str, object]:
        """The class and its code where that can be read, and how its features are arranged."""
        kind = type(self.module)
        return {
            "source": "memory",
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "code": _code(kind),
            "layout": self.layout,
            "prefix_tokens": self.prefix_tokens,
        }


def in_memory(
    model: nn.Module,
    *,
    name: str | None = None,
    patch_size: int | None = None,
    embed_dim: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    layout: Layout | None = None,
    prefix_tokens: int = 0,
) -> DenseBackbone:
    """A module as a backbone; a ``DenseBackbone`` as it is.

    What is not given is taken from attributes of the module of that name; the deviation and mean
    are then ImageNet's, and ``embed_dim`` is found by a dry run, which checks the layout as well.

    Raises:
        DensebenchError: the patch size is not known, parameters without numbers, an error in the
            module, or features that are arranged in another way (the message says in which).
    """
    if isinstance(model, DenseBackbone):
        return model
    label = name or type(model).__name__
    if layout is not None and layout not in get_args(Layout):
        raise DensebenchError(f"layout is one of {', '.join(get_args(Layout))}, not '{layout}'")
    check_tensors(model, label)
    if isinstance(prefix_tokens, bool) or not isinstance(prefix_tokens, int) or prefix_tokens < 0:
        raise DensebenchError(
            f"prefix_tokens is a whole number from 0 on, not {prefix_tokens!r:.40}"
        )
    if prefix_tokens and layout not in (None, "BND"):
        raise DensebenchError(f"prefix_tokens are of layout BND, not of {layout}; leave them out")
    patch = whole(
        getattr(model, "patch_size", None) if patch_size is None else patch_size,
        "patch_size",
        "a whole number of pixels (patch_size=14)",
        label,
    )
    arrangement = layout or ("BND" if prefix_tokens else PLAIN)
    found = _found_width(model, label, patch, arrangement, prefix_tokens)
    if embed_dim is not None and embed_dim != found:
        raise DensebenchError(f"{label}: embed_dim is {found}, not {embed_dim}")
    return InMemoryBackbone(
        model,
        label,
        patch,
        found,
        getattr(model, "mean", IMAGENET_MEAN) if mean is None else mean,
        getattr(model, "std", IMAGENET_STD) if std is None else std,
        arrangement,
        prefix_tokens,
    )


@contextmanager
def giving(backbone: DenseBackbone, layers: int | Sequence[int] | None) -> Iterator[None]:
    """Meanwhile a backbone gives the features of these blocks, then what it gave before.

    Where none are named, what is changed meanwhile is undone as well.

    Raises:
        DensebenchError: there are no such blocks.
    """
    before = backbone.layers
    try:
        if layers is not None:
            backbone.use_layers(checked_layers(layers))
        yield
    finally:
        backbone.use_layers("last" if before is None else before)


def arranged(features: Any, layout: Layout, prefix_tokens: int, grid: tuple[int, int]) -> Any:
    """Features of patches (b, h, w, d) of a module's; what does not fit comes out as it is."""
    if not isinstance(features, Tensor):
        return features
    if layout == "BDhw" and features.ndim == 4:
        return features.permute(0, 2, 3, 1)
    if layout == "BND" and features.ndim == 3:
        tokens = features[:, prefix_tokens:]
        if tokens.shape[1] == grid[0] * grid[1]:
            return tokens.unflatten(1, grid)
    return features


def _found_width(
    model: nn.Module, name: str, patch_size: int, layout: Layout, prefix_tokens: int
) -> int:
    """The length of a feature vector, once a dry run has the layout that was given."""
    side = dry_run_size(patch_size)
    grid = side // patch_size
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    training = model.training
    try:
        with guarded(name), torch.no_grad():
            given = model.eval()(torch.zeros(1, 3, side, side, device=device))
    finally:
        model.train(training)
    found = arranged(given, layout, prefix_tokens, (grid, grid))
    wanted = 3 if layout == "BND" else 4
    is_so = isinstance(given, Tensor) and given.ndim == wanted and found.ndim == 4
    if is_so and found.shape[1:3] == (grid, grid) and found.shape[-1]:
        return int(found.shape[-1])
    raise DensebenchError(
        f"{name}: gives {describe(given)} for one {side}x{side} image in patches of {patch_size}; "
        f"expected {grid}x{grid} patches in layout {layout}{_guess(given, grid)}"
    )


def _guess(features: object, grid: int) -> str:
    """What to give for features that are arranged so."""
    if not isinstance(features, Tensor):
        return "; wrap it in a module whose forward gives a tensor"
    shape = tuple(features.shape)
    if len(shape) == 4 and shape[1:3] == (grid, grid):
        return "; give layout='BhwD'"
    if len(shape) == 4 and shape[2:] == (grid, grid):
        return "; give layout='BDhw'"
    if len(shape) == 3 and shape[1] >= grid**2:
        return f"; give layout='BND', prefix_tokens={shape[1] - grid**2}"
    return "; give its patch_size, or wrap it in a module that gives (B, h, w, D)"


def _code(kind: type) -> str | None:
    """SHA-256 of the source of a class; None where there is none to be read."""
    try:
        return hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()
    except (OSError, TypeError):
        return None
