"""The relaxed network in plain PyTorch, against itself in float64 and in blocks."""

import pytest
import torch

from densebench.posttrain.softsort import on_torch
from densebench.posttrain.softsort.network import Network


@pytest.mark.parametrize("network", ["bitonic", "odd_even"])
def test_the_gradient_is_that_of_the_values(network: Network) -> None:
    scores = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = on_torch.sort_backward(scores, network, 3.0, weight, None)
    step = 1e-6
    for row in range(3):
        for column in range(5):
            moved = [scores.clone(), scores.clone()]
            moved[0][row, column] += step
            moved[1][row, column] -= step
            values = [(on_torch.sort(m, network, 3.0)[0] * weight).sum() for m in moved]
            slope = (values[0] - values[1]) / (2 * step)
            torch.testing.assert_close(found[row, column], slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("network", ["bitonic", "odd_even"])
def test_one_row_at_a_time_is_the_same(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(2))
    whole = on_torch.cross_entropy(student, teacher, network, (10.0, 20.0), True)
    monkeypatch.setattr(on_torch, "_BLOCK_BYTES", 1)
    parts = on_torch.cross_entropy(student, teacher, network, (10.0, 20.0), True)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_no_gradient_where_none_is_asked_for() -> None:
    student, teacher = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(3))
    _, gradient = on_torch.cross_entropy(student, teacher, "bitonic", (10.0, 10.0), False)
    assert not gradient.any()
