"""A vision transformer of Hugging Face transformers as a backbone."""

import json
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from densebench.backbones.attention import Multiplied, class_row
from densebench.backbones.base import PositionsOf
from densebench.backbones.hf.configuration import Configuration
from densebench.backbones.hf.filling import SAVED, saved
from densebench.backbones.hf.kinds import Kind, embeddings_of, part, table_of
from densebench.backbones.positions import (
    NO_TABLE,
    PositionRule,
    interpolate_positions,
    rule_for,
)
from densebench.backbones.several import block_outputs
from densebench.backbones.trainable import Trainable
from densebench.backbones.weights.state_dict import StateDict
from densebench.cards import BackboneCard
from densebench.host.errors import DensebenchError


class HfBackbone(Trainable):
    """The patch tokens of the last block, after the final normalisation if the card says so.

    Args:
        model: An encoder of transformers, reachable as ``model`` afterwards. Its positions are
            resized by the card's rule from here on.
        configuration: What it was built from.
        card: What it is; patch size, width and prefix tokens are checked against the model.
        name: What the user calls it.

    Raises:
        DensebenchError: the card does not describe this model.
    """

    card: BackboneCard
    weights_file = SAVED

    def __init__(
        self, model: Any, configuration: Configuration, card: BackboneCard, name: str
    ) -> None:
        super().__init__(
            name, card.patch_size, card.embed_dim, mean=card.mean, std=card.std, card=card
        )
        self.configuration, self.kind = configuration, configuration.kind
        _check_card(card, configuration, table_of(embeddings_of(model)) is not None)
        self.model = model
        self._rule: PositionRule = card.position_embedding
        use_rule(model, self.kind, self.patch_size, self._rule)

    def patch_map(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
        """The patch tokens of the last block."""
        height, width = (side // self.patch_size for side in images.shape[-2:])
        tokens: Tensor
        (tokens,) = block_outputs(self.blocks()[-1:], [0], lambda: self._run(images))
        for norm in self.layer_norms():
            tokens = norm(tokens)
        return tokens[:, -height * width :].unflatten(1, (height, width))

    def _run(self, images: Float[Tensor, "b 3 H W"]) -> object:
        if not self.kind.takes_patches:
            told = {"interpolate_pos_encoding": True} if self.kind.resizes_when_told else {}
            return self.model(pixel_values=images, **told)
        patches, grid = in_patches(images, self.patch_size)
        everywhere = patches.new_ones(patches.shape[:2], dtype=torch.long)
        shapes = torch.tensor([grid] * len(images), device=images.device)
        return self.model(
            pixel_values=patches, pixel_attention_mask=everywhere, spatial_shapes=shapes
        )

    def train(self, mode: bool = True) -> "HfBackbone":
        """Training mode, but for rotary positions: they would be stretched at random."""
        super().train(mode)
        rotary = getattr(self.model, "rope_embeddings", None)
        if isinstance(rotary, nn.Module):
            rotary.eval()
        return self

    @property
    def positions(self) -> str | None:
        """The rule in effect; None for a model without a table."""
        return None if self._rule == NO_TABLE else self._rule

    def resize_positions(self, rule: PositionsOf) -> None:
        """Change the rule."""
        self._rule = rule_for(self.card, rule)
        use_rule(self.model, self.kind, self.patch_size, self._rule)

    @property
    def encoder(self) -> nn.Module:
        """The model of transformers."""
        model: nn.Module = self.model
        return model

    def blocks(self) -> list[nn.Module]:
        """Its layers."""
        return list(part(self.model, self.kind.blocks).children())

    def after_blocks(self) -> list[nn.Module]:
        """The final normalisation."""
        return [part(self.model, (self.kind.norm, f"vision_model.{self.kind.norm}"))]

    def layer_norms(self) -> list[nn.Module]:
        """The same, if the card says so."""
        return self.after_blocks() if self.card.final_norm else []

    @property
    def attention_heads(self) -> int:
        """Of the last block, where there is a class token."""
        return int(self.configuration.config.num_attention_heads) if self.kind.class_tokens else 0

    def attention(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b heads h w"] | None:
        """From the last block's queries and keys."""
        if not self.attention_heads:
            return None
        with Multiplied() as seen:
            _, height, width, _ = self.patch_map(images).shape
        queries, keys = seen.last
        return class_row(queries, keys, (height, width))

    def choices(self) -> dict[str, object]:
        """The card's choices and the model's configuration; not where they lie."""
        keys = ("source", "position_embedding", "final_norm", "prefix_tokens")
        chosen = {key: getattr(self.card, key) for key in keys}
        return {**chosen, "config": self.configuration.stated}

    def published(self) -> tuple[StateDict, dict[str, bytes]]:
        """Weights as transformers saves them, with the files that it reads beside them."""
        state, config = saved(self.model)
        return state, {"config.json": config, "preprocessor_config.json": preprocessor(self)}


@dataclass(eq=False)
class Resized:
    """The positions of a model at another size, in place of its own method.

    Args:
        embeddings: the module that has the table.
        patch_size: in pixels.
        class_tokens: whose positions come first, and stay.
        rule: by which the others are resized.
    """

    embeddings: Any
    patch_size: int
    class_tokens: int
    rule: PositionRule

    def __call__(self, tokens: Tensor, height: int, width: int) -> Float[Tensor, "1 n d"]:
        """Of an image of that size in pixels."""
        return self._at((height // self.patch_size, width // self.patch_size))

    def of_shapes(
        self, table: Tensor, spatial_shapes: Tensor, max_length: int
    ) -> Float[Tensor, "b n d"]:
        """Of images of one grid of patches."""
        height, width = spatial_shapes[0].tolist()
        return self._at((height, width)).expand(len(spatial_shapes), -1, -1)

    def _at(self, grid: tuple[int, int]) -> Float[Tensor, "1 n d"]:
        table = table_of(self.embeddings)
        assert table is not None  # a rule is for a table
        classes, patches = table[:, : self.class_tokens], table[:, self.class_tokens :]
        return torch.cat([classes, interpolate_positions(patches, grid, self.rule)], dim=1)


def use_rule(model: nn.Module, kind: Kind, patch_size: int, rule: PositionRule) -> None:
    """Make a model resize its table of positions by a rule, at every forward pass."""
    if rule == NO_TABLE:
        return
    embeddings = embeddings_of(model)
    resized = Resized(embeddings, patch_size, kind.class_tokens, rule)
    if kind.takes_patches:
        embeddings.resize_positional_embeddings = resized.of_shapes
    else:
        embeddings.interpolate_pos_encoding = resized


def preprocessor(backbone: HfBackbone) -> bytes:
    """How images are normalised, in the file that transformers reads."""
    told = {
        "image_processor_type": backbone.kind.processor,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(backbone.mean),
        "image_std": list(backbone.std),
    }
    side = backbone.configuration.config.image_size
    if not backbone.kind.takes_patches:
        height, width = side if isinstance(side, list | tuple) else (side, side)
        told |= {"do_resize": True, "do_center_crop": False}
        told["size"] = {"height": height, "width": width}
    return json.dumps(told, indent=2).encode()


def in_patches(
    images: Float[Tensor, "b 3 H W"], patch: int
) -> tuple[Float[Tensor, "b n values"], tuple[int, int]]:
    """Images as rows of patches, each of its pixels row by row, channels last; and their grid."""
    batch, channels, height, width = images.shape
    grid = height // patch, width // patch
    cut = images.reshape(batch, channels, grid[0], patch, grid[1], patch)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, grid[0] * grid[1], -1), grid


def _check_card(card: BackboneCard, configuration: Configuration, learnt: bool) -> None:
    for key, value in configuration.facts().items():
        if getattr(card, key) != value:
            raise DensebenchError(
                f"card {card.name}: {key} is {getattr(card, key)}, but {card.id} has {value}"
            )
    if learnt == (card.position_embedding == NO_TABLE):
        wanted = configuration.kind.positions
        raise DensebenchError(
            f"card {card.name}: position_embedding is '{card.position_embedding}', but {card.id} "
            f"has {'a' if learnt else 'no'} table of positions; use '{wanted}'"
        )
