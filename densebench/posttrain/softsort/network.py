"""The sorting networks that can be relaxed: which wires each layer compares."""

from functools import lru_cache
from typing import Literal

Network = Literal["bitonic", "odd_even"]
Comparators = tuple[tuple[tuple[int, int], ...], ...]


@lru_cache(maxsize=64)
def comparators(network: Network, n: int) -> Comparators:
    """The comparators of a sorting network of n wires, layer by layer.

    Returns:
        Per layer the pairs (wire of the minimum, wire of the maximum); wires in no pair are idle.
        The bitonic network of n wires is that of the next power of two without its first wires,
        as in `diffsort`; for a few n (below 65: 22, 38, 42 to 46, 54) it leaves some rows unsorted.
    """
    return _bitonic(n) if network == "bitonic" else _odd_even(n)


def _bitonic(n: int) -> Comparators:
    log_size = (n - 1).bit_length()
    stages = [(stage, 2**bit) for stage in range(log_size) for bit in range(stage, -1, -1)]
    return tuple(_bitonic_layer(n, 2**log_size, stage, reach) for stage, reach in stages)


def _bitonic_layer(n: int, size: int, stage: int, reach: int) -> tuple[tuple[int, int], ...]:
    missing = size - n
    layer = []
    for wire in range(missing, size):
        if not wire & reach:
            pair = wire - missing, wire - missing + reach
            layer.append(pair[::-1] if wire >> (stage + 1) & 1 else pair)
    return tuple(layer)


def _odd_even(n: int) -> Comparators:
    return tuple(tuple((w, w + 1) for w in range(layer % 2, n - 1, 2)) for layer in range(n))
