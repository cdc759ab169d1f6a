"""Patches with their mean depth."""

import torch

from densebench.learners.depth_bank import DepthBank, patch_depths


def test_the_mean_is_over_pixels_that_count():
    depth = torch.tensor([[1.0, 3.0, 0.0, 0.0], [0.0, 20.0, 0.0, 0.0]])[None]
    assert patch_depths(depth, 2, 0.001, 10.0)[0, :, 0].tolist() == [2.0, 0.0]
    depth = torch.arange(1.0, 25.0).reshape(1, 4, 6)
    found = patch_depths(depth, 2, 0.0, 100.0)
    assert found.shape == (1, 6, 1)
    assert found[0, :, 0].tolist() == [4.5, 6.5, 8.5, 16.5, 18.5, 20.5]


def test_a_bank_gives_the_depth_of_its_rows():
    bank = DepthBank(3, 2, fp16=True)
    bank.add(torch.ones(2, 2), torch.tensor([[1.5], [2.5]]))
    assert bank.features.dtype == torch.float16
    assert bank.soft_labels(torch.tensor([[1, 0]])).tolist() == [[[2.5], [1.5]]]
    _, depths = bank.empty(4)
    assert depths.dtype == torch.float32 and depths.shape == (4, 1)
