"""Every card that comes with densebench says what is true of its architecture."""

import subprocess
import sys
from typing import Any

import open_clip
import pytest
import timm
import torch

from densebench.backbones import clip, timm_vit
from densebench.backbones.positions import use_position_rule
from densebench.backbones.weights import hub
from densebench.cards import card_names, find_backbone, search_path
from densebench.host.errors import DensebenchError

FAMILIES = {
    "dino": ["s16", "s8", "b16", "b8"],
    "dinov2": ["s14", "b14", "l14", "g14"],
    "dinov2_reg": ["s14", "b14", "l14", "g14"],
    "dinov2_regxr": ["s14", "b14"],
    "dinov3": ["s16", "b16"],
    "neco_dinov2": ["s14", "b14"],
    "neco_dinov2_reg": ["s14", "b14"],
    "neco_dinov2_regxr": ["s14", "b14"],
    "neco_dino": ["s16"],
    "neco_timet": ["s16"],
    "neco_leopart": ["s16"],
    "mae": ["b16"],
    "clip": ["b16"],
    "siglip": ["b16"],
    "vit": ["s16_augreg"],
    "hog": ["mixer_s14", "s14"],
    "rgb": ["s14"],
}
# Whose architecture is built in the second tier; the smallest of each kind comes first, and runs.
LATER = {
    "dinov3": ["splus16", "l16", "hplus16"],
    "dinov3_convnext": ["t32", "s32", "b32", "l32"],
    "siglip2": ["b16", "l16", "so400m14", "so400m16"],
    "pe_spatial": ["t16", "s16", "b16", "l14", "g14"],
    "cradio_v3": ["b16", "l16", "h16", "g16"],
    "eva02": ["t14", "s14", "b14", "l14"],
    "deit3": ["s16", "b16", "l16"],
    "ijepa": ["h14", "h16", "g16"],
    "beit": ["b16", "l16"],
    "beitv2": ["b16", "l16"],
    "sam": ["b16", "l16", "h16"],
    "swin": ["t32", "s32", "b32", "l32"],
    "convnext": ["t32", "s32", "b32", "l32"],
    "resnet50": ["in1k"],
}
BUILT_LATER = [f"{family}_{size}" for family, sizes in LATER.items() for size in sizes]
SMALLEST = [f"{family}_{sizes[0]}" for family, sizes in LATER.items() if family != "ijepa"]
BUILT = [f"{family}_{size}" for family, sizes in FAMILIES.items() for size in sizes]
NAMES = sorted(BUILT + BUILT_LATER)
LEARNT = [name for name in NAMES if name.partition("_")[0] not in ("hog", "rgb")]
RULES = {"dino": "dino", "dinov2": "dinov2", "dinov2_reg": "dinov2_reg", "dinov3": "none"}
RULES["dinov2_regxr"] = "dinov2"  # that of a model without registers
# Rotary positions, distances between patches, or convolutions.
WITHOUT_TABLE = ("dinov3_convnext", "beit", "beitv2", "swin", "convnext", "resnet50")
RULES |= dict.fromkeys(WITHOUT_TABLE, "none")


def own_cards() -> list[str]:
    folder = search_path()[-1] / "backbones"
    return [name for name, path in card_names("backbones").items() if path.parent == folder]


def test_exactly_these_cards_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DENSEBENCH_PATH", raising=False)
    assert own_cards() == NAMES
    assert all(find_backbone(name).card.name == name for name in NAMES)


def of_timm() -> list[Any]:
    """All cards of timm's models; building most of them comes in the second tier."""
    later = [pytest.mark.slow]
    names = [name for name in LEARNT if name != "clip_b16"]
    return [pytest.param(n, marks=later if n in BUILT_LATER else []) for n in names]


