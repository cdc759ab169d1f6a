from collections.abc import Callable

import torch
from timm.layers import SwiGLUPacked
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from densebench.backbones.weights.naming import architecture, to_timm_names


def test_the_class_tokens_position_moves_into_the_token(official: Callable) -> None:
    golden = official("arch_dinov2_reg4")
    state, model = golden.state(), golden.vit()
    converted = to_timm_names(state, model)
    assert set(converted) - {"mask_token"} == set(model.state_dict())
    wanted = state["cls_token"][0, 0] + state["pos_embed"][0, 0]
    torch.testing.assert_close(converted["cls_token"][0, 0], wanted)
    assert torch.equal(converted["pos_embed"], state["pos_embed"][:, 1:])
    assert torch.equal(converted["reg_token"], state["register_tokens"])


def test_timms_own_names_stay(official: Callable) -> None:
    for name in ("arch_dino", "arch_dinov2_reg4"):
        model = official(name).vit()
        state = model.state_dict()
        converted = to_timm_names(state, model)
        assert all(converted[key] is value for key, value in state.items())
        assert len(converted) == len(state)


def test_chunked_blocks_are_numbered_through(official: Callable) -> None:
    golden = official("arch_dino")
    state = golden.state()
    chunked = {k.replace("blocks.1.", "blocks.0.1."): v for k, v in state.items()}
    chunked = {k.replace("blocks.0.n", "blocks.0.0.n"): v for k, v in chunked.items()}
    assert set(chunked) != set(state)
    assert set(to_timm_names(chunked, golden.vit())) == set(state)


class OfficialSwiGLU(nn.Module):
    """The giant's feed-forward layer by its formula: w3(silu(x1) x2), (x1, x2) = w12(x)."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.state = state

    def forward(self, x: Tensor) -> Tensor:
        gate, value = functional.linear(x, self.state["w12.weight"], self.state["w12.bias"]).chunk(
            2, dim=-1
        )
        hidden = functional.silu(gate) * value
        return functional.linear(hidden, self.state["w3.weight"], self.state["w3.bias"])


def test_the_giants_feed_forward_layer() -> None:
    model = VisionTransformer(
        img_size=28,
        patch_size=14,
        embed_dim=24,
        depth=2,
        num_heads=2,
        mlp_ratio=2.66667 * 2,
        mlp_layer=SwiGLUPacked,
        act_layer=nn.SiLU,
        num_classes=0,
    )
    generator = torch.Generator().manual_seed(0)
    official = {}
    for name, tensor in model.state_dict().items():
        renamed = name.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3")
        official[renamed] = torch.randn(tensor.shape, generator=generator)
    model.load_state_dict(to_timm_names(official, model))
    prefix = "blocks.1.mlp."
    layer = OfficialSwiGLU(
        {k.removeprefix(prefix): v for k, v in official.items() if k.startswith(prefix)}
    )
    x = torch.randn(2, 5, 24, generator=generator)
    torch.testing.assert_close(model.blocks[1].mlp(x), layer(x))


def test_architectures_are_told_apart(official: Callable) -> None:
    golden = official("arch_dinov2_reg4")
    converted = to_timm_names(golden.state(), golden.vit())
    assert architecture(converted) == "ViT-48/14 (48 wide, 2 blocks, 4 register tokens)"
    assert architecture({"conv1.weight": torch.zeros(1)}) == ""
