"""A sorting network laid out for strided views: its wires in slots, its layers in stages."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from densebench.posttrain.softsort.network import Network, comparators


@dataclass(frozen=True)
class Layer:
    """One layer's comparators, as views: slot `start + 2*reach*g + r` meets the one `reach` on.

    Wires lie in consecutive slots of a longer array, so that all pairs of a layer are two strided
    views. A pair with an empty slot is idle: what the empty slot holds is finite, and counts 0.
    """

    start: int
    groups: int
    reach: int
    sign: Tensor  # (groups, reach, 1): +1 the minimum goes to the first slot, -1 not, 0 idle
    divisor: Tensor  # pi/|sign|: an idle pair's smaller weight is 0

    def halves(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """The first and the second slots of all pairs: (groups, reach, *rest) each."""
        stop = self.start + 2 * self.groups * self.reach
        pairs = slots[self.start : stop].unflatten(0, (self.groups, 2, self.reach))
        return pairs[:, 0], pairs[:, 1]


@dataclass(frozen=True)
class Stage:
    """Layers that compare wires only within groups of slots.

    A wire can then hold no inputs but those of its group, so only `width` columns are kept. In the
    bitonic network groups double from stage to stage, which halves the arithmetic.
    """

    layers: tuple[Layer, ...]
    width: int
    half: int  # slots in each of the two groups that merge before the stage; 0: none do
    missing: int  # columns of empty slots, left out when the last groups merge


@dataclass(frozen=True)
class Plan:
    """All stages of a network, for rows of n scores."""

    stages: tuple[Stage, ...]
    slots: int
    first: int  # the slot of wire 0
    start: Tensor  # (n, width, 1): the inputs that wires hold before the first layer

    @property
    def layers(self) -> list[Layer]:
        """The layers of all stages."""
        return [layer for stage in self.stages for layer in stage.layers]

    @property
    def widths(self) -> list[int]:
        """How many columns each layer keeps."""
        return [stage.width for stage in self.stages for _ in stage.layers]


def plan_of(network: Network, scores: Tensor) -> Plan:
    """The plan of a network for rows of scores, on their device and of their type."""
    make = _bitonic_plan if network == "bitonic" else _odd_even_plan
    return make(scores.shape[1], scores.device, scores.dtype)


@lru_cache(maxsize=32)
def _bitonic_plan(n: int, device: torch.device, dtype: torch.dtype) -> Plan:
    pairs = iter(comparators("bitonic", n))
    log_slots = (n - 1).bit_length()
    slots, stages = 2**log_slots, []
    missing = slots - n
    for stage in range(log_slots):
        half, last = 2**stage, stage == log_slots - 1
        layers = []
        for reach in (2**bit for bit in range(stage, -1, -1)):
            start = missing // (2 * reach) * 2 * reach
            shape = (start, (slots - start) // (2 * reach), reach)
            layers.append(_layer(next(pairs), missing, shape, device, dtype))
        dropped = missing if last else 0
        stages.append(Stage(tuple(layers), 2 * half - dropped, half, dropped))
    held = torch.ones(n, 1, 1, device=device, dtype=dtype)
    return Plan(tuple(stages), slots, missing, held)


@lru_cache(maxsize=32)
def _odd_even_plan(n: int, device: torch.device, dtype: torch.dtype) -> Plan:
    layers = []
    for index, pairs in enumerate(comparators("odd_even", n)):
        start = 1 - index % 2
        shape = (start, math.ceil((n + 1 - start) / 2), 1)
        layers.append(_layer(pairs, 1, shape, device, dtype))
    held = torch.eye(n, device=device, dtype=dtype)[:, :, None]
    return Plan((Stage(tuple(layers), n, 0, 0),), n + 2, 1, held)


def _layer(
    pairs: tuple[tuple[int, int], ...],
    first: int,
    shape: tuple[int, int, int],
    device: torch.device,
    dtype: torch.dtype,
) -> Layer:
    start, groups, reach = shape
    sign = torch.zeros(groups, reach, 1)
    for low, high in pairs:
        place = min(low, high) + first - start
        sign[place // (2 * reach), place % (2 * reach)] = 1.0 if low < high else -1.0
    sign = sign.to(device, dtype)
    return Layer(start, groups, reach, sign, math.pi / sign.abs())
