"""Modules that are already here."""

from typing import Any

import pytest
import torch
from torch import nn

from densebench.backbones.in_memory import InMemoryBackbone, arranged, in_memory
from densebench.host.errors import DensebenchError


class Patches(nn.Module):
    """A convolution over patches, whose features are arranged as asked."""

    def __init__(self, layout: str, prefix: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 5, 14, 14)
        self.layout, self.prefix = layout, prefix

    def forward(self, images: torch.Tensor) -> Any:
        features = self.convolution(images)
        if self.layout == "BDhw":
            return features
        if self.layout == "BhwD":
            return features.permute(0, 2, 3, 1)
        tokens = features.flatten(2).transpose(1, 2)
        return torch.cat([torch.full((len(images), self.prefix, 5), 9.0), tokens], dim=1)


@pytest.mark.parametrize(
    ("model", "how"),
    [
        (Patches("BhwD"), {}),
        (Patches("BDhw"), {"layout": "BDhw"}),
        (Patches("BND"), {"layout": "BND"}),
        (Patches("BND", 5), {"prefix_tokens": 5}),
    ],
)
def test_each_layout_gives_the_same(model: nn.Module, how: dict[str, Any]) -> None:
    backbone = in_memory(model, patch_size=14, **how)
    images = torch.randn(2, 3, 28, 42)
    with torch.no_grad():
        expected = Patches("BhwD")(images)
        torch.testing.assert_close(backbone(images), expected, rtol=0, atol=0)
    assert backbone.embed_dim == 5


@pytest.mark.parametrize(
    ("model", "how", "told"),
    [
        (Patches("BDhw"), {}, "give layout='BDhw'"),
        (Patches("BhwD"), {"layout": "BDhw"}, "give layout='BhwD'"),
        (Patches("BND", 5), {}, "give layout='BND', prefix_tokens=5"),
        (Patches("BND", 5), {"prefix_tokens": 1}, "give layout='BND', prefix_tokens=5"),
        (Patches("BhwD"), {"layout": "hwD"}, "layout is one of BhwD, BDhw, BND"),
        (Patches("BhwD"), {"embed_dim": 6}, "embed_dim is 5, not 6"),
        (Patches("BhwD"), {"std": (0, 1, 1)}, "std must be above 0"),
        (nn.LazyConv2d(3, 14), {}, "lazy"),
        (nn.Linear(2, 2), {}, "RuntimeError"),
        (Patches("BhwD"), {"layout": "BND"}, "give layout='BhwD'"),
        (Patches("BhwD"), {"prefix_tokens": 1}, "give layout='BhwD'"),
        (Patches("BhwD"), {"prefix_tokens": -1}, "a whole number from 0 on, not -1"),
        (Patches("BDhw"), {"prefix_tokens": 1, "layout": "BDhw"}, "are of layout BND, not of BDhw"),
    ],
)
def test_what_does_not_fit_is_told_with_what_would(
    model: nn.Module, how: dict[str, Any], told: str
) -> None:
    with pytest.raises(DensebenchError, match=told):
        in_memory(model, patch_size=14, **how)


def test_no_patch_size() -> None:
    with pytest.raises(DensebenchError, match=r"needs patch_size.*patch_size=14"):
        in_memory(Patches("BhwD"))


def test_its_fingerprint_follows_weights_and_arrangement() -> None:
    model = Patches("BhwD")
    first = in_memory(model, patch_size=14).fingerprint
    assert in_memory(model, patch_size=14).fingerprint == first
    assert in_memory(Patches("BhwD"), patch_size=14).fingerprint == first
    assert in_memory(Patches("BDhw"), patch_size=14, layout="BDhw").fingerprint != first
    with torch.no_grad():
        model.convolution.weight[0, 0, 0, 0] += 1
    assert in_memory(model, patch_size=14).fingerprint != first


def test_a_module_may_say_it_all_itself() -> None:
    model = Patches("BhwD")
    model.patch_size, model.mean, model.std = 14, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)
    backbone = in_memory(model)
    assert isinstance(backbone, InMemoryBackbone)
    assert (backbone.mean, backbone.std) == ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    assert in_memory(backbone) is backbone
    assert model.training


def test_what_is_no_tensor_comes_out_as_it_is() -> None:
    assert arranged({"a": 1}, "BhwD", 0, (2, 2)) == {"a": 1}  # type: ignore[arg-type]
