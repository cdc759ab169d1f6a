"""What the published training changes in a backbone: its rule of positions, its class token."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from densebench.backbones.base import DenseBackbone
from densebench.backbones.trainable import encoder_of

_TOKEN = "cls_token"


def use_neco_positions(backbone: DenseBackbone) -> bool:
    """Resize the positions by NeCo's rule from here on; False if that cannot be.

    The card says so afterwards. A backbone without a learnt table stays as it is.
    """
    backbone.resize_positions("neco")
    if backbone.positions not in (None, "neco"):
        return False
    if backbone.positions is not None and backbone.card is not None:
        backbone.card = backbone.card.model_copy(update={"position_embedding": "neco"})
    return True


class _Sum(nn.Module):
    """A class token that is the sum of two parameters: itself, and its position."""

    def forward(self, token: Tensor, position: Tensor) -> Tensor:
        return token + position

    def right_inverse(self, token: Tensor) -> tuple[Tensor, Tensor]:
        return token, torch.zeros_like(token)


def unfold_class_token(backbone: DenseBackbone) -> None:
    """Let class token and its position be two parameters, where timm's naming has one.

    That is DINOv2 with registers. Both get the same gradient, so that their sum moves twice as far
    a step; it does not matter how the sum is split at first, as decay shrinks both alike.
    """
    model = encoder_of(backbone)
    folded = getattr(model, "no_embed_class", False) and getattr(model, "num_reg_tokens", 0)
    if folded and getattr(model, _TOKEN, None) is not None:
        parametrize.register_parametrization(model, _TOKEN, _Sum())


def fold_class_token(backbone: DenseBackbone) -> None:
    """Make one parameter of the two again, with the names that the backbone had before."""
    if parametrize.is_parametrized(encoder_of(backbone), _TOKEN):
        parametrize.remove_parametrizations(encoder_of(backbone), _TOKEN)
