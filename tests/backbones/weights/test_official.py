"""Trained weights in the naming of the file that their backbone was built from."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from densebench.backbones.plugin import PluginBackbone
from densebench.backbones.timm_vit import TimmBackbone, load_weights
from densebench.backbones.weights.official import official_state

FAMILIES = {
    "arch_dino": ("dino", "vit_small_patch16_224"),
    "arch_dinov2_reg4": ("dinov2_reg", "vit_small_patch14_reg4_dinov2"),
}


@torch.no_grad()
def trained(official: Callable, name: str, weights: Path | None = None) -> TimmBackbone:
    """A backbone of official weights, every one of which is then moved a little."""
    golden = official(name)
    card = golden.card(FAMILIES[name][0])
    model = golden.vit()
    load_weights(model, weights or golden.weights, card)
    backbone = TimmBackbone(model.eval(), card)
    random = torch.Generator().manual_seed(0)
    for parameter in backbone.parameters():
        parameter.add_(0.02 * torch.randn(parameter.shape, generator=random))
    return backbone


@torch.no_grad()
def features(backbone: nn.Module, size: int) -> Tensor:
    return backbone(torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("name", FAMILIES)
class TestOfficialNaming:
    def test_has_the_names_and_shapes_of_the_file(self, official: Callable, name: str) -> None:
        golden = official(name)
        exported = official_state(trained(official, name), golden.weights)
        original = golden.state()
        assert [*exported] == [*original]
        for key, tensor in exported.items():
            assert tensor.shape == original[key].shape
            assert tensor.is_contiguous()
            assert torch.equal(tensor, original[key]) == (key == "mask_token"), key

    def test_loads_strictly_and_gives_the_same_features(
        self, official: Callable, name: str, tmp_path: Path
    ) -> None:
        golden, backbone = official(name), trained(official, name)
        save_file(official_state(backbone, golden.weights), tmp_path / "new.safetensors")
        model = golden.vit()
        load_weights(model, tmp_path / "new.safetensors", backbone.card)
        again = TimmBackbone(model.eval(), backbone.card)
        size = 5 * backbone.patch_size
        torch.testing.assert_close(features(again, size), features(backbone, size))

    def test_loads_in_timm_itself(self, official: Callable, name: str, tmp_path: Path) -> None:
        golden, backbone = official(name), trained(official, name)
        save_file(official_state(backbone, golden.weights), tmp_path / "new.safetensors")
        model = timm.create_model(
            FAMILIES[name][1],
            pretrained=True,
            pretrained_cfg_overlay={"file": str(tmp_path / "new.safetensors")},
            num_classes=0,
            embed_dim=golden.config["embed_dim"],
            depth=golden.config["depth"],
            num_heads=golden.config["num_heads"],
        ).eval()
        own = model.state_dict()
        for key, value in backbone.model.state_dict().items():
            torch.testing.assert_close(own[key], value, atol=1e-7, rtol=0)
        size = 224 if name == "arch_dino" else 518
        images = torch.randn(1, 3, size, size)
        with torch.no_grad():
            tokens = model.forward_features(images)[:, model.num_prefix_tokens :]
            found = backbone(images).flatten(1, 2)
        torch.testing.assert_close(found, tokens, atol=1e-5, rtol=1e-4)

    def test_wrappers_around_the_file_are_left_off(
        self, official: Callable, name: str, tmp_path: Path
    ) -> None:
        """As NeCo's own checkpoints have them: student and teacher side by side, flat."""
        golden = official(name)
        wrapped = {f"model.{k}": v for k, v in golden.state().items()}
        wrapped |= {f"teacher.{k}": v + 1 for k, v in golden.state().items()}
        torch.save({"state_dict": wrapped, "epoch": 3}, tmp_path / "neco.ckpt")
        exported = official_state(
            trained(official, name, tmp_path / "neco.ckpt"), tmp_path / "neco.ckpt"
        )
        plain = official_state(trained(official, name), golden.weights)
        assert [*exported] == [*plain]
        assert all(torch.equal(exported[key], plain[key]) for key in plain)

    def test_shares_no_memory_with_the_backbone(self, official: Callable, name: str) -> None:
        backbone = trained(official, name)
        exported = official_state(backbone, official(name).weights)
        before = {key: value.clone() for key, value in exported.items()}
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.zero_()
        assert all(torch.equal(exported[key], before[key]) for key in before)


def test_chunked_blocks_keep_their_chunks(official: Callable, tmp_path: Path) -> None:
    state = official("arch_dino").state()
    chunked = {
        f"blocks.0.{k.removeprefix('blocks.')}" if k.startswith("blocks.") else k: v
        for k, v in state.items()
    }
    save_file(chunked, tmp_path / "chunked.safetensors")
    backbone = trained(official, "arch_dino", tmp_path / "chunked.safetensors")
    exported = official_state(backbone, tmp_path / "chunked.safetensors")
    assert exported.keys() == chunked.keys()
    assert torch.equal(
        exported["blocks.0.1.attn.qkv.weight"], backbone.model.blocks[1].attn.qkv.weight
    )


def test_a_file_that_only_timm_reads_gives_way_to_the_models_own_names(
    official: Callable, tmp_path: Path
) -> None:
    save_file({"embeddings.cls": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    backbone = trained(official, "arch_dino")
    exported = official_state(backbone, tmp_path / "foreign.safetensors")
    assert exported.keys() == backbone.model.state_dict().keys()


def test_a_plug_in_keeps_its_modules_names() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 14, 14), nn.BatchNorm2d(4))
    module.patch_size = 14
    exported = official_state(PluginBackbone(module, "net.py:make", "", 4), None)
    assert [*exported] == [*module.state_dict()]
