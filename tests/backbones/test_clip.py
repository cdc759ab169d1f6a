import json
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from safetensors.torch import load_file, save_file
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

from densebench.backbones import card_for, clip, load_backbone
from densebench.backbones.weights.official import official_state
from densebench.cards import BackboneCard
from densebench.host.errors import DensebenchError

VIT = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}
TIMM = {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160}
COCA = {**VIT, "attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True}
TEXT = {"context_length": 5, "vocab_size": 20, "width": 32, "heads": 2, "layers": 1}
ARCHS = {
    "tiny-vit": {"embed_dim": 16, "vision_cfg": VIT, "text_cfg": TEXT},
    "tiny-timm": {"embed_dim": 16, "vision_cfg": TIMM, "text_cfg": TEXT},
    "tiny-coca": {"embed_dim": 48, "vision_cfg": COCA, "text_cfg": TEXT},
}
TAG = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "hf_hub": "someone/tiny/", "url": ""}


@pytest.fixture(scope="module", autouse=True)
def tiny_architectures(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("open_clip")
    for name, config in ARCHS.items():
        (folder / f"{name}.json").write_text(json.dumps(config), encoding="utf-8")
    open_clip.add_model_config(folder)


@pytest.fixture(autouse=True)
def tags(monkeypatch: pytest.MonkeyPatch) -> None:
    real = open_clip.get_pretrained_cfg

    def with_ours(arch: str, tag: str) -> dict[str, object]:
        if arch in ARCHS and tag in ("plain", "quick"):
            return {**TAG, "quick_gelu": tag == "quick"}
        return real(arch, tag)

    monkeypatch.setattr(clip.open_clip, "get_pretrained_cfg", with_ours)


def saved(arch: str, path: Path, quick: bool = False) -> open_clip.CLIP:
    torch.manual_seed(0)
    model = open_clip.create_model(arch, force_quick_gelu=quick).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    save_file(model.state_dict(), path)
    return model


@torch.no_grad()
def own_tokens(visual: VisionTransformer, images: Tensor) -> Tensor:
    """Patch tokens by open_clip's own forward pass."""
    visual.output_tokens = True
    side = images.shape[-1] // visual.patch_size[0]
    return visual(images)[1].unflatten(1, (-1, side))


@pytest.mark.parametrize("tag", ["plain", "quick"])
def test_the_towers_own_tokens_at_its_own_size(tmp_path: Path, tag: str) -> None:
    model = saved("tiny-vit", tmp_path / "clip.safetensors", quick=tag == "quick")
    backbone = load_backbone(f"open_clip:tiny-vit/{tag}", weights=tmp_path / "clip.safetensors")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), own_tokens(model.visual, images))
    assert (backbone.patch_size, backbone.embed_dim) == (8, 64)
    assert (backbone.mean, backbone.std) == (TAG["mean"], TAG["std"])


def test_other_sizes_have_positions_as_timm_resizes_them(tmp_path: Path) -> None:
    model = saved("tiny-vit", tmp_path / "clip.safetensors")
    backbone = load_backbone("open_clip:tiny-vit/plain", weights=tmp_path / "clip.safetensors")
    images = torch.randn(1, 3, 24, 56)
    table = model.visual.positional_embedding.data[None]
    resized = resample_abs_pos_embed(table, [3, 7], num_prefix_tokens=1)
    model.visual.positional_embedding = torch.nn.Parameter(resized[0])
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), own_tokens(model.visual, images))


def test_gradients_reach_the_tower(tmp_path: Path) -> None:
    saved("tiny-vit", tmp_path / "clip.safetensors")
    backbone = load_backbone("open_clip:tiny-vit/plain", weights=tmp_path / "clip.safetensors")
    backbone(torch.randn(1, 3, 24, 24)).square().sum().backward()
    assert backbone.visual.positional_embedding.grad.abs().sum() > 0


def test_a_timm_tower_takes_any_size(tmp_path: Path) -> None:
    model = saved("tiny-timm", tmp_path / "clip.safetensors")
    backbone = load_backbone("open_clip:tiny-timm/plain", weights=tmp_path / "clip.safetensors")
    images = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        (wanted,) = model.visual.trunk.forward_intermediates(
            images, indices=1, norm=True, intermediates_only=True
        )
        torch.testing.assert_close(backbone(images), wanted.permute(0, 2, 3, 1))
        assert backbone(torch.randn(1, 3, 64, 48)).shape == (1, 4, 3, 64)


def test_attention_pooled_towers_are_not_normed(tmp_path: Path) -> None:
    model = saved("tiny-coca", tmp_path / "clip.safetensors")
    card = card_for("open_clip:tiny-coca/plain")
    assert card is not None and not card.final_norm
    backbone = load_backbone("open_clip:tiny-coca/plain", weights=tmp_path / "clip.safetensors")
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        out = model.visual.forward_intermediates(images, indices=1, intermediates_only=True)
        torch.testing.assert_close(
            backbone(images), out["image_intermediates"][0].permute(0, 2, 3, 1)
        )
    with pytest.raises(DensebenchError, match="final_norm must be false"):
        clip.ClipBackbone(backbone.visual, card.model_copy(update={"final_norm": True}))


