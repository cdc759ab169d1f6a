"""Patch features of loose images, as an array file."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from densebench.backbones import DenseBackbone, load_backbone
from densebench.datasets.image_files import read_image
from densebench.datasets.transforms import Squash
from densebench.files.atomic import replacing, require_writable
from densebench.host.device import pick_device
from densebench.host.errors import DensebenchError
from densebench.host.memory import batch_bytes, require

LESS = "give a smaller --size, or fewer images at a time"
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


def extract_images(
    backbone: str,
    source: Path,
    size: int,
    out: Path,
    *,
    weights: Path | None = None,
    device: str = "auto",
    offline: bool = False,
    layers: tuple[int, ...] | None = None,
    random_weights: int | None = None,
) -> tuple[int, ...]:
    """Write ``patches`` (n, h, w, D) float32 and ``names`` of an image or a folder of images.

    Returns:
        The shape of ``patches``.

    Raises:
        DensebenchError: no image, an unreadable one, a size that the patch does not divide, or
            no such layer.
    """
    place = pick_device(device)
    files = image_files(source)
    require_writable(out.parent)
    how: dict[str, Any] = {"device": str(place), "offline": offline, "layers": layers}
    how["random_weights"] = random_weights
    model = load_backbone(backbone, weights=weights, image_size=size, **how)
    grid = size // model.patch_size
    kept = len(files) * grid**2 * model.embed_dim * 4
    batch = batch_bytes(1, size, size, model.patch_size, model.embed_dim)
    require({"the features of all images": 2 * kept, "an image in the backbone": batch}, LESS)
    patches = np.stack([_patches(model, file, size, place) for file in files])
    names = np.array([file.name for file in files])
    _save(out, {"patches": patches, "names": names})
    return patches.shape


def image_files(source: Path) -> list[Path]:
    """The image itself, or the images of a folder by name."""
    if source.is_dir():
        files = sorted(f for f in source.iterdir() if f.suffix.lower() in SUFFIXES)
    else:
        files = [source] if source.is_file() else []
    if not files:
        raise DensebenchError(f"{source}: no image there ({', '.join(sorted(SUFFIXES))})")
    return files


@torch.inference_mode()
def _patches(
    model: DenseBackbone, file: Path, size: int, device: torch.device
) -> Float[np.ndarray, "h w d"]:
    image = read_image(file)
    view = Squash(size, model.mean, model.std)
    pixels, _ = view(image, np.zeros((image.height, image.width), dtype=np.uint8))
    patches = model(pixels[None].to(device))[0].float()
    if not torch.isfinite(patches).all():
        raise DensebenchError(
            f"{file}: {model.name} gives features that are not finite (nan or infinite); "
            "look at its weights and at what it divides by"
        )
    return patches.cpu().numpy()


def _save(out: Path, arrays: dict[str, Any]) -> None:
    with replacing(out) as file:
        np.savez(file, **arrays)
