"""Moments of a stream in float64, far from zero as well as near it."""

import numpy as np
import pytest
import torch

from densebench.learners.moments import Moments


@pytest.mark.parametrize("offset", [0.0, 3e4])
def test_they_are_those_of_all_rows_at_once(offset):
    random = np.random.default_rng(0)
    rows = (random.normal(size=(500, 6)) @ random.normal(size=(6, 6)) + offset).astype(np.float32)
    moments = Moments(6, torch.device("cpu"))
    for part in np.array_split(rows, [1, 40, 41, 300]):
        moments.add(torch.from_numpy(part))
    exact = rows.astype(np.float64)
    assert moments.count == 500
    np.testing.assert_allclose(moments.mean.numpy(), exact.mean(axis=0), rtol=1e-13)
    expected = np.cov(exact, rowvar=False, bias=True)
    np.testing.assert_allclose(moments.covariance.numpy(), expected, rtol=0, atol=1e-11)
