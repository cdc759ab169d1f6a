"""Patches and attention of several splits, read together."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from densebench.features.source import PatchBatch
from densebench.host.distributed import World
from densebench.host.errors import DensebenchError
from densebench.learners.attended import attended, fit_together
from densebench.learners.attention_masks import foreground
from densebench.learners.clustering import StreamedPCA


class Source:
    """Random patches, with an attention of two heads."""

    def __init__(self, n: int, seed: int, world: World | None = None) -> None:
        torch.manual_seed(seed)
        self.patches, self.shares = torch.randn(n, 6, 6, 5), torch.rand(n, 6, 6, 2)
        self.world, self.split = world or World(), SimpleNamespace(name="val")

    def batches(self, view: Any, reach: str) -> Iterator[PatchBatch]:
        assert reach == "main"
        for indices in torch.arange(len(self.patches)).split(2):
            if self.world.is_main and len(indices):
                masks = torch.zeros(len(indices), 4, 4, dtype=torch.uint8)
                yield PatchBatch(indices, self.patches[indices], masks)


@pytest.fixture(autouse=True)
def _stored_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_attention(source: Source) -> Source:
        other = Source(0, 0, source.world)
        other.patches = source.shares
        return other

    monkeypatch.setattr("densebench.learners.attended.of_attention", of_attention)


def test_one_pca_of_both_and_the_attended_patches() -> None:
    train, val = Source(3, 0), Source(2, 1)
    reduction = StreamedPCA(5, 2, 0)
    fit_together((train, val), None, reduction, 5 * 36)
    rows = torch.cat([train.patches, val.patches]).flatten(0, 2).numpy()
    np.testing.assert_allclose(reduction.scaler.mean_, rows.mean(axis=0), atol=1e-6)
    found = attended(val, None, reduction, 0.6)
    assert found.indices.tolist() == [0, 1]
    expected = reduction.transform(val.patches[1].flatten(0, 1).numpy())
    np.testing.assert_array_equal(found.patches[1], expected)
    assert found.attended.equal(foreground(val.shares.permute(0, 3, 1, 2), 0.6))
    assert found.masks.shape == (2, 4, 4)


def test_the_first_process_alone_has_them() -> None:
    other = Source(2, 0, World(rank=1, size=2))
    assert attended(other, None, StreamedPCA(5, 2, 0), 0.6) is None


def test_none_can_be_read() -> None:
    with pytest.raises(DensebenchError, match="none of the val images could be read"):
        attended(Source(0, 0), None, StreamedPCA(5, 2, 0), 0.6)
