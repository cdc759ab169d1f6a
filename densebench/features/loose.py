"""Patch features of loose images, as an array."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from densebench.backbones import DenseBackbone, load_backbone
from densebench.backbones.in_memory import giving, in_memory
from densebench.cards import LARGEST
from densebench.datasets.image_files import as_rgb, read_image
from densebench.datasets.transforms import Squash
from densebench.features.arrays import image_files
from densebench.host.device import pick_device
from densebench.host.errors import DensebenchError

CHANNELS = 3
# What may be said of a backbone by name, and of a module.
OF_A_NAME = ("weights", "offline")
OF_A_MODULE = ("name", "patch_size", "embed_dim", "mean", "std", "layout", "prefix_tokens")


@torch.inference_mode()
def extract_loose(
    model: Any,
    images: Any,
    size: int,
    *,
    device: str = "auto",
    batch_size: int = 16,
    layers: int | Sequence[int] | None = None,
    **how: Any,
) -> Float[np.ndarray, "n h w d"]:
    """Features of files, folders, Pillow images or arrays; ``how`` describes a module.

    Raises:
        DensebenchError: no image, an unreadable one, features that are not finite, a size that the
            patch does not divide, or no such layer.
    """
    for name, value in (("size", size), ("batch_size", batch_size)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
            raise DensebenchError(f"{name} is a whole number from 1 on, not {value!r:.40}")
    place = pick_device(device)
    backbone = _loaded(model, size, str(place), how)
    with giving(backbone, layers):
        return _features(backbone, _pictures(images), size, place, batch_size)


def _features(
    backbone: DenseBackbone,
    pictures: Sequence[Image.Image],
    size: int,
    place: torch.device,
    batch_size: int,
) -> Float[np.ndarray, "n h w d"]:
    view = Squash(size, backbone.mean, backbone.std)
    found = []
    for start in range(0, len(pictures), batch_size):
        some = pictures[start : start + batch_size]
        pixels = torch.stack([view(p, np.zeros((p.height, p.width), np.uint8))[0] for p in some])
        found.append(backbone(pixels.to(place)).float().cpu())
    patches = torch.cat(found)
    if not torch.isfinite(patches).all():
        raise DensebenchError(f"{backbone.name} gives features that are not finite")
    return patches.numpy()


def _loaded(model: Any, size: int, device: str, how: dict[str, Any]) -> DenseBackbone:
    allowed = OF_A_NAME if isinstance(model, str | os.PathLike) else OF_A_MODULE
    for key in how.keys() - set(allowed):
        raise DensebenchError(
            f"extract takes no '{key}' here, but {', '.join(allowed)}, device and batch_size"
        )
    if isinstance(model, str | os.PathLike):
        return load_backbone(model, image_size=size, device=device, **how)
    return in_memory(model, **how).eval().to(device)


def _pictures(images: Any) -> list[Image.Image]:
    """Each image in RGB.

    Raises:
        DensebenchError: it is none, or there is none.
    """
    if isinstance(images, str | os.PathLike) and os.fspath(images):
        return [read_image(file) for file in image_files(Path(images))]
    if isinstance(images, Image.Image):
        return [as_rgb(images, "a Pillow image")]
    if isinstance(images, np.ndarray) and images.ndim == 3:
        return [_of_array(images)]
    if isinstance(images, str | bytes) or not (
        isinstance(images, Sequence | np.ndarray) and len(images)
    ):
        raise DensebenchError("images are a file, a folder, a Pillow image, an array, or a list")
    return [picture for image in images for picture in _pictures(image)]


def _of_array(image: np.ndarray) -> Image.Image:
    if image.dtype != np.uint8 or image.shape[-1] != CHANNELS or not image.size:
        raise DensebenchError(
            f"an array of an image is (h, w, 3) of bytes, not {image.shape} of {image.dtype}"
        )
    return Image.fromarray(image)
