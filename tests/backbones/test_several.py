"""Features of several blocks: which ones, how they are joined, and of every family with blocks."""

import json

import numpy as np
import pytest
import timm
import torch
from open_clip.transformer import VisionTransformer as ClipTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from densebench.backbones import load_backbone
from densebench.backbones.clip import ClipBackbone
from densebench.backbones.plugin import PluginBackbone
from densebench.backbones.several import as_map, chosen_layers, four_even, joined
from densebench.backbones.timm_vit import TimmBackbone
from densebench.features.source import FeatureSpec
from densebench.host.errors import DensebenchError
from densebench.learners.normed_head import NormedHead

IMAGES = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def test_dinov3_takes_these_blocks(golden):
    published = json.loads(str(golden("dinov3_seg")["meta"]))["out_indices"]
    names = {"LAST": "last", "FOUR_LAST": "four_last", "FOUR_EVEN_INTERVALS": "four_even"}
    for count, choices in published.items():
        for key, blocks in choices.items():
            found = chosen_layers(names[key], int(count), "it")
            assert found == (None if key == "LAST" else tuple(blocks))
    assert four_even(8) == (1, 3, 5, 7)


def test_dinov3_joins_four_maps_of_unequal_size(golden):
    arrays = golden("dinov3_seg")
    maps = [torch.from_numpy(arrays[f"head/multi/feat{i}"]).movedim(1, -1) for i in range(4)]
    names = {"W": "classify.weight", "b": "classify.bias", "bn_w": "norm.weight"}
    names |= {"bn_b": "norm.bias", "bn_mean": "norm.running_mean", "bn_var": "norm.running_var"}
    state = {name: torch.from_numpy(arrays[f"head/multi/{key}"]) for key, name in names.items()}
    state["classify.weight"] = state["classify.weight"][:, :, None, None]
    head = NormedHead(*reversed(state["classify.weight"].shape[:2])).eval()
    head.load_state_dict({**head.state_dict(), **state})
    with torch.no_grad():
        logits = head(joined(maps)).numpy()
    np.testing.assert_allclose(logits, arrays["head/multi/logits"], rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        ((1, 12), r"has the layers 0 to 11, not \[1, 12\]"),
        ((5, 2), "in ascending order"),
        ((3, 3), "once"),
        ((), "has the layers 0 to 11"),
        (-1, r"not \[-1\]"),
    ],
)
def test_layers_that_are_not_there_are_refused(layers, why):
    with pytest.raises(DensebenchError, match=why):
        chosen_layers(layers, 12, "it")


def test_too_few_blocks_and_none_are_refused():
    with pytest.raises(DensebenchError, match="has 3 blocks, and layers=four_last takes four"):
        chosen_layers("four_last", 3, "it")
    with pytest.raises(DensebenchError, match="rgb_s14: gives no features of single blocks"):
        load_backbone("rgb_s14").use_layers(1)


def timm_vit(make_card) -> TimmBackbone:
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 6, "num_heads": 2}
    model = VisionTransformer(**sizes, num_classes=0, dynamic_img_size=True)
    return TimmBackbone(model, make_card(embed_dim=24)).eval()


def tokens_of(model: VisionTransformer, images: torch.Tensor) -> list[torch.Tensor]:
    """The normed output of each block, step by step."""
    tokens, found = model._pos_embed(model.patch_embed(images)), []
    for block in model.blocks:
        tokens = block(tokens)
        found.append(model.norm(tokens)[:, 1:])
    return found


@torch.no_grad()
def test_of_a_timm_transformer(make_card):
    backbone = timm_vit(make_card)
    whole, fingerprint = backbone(IMAGES), backbone.fingerprint
    wanted = tokens_of(backbone.model, IMAGES)
    backbone.use_layers("four_even")
    assert backbone.layers == four_even(6)
    assert backbone.embed_dim == 4 * 24
    found = backbone(IMAGES)
    assert found.shape == (2, 2, 3, 96)
    beside = torch.cat([wanted[layer] for layer in four_even(6)], dim=-1).unflatten(1, (2, 3))
    torch.testing.assert_close(found, beside, rtol=0, atol=1e-6)
    assert backbone.fingerprint == fingerprint
    backbone.use_layers((5,))
    torch.testing.assert_close(backbone(IMAGES), whole, rtol=0, atol=1e-6)
    backbone.use_layers("last")
    assert torch.equal(backbone(IMAGES), whole)


