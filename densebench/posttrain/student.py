"""The network that trains: a backbone with a projection head, and what of it may change."""

import functools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from densebench.backbones.base import DenseBackbone
from densebench.backbones.trainable import blocks_of, last_parts
from densebench.host.errors import DensebenchError

DROP_PATHS = ("drop_path", "drop_path1", "drop_path2")


class ProjectionHead(nn.Module):
    """Linear layers with GELU between them, then L2 normalisation, on every patch.

    Weights are drawn from a normal of deviation 0.02 truncated at two, biases are 0, as in DINO's
    head; vpariza/NeCo uses three layers, 2048 wide, 256 out. Without layers it only normalises.
    """

    def __init__(self, dim: int, layers: int = 3, hidden: int = 2048, out: int = 256) -> None:
        super().__init__()
        self.dim = out if layers else dim
        widths = [dim, *[hidden] * (layers - 1), out] if layers else []
        stack: list[nn.Module] = []
        for width, following in pairwise(widths):
            stack += [nn.Linear(width, following), nn.GELU()]
        self.layers = nn.Sequential(*stack[:-1])
        for module in self.layers:
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, patches: Float[Tensor, "b h w d"]) -> Float[Tensor, "b h w e"]:
        """Unit vectors, one a patch."""
        return normalize(self.layers(patches), dim=-1)


class Projector(nn.Module):
    """A backbone and its projection head: images in, patches to be ordered out."""

    def __init__(self, backbone: DenseBackbone, head: ProjectionHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w e"]:
        """Projected patch features of normalised images."""
        return self.head(self.backbone(images))

    def views(self, images: Sequence[Float[Tensor, "b 3 _ _"]]) -> list[Float[Tensor, "b _ _ e"]]:
        """The grids of several views, those of one size in one pass.

        Of a view that patches don't divide the whole ones count, from its upper left corner on.
        """
        by_size: dict[torch.Size, list[int]] = defaultdict(list)
        images = [self._whole_patches(image) for image in images]
        for view, image in enumerate(images):
            by_size[image.shape].append(view)
        grids: dict[int, Tensor] = {}
        for places in by_size.values():
            together = self(torch.cat([images[view] for view in places]))
            grids |= dict(zip(places, together.chunk(len(places)), strict=True))
        return [grids[view] for view in range(len(images))]

    def _whole_patches(self, image: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 _ _"]:
        patch = self.backbone.patch_size
        height, width = (side // patch * patch for side in image.shape[-2:])
        return image[..., :height, :width]

    def train(self, mode: bool = True) -> "Projector":
        """Training mode, but for batch normalisation: a few crops give no better statistics."""
        super().train(mode)
        for module in self.backbone.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


def freeze_all_but_last(backbone: DenseBackbone, blocks: int) -> None:
    """Leave gradients to the last `blocks` blocks and to what comes after them; 0 freezes nothing.

    Raises:
        DensebenchError: the backbone has no parameters, or not so many blocks.
    """
    if not any(True for _ in backbone.parameters()):
        raise DensebenchError(f"{backbone.name}: has no parameters, so there is nothing to train")
    backbone.requires_grad_(True)
    if not blocks:
        return
    own = blocks_of(backbone)
    if len(own) < blocks:
        raise DensebenchError(
            f"{backbone.name}: model.trainable_blocks is {blocks}, but it has "
            f"{len(own) or 'no list of'} blocks"
        )
    backbone.requires_grad_(False)
    for module in last_parts(backbone, blocks):
        module.requires_grad_(True)


def set_drop_path(backbone: DenseBackbone, rate: float) -> bool:
    """Stochastic depth that grows over the blocks from 0 to `rate`; False if there is no place.

    The places are those where timm's blocks have it, named `drop_path`, `drop_path1` or
    `drop_path2`.
    """
    blocks = [
        block
        for block in backbone.modules()
        if any(isinstance(getattr(block, name, None), nn.Module) for name in DROP_PATHS)
    ]
    for block, share in zip(blocks, torch.linspace(0, rate, len(blocks)).tolist(), strict=True):
        for name in DROP_PATHS:
            if isinstance(getattr(block, name, None), nn.Module):
                setattr(block, name, DropPath(share) if share else nn.Identity())
    return bool(blocks)


def checkpoint_gradients(backbone: DenseBackbone) -> None:
    """Recompute every block in the backward pass instead of keeping its activations.

    Raises:
        DensebenchError: the backbone has no list of blocks.
    """
    blocks = blocks_of(backbone)
    if not blocks:
        raise DensebenchError(
            f"{backbone.name}: model.gradient_checkpointing needs a list of blocks, which this "
            "backbone has not"
        )
    for block in blocks:
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)


def trainable(module: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    """The parameters that have a gradient, by name."""
    return ((name, p) for name, p in module.named_parameters() if p.requires_grad)
