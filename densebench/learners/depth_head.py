"""The linear depth head of DINOv3: a distribution over depths for each patch, and its mean.

Source: facebookresearch/dinov3 at 6876159, dinov3/eval/depth/models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from densebench.datasets.sizes import Size, padding_offset
from densebench.host.device import one_thread

Spacing = Literal["linear", "log"]
Weighting = Literal["linear", "softmax", "sigmoid"]
LEAST_WEIGHT = 0.1
DEVIATION = 0.01


@dataclass(frozen=True)
class Bins:
    """How logits become a depth.

    Attributes:
        count: of the depths; 1 for a regression instead.
        nearest: smallest depth in metres.
        farthest: largest depth in metres.
        spacing: whether depths or their logarithms are equally far apart.
        weighting: how logits become weights that sum to 1.
    """

    count: int = 256
    nearest: float = 0.001
    farthest: float = 10.0
    spacing: Spacing = "linear"
    weighting: Weighting = "linear"

    @property
    def depths(self) -> Float[Tensor, " k"]:
        """The depths in metres."""
        if self.spacing == "linear":
            return torch.linspace(self.nearest, self.farthest, self.count)
        return torch.linspace(log(self.nearest), log(self.farthest), self.count).exp()

    def depth(self, logits: Float[Tensor, "b k h w"]) -> Float[Tensor, "b h w"]:
        """Metres: the mean of the depths under the weights, or what a regression gives."""
        if self.count == 1:
            return relu(logits[:, 0]) + self.nearest
        weights = self._weights(logits)
        return torch.einsum("bkhw,k->bhw", weights, self.depths.to(logits))

    def _weights(self, logits: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
        if self.weighting == "softmax":
            return logits.softmax(dim=1)
        positive = relu(logits) + LEAST_WEIGHT if self.weighting == "linear" else logits.sigmoid()
        return positive / positive.sum(dim=1, keepdim=True)


class DepthHead(nn.Module):
    """Batch normalisation and a 1x1 convolution to the logits of the bins.

    Args:
        embed_dim: length of a feature vector.
        bins: how logits become a depth.
        normalised: whether features go through a batch normalisation first.
    """

    def __init__(self, embed_dim: int, bins: Bins, normalised: bool = True) -> None:
        super().__init__()
        self.bins = bins
        self.norm = nn.BatchNorm2d(embed_dim) if normalised else nn.Identity()
        self.project = nn.Conv2d(embed_dim, bins.count, kernel_size=1)
        nn.init.normal_(self.project.weight, std=DEVIATION)
        assert self.project.bias is not None  # it has one unless told otherwise
        nn.init.zeros_(self.project.bias)

    @property
    def is_normalised(self) -> bool:
        """Whether features go through a batch normalisation first."""
        return isinstance(self.norm, nn.BatchNorm2d)

    def logits(self, features: Float[Tensor, "b d h w"]) -> Float[Tensor, "b k h w"]:
        """Of the bins."""
        found: Tensor = self.project(self.norm(features))
        return found

    def forward(self, patches: Float[Tensor, "b h w d"]) -> Float[Tensor, "b h w"]:
        """Metres on the patch grid."""
        return self.bins.depth(self.logits(patches.permute(0, 3, 1, 2)))


def seeded_depth_head(embed_dim: int, bins: Bins, normalised: bool, seed: int) -> DepthHead:
    """A head that has learnt nothing yet, the same for the same seed; no other draw is touched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DepthHead(embed_dim, bins, normalised)


def concatenated(
    layers: Sequence[Float[Tensor, "b d h w"]],
    class_tokens: Sequence[Float[Tensor, "b d"]] | None = None,
) -> Float[Tensor, "b e H W"]:
    """Several layers at the size of the first, each followed by its class token if there is one."""
    size = layers[0].shape[-2:]
    parts = []
    for number, layer in enumerate(layers):
        parts.append(interpolate(layer, size=size, mode="bilinear", align_corners=False))
        if class_tokens is not None:
            parts.append(class_tokens[number][:, :, None, None].expand(-1, -1, *size))
    return torch.cat(parts, dim=1)


def upsampled_depth(depth: Float[Tensor, "b h w"], size: Size) -> Float[Tensor, "b H W"]:
    """The depth itself, bilinearly (align_corners off); neither logits nor features."""
    return interpolate(depth[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def mirrored_mean(
    depth: Float[Tensor, "*b h w"], of_mirror_image: Float[Tensor, "*b h w"]
) -> Float[Tensor, "*b h w"]:
    """The mean of a depth and of that of the mirror image, which is turned back."""
    return (depth + of_mirror_image.flip(-1)) / 2


def cut_to_image(
    depth: Float[Tensor, "b h w"], patch_size: int, size: Size
) -> Float[Tensor, "b H W"]:
    """The depth of an image that was padded, without the padding.

    Where the patch size divides the image there is none, and the patch grid is given as it is.
    """
    padded = depth.shape[1] * patch_size, depth.shape[2] * patch_size
    if padded == size:
        return depth
    top, left = padding_offset(size, patch_size)
    whole = upsampled_depth(depth, padded)
    return whole[:, top : top + size[0], left : left + size[1]]


@one_thread()
@torch.inference_mode()
def predicted_depth(head: DepthHead, patches: Float[Tensor, "b h w d"]) -> Float[Tensor, "b h w"]:
    """Metres on the patch grid, image by image: how one is rounded depends on no other.

    The mean of the bins is summed in float64: in float32 it would move by the batch's shape.
    """
    images = patches.permute(0, 3, 1, 2)
    logits = torch.cat([head.logits(image[None].clone()) for image in images])
    return head.bins.depth(logits.double()).float()
