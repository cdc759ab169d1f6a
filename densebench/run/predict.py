"""Label an image with a head that a linear run left."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from PIL import Image

from densebench.backbones import load_backbone
from densebench.datasets.image_files import read_image
from densebench.datasets.transforms import Squash
from densebench.files.atomic import replacing, require_writable
from densebench.host.device import pick_device
from densebench.host.errors import DensebenchError
from densebench.host.memory import require
from densebench.learners.heads import HeadFile, class_logits, load_head
from densebench.measures.winners import winning_classes
from densebench.records.panels import coloured

PALETTE_COLOURS = 256


@torch.inference_mode()
def predict_image(
    backbone: str,
    head: Path,
    image: Path,
    out: Path,
    *,
    weights: Path | None = None,
    device: str = "auto",
    offline: bool = False,
) -> dict[str, float]:
    """Write a palette PNG of class indices, of the image's own size.

    Indices past 255, for which a palette has no place, make it a 16-bit greyscale PNG.

    Returns:
        The share of the image's pixels of each class that is there, largest first.

    Raises:
        DensebenchError: the head was trained on other features than this backbone's, or its
            logits are not finite.
    """
    place = pick_device(device)
    trained = load_head(head)
    require_writable(out.parent)
    model = load_backbone(backbone, weights=weights, device=str(place), offline=offline)
    if model.fingerprint != trained.fingerprint:
        raise DensebenchError(
            f"{head} was trained on the features of {trained.backbone}, and {backbone} with these "
            "weights gives others; use the same backbone and weights"
        )
    picture = read_image(image)
    pixels_of_logits = picture.width * picture.height * len(trained.classes)
    require({"the logits of every pixel": 8 * pixels_of_logits}, "use a smaller image")
    model.resize_positions(trained.positions)
    model.use_layers("last" if trained.layers is None else trained.layers)
    view = Squash(trained.input_size, trained.mean, trained.std)
    pixels, _ = view(picture, np.zeros((picture.height, picture.width), dtype=np.uint8))
    logits = class_logits(trained.head.to(place), model(pixels[None].to(place)).float())
    labels = winning_classes(logits[0], (picture.height, picture.width)).cpu().numpy()
    with replacing(out) as file:
        _picture(labels, trained).save(file, format="PNG")
    return _shares(labels, trained.classes)


def _picture(labels: Int64[np.ndarray, "h w"], trained: HeadFile) -> Image.Image:
    if len(trained.classes) > PALETTE_COLOURS:
        return Image.fromarray(labels.astype(np.uint16))
    return coloured(labels.astype(np.uint8), trained.palette)


def _shares(labels: np.ndarray, classes: tuple[str, ...]) -> dict[str, float]:
    counts = np.bincount(labels.ravel(), minlength=len(classes))
    order = np.argsort(-counts, kind="stable")
    return {classes[i]: float(counts[i] / counts.sum()) for i in order if counts[i]}