@pytest.mark.parametrize("arch", ["tiny-vit", "tiny-timm"])
def test_the_image_tower_alone_and_a_saved_backbone(tmp_path: Path, arch: str) -> None:
    model = saved(arch, tmp_path / "clip.safetensors")
    torch.save({"state_dict": model.visual.state_dict()}, tmp_path / "tower.pt")
    name = f"open_clip:{arch}/plain"
    whole = load_backbone(name, weights=tmp_path / "clip.safetensors")
    save_file(whole.state_dict(), tmp_path / "again.safetensors")
    assert load_backbone(name, weights=tmp_path / "again.safetensors").fingerprint == (
        whole.fingerprint
    )
    if arch == "tiny-vit":
        tower = load_backbone(name, weights=tmp_path / "tower.pt")
        assert tower.fingerprint == whole.fingerprint


def test_openai_weights_run_with_quick_gelu(tmp_path: Path) -> None:
    saved("tiny-vit", tmp_path / "clip.safetensors")
    path = tmp_path / "clip.safetensors"
    quick = load_backbone("open_clip:tiny-vit/quick", weights=path)
    plain = load_backbone("open_clip:tiny-vit/plain", weights=path)
    assert any(isinstance(m, QuickGELU) for m in quick.modules())
    assert not any(isinstance(m, QuickGELU) for m in plain.modules())
    assert quick.fingerprint != plain.fingerprint
    assert open_clip.get_pretrained_cfg("ViT-B-16", "openai")["quick_gelu"]


def test_the_card_of_an_id_says_where_the_weights_are() -> None:
    card = card_for("open_clip:tiny-vit/plain")
    assert card is not None and card.weights is not None
    assert (card.weights.repo, card.weights.file) == ("someone/tiny", "open_clip_model.safetensors")
    assert card.name == "tiny-vit-plain"


def test_weights_of_another_tower_are_refused(tmp_path: Path) -> None:
    saved("tiny-timm", tmp_path / "clip.safetensors")
    with pytest.raises(DensebenchError, match=r"keys missing: class_embedding.*not known here"):
        load_backbone("open_clip:tiny-vit/plain", weights=tmp_path / "clip.safetensors")


@pytest.mark.parametrize(
    ("model_id", "message"),
    [
        ("ViT-B-61/openai", r"no architecture 'ViT-B-61' \(did you mean 'ViT-B-16'\?\)"),
        ("ViT-B-16", "give ARCH/TAG; tags of ViT-B-16: openai"),
        ("ViT-B-16/opena", "give ARCH/TAG; tags of ViT-B-16: openai$"),
        ("RN50/openai", "RN50: its image tower is a ModifiedResNet"),
    ],
)
def test_unknown_models_are_told(model_id: str, message: str) -> None:
    with pytest.raises(DensebenchError, match=message):
        load_backbone(f"open_clip:{model_id}")


@pytest.mark.parametrize(
    "change", [{"patch_size": 16}, {"embed_dim": 16}, {"prefix_tokens": 0}], ids=str
)
def test_a_card_of_another_tower_is_refused(
    make_card: Callable[..., BackboneCard], change: dict[str, int]
) -> None:
    visual = VisionTransformer(32, 8, 64, 1, 2, 4.0)
    right = {"source": "open_clip", "patch_size": 8}
    with pytest.raises(DensebenchError, match=next(iter(change))):
        clip.ClipBackbone(visual, make_card(**{**right, **change}))
    with pytest.raises(DensebenchError, match="position_embedding"):
        clip.ClipBackbone(visual, make_card(**right, position_embedding="none"))


def test_a_trained_tower_keeps_the_names_of_the_whole_file(tmp_path: Path) -> None:
    """Among them the text tower's, some of which are the image tower's own without `visual.`."""
    file = tmp_path / "clip.safetensors"
    saved("tiny-vit", file)
    backbone = load_backbone("open_clip:tiny-vit/plain", weights=file)
    with torch.no_grad():
        backbone.visual.conv1.weight.add_(0.01)
    whole, exported = load_file(file), official_state(backbone, file)
    assert exported.keys() == {key for key in whole if key.startswith("visual.")}
    changed = [key for key in exported if not torch.equal(exported[key], whole[key])]
    assert changed == ["visual.conv1.weight"]
    save_file(exported, tmp_path / "tower.safetensors")
    again = load_backbone("open_clip:tiny-vit/plain", weights=tmp_path / "tower.safetensors")
    assert again.fingerprint == backbone.fingerprint


def test_a_trained_timm_tower_keeps_its_prefix(tmp_path: Path) -> None:
    file = tmp_path / "clip.safetensors"
    saved("tiny-timm", file)
    backbone = load_backbone("open_clip:tiny-timm/plain", weights=file)
    exported = official_state(backbone, file)
    whole = load_file(file)
    assert exported.keys() == {key for key in whole if key.startswith("visual.trunk.")}
    assert all(torch.equal(exported[key], whole[key]) for key in exported)


def test_blocks_and_what_follows(tmp_path: Path) -> None:
    saved("tiny-vit", tmp_path / "clip.safetensors")
    backbone = load_backbone("open_clip:tiny-vit/plain", weights=tmp_path / "clip.safetensors")
    assert len(backbone.blocks()) == 2
    assert backbone.after_blocks() == [backbone.visual.ln_post]
    grid = 32 // backbone.patch_size
    shape = backbone.attention(torch.zeros(1, 3, 32, 32)).shape
    assert shape == (1, backbone.attention_heads, grid, grid)
