"""The sorting networks themselves, on numbers."""

from typing import get_args

import numpy as np
import pytest

from densebench.posttrain.softsort.network import Network, comparators

NETWORKS = get_args(Network)


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_sort(network: Network) -> None:
    # Without some first wires diffsort's bitonic network leaves a few orders unsorted, and so ours.
    sizes = set(range(2, 65)) - ({22, 38, *range(42, 47), 54} if network == "bitonic" else set())
    for n in sizes:
        values = np.random.default_rng(n).permutation(n)
        for layer in comparators(network, n):
            wires = [wire for pair in layer for wire in pair]
            assert len(wires) == len(set(wires))
            for low, high in layer:
                values[low], values[high] = sorted((values[low], values[high]))
        assert (np.diff(values) > 0).all(), n
