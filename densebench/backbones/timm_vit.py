"""Backbones out of timm: vision transformers, and every model that gives a map of features."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from jaxtyping import Float
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn

from densebench.backbones.attention import heads_of, of_class_token
from densebench.backbones.base import PositionsOf
from densebench.backbones.positions import (
    NO_TABLE,
    PositionRule,
    rule_for,
    takes_rules,
    use_position_rule,
)
from densebench.backbones.several import resized_map
from densebench.backbones.trainable import Trainable
from densebench.backbones.weights.naming import architecture, to_timm_names
from densebench.backbones.weights.state_dict import (
    drop_keys,
    load_strictly,
    read_state_dict,
    strip_prefixes,
)
from densebench.cards import BackboneCard
from densebench.datasets.sizes import Size, as_size
from densebench.host.errors import DensebenchError


class TimmBackbone(Trainable):
    """The last feature map of a timm model, through ``forward_intermediates``.

    Args:
        model: A timm model, reachable as ``model`` afterwards. Its positions are resized by the
            card's rule from here on.
        card: What it is; patch size, width and prefix tokens are checked against the model.
        name: What the user calls it; the card's name if not given.
        fixed_size: The only (height, width) in pixels that the model takes, if there is one.

    Raises:
        DensebenchError: the card does not describe this model.
    """

    card: BackboneCard

    def __init__(
        self,
        model: Any,
        card: BackboneCard,
        name: str | None = None,
        fixed_size: Size | None = None,
    ) -> None:
        super().__init__(
            name or card.name,
            card.patch_size,
            card.embed_dim,
            mean=card.mean,
            std=card.std,
            card=card,
        )
        check_card(card, model)
        use_position_rule(model, card.position_embedding)
        self.model = model
        self.fixed_size = fixed_size
        self._rule: PositionRule = card.position_embedding

    def patch_map(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
        """The last feature map, normed if the card says so."""
        height, width = images.shape[-2:]
        if self.fixed_size is not None and self.fixed_size != (height, width):
            raise DensebenchError(
                f"{self.name}: built for images of {self.fixed_size[0]}x{self.fixed_size[1]} "
                f"pixels only, not {height}x{width}; load it with another image_size"
            )
        (features,) = self._maps(images, 1)
        return features

    def layer_widths(self) -> list[int]:
        """Of timm's list of a model's feature maps."""
        return [int(info["num_chs"]) for info in self.model.feature_info]

    def layer_maps(
        self, images: Float[Tensor, "b 3 H W"], layers: tuple[int, ...]
    ) -> list[Float[Tensor, "b h w d"]]:
        """Of a transformer blocks; of a convolutional network stages, at the last one's grid."""
        maps = self._maps(images, list(layers), stop_early=True)
        grid = images.shape[2] // self.patch_size, images.shape[3] // self.patch_size
        return [resized_map(one, grid) for one in maps]

    def _maps(
        self, images: Float[Tensor, "b 3 H W"], indices: int | list[int], stop_early: bool = False
    ) -> list[Float[Tensor, "b h w d"]]:
        options = {"norm": self.card.final_norm, "output_fmt": "NCHW", "intermediates_only": True}
        options["stop_early"] = stop_early  # what comes after the last one is not computed
        try:
            maps = self.model.forward_intermediates(images, indices=indices, **options)
        except AssertionError as error:  # timm's word for an option or a size that it cannot do
            raise DensebenchError(
                f"{self.name}: timm's {type(self.model).__name__} cannot do that: {error}"
            ) from error
        return [one.permute(0, 2, 3, 1).contiguous() for one in maps]

    @property
    def positions(self) -> str | None:
        """The rule in effect; None for a model without a table."""
        return None if self._rule == NO_TABLE else self._rule

    def resize_positions(self, rule: PositionsOf) -> None:
        """Change the rule, where the table is one that every rule can resize."""
        if takes_rules(self.model):
            self._rule = rule_for(self.card, rule)
            use_position_rule(self.model, self._rule)

    @property
    def encoder(self) -> nn.Module:
        """Timm's model."""
        model: nn.Module = self.model
        return model

    def blocks(self) -> list[nn.Module]:
        """Blocks of a transformer, stages of a convolutional network."""
        return list(getattr(self.model, "blocks", getattr(self.model, "stages", [])))

    def after_blocks(self) -> list[nn.Module]:
        """The final normalisation."""
        norm = getattr(self.model, "norm", None)
        return [norm] if isinstance(norm, nn.Module) else []

    @property
    def attention_heads(self) -> int:
        """Of the last block, where its attention is one of timm's and there is a class token."""
        return heads_of(self.model, self.blocks())

    def attention(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b heads h w"] | None:
        """From the last block's queries and keys, where they are those of timm's attention."""
        if not self.attention_heads:
            return None
        layer: Any = self.blocks()[-1].attn
        return of_class_token(self, layer, images)

    def choices(self) -> dict[str, object]:
        """The card's choices, and a fixed input size."""
        return {**card_choices(self.card), "fixed_size": self.fixed_size}


def card_choices(card: BackboneCard) -> dict[str, object]:
    """What a card decides about features, beside weights, patch size and normalisation."""
    keys = ("source", "id", "position_embedding", "final_norm", "prefix_tokens")
    return {key: getattr(card, key) for key in keys}


def facts(model: Any) -> dict[str, Any]:
    """What a card says about a timm model, as the model itself has it."""
    last = model.feature_info[-1]
    return {
        "patch_size": last["reduction"],
        "embed_dim": last["num_chs"],
        "prefix_tokens": getattr(model, "num_prefix_tokens", None) or 0,
        "position_embedding": "none" if getattr(model, "pos_embed", None) is None else "timm",
    }


def check_card(card: BackboneCard, model: Any) -> None:
    """Nothing, if a card's patch size, width and number of prefix tokens are the model's.

    Raises:
        DensebenchError: the first of them that is not.
    """
    for key, value in facts(model).items():
        if key != "position_embedding" and getattr(card, key) != value:
            raise DensebenchError(
                f"card {card.name}: {key} is {getattr(card, key)}, but {card.id} has {value}"
            )


@dataclass(frozen=True)
class TimmModel:
    """A timm model without its head, and the only input size that it takes, if there is one."""

    model: Any
    fixed_size: Size | None


def create(model_id: str, **arguments: Any) -> TimmModel:
    """A timm model that takes every image size it can, stripped of its head.

    Args:
        model_id: timm's name, with or without a tag.
        arguments: For ``timm.create_model``.

    Raises:
        DensebenchError: timm has no such model or tag.
    """
    check_registered(model_id)
    fixed_size = None
    model: Any
    try:
        model = timm.create_model(model_id, dynamic_img_size=True, **arguments)
    except TypeError as error:
        if "dynamic_img_size" not in str(error):
            raise
        model = timm.create_model(model_id, **arguments)
        if _takes_every_size(model):
            model.patch_embed.strict_img_size = False
        elif model.pretrained_cfg.get("fixed_input_size"):
            fixed_size = tuple(model.pretrained_cfg["input_size"][-2:])
    model.prune_intermediate_layers(1, prune_head=True)
    return TimmModel(model, fixed_size)


def _takes_every_size(model: Any) -> bool:
    """Whether it resizes all its positions to the input, and only refuses other sizes at first.

    So does the encoder of Segment Anything: its table, and what it learnt of distances.
    """
    return isinstance(model, VisionTransformerSAM) and model.rope_global is None


def check_registered(model_id: str) -> None:
    """Nothing, for a model that timm has under that name and tag.

    Raises:
        DensebenchError: it has not; with the nearest names.
    """
    if ":" in model_id or not timm.is_model(model_id):
        near = difflib.get_close_matches(model_id, timm.list_models(pretrained=True), n=3)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise DensebenchError(f"timm has no model '{model_id}'{hint}")
    try:
        timm.get_pretrained_cfg(model_id)
    except RuntimeError as error:
        known = timm.list_models(f"{model_id.partition('.')[0]}.*", pretrained=True)
        raise DensebenchError(
            f"timm has no weights '{model_id}'; known are {', '.join(known)}"
        ) from error


def build_timm(
    card: BackboneCard, weights: Path, name: str | None = None, image_size: int | Size | None = None
) -> TimmBackbone:
    """The backbone of a card of source ``timm`` with the weights of a file.

    Args:
        card: The card; its ``id`` is timm's name of the model.
        weights: A file in timm's naming, or in the official one of DINO, DINOv2 or NeCo.
        name: What the user calls it.
        image_size: Side of the images in pixels, or height and width, for models whose input size
            is fixed.

    Raises:
        DensebenchError: no such model, or the file does not fit it key by key.
    """
    built = create(card.id, num_classes=0)
    load_weights(built.model, weights, card)
    return resized(built, card, name, image_size)


def build_from_timm_file(
    card: BackboneCard, weights: Path, name: str, image_size: int | Size | None = None
) -> TimmBackbone:
    """The same for the file that timm itself names as the model's weights, by timm's own loader.

    timm knows how each of its files is to be renamed, which is more than our own naming covers.
    The head is kept until the weights are in, because timm is strict only about whole models.

    Raises:
        DensebenchError: the file does not fit the model.
    """
    overlay = {"state_dict": read_state_dict(weights)}
    try:
        built = create(card.id, pretrained=True, pretrained_cfg_overlay=overlay)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise DensebenchError(f"{weights}: does not fit timm's {card.id}: {reason}") from error
    return resized(built, card, name, image_size)


def load_weights(model: nn.Module, path: Path, card: BackboneCard) -> None:
    """Fill a timm model from a file, key by key, after the card's ``drop_keys`` are left out.

    Raises:
        DensebenchError: the file cannot be read, or does not fit.
    """
    state = strip_prefixes(read_state_dict(path), model.state_dict().keys())
    state = to_timm_names(drop_keys(state, card.drop_keys), model)
    load_strictly(model, state, path, architecture)


def resized(
    built: TimmModel, card: BackboneCard, name: str | None, image_size: int | Size | None
) -> TimmBackbone:
    """The backbone, after a model of fixed input size is given the wanted one."""
    size = built.fixed_size
    if size is not None and image_size is not None and size != as_size(image_size):
        if not hasattr(built.model, "set_input_size"):
            raise DensebenchError(
                f"{name or card.name}: takes images of {size[0]}x{size[1]} pixels only"
            )
        size = as_size(image_size)
        built.model.set_input_size(size)
    return TimmBackbone(built.model, card, name, size)
