"""Exact neighbours: as NumPy finds them in float64, whatever is searched at once."""

import numpy as np
import pytest
import torch

from densebench.learners.nearest import Nearest

CPU = torch.device("cpu")
DISTANCES = ["cosine", "L2", "L1", "Linf", "inner_product"]


def by_hand(queries, rows, distance):
    q, r = queries.double().numpy()[:, None], rows.double().numpy()[None]
    if distance == "cosine":
        return 1 - (q * r).sum(-1) / np.linalg.norm(q, axis=-1) / np.linalg.norm(r, axis=-1)
    if distance == "inner_product":
        return (q * r).sum(-1)
    order = {"L2": 2, "L1": 1, "Linf": np.inf}[distance]
    return np.linalg.norm(q - r, ord=order, axis=-1)


@pytest.mark.parametrize("distance", DISTANCES)
def test_equals_float64(distance):
    generator = torch.Generator().manual_seed(3)
    rows, queries = (torch.randn(n, 24, generator=generator) for n in (300, 40))
    found, index = Nearest(rows, distance, CPU).find(queries, 12)
    every = by_hand(queries, rows, distance)
    expected = np.argsort(-every if distance == "inner_product" else every, axis=1)[:, :12]
    assert np.array_equal(index, expected)
    np.testing.assert_allclose(found, np.take_along_axis(every, expected, axis=1), atol=1e-10)


@pytest.mark.parametrize("distance", ["cosine", "L2", "inner_product"])
@pytest.mark.parametrize("step", [1e-9, 1e-7, 0.0])
def test_rows_that_float32_cannot_tell_apart(distance, step):
    """More of them than there are candidates to spare; equal ones come in their own order."""
    generator = torch.Generator().manual_seed(4)
    row = torch.randn(16, generator=generator).double()
    near = row + step * torch.randn(200, 16, generator=generator).double()
    far = torch.randn(500, 16, generator=generator).double() - row
    rows = torch.cat([far[:250], near, far[250:]]).float()
    queries = torch.stack([row, row + 0.1]).float()
    found, index = Nearest(rows, distance, CPU).find(queries, 10)
    every = by_hand(queries, rows, distance)
    sign = -1 if distance == "inner_product" else 1
    expected = np.sort(sign * every, axis=1)[:, :10]
    np.testing.assert_allclose(np.sort(sign * found.numpy(), axis=1), expected, atol=1e-9)
    if not step:
        assert index[0].tolist() == list(range(250, 260))


@pytest.mark.parametrize("distance", DISTANCES)
def test_what_is_asked_at_once_changes_nothing(distance):
    generator = torch.Generator().manual_seed(5)
    rows = torch.randn(400, 33, generator=generator)
    rows[100:160] = rows[7]
    queries = torch.cat([torch.randn(50, 33, generator=generator), rows[7:8]])
    search = Nearest(rows, distance, CPU)
    whole = search.find(queries, 9)
    parts = [search.find(part, 9) for part in queries.split(7)]
    for together, apart in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(together, torch.cat(apart))