@torch.no_grad()
def test_blocks_after_the_last_one_are_not_computed(make_card):
    backbone, seen = timm_vit(make_card), []
    for number, block in enumerate(backbone.blocks()):
        block.register_forward_hook(lambda *_, number=number: seen.append(number))
    backbone.use_layers((1, 3))
    backbone(IMAGES)
    assert seen == [0, 1, 2, 3]


def test_the_key_of_cached_features_has_them_only_where_they_are_chosen(make_card):
    backbone = timm_vit(make_card)
    plain = FeatureSpec.of(backbone).key()
    assert set(plain) == {"backbone", "positions"}
    backbone.use_layers((2, 5))
    assert FeatureSpec.of(backbone).key() == {**plain, "layers": [2, 5]}


@torch.no_grad()
def test_of_a_convolutional_network_at_the_grid_of_its_patches(make_card):
    model = timm.create_model("resnet18", num_classes=0).eval()
    card = make_card(
        patch_size=32,
        embed_dim=512,
        prefix_tokens=0,
        position_embedding="none",
        final_norm=False,
    )
    backbone = TimmBackbone(model, card).eval()
    backbone.use_layers((2, 4))
    images = torch.randn(1, 3, 64, 96)
    assert backbone.embed_dim == 128 + 512
    found = backbone(images)
    assert found.shape == (1, 2, 3, 640)
    backbone.use_layers("last")
    torch.testing.assert_close(found[..., 128:], backbone(images))


@torch.no_grad()
def test_of_an_open_clip_tower(make_card):
    torch.manual_seed(0)
    visual = ClipTransformer(32, 16, 32, layers=4, heads=2, mlp_ratio=2.0, output_dim=8)
    backbone = ClipBackbone(visual, make_card(embed_dim=32, source="open_clip")).eval()
    whole = backbone(IMAGES)
    backbone.use_layers("four_last")
    found = backbone(IMAGES)
    assert found.shape == (2, 2, 3, 4 * 32)
    torch.testing.assert_close(found[..., -32:], whole)
    assert not torch.allclose(found[..., :32], whole)


class Blocks(nn.Module):
    """A plug-in with blocks of tokens."""

    patch_size = 16

    def __init__(self, passes: int = 3, width: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, 8, 16, 16)
        self.blocks = nn.ModuleList(nn.Linear(8, width) for _ in range(3))
        self.norm, self.passes = nn.LayerNorm(8), passes

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.embed(images)
        tokens = maps.flatten(2).transpose(1, 2)
        for block in self.blocks[: self.passes]:
            tokens = block(tokens)
        return self.norm(tokens).unflatten(1, maps.shape[2:])


@torch.no_grad()
def test_of_a_plug_in_with_blocks():
    module = Blocks()
    backbone = PluginBackbone(module, "file.py:build", "code", 8).eval()
    whole = backbone(IMAGES)
    backbone.use_layers((0, 2))
    found = backbone(IMAGES)
    assert found.shape == (2, 2, 3, 16)
    assert torch.equal(found[..., 8:], whole)
    first = module.norm(module.blocks[0](module.embed(IMAGES).flatten(2).transpose(1, 2)))
    torch.testing.assert_close(found[..., :8].flatten(1, 2), first)


@torch.no_grad()
def test_a_plug_in_whose_blocks_are_none_is_refused():
    lazy = PluginBackbone(Blocks(passes=2), "file.py:build", "code", 8)
    lazy.use_layers((0, 2))
    with pytest.raises(DensebenchError, match="does not go through all of its blocks"):
        lazy(IMAGES)
    with pytest.raises(DensebenchError, match="a block gives 5x8 for 2x3 patches of 8 numbers"):
        as_map(torch.zeros(1, 5, 8), (2, 3), 8, "it")


def test_maps_and_tokens_behind_a_prefix_become_maps():
    tokens = torch.arange(2 * 8 * 4.0).reshape(2, 8, 4)
    plain = as_map(tokens, (2, 3), 4, "it")
    assert torch.equal(plain, tokens[:, 2:].unflatten(1, (2, 3)))
    assert torch.equal(as_map(plain, (2, 3), 4, "it"), plain)
    assert torch.equal(as_map(plain.movedim(-1, 1), (2, 3), 4, "it"), plain)
