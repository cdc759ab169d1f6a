"""A plan's strided views compare the very wires that the network's layers name."""

from typing import get_args

import pytest
import torch

from densebench.posttrain.softsort.layers import plan_of
from densebench.posttrain.softsort.network import Network, comparators


@pytest.mark.parametrize("network", get_args(Network))
@pytest.mark.parametrize("n", [2, 3, 7, 8, 13, 33])
def test_views_are_the_comparators(network: Network, n: int) -> None:
    plan, layers = plan_of(network, torch.zeros(1, n)), comparators(network, n)
    assert len(plan.layers) == len(layers) == len(plan.widths)
    slots = torch.full((plan.slots,), -1)
    slots[plan.first : plan.first + n] = torch.arange(n)
    for layer, pairs in zip(plan.layers, layers, strict=True):
        first, second = layer.halves(slots)
        sign = layer.sign[..., 0]
        ascending = zip(first[sign > 0].tolist(), second[sign > 0].tolist(), strict=True)
        descending = zip(second[sign < 0].tolist(), first[sign < 0].tolist(), strict=True)
        assert {*ascending, *descending} == set(pairs)