@pytest.mark.parametrize("name", BUILT_LATER)
def test_timm_lists_what_the_card_names(name: str) -> None:
    card = find_backbone(name).card
    assert timm.list_models(card.id, pretrained=True) == [card.id]
    config = timm.get_pretrained_cfg(card.id)
    assert (card.mean, card.std) == (config.mean, config.std)
    assert card.weights is not None
    assert (card.weights.repo, card.weights.url) == (
        (config.hf_hub_id, None) if config.hf_hub_id else (None, config.url)
    )
    sides = config.input_size[1:]
    assert all(side % card.patch_size == 0 for side in sides)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_of_each_kind_runs(name: str) -> None:
    """With random weights: maps of the card's width, and each block or stage by itself."""
    card = find_backbone(name).card
    torch.manual_seed(0)
    built = timm_vit.create(card.id, num_classes=0)
    size = (4 * card.patch_size, (4 if built.fixed_size else 6) * card.patch_size)
    backbone = timm_vit.resized(built, card, None, size).eval()
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        last = backbone(images)
        assert last.shape == (1, 4, size[1] // card.patch_size, card.embed_dim)
        count = len(backbone.layer_widths())
        backbone.use_layers((count - 1,))
        assert torch.equal(backbone(images), last)
        backbone.use_layers((0, count - 1))
        both = backbone(images)
    assert both.shape[:3] == last.shape[:3]
    torch.testing.assert_close(both[..., -card.embed_dim :], last)
    assert torch.isfinite(both).all()


@pytest.mark.parametrize("name", of_timm())
def test_timm_builds_what_the_card_says(name: str) -> None:
    card = find_backbone(name).card
    with torch.device("meta"):
        model = timm_vit.create(card.id, num_classes=0).model
    timm_vit.check_card(card, model)
    use_position_rule(model, card.position_embedding)
    config = timm.get_pretrained_cfg(card.id)
    assert (card.mean, card.std) == (config.mean, config.std)
    with torch.device("meta"):  # what timm's own file holds beside the encoder
        extra = timm.create_model(card.id).state_dict().keys() - model.state_dict().keys()
    assert all(key.startswith(card.drop_keys) for key in extra)
    assert extra or name not in ("siglip_b16", "vit_s16_augreg")
    norm = getattr(model, "norm", None)
    assert card.final_norm or name in BUILT_LATER
    if card.final_norm:
        assert norm is not None and not isinstance(norm, torch.nn.Identity)


def test_open_clip_builds_what_the_card_says() -> None:
    card = find_backbone("clip_b16").card
    made_up = clip.card_of(card.id)
    keys = ("patch_size", "embed_dim", "prefix_tokens", "mean", "std", "position_embedding")
    assert all(getattr(card, key) == getattr(made_up, key) for key in keys)
    assert card.final_norm and card.weights == made_up.weights
    assert card.mean == open_clip.OPENAI_DATASET_MEAN


@pytest.mark.parametrize("name", LEARNT)
def test_everything_is_stated(name: str) -> None:
    card = find_backbone(name).card
    assert card.weights is not None
    assert "arXiv" in card.citation and card.description and card.training_data
    family, _, size = name.rpartition("_")
    rule = "neco" if family.startswith("neco") else RULES.get(family, "timm")
    assert card.position_embedding == rule
    if size[1:].isdigit():
        assert card.patch_size == int(size[1:])
    if card.weights.url:
        suffix = ".tar" if family == "ijepa" else ".pth"
        assert hub.url_path(card.weights.url).suffix == suffix


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("neco")])
def test_neco_cards_name_their_base_and_file(name: str) -> None:
    card = find_backbone(name).card
    assert card.license == "MIT" and card.adapted_from
    assert card.weights is not None and card.weights.repo == "FunAILab/NeCo"
    family = "dinov2" if card.patch_size == 14 else "dino"
    width = {384: "small", 768: "base"}[card.embed_dim]
    start = f"vit-{width}/{family}-architectures/neco_on_"
    assert card.weights.file is not None and card.weights.file.startswith(start)
    assert card.weights.file.endswith(f"_vit{card.patch_size}_model.ckpt")
    assert "projection_head." in card.drop_keys
    assert ("register_tokens" in card.drop_keys) == ("regxr" in name)


def test_registers_dropped_are_a_model_without_them() -> None:
    plain, whole = find_backbone("dinov2_s14").card, find_backbone("dinov2_reg_s14").card
    for name in ("neco_dinov2_regxr_s14", "dinov2_regxr_s14"):
        xr = find_backbone(name).card
        assert (xr.id, xr.prefix_tokens) == (plain.id, plain.prefix_tokens) == (xr.id, 1)
        assert "register_tokens" in xr.drop_keys
        assert xr.adapted_from == "dinov2_reg_s14"
    assert find_backbone("dinov2_regxr_s14").card.weights == whole.weights


def test_reading_cards_does_not_load_torch() -> None:
    code = "import sys; from densebench.cards import find_backbone; find_backbone('dino_s16').card;"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_card_of_a_wrong_size_would_be_noticed() -> None:
    card = find_backbone("dino_s16").card
    with torch.device("meta"):
        model = timm_vit.create("vit_base_patch16_224.dino", num_classes=0).model
    with pytest.raises(DensebenchError, match=r"embed_dim is 384, but .* has 768"):
        timm_vit.check_card(card, model)
