import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.eva import Eva

from densebench.backbones import load_backbone, timm_cards, timm_vit
from densebench.backbones.timm_vit import TimmBackbone
from densebench.backbones.weights import hub
from densebench.cards import BackboneCard
from densebench.host.errors import DensebenchError

KEPT = [("arch_dino", "dino"), ("arch_dinov2_reg4", "dinov2_reg")]
COMPLETE = [*KEPT, ("arch_dinov2_noreg", "dinov2")]


def loaded(golden, rule: str, **changes: object) -> TimmBackbone:
    card = golden.card(rule, **changes)
    model = golden.vit()
    timm_vit.load_weights(model, golden.weights, card)
    return TimmBackbone(model, card).eval()


@torch.no_grad()
def difference(golden, backbone: TimmBackbone, size: str) -> float:
    tokens = backbone(golden.images(size))[0].flatten(0, 1)
    return float((tokens - golden.tokens(size)).abs().max())


@pytest.mark.parametrize(("name", "rule"), KEPT)
def test_patch_tokens_are_the_official_ones(official: Callable, name: str, rule: str) -> None:
    golden = official(name)
    backbone = loaded(golden, rule)
    assert max(difference(golden, backbone, size) for size in golden.sizes) < 1e-5


@torch.inference_mode()
@pytest.mark.parametrize(("name", "rule"), COMPLETE)
def test_prefix_tokens_at_every_size(every_golden: Callable, name: str, rule: str) -> None:
    golden = every_golden(name)
    model = loaded(golden, rule).model
    for size in golden.sizes:
        tokens = model.forward_features(golden.images(size))[0]
        prefix = tokens[: len(tokens) - len(golden.tokens(size))]
        assert float((prefix - golden.prefix(size)).abs().max()) < 1e-5


@torch.inference_mode()
@pytest.mark.parametrize(("name", "rule"), COMPLETE)
def test_at_every_size_of_the_complete_goldens(
    every_golden: Callable, name: str, rule: str
) -> None:
    golden = every_golden(name)
    backbone = loaded(golden, rule)
    assert len(golden.sizes) >= 3
    assert max(difference(golden, backbone, size) for size in golden.sizes) < 1e-5


@pytest.mark.parametrize(("name", "rule"), [("arch_dino", "timm"), ("arch_dinov2_reg4", "dinov2")])
def test_another_rule_gives_other_tokens(official: Callable, name: str, rule: str) -> None:
    golden = official(name)
    assert difference(golden, loaded(golden, rule), golden.sizes[0]) > 1e-3


@pytest.mark.parametrize(("name", "rule"), COMPLETE)
@pytest.mark.parametrize("card_rule", ["neco", "timm"])
def test_a_protocol_overrides_the_rule_and_not_the_fingerprint(
    every_golden: Callable, name: str, rule: str, card_rule: str
) -> None:
    golden = every_golden(name)
    backbone = loaded(golden, card_rule)
    fingerprint = backbone.fingerprint
    backbone.resize_positions("official")
    official = rule if card_rule == "neco" else "timm"
    assert backbone.positions == official
    if card_rule == "neco":
        assert max(difference(golden, backbone, size) for size in golden.sizes) < 1e-5
    backbone.resize_positions("neco")
    assert backbone.positions == "neco"
    with torch.no_grad():
        other = loaded(golden, "neco")(golden.images(golden.sizes[0]))
        assert torch.equal(backbone(golden.images(golden.sizes[0])), other)
    assert backbone.fingerprint == fingerprint
    backbone.resize_positions("card")
    assert backbone.positions == card_rule
    with torch.no_grad():
        same = loaded(golden, card_rule)(golden.images(golden.sizes[0]))
        torch.testing.assert_close(backbone(golden.images(golden.sizes[0])), same)


def test_without_the_final_norm(official: Callable) -> None:
    golden = official("arch_dino")
    images = golden.images(golden.sizes[0])
    plain, normed = loaded(golden, "dino", final_norm=False), loaded(golden, "dino")
    with torch.no_grad():
        assert not torch.allclose(plain(images), normed(images), atol=1e-2)
        torch.testing.assert_close(plain.model.norm(plain(images)), normed(images))


def test_a_copy_trains_on_its_own(official: Callable) -> None:
    golden = official("arch_dinov2_reg4")
    teacher = loaded(golden, "dinov2_reg")
    student = copy.deepcopy(teacher).train()
    images = golden.images("112x112")
    student(images).square().mean().backward()
    assert student.model.patch_embed.proj.weight.grad.abs().sum() > 0
    assert student.model.pos_embed.grad.abs().sum() > 0
    with torch.no_grad():
        student.model.pos_embed *= 1.5
        assert not torch.allclose(student(images), teacher(images), atol=1e-3)
    assert student.fingerprint != teacher.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"position_embedding": "neco"},
        {"final_norm": False},
        {"mean": (0.5, 0.5, 0.5)},
        {"std": (0.5, 0.5, 0.5)},
        {"id": "another"},
    ],
    ids=str,
)
def test_every_choice_counts_in_the_fingerprint(
    official: Callable, change: dict[str, object]
) -> None:
    golden = official("arch_dino")
    card = golden.card("dino")
    changed = BackboneCard.model_validate({**card.model_dump(), **change})
    one, two = golden.vit(), golden.vit()
    two.load_state_dict(one.state_dict())
    same = TimmBackbone(copy.deepcopy(one), card)
    assert same.fingerprint == TimmBackbone(one, card).fingerprint
    assert same.fingerprint != TimmBackbone(two, changed).fingerprint


