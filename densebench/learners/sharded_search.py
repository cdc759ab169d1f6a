"""Nearest rows of a memory bank that no process holds whole: each searches a stretch of it.

All of them search for the same queries. Of what they find the largest similarities count, of equal
ones the first rows of the bank, so that the outcome does not depend on how many there are. Only of
rows that are equal to the last bit faiss may choose others in one process.
"""

from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from densebench.host.distributed import World
from densebench.learners.neighbours import Neighbours
from densebench.learners.proven_search import Found, check_k

# faiss goes through a bank by so many rows: where each stretch begins at a multiple of it, the
# products are those of one process to the last bit.
ALIGNED_ROWS = 1024


def stretches(rows: int, count: int) -> list[range]:
    """The rows of each of so many processes: aligned stretches, the last of which may be empty."""
    length = -(-rows // (count * ALIGNED_ROWS)) * ALIGNED_ROWS
    ends = [min(rows, place * length) for place in range(count + 1)]
    return [range(*pair) for pair in pairwise(ends)]


def best_of(
    similarity: Float[Tensor, "q m"], rows: Int64[Tensor, "q m"], k: int
) -> tuple[Float[Tensor, "q k"], Int64[Tensor, "q k"]]:
    """The ``k`` largest similarities, of equal ones those of the first rows."""
    by_row = rows.argsort(dim=1)
    similarity, rows = similarity.gather(1, by_row), rows.gather(1, by_row)
    best = similarity.argsort(dim=1, descending=True, stable=True)[:, :k]
    return similarity.gather(1, best), rows.gather(1, best)


class ShardedSearch:
    """The search of a whole bank by all processes at once.

    Args:
        own: the search of this process's rows; None where it has none.
        own_rows: which they are in the bank.
        n_rows: of the bank.
        world: the processes.
    """

    def __init__(self, own: Neighbours | None, own_rows: range, n_rows: int, world: World) -> None:
        self._own, self._own_rows = own, own_rows
        self._n_rows, self._world = n_rows, world

    def search(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        """The ``k`` rows of largest inner product, in every process, which all ask for the same.

        Raises:
            DensebenchError: ``k`` exceeds the rows of the bank.
        """
        check_k(k, self._n_rows)
        found = self._world.each(self._here(queries, k))
        return best_of(torch.cat([f[0] for f in found], 1), torch.cat([f[1] for f in found], 1), k)

    def _here(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        count = min(k, len(self._own_rows))
        if self._own is None or not count:
            return torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
        similarity, rows = self._own.search(queries, count)
        return similarity.cpu(), rows.cpu() + self._own_rows.start
