"""Foreground masks from attention, and a vision transformer's attention itself."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve1d, label

from densebench.host.errors import DensebenchError
from densebench.posttrain.foreground import foreground


def by_hand(attention: np.ndarray) -> np.ndarray:
    """One image's (heads, h, w): blur, average, count down from the largest, drop small parts."""
    kernel = np.array([math.exp(-(x**2) / (2 * 0.6**2)) for x in range(-3, 4)])
    kernel /= kernel.sum()
    blurred = convolve1d(convolve1d(attention, kernel, 1, mode="mirror"), kernel, 2, mode="mirror")
    mass = blurred.mean(0)
    mass /= mass.sum()
    kept, total = np.zeros(mass.shape, bool), 0.0
    for place in np.argsort(-mass, axis=None):
        kept.flat[place] = True
        total += mass.flat[place]
        if total >= 0.6:
            break
    parts, count = label(kept, np.ones((3, 3)))
    for part in range(1, count + 1):
        if (parts == part).sum() <= 2:
            kept[parts == part] = False
    return kept


def test_a_spot_on_a_dark_ground() -> None:
    attention = torch.zeros(1, 2, 5, 5)
    attention[0, :, 2, 2] = 1.0
    # The kernel's centre is 0.67 and beside it 0.17: 0.45 + 0.11 + 0.11 pass 0.6.
    centre, beside = 1 / (1 + 2 * math.exp(-1 / 0.72)), math.exp(-1 / 0.72)
    assert centre**2 * (1 + beside) < 0.6 < centre**2 * (1 + 2 * beside)
    kept = foreground(attention)[0]
    assert kept[2, 2]
    assert kept.sum() == 3
    neighbours = [(1, 2), (3, 2), (2, 1), (2, 3)]
    assert sum(bool(kept[place]) for place in neighbours) == 2


def test_equals_a_computation_by_hand() -> None:
    attention = torch.rand(6, 3, 6, 9, generator=torch.Generator().manual_seed(0)) ** 4
    kept = foreground(attention)
    assert kept.dtype == torch.bool
    for image in range(6):
        expected = by_hand(attention[image].double().numpy())
        assert np.array_equal(kept[image].numpy(), expected), image


def test_even_attention_keeps_some() -> None:
    attention = torch.full((1, 1, 4, 4), 1e-9)
    assert 0 < foreground(attention).sum() < 16


def test_small_parts_go_and_corners_connect() -> None:
    attention = torch.zeros(1, 1, 12, 12)
    for place in ((1, 1), (1, 2), (2, 3), (9, 9), (9, 10)):
        attention[0, 0, place[0], place[1]] = 1.0
    whole = foreground(attention, 0.5, smallest=1)[0]
    assert whole[1, 1] and whole[2, 3] and whole[9, 9]
    size = int(whole[7:, 7:].sum())
    assert not foreground(attention, 0.5, smallest=size + 1)[0, 7:, 7:].any()
    assert foreground(attention, 0.5, smallest=size)[0].equal(whole)


def test_grids_too_small_for_the_blur() -> None:
    with pytest.raises(DensebenchError, match="global views of 4x4 patches or more, not 3x9"):
        foreground(torch.ones(1, 1, 3, 9))


@pytest.mark.parametrize("options", [{}, {"reg_tokens": 3}, {"qk_norm": True}])
def test_attention_is_the_models_own(make_backbone: Callable, options: dict) -> None:
    backbone = make_backbone(**options)
    layer = backbone.blocks()[-1].attn
    layer.fused_attn = False
    seen: list[torch.Tensor] = []
    layer.attn_drop.register_forward_hook(lambda _, inputs, output: seen.append(output))
    images = torch.randn(3, 3, 56, 42)
    features = backbone(images)
    inside = seen[0][:, :, 0, backbone.card.prefix_tokens :].unflatten(-1, (4, 3))
    layer.fused_attn = True
    found = backbone.attention(images)
    torch.testing.assert_close(found, inside)
    assert found.shape == (3, 2, 4, 3)
    assert not layer._forward_pre_hooks
    torch.testing.assert_close(backbone(images), features)


def test_no_class_token_no_attention(make_backbone: Callable) -> None:
    backbone = make_backbone(class_token=False, global_pool="avg", fc_norm=False)
    assert backbone.attention(torch.randn(1, 3, 28, 28)) is None
