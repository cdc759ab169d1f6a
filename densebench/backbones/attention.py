"""Attention of the class token in a transformer's last block, as maps like those of features."""

from typing import Any

from jaxtyping import Float
from timm.layers.attention import Attention
from timm.models.eva import EvaAttention
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from densebench.backbones.base import DenseBackbone, PositionsOf
from densebench.host.errors import UnsuitedError

Queries = tuple[Float[Tensor, "b heads n d"], Float[Tensor, "b heads n d"]]


class AttentionMaps(DenseBackbone):
    """A backbone's attention in place of its features: a vector of a patch has a place per head.

    Its weights are the other backbone's, and so is its fingerprint; what tells its maps from
    features is ``output``.

    Args:
        backbone: whose class token attends.

    Raises:
        UnsuitedError: it has no such attention.
    """

    output = "attention"

    def __init__(self, backbone: DenseBackbone) -> None:
        if not backbone.attention_heads:
            raise UnsuitedError(
                f"{backbone.name}: gives no attention of a class token, which this protocol needs; "
                "take a vision transformer with one, or a plug-in with attention(images)"
            )
        super().__init__(
            backbone.name,
            backbone.patch_size,
            backbone.attention_heads,
            mean=backbone.mean,
            std=backbone.std,
            card=backbone.card,
        )
        self.backbone = backbone

    def patch_map(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w heads"]:
        """The share of every patch in the attention of each head."""
        attention = self.backbone.attention(images)
        assert attention is not None  # there are heads
        return attention.permute(0, 2, 3, 1).contiguous()

    @property
    def positions(self) -> str | None:
        """The other backbone's rule."""
        return self.backbone.positions

    def resize_positions(self, rule: PositionsOf) -> None:
        """Change the other backbone's rule."""
        self.backbone.resize_positions(rule)

    @property
    def fingerprint(self) -> str:
        """The other backbone's."""
        return self.backbone.fingerprint


def heads_of(model: nn.Module, blocks: list[nn.Module]) -> int:
    """Heads of a timm model's last block; 0 where its attention or class token is not known."""
    layer = getattr(blocks[-1], "attn", None) if blocks else None
    if isinstance(layer, Attention) and getattr(model, "has_class_token", False):
        return int(layer.num_heads)
    if isinstance(layer, EvaAttention) and getattr(model, "cls_token", None) is not None:
        return int(layer.num_heads)
    return 0


def is_attention(found: object, images: Float[Tensor, "b 3 H W"], patch_size: int) -> bool:
    """Whether it has a share of every patch of the images for each of some heads."""
    if not isinstance(found, Tensor) or found.ndim != 4 or not found.is_floating_point():
        return False
    batch, heads, *grid = found.shape
    wanted = [side // patch_size for side in images.shape[2:]]
    return batch == len(images) and heads > 0 and grid == wanted


def of_class_token(
    backbone: DenseBackbone, layer: nn.Module, images: Float[Tensor, "b 3 H W"]
) -> Float[Tensor, "b heads h w"]:
    """The class row of a backbone's attention layer over the patches; the class token is the first.

    Queries and keys are taken from a pass through the whole backbone, so that whatever multiplies
    them at once needs not be changed for it.
    """
    if isinstance(layer, EvaAttention):
        with _Fused(layer) as seen:
            _, height, width, _ = backbone(images).shape
        queries, keys = seen.last
    else:
        entered: list[Tensor] = []
        watch = layer.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
        try:
            _, height, width, _ = backbone(images).shape
        finally:
            watch.remove()
        queries, keys = _queries_and_keys(layer, entered[0])
    return class_row(queries, keys, (height, width))


def class_row(
    queries: Float[Tensor, "b heads n d"],
    keys: Float[Tensor, "b heads n d"],
    grid: tuple[int, int],
) -> Float[Tensor, "b heads h w"]:
    """How much the first token attends to the last ones, which are patches row by row."""
    height, width = grid
    first = queries[:, :, :1] * queries.shape[-1] ** -0.5
    weights = (first @ keys.transpose(-2, -1)).softmax(dim=-1)[:, :, 0]
    return weights[:, :, -height * width :].unflatten(-1, (height, width))


def _queries_and_keys(layer: Any, tokens: Float[Tensor, "b n d"]) -> Queries:
    """What timm's attention, or torch's own, makes of the tokens that enter it."""
    shape = (*tokens.shape[:2], 3, layer.num_heads, -1)
    if isinstance(layer, nn.MultiheadAttention):
        made = linear(tokens, layer.in_proj_weight, layer.in_proj_bias)
        queries, keys, _ = made.reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
        return queries, keys
    queries, keys, _ = layer.qkv(tokens).reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
    return layer.q_norm(queries), layer.k_norm(keys)


class Multiplied(TorchFunctionMode):
    """Sees the queries and keys that fused attention multiplies: of several layers, the last's.

    Rotary positions are in them by then.
    """

    last: Queries

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is scaled_dot_product_attention:
            self.last = args[0], args[1]
        return function(*args, **(kwargs or {}))


class _Fused(Multiplied):
    """The same, while a layer of timm's is told to use fused attention."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self._layer, self._fused = layer, layer.fused_attn

    def __enter__(self) -> "_Fused":
        self._layer.fused_attn = True
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._layer.fused_attn = self._fused
