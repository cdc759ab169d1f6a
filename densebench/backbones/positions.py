"""Position embeddings at another grid than the one they were learnt on.

The same weights give other features under another rule, so that the rule belongs to the card:

- ``dino``, ``dinov2``, ``neco``: bicubic by a scale factor of (size + 0.1) / table size, without
  antialiasing (facebookresearch/dino, facebookresearch/dinov2 without registers, vpariza/NeCo).
- ``dinov2_reg``: bicubic to the size, with antialiasing (facebookresearch/dinov2 with registers).
- ``timm``: what timm does (bicubic to the size, with antialiasing, in its own way).
- ``transformers``: bicubic to the size, without antialiasing (Hugging Face transformers, where a
  model has no rule of its own there).
- ``siglip2``: bilinear to the size, with antialiasing (SigLIP 2 of flexible resolution).
- ``none``: the model has no table of positions (rotary positions, convolutions).
"""

import math

from jaxtyping import Float
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, cat, nn
from torch.nn import functional

from densebench.backbones.base import PositionsOf
from densebench.cards import BackboneCard
from densebench.cards.models import PositionEmbedding
from densebench.host.errors import DensebenchError

PositionRule = PositionEmbedding
NO_TABLE = "none"
OFFSET_RULES = ("dino", "dinov2", "neco")
DINOV2_PATCH = 14
# The official code adds it so that rounding never loses a row; it shifts the samples, too.
OFFSET = 0.1


def interpolate_positions(
    table: Float[Tensor, "1 n d"], grid: tuple[int, int], rule: PositionRule
) -> Float[Tensor, "1 hw d"]:
    """The patch positions of a square table at a grid of (height, width) patches.

    Raises:
        DensebenchError: the table is not square, or the rule is ``none``.
    """
    side = math.isqrt(table.shape[1])
    if side * side != table.shape[1]:
        raise DensebenchError(
            f"position embedding of {table.shape[1]} patches: only square tables can be resized"
        )
    if rule == "none":
        raise DensebenchError("position rule 'none': there is no table of positions to resize")
    if grid == (side, side):
        return table
    if rule == "timm":
        resized: Tensor = resample_abs_pos_embed(table, list(grid), num_prefix_tokens=0)
        return resized
    square = table.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if rule in OFFSET_RULES:
        factors = [(size + OFFSET) / side for size in grid]
        square = functional.interpolate(square, scale_factor=factors, mode="bicubic")
    else:
        mode, smooth = ("bilinear" if rule == "siglip2" else "bicubic"), rule != "transformers"
        square = functional.interpolate(square, size=grid, mode=mode, antialias=smooth)
    return square.flatten(2).transpose(1, 2).to(table.dtype)


def official_rule(card: BackboneCard) -> PositionRule:
    """The rule of the entry points through which a model's family is published.

    Weights of NeCo are loaded by open-hummingbird-eval through those of their architecture: DINOv2
    with or without registers at patch 14, DINO else.
    """
    if card.position_embedding != "neco":
        return card.position_embedding
    if card.prefix_tokens > 1:
        return "dinov2_reg"
    return "dinov2" if card.patch_size == DINOV2_PATCH else "dino"


def rule_for(card: BackboneCard, whose: PositionsOf) -> PositionRule:
    """The rule that resizes a card's table: its own, its family's official one, or NeCo's."""
    if card.position_embedding == NO_TABLE or whose == "card":
        return card.position_embedding
    return official_rule(card) if whose == "official" else "neco"


class RuledVisionTransformer(VisionTransformer):
    """timm's vision transformer with another rule for its positions; all else is timm's."""

    position_rule: PositionRule
    pos_embed: nn.Parameter

    def _pos_embed(self, x: Float[Tensor, "b h w d"]) -> Float[Tensor, "b n d"]:
        batch, height, width, dim = x.shape
        in_table = 0 if self.no_embed_class else self.num_prefix_tokens
        prefix_positions, table = self.pos_embed[:, :in_table], self.pos_embed[:, in_table:]
        patches = x.reshape(batch, height * width, dim)
        patches = patches + interpolate_positions(table, (height, width), self.position_rule)
        tokens = [t for t in (self.cls_token, self.reg_token) if t is not None]
        prefix = cat([t.expand(batch, -1, -1) for t in tokens], dim=1) if tokens else patches[:, :0]
        if in_table:
            prefix = prefix + prefix_positions
        out: Tensor = self.pos_drop(cat([prefix, patches], dim=1))
        return out


def takes_rules(model: nn.Module) -> bool:
    """Whether a timm model has a learnt table that can be resized by every rule."""
    plain = type(model) in (VisionTransformer, RuledVisionTransformer)
    learnt = getattr(model, "pos_embed", None) is not None
    return plain and learnt and bool(model.dynamic_img_size)


def use_position_rule(model: nn.Module, rule: PositionRule) -> None:
    """Make a timm model resize its positions by a rule, at every forward pass.

    The class of the instance is exchanged rather than a function bound to it: a bound function is
    lost silently when the model is pickled.

    Raises:
        DensebenchError: the rule does not suit the model.
    """
    learnt = getattr(model, "pos_embed", None) is not None
    kind = type(model).__name__
    if rule == "none" and learnt:
        raise DensebenchError(
            f"position_embedding 'none', but {kind} has a table of positions; use 'timm'"
        )
    if rule in ("timm", "none") and type(model) is not RuledVisionTransformer:
        return
    if not takes_rules(model):
        raise DensebenchError(
            f"position_embedding '{rule}' needs timm's VisionTransformer with a learnt table of "
            f"positions, not {kind}; use 'timm' or 'none'"
        )
    model.__class__ = RuledVisionTransformer
    model.position_rule = rule  # type: ignore[assignment]
