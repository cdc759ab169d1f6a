"""The class token's attention as a map: of every family that has one, and of plug-ins."""

from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from densebench.backbones import DenseBackbone, load_backbone
from densebench.backbones.attention import AttentionMaps, is_attention
from densebench.backbones.clip import ClipBackbone
from densebench.backbones.plugin import build_plugin
from densebench.backbones.timm_vit import TimmBackbone
from densebench.cards import BackboneCard
from densebench.host.errors import DensebenchError

PLUGIN = """
import torch

class Map(torch.nn.Module):
    patch_size, embed_dim = 14, 3

    def forward(self, images):
        return torch.nn.functional.avg_pool2d(images, 14).permute(0, 2, 3, 1)
{attention}

def build():
    return Map()
"""
ATTENTION = """
    def attention(self, images):
        return torch.nn.functional.avg_pool2d(images, {side})[:, :2].softmax(1)
"""


def card(model: nn.Module, dim: int, prefix: int, patch: int = 16) -> BackboneCard:
    return BackboneCard(
        name="tiny",
        source="timm",
        id="tiny",
        patch_size=patch,
        embed_dim=dim,
        prefix_tokens=prefix,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        position_embedding="none" if getattr(model, "pos_embed", None) is None else "timm",
        license="none",
        training_data="none",
    )


def seen_in(layer: nn.Module, backbone: DenseBackbone, images: torch.Tensor) -> torch.Tensor:
    """The attention as the layer itself computes it, every row of it."""
    seen: list[torch.Tensor] = []
    layer.fused_attn = False
    watch = layer.attn_drop.register_forward_hook(lambda _, inputs, output: seen.append(output))
    backbone(images)
    watch.remove()
    layer.fused_attn = True
    return seen[-1]


@pytest.mark.parametrize("rotary", [False, True])
@torch.no_grad()
def test_eva_and_dinov3_with_registers_and_rotary_positions(rotary: bool) -> None:
    torch.manual_seed(1)
    model = timm.models.eva.Eva(
        img_size=64,
        embed_dim=48,
        depth=2,
        num_heads=3,
        num_classes=0,
        use_rot_pos_emb=rotary,
        use_abs_pos_emb=not rotary,
        num_reg_tokens=4,
        dynamic_img_size=True,
        rope_type="dinov3" if rotary else "",
    ).eval()
    model.prune_intermediate_layers(1, prune_head=True)
    backbone = TimmBackbone(model, card(model, 48, 5))
    layer = backbone.blocks()[-1].attn
    images = torch.randn(2, 3, 64, 48)
    own = seen_in(layer, backbone, images)[:, :, 0, 5:].unflatten(-1, (4, 3))
    found = backbone.attention(images)
    torch.testing.assert_close(found, own)
    assert layer.fused_attn
    assert backbone.attention_heads == 3


@torch.no_grad()
def test_open_clip(tiny_clip: ClipBackbone) -> None:
    images = torch.randn(2, 3, 32, 48)
    layer = tiny_clip.blocks()[-1].attn
    entered: list[torch.Tensor] = []
    watch = layer.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
    _, height, width, _ = tiny_clip(images).shape
    watch.remove()
    _, weights = layer(*entered * 3, need_weights=True, average_attn_weights=False)
    found = tiny_clip.attention(images)
    torch.testing.assert_close(found, weights[:, :, 0, 1:].unflatten(-1, (height, width)))
    assert tiny_clip.attention_heads == found.shape[1]


@pytest.fixture
def tiny_clip() -> ClipBackbone:
    from open_clip.transformer import VisionTransformer

    torch.manual_seed(0)
    visual = VisionTransformer(
        image_size=32, patch_size=16, width=24, layers=2, heads=2, mlp_ratio=2.0, output_dim=24
    )
    visual.proj = None
    return ClipBackbone(
        visual.eval(),
        card(visual, 24, 1).model_copy(
            update={"source": "open_clip", "position_embedding": "timm"}
        ),
    )


def test_a_plug_in_that_offers_it(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(PLUGIN.format(attention=ATTENTION.format(side=14)))
    backbone = build_plugin(f"{file}:build")
    maps = AttentionMaps(backbone)
    images = torch.rand(2, 3, 28, 42)
    assert maps(images).shape == (2, 2, 3, 2)
    assert maps.embed_dim == backbone.attention_heads == 2
    assert torch.equal(maps(images).permute(0, 3, 1, 2), backbone.attention(images))
    assert maps.fingerprint == backbone.fingerprint
    assert (maps.output, backbone.output) == ("attention", None)


def test_a_plug_in_whose_attention_is_none(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(PLUGIN.format(attention=ATTENTION.format(side=7)))
    backbone = build_plugin(f"{file}:build")
    with pytest.raises(DensebenchError, match="attention gives 1x2x32x32 for images of"):
        AttentionMaps(backbone)


@pytest.mark.parametrize("attention", ["", "\n    attention = None"])
def test_none_is_said_by_name(tmp_path: Path, attention: str) -> None:
    file = tmp_path / "own.py"
    file.write_text(PLUGIN.format(attention=attention))
    backbone = build_plugin(f"{file}:build")
    assert backbone.attention(torch.zeros(1, 3, 14, 14)) is None
    with pytest.raises(DensebenchError, match=r"own\.py:build: gives no attention of a class"):
        AttentionMaps(backbone)
    with pytest.raises(DensebenchError, match="hog_s14: gives no attention"):
        AttentionMaps(load_backbone("hog_s14"))


def test_positions_are_the_backbone_s(tiny_clip: ClipBackbone) -> None:
    maps = AttentionMaps(tiny_clip)
    before = maps.positions
    maps.resize_positions("neco")
    assert maps.positions == maps.backbone.positions != before


def test_what_a_map_is() -> None:
    images = torch.zeros(2, 3, 28, 14)
    assert is_attention(torch.zeros(2, 5, 2, 1), images, 14)
    for other in (torch.zeros(2, 0, 2, 1), torch.zeros(2, 5, 1, 2), torch.zeros(2, 5, 2, 1).int()):
        assert not is_attention(other, images, 14)
    assert not is_attention([1], images, 14)
