"""The vision transformers of transformers that can be backbones: where each one's parts are.

The rule of positions is that of this suite's cards for the same weights, whichever library they
come through: DINOv2's official one, with registers another (which is transformers' own too), and
timm's for ViT, CLIP and SigLIP. transformers itself resizes all but the second in its own way
(``transformers``), which a card may ask for.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from densebench.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Triple
from densebench.backbones.positions import PositionRule

HALF: Triple = (0.5, 0.5, 0.5)
CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Kind:
    """One type of model, by the ``model_type`` of its configuration.

    Attributes:
        model: the class of the encoder without any head, in transformers.
        processor: the class that prepares its images there.
        positions: the rule by which its table is resized, where a card does not say another.
        blocks: where the list of its blocks is, in one version of transformers or another.
        norm: the name of the normalisation that the last block's output goes through.
        class_tokens: how many tokens with a place in the table of positions precede the patches.
        mean: of the models that are published of it, where a folder has no preprocessor's file.
        std: likewise.
        arguments: for the class, beside the configuration.
        settings: of the configuration, which leave out what no patch goes through.
        takes_patches: whether it is given patches one by one instead of an image.
        resizes_when_told: whether its forward pass must be told to resize positions.
    """

    model: str
    processor: str
    positions: PositionRule
    blocks: tuple[str, ...] = ("encoder.layer",)
    norm: str = "layernorm"
    class_tokens: int = 1
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    arguments: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    takes_patches: bool = False
    resizes_when_told: bool = False


_VIT = Kind(
    "ViTModel",
    "ViTImageProcessor",
    "timm",
    ("layers", "encoder.layer"),
    mean=HALF,
    std=HALF,
    arguments={"add_pooling_layer": False},
    resizes_when_told=True,
)
_CLIP = Kind(
    "CLIPVisionModel",
    "CLIPImageProcessor",
    "timm",
    ("encoder.layers", "vision_model.encoder.layers"),
    "post_layernorm",
    mean=CLIP_MEAN,
    std=CLIP_STD,
    resizes_when_told=True,
)
_SIGLIP = Kind(
    "SiglipVisionModel",
    "SiglipImageProcessor",
    "timm",
    ("encoder.layers", "vision_model.encoder.layers"),
    "post_layernorm",
    class_tokens=0,
    mean=HALF,
    std=HALF,
    settings={"vision_use_head": False},
    resizes_when_told=True,
)
_SIGLIP2 = Kind(
    "Siglip2VisionModel",
    "Siglip2ImageProcessor",
    "siglip2",
    ("encoder.layers", "vision_model.encoder.layers"),
    "post_layernorm",
    class_tokens=0,
    mean=HALF,
    std=HALF,
    settings={"vision_use_head": False},
    takes_patches=True,
)
KINDS: dict[str, Kind] = {
    "dinov2": Kind("Dinov2Model", "BitImageProcessor", "dinov2"),
    "dinov2_with_registers": Kind("Dinov2WithRegistersModel", "BitImageProcessor", "dinov2_reg"),
    "dinov3_vit": Kind(
        "DINOv3ViTModel",
        "DINOv3ViTImageProcessor",
        "none",
        ("model.layer", "layer"),
        "norm",
    ),
    "vit": _VIT,
    "clip": _CLIP,
    "clip_vision_model": _CLIP,
    "siglip": _SIGLIP,
    "siglip_vision_model": _SIGLIP,
    "siglip2": _SIGLIP2,
    "siglip2_vision_model": _SIGLIP2,
}
# What files hold beside the encoder, by the beginnings of names.
HEADS = (
    "classifier",
    "pooler",
    "head",
    "text_model",
    "text_projection",
    "visual_projection",
    "logit_scale",
    "logit_bias",
    "decoder",
    "embeddings.mask_token",
)


def part(model: nn.Module, names: tuple[str, ...]) -> nn.Module:
    """The first of some parts, by dotted names, that a model has.

    Raises:
        AttributeError: it has none of them.
    """
    for name in names[:-1]:
        try:
            return model.get_submodule(name)
        except AttributeError:
            continue
    return model.get_submodule(names[-1])


def embeddings_of(model: nn.Module) -> Any:
    """The module that makes tokens of images."""
    return part(model, ("embeddings", "vision_model.embeddings"))


def table_of(embeddings: Any) -> torch.Tensor | None:
    """Its learnt positions (1, n, d), those of class tokens first; None where it has none."""
    table = getattr(embeddings, "position_embeddings", None)
    if table is None and hasattr(embeddings, "position_embedding"):
        table = embeddings.position_embedding.weight[None]
    return table
