import copy
import io
from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from densebench.backbones.positions import interpolate_positions, use_position_rule
from densebench.host.errors import DensebenchError

OFFSET = ["dino", "dinov2", "neco"]


def keys(samples: np.ndarray) -> np.ndarray:
    """Cubic convolution kernel with a = -0.75 (Keys 1981), as torch's bicubic uses it."""
    x, a = np.abs(samples), -0.75
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def offset_matrix(old: int, new: int) -> np.ndarray:
    """Rows of weights that resize a line of `old` samples with the scale (new + 0.1) / old."""
    matrix = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * old / (new + 0.1) - 0.5
        for tap in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            matrix[i, np.clip(tap, 0, old - 1)] += keys(np.array(centre - tap))
    return matrix


@pytest.mark.parametrize("rule", OFFSET)
@pytest.mark.parametrize("grid", [(3, 11), (10, 14), (9, 9)])
def test_offset_rules_are_a_shifted_bicubic(rule: str, grid: tuple[int, int]) -> None:
    table = torch.randn(1, 64, 5, generator=torch.Generator().manual_seed(0))
    rows, columns = offset_matrix(8, grid[0]), offset_matrix(8, grid[1])
    wanted = np.einsum("ih,jw,hwd->ijd", rows, columns, table.reshape(8, 8, 5).numpy())
    got = interpolate_positions(table, grid, rule)
    assert got.shape == (1, grid[0] * grid[1], 5)
    np.testing.assert_allclose(got[0].numpy(), wanted.reshape(-1, 5), atol=1e-5)


@pytest.mark.parametrize("size", ["112x112", "140x196"])
def test_offset_rule_is_the_official_table(official: Callable, size: str) -> None:
    golden = official("arch_dinov2_reg4")  # its table is that of the golden model without registers
    table = golden.state()["pos_embed"][:, 1:]
    height, width = (int(side) // 14 for side in size.split("x"))
    got = interpolate_positions(table, (height, width), "dinov2")[0].numpy()
    np.testing.assert_allclose(got, golden.arrays[f"offset/{size}/pos_embed"], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "rule"),
    [("arch_dino", "dino"), ("arch_dinov2_noreg", "dinov2"), ("arch_dinov2_reg4", "dinov2_reg")],
)
def test_every_official_table(every_golden: Callable, name: str, rule: str) -> None:
    golden = every_golden(name)
    cls, table = golden.state()["pos_embed"].split([1, golden.state()["pos_embed"].shape[1] - 1], 1)
    for size in golden.sizes:
        grid = tuple(int(side) // golden.config["patch_size"] for side in size.split("x"))
        ours = torch.cat([cls, interpolate_positions(table, grid, rule)], dim=1)[0]
        np.testing.assert_allclose(ours, golden.arrays[f"{size}/pos_embed"], atol=2e-6)


@pytest.mark.parametrize("rule", ["timm", "dinov2_reg"])
def test_antialiased_rules_are_timms(rule: str) -> None:
    table = torch.randn(1, 49, 4)
    wanted = resample_abs_pos_embed(table, [3, 5], num_prefix_tokens=0)
    torch.testing.assert_close(interpolate_positions(table, (3, 5), rule), wanted)


@pytest.mark.parametrize("rule", [*OFFSET, "dinov2_reg", "timm"])
def test_the_table_itself_at_its_own_size(rule: str) -> None:
    table = torch.randn(1, 36, 4)
    assert torch.equal(interpolate_positions(table, (6, 6), rule), table)
    assert interpolate_positions(table, (4, 9), rule).shape == table.shape
    assert not torch.equal(interpolate_positions(table, (4, 9), rule), table)


@pytest.mark.parametrize("grid", [(side, 37 * side % 61 + 1) for side in range(1, 75)])
def test_no_row_is_lost(grid: tuple[int, int]) -> None:
    resized = interpolate_positions(torch.zeros(1, 37 * 37, 1), grid, "dinov2")
    assert resized.shape[1] == grid[0] * grid[1]


def test_half_precision_tables_stay_so() -> None:
    assert interpolate_positions(torch.zeros(1, 16, 2).half(), (3, 3), "dino").dtype == torch.half


def test_what_cannot_be_resized_is_refused() -> None:
    with pytest.raises(DensebenchError, match="square"):
        interpolate_positions(torch.zeros(1, 12, 2), (3, 3), "dino")
    with pytest.raises(DensebenchError, match="none"):
        interpolate_positions(torch.zeros(1, 16, 2), (3, 3), "none")


def ruled(rule: str = "dinov2", **options: object) -> VisionTransformer:
    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=64, patch_size=16, embed_dim=24, depth=1, num_heads=2, num_classes=0, **options
    )
    use_position_rule(model, rule)
    return model.eval()


def features(model: VisionTransformer) -> Tensor:
    images = torch.randn(1, 3, 48, 96, generator=torch.Generator().manual_seed(1))
    return model.forward_features(images)


@pytest.mark.parametrize(
    "options",
    [{}, {"reg_tokens": 2}, {"reg_tokens": 2, "no_embed_class": True}],
    ids=["class token", "registers with positions", "patch positions only"],
)
def test_only_the_positions_change(options: dict[str, object]) -> None:
    ours, timms = (
        ruled(dynamic_img_size=True, **options),
        ruled("timm", dynamic_img_size=True, **options),
    )
    with torch.no_grad():
        assert not torch.allclose(features(ours), features(timms), atol=1e-4)
        ours.position_rule = "dinov2_reg"  # which is timm's formula
        torch.testing.assert_close(features(ours), features(timms), atol=1e-5, rtol=1e-5)


def test_without_prefix_tokens() -> None:
    model = ruled(class_token=False, global_pool="avg", dynamic_img_size=True)
    assert features(model).shape == (1, 18, 24)


def test_the_rule_survives_copies_and_pickles() -> None:
    model = ruled(dynamic_img_size=True)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    for copied in (copy.deepcopy(model), torch.load(buffer, weights_only=False)):
        assert torch.equal(features(copied), features(model))
        with torch.no_grad():
            copied.pos_embed += 1
        assert not torch.allclose(features(copied), features(model))


def test_gradients_reach_the_table() -> None:
    model = ruled(dynamic_img_size=True)
    features(model).square().sum().backward()
    assert model.pos_embed.grad is not None
    assert model.pos_embed.grad.abs().amax(dim=(0, 2)).gt(0).all()


def test_a_rule_that_does_not_suit_is_refused() -> None:
    with pytest.raises(DensebenchError, match="use 'timm'"):
        ruled("none", dynamic_img_size=True)
    with pytest.raises(DensebenchError, match="'dino' needs timm's VisionTransformer"):
        ruled("dino", pos_embed="none", dynamic_img_size=True)
    with pytest.raises(DensebenchError, match="'dino' needs"):
        ruled("dino")
    with pytest.raises(DensebenchError, match="not Eva"):
        use_position_rule(Eva(img_size=32, patch_size=16, embed_dim=24, depth=1), "dinov2")
    with pytest.raises(DensebenchError, match="not ResNet"):
        use_position_rule(timm.create_model("test_resnet"), "neco")
