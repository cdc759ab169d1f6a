"""Features are timm's on the same weights, and transformers' own where its rule is asked for."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from densebench.backbones import load_backbone
from densebench.backbones.attention import AttentionMaps
from densebench.backbones.hf.transformer import HfBackbone, in_patches
from densebench.backbones.positions import interpolate_positions
from densebench.backbones.timm_vit import use_position_rule
from densebench.host.errors import DensebenchError

KINDS = [
    "dinov2",
    "dinov2_with_registers",
    "dinov3_vit",
    "vit",
    "vit_classifier",
    "clip_vision_model",
    "clip",
    "siglip_vision_model",
    "siglip",
    "siglip2_vision_model",
]
NATIVE, OTHER = (32, 32), (48, 64)


def images(size: tuple[int, int]) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


def features(backbone: HfBackbone, size: tuple[int, int]) -> Tensor:
    with torch.no_grad():
        return backbone(images(size))


@pytest.mark.parametrize("kind", KINDS)
def test_as_timm_s_at_the_native_size(kind: str, make_folder: Any, make_twin: Any) -> None:
    folder = make_folder(kind)
    ours, theirs = features(load_backbone(f"hf:{folder}"), NATIVE), make_twin(folder, kind)
    assert ours.std() > 0.1
    torch.testing.assert_close(ours, theirs.features(images(NATIVE)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [k for k in KINDS if "siglip2" not in k])
def test_as_timm_s_at_another_size_by_the_same_rule(
    kind: str, make_folder: Any, make_twin: Any
) -> None:
    folder = make_folder(kind)
    backbone, twin = load_backbone(f"hf:{folder}"), make_twin(folder, kind)
    use_position_rule(twin.model, backbone.card.position_embedding)
    torch.testing.assert_close(
        features(backbone, OTHER), twin.features(images(OTHER)), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("dinov2", "dinov2"),
        ("dinov2_with_registers", "dinov2_reg"),
        ("dinov3_vit", None),
        ("vit", "timm"),
        ("clip", "timm"),
        ("siglip", "timm"),
        ("siglip2_vision_model", "siglip2"),
    ],
)
def test_whose_rule_resizes_positions(kind: str, rule: str | None, make_folder: Any) -> None:
    backbone = load_backbone(f"hf:{make_folder(kind)}")
    assert backbone.positions == rule
    before = features(backbone, OTHER)
    backbone.resize_positions("neco")
    assert backbone.positions == (rule and "neco")
    moved = not torch.equal(features(backbone, OTHER), before)
    assert moved == (rule is not None and rule != "dinov2")  # NeCo's is DINOv2's formula
    assert torch.equal(features(backbone, NATIVE), features(load_again(backbone), NATIVE))


def load_again(backbone: HfBackbone) -> HfBackbone:
    return pickle.loads(pickle.dumps(backbone))


def own_features(folder: Path, size: tuple[int, int], name: str) -> Tensor:
    model = getattr(transformers, name).from_pretrained(folder).eval()
    told = {} if name.startswith("Dino") else {"interpolate_pos_encoding": True}
    with torch.no_grad():
        found = model(pixel_values=images(size), **told).last_hidden_state
        if name.startswith("CLIP"):
            found = model.post_layernorm(found)
    prefix = found.shape[1] - size[0] * size[1] // 64
    return found[:, prefix:].unflatten(1, (size[0] // 8, size[1] // 8))


@pytest.mark.parametrize(
    ("kind", "name", "rule"),
    [
        ("dinov2", "Dinov2Model", "transformers"),
        ("dinov2_with_registers", "Dinov2WithRegistersModel", "dinov2_reg"),
        ("dinov3_vit", "DINOv3ViTModel", "none"),
        ("vit", "ViTModel", "transformers"),
        ("clip_vision_model", "CLIPVisionModel", "transformers"),
        ("siglip_vision_model", "SiglipVisionModel", "transformers"),
    ],
)
def test_as_transformers_own_by_its_rule(
    kind: str, name: str, rule: str, make_folder: Any, write_hf_card: Any
) -> None:
    folder = make_folder(kind)
    backbone = load_backbone(write_hf_card(folder, position_embedding=rule))
    for size in (NATIVE, OTHER):
        own = own_features(folder, size, name)
        torch.testing.assert_close(features(backbone, size), own, atol=1e-6, rtol=1e-5)


def test_the_second_siglip_as_transformers_own(make_folder: Any) -> None:
    folder = make_folder("siglip2_vision_model")
    backbone = load_backbone(f"hf:{folder}")
    model = transformers.Siglip2VisionModel.from_pretrained(folder).eval()
    patches, grid = in_patches(images(OTHER), 8)
    with torch.no_grad():
        own = model(
            pixel_values=patches,
            pixel_attention_mask=torch.ones(2, 48, dtype=torch.long),
            spatial_shapes=torch.tensor([grid, grid]),
        ).last_hidden_state
    own = own.unflatten(1, grid)
    torch.testing.assert_close(features(backbone, OTHER), own, atol=1e-5, rtol=1e-5)


def test_a_patch_is_its_pixels_row_by_row() -> None:
    values = torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    patches, grid = in_patches(values, 2)
    assert grid == (2, 3)
    assert torch.equal(patches[1, 4], values[1, :, 2:4, 2:4].permute(1, 2, 0).flatten())


def test_positions_by_the_second_siglip_s_rule_are_bilinear() -> None:
    table = torch.arange(4.0).reshape(1, 4, 1)  # 2 x 2
    found = interpolate_positions(table, (2, 4), "siglip2").reshape(2, 4)
    assert torch.allclose(found[0], torch.tensor([0.0, 0.25, 0.75, 1.0]))


def test_layers_are_hidden_states(make_folder: Any) -> None:
    folder = make_folder("dinov2_with_registers")
    backbone = load_backbone(f"hf:{folder}")
    assert backbone.layer_widths() == [32, 32]
    last = features(backbone, NATIVE)
    backbone.use_layers((0, 1))
    both = features(backbone, NATIVE)
    assert both.shape[-1] == backbone.embed_dim == 64
    assert torch.equal(both[..., 32:], last)
    model = transformers.Dinov2WithRegistersModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = model(pixel_values=images(NATIVE), output_hidden_states=True).hidden_states
        first = model.layernorm(states[1])[:, 4:].unflatten(1, (4, 4))
    torch.testing.assert_close(both[..., :32], first, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["dinov2", "dinov3_vit", "vit", "clip_vision_model"])
def test_attention_is_that_of_the_plain_one(kind: str, make_folder: Any) -> None:
    folder = make_folder(kind)
    backbone = load_backbone(f"hf:{folder}")
    with torch.no_grad():
        maps = AttentionMaps(backbone)(images(NATIVE))
        name = type(backbone.model).__name__
        model = getattr(transformers, name).from_pretrained(folder, attn_implementation="eager")
        given = model.eval()(pixel_values=images(NATIVE), output_attentions=True).attentions[-1]
    rows = given[:, :, 0, -16:].unflatten(-1, (4, 4)).permute(0, 2, 3, 1)
    torch.testing.assert_close(maps, rows, atol=1e-6, rtol=1e-5)


def test_no_class_token_no_attention(make_folder: Any) -> None:
    backbone = load_backbone(f"hf:{make_folder('siglip_vision_model')}")
    assert backbone.attention(images(NATIVE)) is None
    with pytest.raises(DensebenchError, match="no attention of a class token"):
        AttentionMaps(backbone)


def test_rotary_positions_stay_as_they_are_in_training(make_folder: Any) -> None:
    backbone = load_backbone(f"hf:{make_folder('dinov3_vit')}")
    evaluated = features(backbone, OTHER)
    assert torch.equal(features(backbone.train(), OTHER), evaluated)
    assert backbone.model.training


def test_a_copy_resizes_its_own_positions(make_folder: Any) -> None:
    backbone = load_backbone(f"hf:{make_folder('vit')}")
    twin = copy.deepcopy(backbone)
    with torch.no_grad():
        twin.model.embeddings.position_embeddings.zero_()
    assert not torch.equal(features(twin, OTHER), features(backbone, OTHER))


def test_the_fingerprint_is_of_weights_and_configuration(
    make_folder: Callable[..., Path], write_hf_card: Any
) -> None:
    folder = make_folder("vit", "one")
    first = load_backbone(f"hf:{folder}").fingerprint
    moved = folder.rename(folder.with_name("moved"))
    assert load_backbone(f"hf:{moved}").fingerprint == first
    config = moved / "config.json"
    text = config.read_text()
    config.write_text(text.replace('"layer_norm_eps": 1e-06', '"layer_norm_eps": 1e-03'))
    assert load_backbone(f"hf:{moved}").fingerprint != first
    config.write_text(text.replace('"vit"', '"vit", "_name_or_path": "elsewhere"'))
    assert load_backbone(f"hf:{moved}").fingerprint == first
    raw = load_backbone(write_hf_card(moved, final_norm=False))
    assert raw.fingerprint != first
    with torch.no_grad():
        normed = raw.model.layernorm(features(raw, NATIVE))
    assert torch.equal(normed, features(load_backbone(f"hf:{moved}"), NATIVE))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"patch_size": 16}, "patch_size is 16, but vit has 8"),
        ({"prefix_tokens": 2}, "prefix_tokens is 2, but vit has 1"),
        ({"position_embedding": "none"}, "has a table of positions; use 'timm'"),
    ],
)
def test_a_card_of_another_model(
    change: dict[str, Any], told: str, make_folder: Any, write_hf_card: Any
) -> None:
    with pytest.raises(DensebenchError, match=told):
        load_backbone(write_hf_card(make_folder("vit"), **change))
