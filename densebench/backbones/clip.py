"""Image towers of open_clip: patch tokens before pooling and projection.

Vision transformers and timm towers take any size that the patch size divides. Their positions are
resized as timm does it (bicubic, antialiased); open_clip itself takes the pre-training size only.
"""

import difflib
import re
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from jaxtyping import Float
from open_clip.model import _build_vision_tower
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from densebench.backbones import timm_vit
from densebench.backbones.attention import of_class_token
from densebench.backbones.base import DenseBackbone, PositionsOf
from densebench.backbones.positions import PositionRule, interpolate_positions, rule_for
from densebench.backbones.trainable import Trainable
from densebench.backbones.weights.state_dict import (
    StateDict,
    drop_keys,
    load_strictly,
    read_state_dict,
)
from densebench.cards import BackboneCard, WeightsSource, suggestion
from densebench.datasets.sizes import Size
from densebench.host.errors import DensebenchError


class ClipBackbone(Trainable):
    """The patch tokens of an open_clip vision transformer, after ``ln_post`` if the card says so.

    Args:
        visual: The image tower, reachable as ``visual`` afterwards; pooling and projection go.
        card: What it is; patch size and width are checked against the tower.
        name: What the user calls it; the card's name if not given.

    Raises:
        DensebenchError: the card does not describe this tower.
    """

    card: BackboneCard

    def __init__(
        self, visual: VisionTransformer, card: BackboneCard, name: str | None = None
    ) -> None:
        super().__init__(
            name or card.name,
            card.patch_size,
            card.embed_dim,
            mean=card.mean,
            std=card.std,
            card=card,
        )
        _check_card(card, visual)
        self.visual = visual
        self._rule: PositionRule = card.position_embedding

    @property
    def positions(self) -> str:
        """The rule in effect."""
        return self._rule

    def resize_positions(self, rule: PositionsOf) -> None:
        """Change the rule."""
        self._rule = rule_for(self.card, rule)

    def patch_map(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
        """The patch tokens of the last block."""
        patches = self.visual.conv1(images)
        batch, dim, height, width = patches.shape
        tokens: Tensor = self.visual.transformer(self._embed(patches))
        if self.card.final_norm:
            tokens = self.visual.ln_post(tokens)
        return tokens[:, 1:].reshape(batch, height, width, dim)

    def _embed(self, patches: Float[Tensor, "b d h w"]) -> Float[Tensor, "b n d"]:
        """Class token and patches, with their positions, as they enter the first block."""
        height, width = patches.shape[-2:]
        table = self.visual.positional_embedding[None]
        positions = interpolate_positions(table[:, 1:], (height, width), self._rule)
        classes = (self.visual.class_embedding + table[:, :1]).expand(len(patches), -1, -1)
        embedded = patches.flatten(2).transpose(1, 2) + positions
        tokens = torch.cat([classes, embedded], dim=1).to(patches.dtype)
        entering: Tensor = self.visual.ln_pre(self.visual.patch_dropout(tokens))
        return entering

    @property
    def encoder(self) -> VisionTransformer:
        """The image tower."""
        return self.visual

    def blocks(self) -> list[nn.Module]:
        """Its residual attention blocks."""
        return list(self.visual.transformer.resblocks)

    def after_blocks(self) -> list[nn.Module]:
        """The normalisation after them."""
        return [self.visual.ln_post]

    @property
    def attention_heads(self) -> int:
        """Of the last block, where its attention is torch's own."""
        layer = getattr(self.blocks()[-1], "attn", None)
        known = isinstance(layer, nn.MultiheadAttention) and layer.batch_first
        return int(layer.num_heads) if known and layer is not None else 0

    def attention(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b heads h w"] | None:
        """From the last block's queries and keys."""
        if not self.attention_heads:
            return None
        layer: Any = self.blocks()[-1].attn
        return of_class_token(self, layer, images)

    def layer_norms(self) -> list[nn.Module]:
        """The same, if the card says so."""
        return self.after_blocks() if self.card.final_norm else []

    def choices(self) -> dict[str, object]:
        """The card's choices."""
        return timm_vit.card_choices(self.card)


def _check_card(card: BackboneCard, visual: VisionTransformer) -> None:
    width = visual.conv1.out_channels
    found = {"patch_size": visual.patch_size[0], "embed_dim": width, "prefix_tokens": 1}
    for key, value in found.items():
        if getattr(card, key) != value:
            raise DensebenchError(
                f"card {card.name}: {key} is {getattr(card, key)}, but {card.id} has {value}"
            )
    if card.position_embedding == "none":
        raise DensebenchError(f"card {card.name}: position_embedding is 'none'; use 'timm'")
    if card.final_norm and tuple(visual.ln_post.normalized_shape) != (width,):
        raise DensebenchError(
            f"card {card.name}: final_norm must be false, because {card.id} norms what it pooled"
        )


def build_clip(
    card: BackboneCard, weights: Path, name: str | None = None, image_size: int | Size | None = None
) -> DenseBackbone:
    """The backbone of a card of source ``open_clip`` with the weights of a file.

    Args:
        card: The card; its ``id`` is ARCH/TAG in open_clip's names.
        weights: A whole model in open_clip's naming, or its image tower alone.
        name: What the user calls it.
        image_size: Side of the images in pixels, for timm towers whose input size is fixed.

    Raises:
        DensebenchError: no such model, or the file does not fit it key by key.
    """
    arch, tag = split_id(card.id)
    if "timm_model_name" in _vision_config(arch):
        trunk = _trunk(arch)
        timm_vit.load_weights(trunk.model, weights, card)
        return timm_vit.resized(trunk, card, name, image_size)
    visual = _tower(arch, tag)
    state = drop_keys(_visual_part(read_state_dict(weights)), card.drop_keys)
    load_strictly(visual, state, weights, lambda state: "")
    return ClipBackbone(visual, card, name)


def build_random(
    card: BackboneCard, name: str, image_size: int | Size | None = None
) -> DenseBackbone:
    """The same with the weights that open_clip, or timm, draws.

    Raises:
        DensebenchError: no such model.
    """
    arch, tag = split_id(card.id)
    if "timm_model_name" in _vision_config(arch):
        return timm_vit.resized(_trunk(arch), card, name, image_size)
    return ClipBackbone(_tower(arch, tag), card, name)


def _visual_part(state: StateDict) -> StateDict:
    for prefix in ("module.visual.", "visual."):
        inside = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
        if inside:
            return inside
    return state


def split_id(model_id: str) -> tuple[str, str]:
    """Architecture and tag of ``ARCH/TAG``.

    Raises:
        DensebenchError: open_clip has no such architecture or tag.
    """
    arch, slash, tag = model_id.partition("/")
    if open_clip.get_model_config(arch) is None:
        raise DensebenchError(
            f"open_clip has no architecture '{arch}'{suggestion(arch, open_clip.list_models())}"
        )
    if not slash or not open_clip.get_pretrained_cfg(arch, tag):
        known = open_clip.list_pretrained_tags_by_model(arch)
        near = difflib.get_close_matches(tag, known, n=1)
        shown = near or known
        raise DensebenchError(
            f"open_clip:{model_id}: give ARCH/TAG; tags of {arch}: {', '.join(shown) or 'none'}"
        )
    return arch, tag


def _vision_config(arch: str) -> dict[str, Any]:
    return dict(open_clip.get_model_config(arch)["vision_cfg"])


def _tower(arch: str, tag: str) -> VisionTransformer:
    """The vision transformer with random weights, without pooling and projection."""
    config = open_clip.get_model_config(arch)
    # OpenAI's weights need QuickGELU; open_clip only warns where the tag says so and ARCH does not.
    tag_config = open_clip.get_pretrained_cfg(arch, tag)
    quick_gelu = bool(config.get("quick_gelu") or tag_config.get("quick_gelu"))
    visual = _build_vision_tower(config["embed_dim"], config["vision_cfg"], quick_gelu)
    if type(visual) is not VisionTransformer:
        raise DensebenchError(
            f"open_clip:{arch}: its image tower is a {type(visual).__name__}, which has no patch "
            "tokens; vision transformers and timm towers have"
        )
    visual.proj = None
    visual.attn_pool = None
    visual.attn_pool_contrastive = None
    return visual


def _trunk(arch: str) -> timm_vit.TimmModel:
    """The timm tower with random weights, without its head."""
    return timm_vit.create(_vision_config(arch)["timm_model_name"], **_trunk_arguments(arch))


def _trunk_arguments(arch: str) -> dict[str, Any]:
    """What open_clip builds a timm tower with; its pooling decides where the last norm stands."""
    config = _vision_config(arch)
    pool, projection = config.get("timm_pool", "avg"), config.get("timm_proj", "linear")
    own_head = projection in ("linear", "mlp") or pool in ("abs_attn", "rot_attn")
    return {} if own_head else {"global_pool": pool}


def card_of(model_id: str) -> BackboneCard:
    """A card for any ARCH/TAG, from what open_clip states about it.

    Raises:
        DensebenchError: open_clip has no such model, or its image tower is no transformer.
    """
    arch, tag = split_id(model_id)
    config = open_clip.get_pretrained_cfg(arch, tag)
    return BackboneCard(
        name=re.sub(r"[^A-Za-z0-9_.\-]", "-", model_id),
        source="open_clip",
        id=model_id,
        weights=_weights_of(config),
        mean=config["mean"],
        std=config["std"],
        license="not stated",
        training_data="not stated",
        **(_trunk_facts(arch) if "timm_model_name" in _vision_config(arch) else _facts(arch, tag)),
    )


def _facts(arch: str, tag: str) -> dict[str, Any]:
    with torch.device("meta"):
        visual = _tower(arch, tag)
    width = visual.conv1.out_channels
    return {
        "patch_size": visual.patch_size[0],
        "embed_dim": width,
        "prefix_tokens": 1,
        "position_embedding": "timm",
        "final_norm": tuple(visual.ln_post.normalized_shape) == (width,),
        "drop_keys": ("proj", "attn_pool"),
    }


def _trunk_facts(arch: str) -> dict[str, Any]:
    name, arguments = _vision_config(arch)["timm_model_name"], _trunk_arguments(arch)
    with torch.device("meta"):
        whole = timm.create_model(name, num_classes=1, **arguments)
        model = _trunk(arch).model
    return {
        **timm_vit.facts(model),
        "drop_keys": tuple(sorted(whole.state_dict().keys() - model.state_dict().keys())),
    }


def _weights_of(config: dict[str, Any]) -> WeightsSource:
    """open_clip's hub names are REPO/FILE, or REPO/ for its default file."""
    if config.get("hf_hub"):
        repo, _, file = config["hf_hub"].rpartition("/")
        return WeightsSource(repo=repo, file=file or "open_clip_model.safetensors")
    return WeightsSource(url=config["url"])