@pytest.mark.parametrize("key", ["patch_size", "embed_dim", "prefix_tokens"])
def test_a_card_of_another_model_is_refused(official: Callable, key: str) -> None:
    golden = official("arch_dino")
    with pytest.raises(DensebenchError, match=rf"tiny: {key} is 7, but tiny has \d+"):
        TimmBackbone(golden.vit(), golden.card("dino").model_copy(update={key: 7}))


def test_rotary_positions_and_registers(make_card: Callable[..., BackboneCard]) -> None:
    model = Eva(
        img_size=64,
        patch_size=16,
        embed_dim=64,
        depth=2,
        num_heads=2,
        num_classes=0,
        use_rot_pos_emb=True,
        use_abs_pos_emb=False,
        rope_type="dinov3",
        num_reg_tokens=4,
        use_fc_norm=False,
        dynamic_img_size=True,
    )
    card = make_card(prefix_tokens=5, position_embedding="none")
    backbone = TimmBackbone(model, card).eval()
    images = torch.randn(2, 3, 80, 48)
    with torch.no_grad():
        wanted = model.forward_features(images)[:, 5:].reshape(2, 5, 3, 64)
        torch.testing.assert_close(backbone(images), wanted)
        backbone.resize_positions("neco")
        assert backbone.positions is None, "there is no table that a rule could resize"
        torch.testing.assert_close(backbone(images), wanted)


@pytest.fixture
def timm_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Weights of a timm model as if the hub had them."""

    def save(name: str) -> Path:
        torch.manual_seed(0)
        state = timm.create_model(name).state_dict()
        path = tmp_path / "model.safetensors"
        save_file({k: v + 0.01 if v.is_floating_point() else v for k, v in state.items()}, path)
        monkeypatch.setattr(hub, "fetch", lambda card, offline=False, name=None, folder=None: path)
        return path

    return save


@pytest.mark.parametrize(
    ("name", "patch"),
    [
        ("test_vit", 16),
        ("test_vit2", 16),
        ("test_resnet", 32),
        ("test_convnext", 32),
        ("test_byobnet", 32),
    ],
)
def test_any_timm_model_by_its_id(timm_file: Callable, name: str, patch: int) -> None:
    path = timm_file(name)
    backbone = load_backbone(f"timm:{name}")
    assert (backbone.name, backbone.patch_size) == (f"timm:{name}", patch)
    assert backbone.card is not None and backbone.card.weights is not None
    assert backbone.card.weights.repo == f"timm/{name}.r160_in1k"
    reference = timm.create_model(name)
    timm.models.load_checkpoint(reference, str(path))
    images = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        (wanted,) = reference.eval().forward_intermediates(
            images, indices=1, norm=True, intermediates_only=True
        )
        torch.testing.assert_close(backbone(images), wanted.permute(0, 2, 3, 1))
        assert backbone(torch.randn(1, 3, 4 * patch, 7 * patch)).shape[1:3] == (4, 7)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_the_same_weights_by_timms_loader_and_by_ours(timm_file: Callable, name: str) -> None:
    path = timm_file(name)
    by_timm, by_us = load_backbone(f"timm:{name}"), load_backbone(f"timm:{name}", weights=path)
    assert by_timm.fingerprint == by_us.fingerprint


def test_weights_of_another_timm_model_are_refused(timm_file: Callable) -> None:
    timm_file("test_vit2")
    with pytest.raises(DensebenchError, match=r"model.safetensors: does not fit timm's test_vit\b"):
        load_backbone("timm:test_vit")


def test_a_model_of_fixed_size_is_built_for_the_size(timm_file: Callable) -> None:
    path = timm_file("test_vit_relpos")
    native = load_backbone("timm:test_vit_relpos", weights=path)
    assert native(torch.zeros(1, 3, 160, 160)).shape == (1, 10, 10, 96)
    with pytest.raises(DensebenchError, match=r"images of 160x160 pixels only, not 224x224"):
        native(torch.zeros(1, 3, 224, 224))
    larger = load_backbone("timm:test_vit_relpos", weights=path, image_size=224)
    assert larger(torch.zeros(1, 3, 224, 224)).shape == (1, 14, 14, 96)
    assert larger.fingerprint != native.fingerprint


def test_a_fixed_size_that_timm_cannot_change(timm_file: Callable) -> None:
    path = timm_file("convit_tiny")
    with pytest.raises(DensebenchError, match=r"takes images of 224x224 pixels only"):
        load_backbone("timm:convit_tiny", weights=path, image_size=320)


def test_a_norm_that_timm_refuses_is_told(make_card: Callable[..., BackboneCard]) -> None:
    built = timm_vit.create("hiera_tiny_224", num_classes=0)
    card = timm_cards.card_of("hiera_tiny_224")
    with pytest.raises(DensebenchError, match="Hiera cannot do that: normalization"):
        timm_vit.resized(built, card, None, None)(torch.zeros(1, 3, 224, 224))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:vit_smal_patch16_224", "timm has no model .* near it are vit_small_patch16"),
        ("timm:hf-hub:timm/test_vit.r160_in1k", "timm has no model"),
        ("timm:test_vit.nonsense", "no weights 'test_vit.nonsense'; known are test_vit.r160_in1k"),
        ("timm:test_vit4", "names no official weights; give --weights FILE"),
    ],
)
def test_unknown_models_are_told(name: str, message: str) -> None:
    with pytest.raises(DensebenchError, match=message):
        load_backbone(name)
