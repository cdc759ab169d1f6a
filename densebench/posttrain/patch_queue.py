"""The queue that reference patches are drawn from, and the draws themselves."""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

from densebench.host.device import sent
from densebench.host.distributed import World
from densebench.host.errors import DensebenchError

QueueCounter = Literal["published", "exact"]
# Which `count` of some places are taken; everything random in a loss is one of these.
Draw = Callable[[Int[Tensor, " n"], int], Int[Tensor, " count"]]

_ENTRIES_PER_IMAGE = 10


def random_draw(generator: Generator | None = None) -> Draw:
    """Draws places at random, each once before any of them twice."""

    def draw(places: Int[Tensor, " n"], count: int) -> Int[Tensor, " count"]:
        order = torch.randperm(max(len(places), count), generator=generator)[:count]
        return places[sent(order, places.device) % len(places)]

    return draw


class PatchQueue(nn.Module):
    """The latest teacher patches of every global crop, the newest first.

    vpariza/NeCo counts the patches of all global crops together, so that until the queue is full
    its counter runs ahead of every crop's own: rows that were never written, zeros, are drawn as
    references too. `counter` "exact" draws from the rows that were written alone.

    The counts stay with the host, wherever the patches are: reading one must not wait for a GPU.

    Args:
        global_crops: number of queues.
        dim: of the patch embeddings.
        capacity: patches per queue.
        counter: which rows may be drawn.
    """

    patches: Tensor
    entered: Tensor

    def __init__(
        self,
        global_crops: int,
        dim: int,
        capacity: int = 8192,
        counter: QueueCounter = "exact",
    ) -> None:
        super().__init__()
        if min(global_crops, dim, capacity) < 1:
            raise DensebenchError(
                f"a patch queue of {global_crops} crops, {dim} dimensions and {capacity} patches "
                "holds nothing: all three must be at least 1"
            )
        if counter not in get_args(QueueCounter):
            raise DensebenchError(f"no counter {counter!r}: use one of {get_args(QueueCounter)}")
        self.counter = counter
        self.register_buffer("patches", torch.zeros(global_crops, capacity, dim))
        self.register_buffer("entered", torch.zeros(global_crops, dtype=torch.int64))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PatchQueue":
        counts = self.entered
        super()._apply(fn, recurse)
        self.entered = counts
        return self

    @torch.no_grad()
    def enter(
        self,
        teacher: Sequence[Float[Tensor, "b h w d"]],
        draw: Draw | None = None,
        foreground: Sequence[Bool[Tensor, "b h w"]] | None = None,
        world: World | None = None,
    ) -> None:
        """Put min(10 * b, capacity) random patches of every global crop in front of its queue.

        Call it before the loss of the same batch, as the published trainer does. In a `world` of
        several processes b counts the images of all, in the order of their ranks, every draw must
        be the same one in each, and every queue ends up the same.
        """
        world, draw = world or World(), draw or random_draw()
        for crop, grid in enumerate(teacher):
            rows = grid.flatten(0, 2)
            pool = _pool(len(rows), None if foreground is None else foreground[crop], world)
            most = min(_ENTRIES_PER_IMAGE * len(grid) * world.size, self.patches.shape[1])
            count = min(most, len(pool))
            if count:
                self._push(crop, _gathered(rows, draw(pool, count), world))

    def _push(self, crop: int, patches: Float[Tensor, "n d"]) -> None:
        kept = self.patches[crop, : self.patches.shape[1] - len(patches)]
        self.patches[crop] = torch.cat([patches.to(self.patches.dtype), kept])
        self.entered[crop] += len(patches)

    def filled(self, crop: int) -> int:
        """How many patches a global crop's queue holds."""
        return min(self.entered.tolist()[crop], self.patches.shape[1])

    def counted(self, crop: int) -> int:
        """How many rows of a global crop's queue may be drawn: its counter."""
        entered = self.entered.tolist()
        own = entered[crop] if self.counter == "exact" else sum(entered)
        return min(own, self.patches.shape[1])

    def draw(self, crop: int, count: int, draw: Draw | None = None) -> Float[Tensor, "count d"]:
        """Random patches of a global crop's queue.

        With the exact counter each once before any of them twice; the published draws are places
        of a full queue, taken modulo the counter.
        """
        counted = self.counted(crop)
        rows = counted if self.counter == "exact" else self.patches.shape[1]
        chosen = (draw or random_draw())(torch.arange(rows) % counted, count)
        return self.patches[crop, sent(chosen, self.patches.device)]


def _pool(rows: int, eligible: Bool[Tensor, "b h w"] | None, world: World) -> Int[Tensor, " n"]:
    """Which rows may enter, counted over all processes."""
    if eligible is None:
        return torch.arange(rows * world.size)
    marks = torch.zeros(world.size, rows, dtype=torch.int64, device=eligible.device)
    marks[world.rank] = eligible.flatten()
    return world.sum(marks).flatten().nonzero()[:, 0].cpu()


def _gathered(
    rows: Float[Tensor, "rows d"], wanted: Int[Tensor, " n"], world: World
) -> Float[Tensor, "n d"]:
    """Some rows of all processes: each gives its own, and the sum with zeros is exact."""
    rank, row = np.divmod(wanted.numpy(), len(rows))
    own = np.flatnonzero(rank == world.rank)
    places, taken = (sent(torch.from_numpy(part), rows.device) for part in (own, row[own]))
    given = rows.new_zeros(len(wanted), rows.shape[1])
    return world.sum(given.index_copy_(0, places, rows[taken]))
