"""Nearest rows of a memory bank that no process holds whole: each searches a stretch of it.

All of them search for the same queries. Of what they find the largest similarities count, and of
equal ones those that the engine takes in one process, so that the outcome does not depend on how
many there are: faiss's rule is that of ``ties``, for fewer than 100 neighbours; a proven search
takes the first rows of the bank.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from densebench.host.distributed import World
from densebench.learners.engines import Engine
from densebench.learners.memory_bank import MemoryBank
from densebench.learners.neighbours import FaissSearch, Neighbours
from densebench.learners.proven_search import Found, ProvenSearch, by_number, check_k
from densebench.learners.ties import as_faiss

# faiss goes through a bank by so many rows: where each stretch begins at a multiple of it, the
# products are those of one process to the last bit.
ALIGNED_ROWS = 1024
MEMORY_SHARE = 0.5  # of what a process may take: a larger bank is sharded


def stretches(rows: int, count: int) -> list[range]:
    """The rows of each of so many processes: aligned stretches, the last of which may be empty."""
    length = -(-rows // (count * ALIGNED_ROWS)) * ALIGNED_ROWS
    ends = [min(rows, place * length) for place in range(count + 1)]
    return [range(*pair) for pair in pairwise(ends)]


class ShardedSearch:
    """The search of a whole bank by all processes at once.

    Args:
        own: the search of this process's rows; None where it has none.
        own_rows: which they are in the bank.
        n_rows: of the bank.
        world: the processes.
        engine: of the search, whose rule of ties it is.
    """

    def __init__(
        self,
        own: Neighbours | None,
        own_rows: range,
        n_rows: int,
        world: World,
        engine: Engine,
    ) -> None:
        self._own, self._own_rows = own, own_rows
        self._n_rows, self._world = n_rows, world
        self._chosen = as_faiss if engine == "faiss" else by_number

    def search(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        """The ``k`` rows of largest inner product, in every process, which all ask for the same.

        Raises:
            DensebenchError: ``k`` exceeds the rows of the bank.
        """
        check_k(k, self._n_rows)
        found = self._world.each(self._here(queries, k))
        similarity, rows = (torch.cat(part, dim=1) for part in zip(*found, strict=True))
        return self._chosen(similarity, rows, k)

    @property
    def searched(self) -> int:
        """How many queries this process proved in its stretch; of faiss none is counted."""
        return self._own.searched if isinstance(self._own, ProvenSearch) else 0

    @property
    def searched_again(self) -> int:
        """How many of them half precision did not settle."""
        return self._own.searched_again if isinstance(self._own, ProvenSearch) else 0

    def _here(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        count = min(k, len(self._own_rows))
        if self._own is None or not count:
            return torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
        if isinstance(self._own, FaissSearch):
            similarity, rows = self._own.candidates(queries, k)
        else:
            similarity, rows = self._own.search(queries, count)
        return similarity.cpu(), rows.cpu() + self._own_rows.start


@dataclass(frozen=True)
class Sharing:
    """How several processes keep a bank: each the whole, or a stretch where that is too large.

    Attributes:
        world: the processes.
        rows: for how many there is place.
        row_bytes: what a row of features takes.
        room: bytes that each process may take, the same in all of them; None sets no bound.
        engine: of the search.
    """

    world: World
    rows: int
    row_bytes: int
    room: int | None
    engine: Engine

    @property
    def is_sharded(self) -> bool:
        """Whether each process has a stretch."""
        if self.world.size == 1 or self.room is None:
            return False
        return self.rows * self.row_bytes > MEMORY_SHARE * self.room

    @property
    def stretch(self) -> range:
        """The rows of this process."""
        if self.is_sharded:
            return stretches(self.rows, self.world.size)[self.world.rank]
        return range(self.rows)

    def search(
        self, bank: MemoryBank, build: Callable[[Float[Tensor, "n d"]], Neighbours]
    ) -> Neighbours:
        """The search of a whole bank, of which this process has its rows."""
        if not self.is_sharded:
            return build(bank.features)
        own = build(bank.features) if bank.own_rows else None
        return ShardedSearch(own, bank.own_rows, len(bank), self.world, self.engine)
