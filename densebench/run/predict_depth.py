"""Depth of an image by a head that a linear depth run left."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from densebench.backbones import load_backbone
from densebench.backbones.base import DenseBackbone
from densebench.datasets.depth_maps import MILLIMETRE
from densebench.datasets.depth_views import DepthView
from densebench.datasets.image_files import read_image
from densebench.files.atomic import replacing, require_writable
from densebench.host.device import pick_device
from densebench.host.errors import DensebenchError
from densebench.host.memory import require
from densebench.learners.depth_file import DepthHeadFile, load_depth_head
from densebench.learners.depth_head import (
    cut_to_image,
    mirrored_mean,
    predicted_depth,
    upsampled_depth,
)

FARTHEST = 2**16 - 1  # millimetres in 16 bits


@torch.inference_mode()
def predict_depth(
    backbone: str,
    head: Path,
    image: Path,
    out: Path,
    *,
    weights: Path | None = None,
    device: str = "auto",
    offline: bool = False,
) -> dict[str, float]:
    """Write a 16-bit PNG of millimetres, of the image's own size; what is farther is 65.535 m.

    Returns:
        The nearest, the median and the farthest depth in metres.

    Raises:
        DensebenchError: the head was trained on other features than this backbone's, or gives
            depths that are not finite.
    """
    place = pick_device(device)
    trained = load_depth_head(head)
    require_writable(out.parent)
    model = load_backbone(backbone, weights=weights, device=str(place), offline=offline)
    if model.fingerprint != trained.about.fingerprint:
        raise DensebenchError(
            f"{head} was trained on the features of {trained.about.backbone}, and {backbone} with "
            "these weights gives others; use the same backbone and weights"
        )
    picture = read_image(image)
    require({"the depth of every pixel": 24 * picture.width * picture.height}, "a smaller image")
    model.resize_positions(trained.about.positions)
    metres = _depth(trained, model, picture, place)
    if not np.isfinite(metres).all():
        raise DensebenchError(f"{head}: gives depths that are not finite; train it again")
    steps = np.rint(metres.astype(np.float64) / MILLIMETRE).clip(0, FARTHEST).astype(np.uint16)
    with replacing(out) as file:
        Image.fromarray(steps).save(file, format="PNG")
    return {
        "nearest": float(metres.min()),
        "median": float(np.median(metres)),
        "farthest": float(metres.max()),
    }


def _depth(
    trained: DepthHeadFile, model: DenseBackbone, picture: Image.Image, place: torch.device
) -> Float[np.ndarray, "h w"]:
    """As the run predicts it: the mean with the mirror image's, clamped to what it learnt."""
    about, head = trained.about, trained.head.to(place)
    size, empty = (about.height, about.width), np.zeros((picture.height, picture.width), np.float32)
    found = []
    for flipped in (False, True) if about.mirrored else (False,):
        view = DepthView(size, about.mean, about.std, model.patch_size, flipped)
        pixels, _ = view(picture, empty)
        depth = predicted_depth(head, model(pixels[None].to(place)).float())
        if about.padding_is_cut:
            depth = cut_to_image(depth, model.patch_size, size)
        found.append(depth)
    depth = mirrored_mean(*found) if about.mirrored else found[0]
    whole = upsampled_depth(depth, (picture.height, picture.width))[0]
    return whole.clamp(about.bins.nearest, about.bins.farthest).cpu().numpy()
