"""The mIoU on held-out images, counted by hand."""

import pytest
import torch

from densebench.features.source import PatchBatch
from densebench.host.distributed import World
from densebench.learners.choosing import HeldOut
from densebench.learners.patch_table import PatchTable


class Constant:
    """Predicts one label everywhere, for each value another."""

    def __init__(self, *labels):
        self._labels = labels

    def predict(self, features):
        return [torch.full((len(features), 4), label, dtype=torch.uint8) for label in self._labels]


class Half(World):
    """One of two processes, whose sum is told by the other's."""

    def sum(self, tensor):
        self.__dict__["counts"] = tensor.clone()
        return tensor


@pytest.fixture
def held():
    """Three images of one patch: two are held out, with one pixel of void among eight."""
    table = PatchTable([0, 1, 2], 1, (1, 1, 4))
    masks = torch.tensor([[[9, 9], [9, 9]], [[0, 0], [0, 1]], [[1, 1], [1, 255]]]).byte()
    table.fill([PatchBatch(torch.arange(3), torch.zeros(3, 1, 1, 1), masks)], 2)
    return HeldOut(table, table.n_fit, 1, 2, frozenset({255}))


def test_void_that_is_predicted_is_one_more_class(held):
    found = held.miou([([2, 0], Constant(0, 1)), ([1], Constant(255))], 3, World())
    # Value 0 says 1 everywhere, value 1 void, value 2 says 0.
    assert found == pytest.approx([(0 + 4 / 7) / 2, 0, (3 / 7 + 0) / 2], abs=1e-15)


def test_each_process_predicts_its_own_images(held):
    parts = [Half(rank, 2) for rank in range(2)]
    for world in parts:
        held.miou([([0], Constant(1))], 1, world)
    whole = Half(0, 1)
    held.miou([([0], Constant(1))], 1, whole)
    first, second, every = (world.__dict__["counts"] for world in (*parts, whole))
    assert first.sum() == 4
    assert torch.equal(first + second, every)
