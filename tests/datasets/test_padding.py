"""The published padding to a multiple of the patch."""

import torch

from densebench.datasets.padding import centre_padded


def test_zeros_lie_around_the_image():
    padded = centre_padded(torch.ones(2, 3, 37, 50), 14)
    assert padded.shape == (2, 3, 42, 56)
    assert torch.equal(padded[:, :, 2:39, 3:53], torch.ones(2, 3, 37, 50))
    assert padded.sum() == 2 * 3 * 37 * 50


def test_what_fits_stays_as_it_is():
    images = torch.rand(1, 3, 28, 42)
    assert torch.equal(centre_padded(images, 14), images)
