"""Which of the rows at one similarity faiss's exact search keeps, found from stretches of a bank.

It goes through a bank from the beginning, takes what is nearer than the worst that it has, and
throws that out; of several at the worst similarity the one of the lowest number. So of rows tied at
the similarity of the kth it has met some among the first k rows that are at least as near, and has
thrown out the first of these again (``as_faiss``; for as many neighbours as it keeps in a heap,
which are fewer than 100). To know them, a stretch gives its nearest rows, of tied ones the first
(``first_rows``): twice k, since rows that are nearer may come after k tied ones.

For that, a few rows more than are wanted are asked for, so that ties are seen whole. Where the last
of these is still at the similarity of the kth, many more are; and where rows are there a thousand
times, the stretch is gone through block by block until there are enough. Similarities are those
that faiss computes of all queries at once, to the last bit, and decide what is equal.
"""

import faiss
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from densebench.learners.proven_search import Found, by_number, first_of

SPARE = 8
MANY = 16  # times as many
BLOCK_ROWS = 1024  # by which faiss goes through a bank: products of whole blocks are its own


def first_rows(queries: Float[Tensor, "q d"], bank: Float[Tensor, "n d"], k: int) -> Found:
    """The ``k`` rows of largest inner product, of equal ones those of the lowest number."""
    for count in (k + SPARE, MANY * (k + SPARE)):
        similarity, rows = faiss_rows(queries, bank, min(count, len(bank)))
        found = by_number(similarity, rows, k)
        tied = similarity[:, -1] == found[0][:, -1]
        if count >= len(bank) or not tied.any():
            return found
    _take_first(queries, bank, found, tied)
    return found


def faiss_rows(queries: Float[Tensor, "q d"], bank: Float[Tensor, "n d"], k: int) -> Found:
    """The ``k`` rows that faiss finds, by its own rule."""
    arrays = queries.numpy(), bank.numpy()
    similarity, rows = faiss.knn(*arrays, k, metric=faiss.METRIC_INNER_PRODUCT)
    return torch.from_numpy(similarity), torch.from_numpy(rows)


def _take_first(
    queries: Float[Tensor, "q d"],
    bank: Float[Tensor, "n d"],
    found: Found,
    tied: Bool[Tensor, " q"],
) -> None:
    """Put the first rows at the similarity of the kth into what was found of the tied queries."""
    similarity, rows = found
    last = similarity[:, -1:]
    place = (similarity > last).sum(dim=1)  # of the next row at that similarity
    for number, block in enumerate(bank.split(BLOCK_ROWS)):
        wanting = tied & (place < rows.shape[1])
        if not wanting.any():
            return
        here, order = faiss_rows(queries, block, len(block))
        equal = torch.zeros(here.shape, dtype=torch.bool).scatter_(1, order, here == last)
        equal &= wanting[:, None]
        to = place[:, None] + equal.cumsum(dim=1) - 1
        query, row = (equal & (to < rows.shape[1])).nonzero(as_tuple=True)
        rows[query, to[query, row]] = row + number * BLOCK_ROWS
        place += equal.sum(dim=1)


def as_faiss(similarity: Float[Tensor, "q n"], rows: Int64[Tensor, "q n"], k: int) -> Found:
    """The k nearest as faiss finds them in a whole bank, from all that may be among them.

    Of rows at one similarity it gives those of the highest number first.
    """
    order = rows.argsort(dim=1)
    similarity, rows = similarity.gather(1, order), rows.gather(1, order)
    last = similarity.topk(k, dim=1).values[:, -1:]
    met = (similarity >= last).cumsum(dim=1) <= k
    tied = (similarity == last) & met
    kept = k - (similarity > last).sum(dim=1, keepdim=True)
    out = tied & (tied.cumsum(dim=1) <= tied.sum(dim=1, keepdim=True) - kept)
    similarity = similarity.masked_fill((similarity <= last) & (~tied | out), -torch.inf)
    return first_of(similarity.flip(1), rows.flip(1), k)
