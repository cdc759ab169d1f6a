"""The walk for a ViT, whose products round by the shape of a batch: near, where HOG is equal."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from densebench.backbones import load_backbone

NEAR = {"linear": 2e-4, "in_context": 1e-5}  # of the mIoU
CHANGES: list[dict[str, Any]] = [
    {"batch_size": 1},
    {"batch_size": 3},
    {"batch_size": 100},
    {"workers": 2},
    {"cache": "off"},
]
VIT = """
import timm
import torch

class Patches(torch.nn.Module):
    patch_size = 14

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.vit = timm.models.vision_transformer.VisionTransformer(
            img_size=56, dynamic_img_size=True, patch_size=14,
            embed_dim=96, depth=4, num_heads=3, num_classes=0,
        )

    def forward(self, images):
        tokens = self.vit.forward_features(images)[:, 1:]
        return tokens.unflatten(1, (images.shape[2] // 14, images.shape[3] // 14))

def build():
    return Patches()
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("vit") / "vit.py"
    file.write_text(VIT)
    return f"{file}:build"


def test_features(vit: str) -> None:
    backbone, images = load_backbone(vit), torch.randn(16, 3, 56, 56)
    with torch.inference_mode():
        whole = backbone(images)
        for size in (1, 3, 5):
            parts = torch.cat([backbone(part) for part in images.split(size)])
            torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("variant", ["reference", "clean"])
@pytest.mark.parametrize("protocol", NEAR)
def test_scores(protocol: str, variant: str, vit: str, run: Callable[..., Any]) -> None:
    expected = run(protocol, variant, "base", backbone=vit)
    for change in CHANGES:
        changed = run(protocol, variant, str(change), backbone=vit, **change)
        assert changed["run_id"] == expected["run_id"]
        for ours, theirs in zip(changed["scores"], expected["scores"], strict=True):
            assert ours["miou"] == pytest.approx(theirs["miou"], abs=NEAR[protocol]), change


@pytest.mark.parametrize("variant", ["reference", "clean"])
def test_clusters_of_the_same_stored_features(
    variant: str, vit: str, run: Callable[..., Any]
) -> None:
    expected = run("overclustering", variant, "base", results="first", backbone=vit)
    for number, change in enumerate([c for c in CHANGES if "cache" not in c]):
        again = run("overclustering", variant, "base", results=str(number), backbone=vit, **change)
        np.testing.assert_array_equal(again["counts"][1], expected["counts"][1])
        assert again == expected
