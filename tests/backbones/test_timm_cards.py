"""Cards of timm's models, and backbones of cards whose file is timm's own."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.swin_transformer import SwinTransformer

from densebench.backbones import load_backbone, timm_cards, timm_vit
from densebench.backbones.weights import hub
from densebench.cards import BackboneCard, find_backbone

SMALL_SAM = {"embed_dim": 32, "depth": 3, "num_heads": 2, "global_attn_indexes": (1,)}


def test_whose_file_it_is(make_card: Callable[..., BackboneCard]) -> None:
    assert timm_cards.is_of_timm(find_backbone("swin_t32").card)
    assert timm_cards.is_of_timm(find_backbone("dinov3_s16").card)
    assert not timm_cards.is_of_timm(find_backbone("dinov2_s14").card)
    assert not timm_cards.is_of_timm(find_backbone("neco_dinov2_s14").card)
    assert not timm_cards.is_of_timm(make_card())


def test_a_file_of_timm_s_own_is_read_as_timm_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of Swin: with tables that older versions kept in the file, which timm leaves out."""
    small = {"embed_dim": 24, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 4)}
    create = timm.create_model

    def smaller(name: str, **arguments: object) -> SwinTransformer:
        return create(name, **{**arguments, **small})

    monkeypatch.setattr(timm, "create_model", smaller)
    torch.manual_seed(0)
    whole = smaller("swin_tiny_patch4_window7_224", dynamic_img_size=True).eval()
    state = dict(whole.state_dict())
    state["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49)
    save_file(state, tmp_path / "model.safetensors")
    monkeypatch.setattr(hub, "fetch", lambda *_: tmp_path / "model.safetensors")
    text = Path(find_backbone("swin_t32").file).read_text(encoding="utf-8")
    (tmp_path / "small.toml").write_text(text.replace("embed_dim = 768", "embed_dim = 192"))
    backbone = load_backbone(tmp_path / "small.toml", image_size=64)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), whole.forward_features(images))
        backbone.use_layers((0, 3))
        assert backbone(images).shape == (1, 2, 3, 24 + 192)


def test_the_encoder_of_segment_anything_takes_every_size() -> None:
    torch.manual_seed(0)
    built = timm_vit.create("samvit_base_patch16", **SMALL_SAM)
    assert built.fixed_size is None
    torch.nn.init.normal_(built.model.pos_embed, std=0.1)
    for name, weight in built.model.named_parameters():
        if "rel_pos" in name:
            torch.nn.init.normal_(weight, std=0.1)
    card = find_backbone("sam_b16").card.model_copy(update={"embed_dim": 32})
    backbone = timm_vit.TimmBackbone(built.model, card).eval()
    plain = timm.create_model("samvit_base_patch16", **SMALL_SAM).eval()
    plain.load_state_dict(built.model.state_dict(), strict=False)
    whole = torch.randn(1, 3, 1024, 1024)
    with torch.no_grad():
        (theirs,) = plain.forward_intermediates(whole, indices=1, intermediates_only=True)
        torch.testing.assert_close(backbone(whole), theirs.permute(0, 2, 3, 1))
        assert backbone(whole[..., :448, :608]).shape == (1, 28, 38, 32)


def test_a_norm_that_makes_other_vectors_is_none_of_a_made_up_card() -> None:
    assert not timm_cards.card_of("samvit_base_patch16.sa1b").final_norm
    assert timm_cards.card_of("test_vit").final_norm


def test_the_encoder_of_a_checkpoint_with_a_predictor(tmp_path: Path) -> None:
    model = timm.create_model("test_vit", num_classes=0)
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"encoder": state, "predictor": {"x": torch.zeros(1)}, "epoch": 3}, tmp_path / "w")
    loaded = load_backbone("timm:test_vit", weights=tmp_path / "w").model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())
