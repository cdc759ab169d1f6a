"""Features of several layers of a transformer, from one pass, are those of each alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from densebench.backbones.in_memory import InMemoryBackbone
from densebench.cards import find_task
from densebench.datasets import load_dataset
from densebench.datasets.transforms import Squash
from densebench.features.cache import FeatureCache
from densebench.features.layers_together import LayersSource
from densebench.features.source import PatchSource

ONE = (1.0, 1.0, 1.0)


class Patches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        sizes = {"img_size": 28, "patch_size": 14, "embed_dim": 24, "depth": 4, "num_heads": 2}
        self.vit = VisionTransformer(**sizes, num_classes=0)

    @property
    def blocks(self) -> nn.Sequential:
        return self.vit.blocks

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.vit.forward_features(images)


@pytest.fixture
def backbone() -> InMemoryBackbone:
    return InMemoryBackbone(Patches(), "vit", 14, 24, layout="BND", prefix_tokens=1).eval()


def features(source: PatchSource) -> list[np.ndarray]:
    return [batch.patches.numpy() for batch in source.batches(Squash(28, ONE, ONE))]


def test_of_a_transformer(tiny_task: Path, tmp_path: Path, backbone: InMemoryBackbone) -> None:
    found = find_task(str(tiny_task))
    split = load_dataset(found.card.dataset, card_path=found.file).train
    alone = []
    for layer in range(4):
        backbone.use_layers((layer,))
        alone.append(features(PatchSource(split, backbone, batch_size=3)))
    calls: list[int] = []
    backbone.module.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    cache = FeatureCache(tmp_path, 10**9)
    for layer, others in ((0, (1, 3)), (1, ()), (3, ()), (2, ())):
        backbone.use_layers((layer,))
        source = LayersSource(split, backbone, batch_size=3, cache=cache, others=others)
        for one, wanted in zip(features(source), alone[layer], strict=True):
            np.testing.assert_array_equal(one, wanted)
        assert backbone.layers == (layer,)
        assert sum(calls) == len(split) * (2 if layer == 2 else 1)
