"""Neighbour consistency: does a backbone order neighbours alike in two views of the same image?

That is what NeCo trains for, measured on the features themselves and on held-out images.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from scipy.stats import rankdata
from torch import Generator, Tensor
from torch.nn.functional import normalize
from torchvision.ops import roi_align

from densebench.backbones.base import DenseBackbone
from densebench.posttrain.views import MultiCrop, Views, ViewSettings, image_generator

ALIGN, REFERENCES, SEED = 7, 256, 0


@torch.no_grad()
def neighbour_consistency(
    backbone: DenseBackbone,
    images: Sequence[Image.Image],
    size: int,
    device: torch.device,
    batch_size: int = 16,
) -> float:
    """Mean rank correlation (Spearman) of patch similarities between two augmented views.

    Two random crops of every image, distorted as in training, are aligned on their intersection
    (7x7 patches). Each aligned patch is compared, by cosine, with 256 reference patches of other
    images; the two views should rank these alike. Views and references are the same for every
    backbone of one patch size.

    Args:
        backbone: in evaluation mode, on the device.
        images: two or more RGB images.
        size: side of the views in pixels.
        device: where the backbone is.
        batch_size: images at once.

    Returns:
        A number in [-1, 1].
    """
    settings = ViewSettings(global_size=size, global_crops=2, local_crops=0)
    make = MultiCrop(settings, backbone.mean, backbone.std)
    views = [make(image, image_generator(SEED, 0, i)) for i, image in enumerate(images)]
    aligned = [
        _aligned(backbone, views[start : start + batch_size], device)
        for start in range(0, len(views), batch_size)
    ]
    first, second = (torch.cat(parts) for parts in zip(*aligned, strict=True))
    return float(np.mean([_agreement(first, second, i) for i in range(len(first))]))


def _aligned(
    backbone: DenseBackbone, views: Sequence[Views], device: torch.device
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n d"]]:
    """Unit features of both views on the same places of the image."""
    aligned = []
    for view in (0, 1):
        images = torch.stack([v.images[view] for v in views]).to(device)
        maps = backbone(images).float().permute(0, 3, 1, 2)
        boxes = torch.stack([v.boxes.in_view[view, 1 - view] for v in views]).to(maps)
        regions = list(boxes[:, None] / backbone.patch_size)
        patches = roi_align(maps, regions, ALIGN, aligned=True).flatten(2).transpose(1, 2)
        aligned.append(normalize(patches, dim=-1).cpu())
    return aligned[0], aligned[1]


def _agreement(first: Float[Tensor, "m n d"], second: Float[Tensor, "m n d"], image: int) -> float:
    """Mean over an image's patches."""
    others = torch.cat([first[:image], first[image + 1 :]]).flatten(0, 1)
    drawn = torch.randperm(len(others), generator=Generator().manual_seed(SEED + image))
    references = others[drawn[:REFERENCES]]
    ranks = [rankdata((view[image] @ references.T).numpy(), axis=1) for view in (first, second)]
    return float(np.mean(_correlation(*ranks)))


def _correlation(
    a: Float[np.ndarray, "n r"], b: Float[np.ndarray, "n r"]
) -> Float[np.ndarray, " n"]:
    """Pearson's, row by row; 0 where a row does not vary."""
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), scale, out=np.zeros(len(a)), where=scale > 0)
