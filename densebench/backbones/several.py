"""Features of several blocks of a backbone: which ones, and how they become one map.

Each block's output goes through the final normalisation, is brought to the first one's grid and
laid beside the others. Source: facebookresearch/dinov3 at 6876159, dinov3/eval/utils.py.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from densebench.host.errors import DensebenchError, UnsuitedError

Layers = Literal["last", "four_last", "four_even"] | int | tuple[int, ...]

FOUR = 4
UNEVEN = {24: (4, 11, 17, 23)}  # where the published choice follows no rule


def chosen_layers(layers: Layers, count: int, name: str) -> tuple[int, ...] | None:
    """The blocks that are meant, counted from 0; None for the backbone's own output.

    Args:
        layers: as a protocol's parameter says it.
        count: how many blocks the backbone has; 0 where they cannot be had one by one.
        name: the backbone's.

    Raises:
        DensebenchError: it has no such blocks; an ``UnsuitedError`` where no number would do.
    """
    if layers == "last":
        return None
    if not count:
        raise UnsuitedError(f"{name}: gives no features of single blocks; use layers=last")
    if isinstance(layers, str):
        if count < FOUR:
            raise UnsuitedError(f"{name}: has {count} blocks, and layers={layers} takes four")
        return tuple(range(count - FOUR, count)) if layers == "four_last" else four_even(count)
    wanted = (layers,) if isinstance(layers, int) else layers
    if (
        list(wanted) != sorted(set(wanted))
        or not wanted
        or not 0 <= wanted[0] <= wanted[-1] < count
    ):
        raise DensebenchError(
            f"{name}: has the layers 0 to {count - 1}, not {list(wanted)}; "
            "name each of them once, in ascending order"
        )
    return wanted


def four_even(count: int) -> tuple[int, ...]:
    """Four blocks at equal distances, the last one among them."""
    return UNEVEN.get(count, tuple(part * count // FOUR - 1 for part in range(1, FOUR + 1)))


def joined(maps: Sequence[Float[Tensor, "b h w d"]]) -> Float[Tensor, "b h w D"]:
    """One map of all, each resized bilinearly to the first one's grid."""
    size = maps[0].shape[1:3]
    return torch.cat([resized_map(one, (size[0], size[1])) for one in maps], dim=-1)


def resized_map(one: Float[Tensor, "b h w d"], size: tuple[int, int]) -> Float[Tensor, "b H W d"]:
    """A map at another grid (bilinear, align_corners off)."""
    if one.shape[1:3] == size:
        return one
    moved = one.movedim(-1, 1)
    return interpolate(moved, size=size, mode="bilinear", align_corners=False).movedim(1, -1)


def block_outputs(
    blocks: Sequence[nn.Module], layers: Sequence[int], run: Callable[[], object]
) -> list[Tensor]:
    """What some blocks give while the backbone is run, in the order of ``layers``."""
    given: dict[int, Tensor] = {}
    watches = [
        blocks[layer].register_forward_hook(
            lambda _, inputs, output, layer=layer: given.__setitem__(layer, output)
        )
        for layer in layers
    ]
    try:
        run()
    finally:
        for watch in watches:
            watch.remove()
    return [given[layer] for layer in layers if layer in given]


def as_map(
    output: Tensor, grid: tuple[int, int], width: int, name: str
) -> Float[Tensor, "b h w d"]:
    """A block's output as a map: tokens behind any prefix, or a map already.

    Raises:
        DensebenchError: it is neither.
    """
    height, columns = grid
    shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
    if len(shape) == 2 and shape[1] == width and shape[0] >= height * columns:
        return output[:, -height * columns :].unflatten(1, grid)
    if shape == (height, columns, width):
        return output
    if shape == (width, height, columns):
        return output.movedim(1, -1)
    raise DensebenchError(
        f"{name}: a block gives {'x'.join(map(str, shape)) or 'no tensor'} for {height}x{columns} "
        f"patches of {width} numbers; single layers want tokens or a map of them"
    )
