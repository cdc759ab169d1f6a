"""Exact nearest neighbours by matrix products in half precision, and a proof for each query.

1. The bank in float16 is on the device. Its inner products with a block of queries are computed
   block by block; of every group of 64 rows only the largest is kept.
2. The rows of the best groups are read again in float16, and the best of them in full precision:
   their products in float64, rounded to float32, are the similarities. Of equal ones the first row
   of the bank comes first.
3. What was not read in full precision is at most the best unread group or row, and what
   ``half_rows.Bound`` allows above that. Where the kth similarity is above it, the k rows are those
   of an exact search.
4. The other queries are searched again: float32 products with the whole bank, and in float64
   whatever these leave possible. Near ties and rows that are there many times come to this.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor
from torch.nn.functional import pad

from densebench.host.device import free_on_gpu, whole_sums
from densebench.host.errors import DensebenchError
from densebench.learners.half_rows import Bound, HalfRows

Found = tuple[Float[Tensor, "q k"], Int64[Tensor, "q k"]]

QUERY_ROWS = 4_096
BANK_ROWS = 8_192  # whole groups
GROUP = 64
MORE_GROUPS = 8  # are read than there are neighbours
MORE_ROWS = 18  # of them are read in full precision
READ_VALUES = 1 << 26  # at once
AGAIN_ROWS = 1_024  # queries at once
GPU_SHARE = 0.6


def check_k(k: int, n_rows: int) -> None:
    """Refuse to look for more neighbours than there are rows.

    Raises:
        DensebenchError: ``k`` exceeds the rows of the bank.
    """
    if k > n_rows:
        raise DensebenchError(
            f"n_neighbours is {k}, but the memory has {n_rows} rows; lower it or add images"
        )


class ProvenSearch:
    """Exact search of a bank, which may lie elsewhere than on ``device``.

    The full precision is on the device if it fits into what is free there, and else is read from
    where it is, some rows a query.

    Attributes:
        searched: how many queries there were.
        searched_again: how many of them half precision did not settle.
    """

    def __init__(self, bank: Float[Tensor, "n d"], device: torch.device) -> None:
        self._device = device
        with torch.inference_mode():
            self._half = HalfRows.of_bank(bank, device)
            fits = device.type == "cpu" or bank.nbytes < GPU_SHARE * free_on_gpu(device)
            self._full = bank.to(device) if fits else bank
        self.searched = self.searched_again = 0

    @torch.inference_mode()
    def search(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        """The ``k`` rows of largest inner product with each query, in blocks of like length.

        Raises:
            DensebenchError: ``k`` exceeds the rows of the bank.
        """
        check_k(k, len(self._full))
        blocks = max(1, -(-len(queries) // QUERY_ROWS))
        with whole_sums():
            found = [
                self._search(rows.to(self._device), k) for rows in queries.tensor_split(blocks)
            ]
        return torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found])

    def _search(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        rounded = HalfRows.of_queries(queries)
        bound = Bound.of(rounded, self._half)
        rows, unread = self._candidates(rounded, k)
        similarity, rows = self._exact(queries, rounded.scale, rows, k)
        proven = similarity[:, -1] > bound.highest(unread)
        again = (~proven).nonzero()[:, 0]
        self.searched += len(queries)
        self.searched_again += len(again)
        for some in again.split(AGAIN_ROWS):
            floor = similarity[some, -1] - bound.whole[some] - bound.tie[some]
            best = self._search_again(queries[some], rounded.scale[some], floor, k)
            similarity[some], rows[some] = best
        return (similarity / self._scale(rounded.scale)[:, None]).float(), rows

    def _candidates(
        self, queries: HalfRows, k: int
    ) -> tuple[Int64[Tensor, "q m"], Float[Tensor, " q"]]:
        """Rows to be read in full precision, and the largest product that any other has."""
        maxima = self._group_maxima(queries.values)
        n_groups = min(k + MORE_GROUPS, maxima.shape[1])
        groups, unread = _best(maxima, n_groups)
        n_rows = min(k + MORE_ROWS, len(self._full))
        per_query = n_groups * GROUP * self._full.shape[1]
        parts = _together(queries.values, groups, per_query)
        found = [self._best_rows(q, g, n_rows) for q, g in parts]
        rows, next_row = torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found])
        return rows, torch.maximum(unread, next_row)

    def _group_maxima(self, queries: Float[Tensor, "q d"]) -> Float[Tensor, "q g"]:
        """The largest product with the rows of each group."""
        bank, first = self._half.values, 0
        n_groups = -(-len(bank) // GROUP)
        maxima = _products(queries, bank[:0]).new_empty(len(queries), n_groups)
        for block in bank.split(BANK_ROWS):
            products = pad(_products(queries, block), (0, -len(block) % GROUP), value=-torch.inf)
            groups = products.unflatten(1, (-1, GROUP))
            maxima[:, first : first + groups.shape[1]] = groups.amax(dim=2)
            first += groups.shape[1]
        return maxima

    def _best_rows(
        self, queries: Float[Tensor, "q d"], groups: Int64[Tensor, "q g"], count: int
    ) -> tuple[Int64[Tensor, "q m"], Float[Tensor, " q"]]:
        """The best rows of some groups by half precision, and the product of the next one."""
        inside = torch.arange(GROUP, device=groups.device)
        rows = (groups[:, :, None] * GROUP + inside).flatten(1)
        last = len(self._half.values) - 1
        read = _rows_of(self._half.values, rows.clamp(max=last))
        products = _products(queries[:, None], read)[:, 0].masked_fill(rows > last, -torch.inf)
        best, next_product = _best(products, count)
        return rows.gather(1, best), next_product

    def _exact(
        self,
        queries: Float[Tensor, "q d"],
        scale: Float64[Tensor, " q"],
        rows: Int64[Tensor, "q m"],
        k: int,
    ) -> tuple[Float32[Tensor, "q k"], Int64[Tensor, "q k"]]:
        """The best of some rows, by products that are as good as exact, scaled."""
        rows = rows.sort(dim=1).values
        per_query = rows.shape[1] * self._full.shape[1]
        products = []
        for q, r in _together(queries, rows, per_query):
            read = _rows_of(self._full, r).to(self._device, torch.float64)
            products.append((read * q.double()[:, None]).sum(dim=2))
        similarity = (torch.cat(products) * self._scale(scale)[:, None]).float()
        return first_of(similarity, rows, k)

    def _search_again(
        self,
        queries: Float[Tensor, "q d"],
        scale: Float64[Tensor, " q"],
        floor: Float64[Tensor, " q"],
        k: int,
    ) -> tuple[Float32[Tensor, "q k"], Int64[Tensor, "q k"]]:
        """The best rows of the whole bank, of which none has less than ``floor`` in float32."""
        scaled, bank_scale = (queries * scale[:, None]).float(), self._half.scale.float()
        best = scaled.new_full((len(queries), k), -torch.inf)
        best_rows = torch.zeros_like(best, dtype=torch.int64)
        start = 0
        for block in self._full.split(BANK_ROWS):
            rows = block.to(self._device, torch.float32) * bank_scale
            possible = (scaled @ rows.T >= floor[:, None].float()).any(dim=1).nonzero()[:, 0]
            products = (scaled[possible].double() @ rows.double().T).float()
            numbers = torch.arange(start, start + len(block), device=self._device)
            similarity = torch.cat([best[possible], products], dim=1)
            numbers = torch.cat([best_rows[possible], numbers.expand(len(possible), -1)], dim=1)
            best[possible], best_rows[possible] = first_of(similarity, numbers, k)
            start += len(block)
        return best, best_rows

    def _scale(self, of_queries: Float64[Tensor, " q"]) -> Float64[Tensor, " q"]:
        """By what products of the given rows are multiplied."""
        return of_queries * self._half.scale


def _together(
    queries: Float[Tensor, "q d"], of_each: Int64[Tensor, "q n"], per_query: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """As many queries at once as may read so many values each."""
    some = max(1, READ_VALUES // per_query)
    return zip(queries.split(some), of_each.split(some), strict=True)


def _rows_of(bank: Float[Tensor, "n d"], rows: Int64[Tensor, "q m"]) -> Float[Tensor, "q m d"]:
    """Some rows for each query, where the bank is."""
    return bank.index_select(0, rows.flatten().to(bank.device)).unflatten(0, rows.shape)


def _products(
    queries: Float[Tensor, "*b q d"], rows: Float[Tensor, "*b n d"]
) -> Float[Tensor, "*b q n"]:
    """Of half precision; a processor, which has no units for it, computes them in float32."""
    if queries.device.type == "cpu":
        queries, rows = queries.float(), rows.float()
    return queries @ rows.mT


def _best(
    values: Float[Tensor, "q n"], count: int
) -> tuple[Int64[Tensor, "q m"], Float[Tensor, " q"]]:
    """Where the largest values are, and the next one; -inf where there is none."""
    found = values.topk(min(count + 1, values.shape[1]), dim=1)
    if found.values.shape[1] == count:
        return found.indices, torch.full_like(found.values[:, 0], -torch.inf)
    return found.indices[:, :count], found.values[:, count]


def first_of(
    similarity: Float[Tensor, "q n"], rows: Int64[Tensor, "q n"], k: int
) -> tuple[Float[Tensor, "q k"], Int64[Tensor, "q k"]]:
    """The k largest, and of equal ones those that come first."""
    order = similarity.sort(dim=1, descending=True, stable=True)
    chosen = order.indices[:, :k]
    return order.values[:, :k], rows.gather(1, chosen)


def by_number(
    similarity: Float[Tensor, "q n"], rows: Int64[Tensor, "q n"], k: int
) -> tuple[Float[Tensor, "q k"], Int64[Tensor, "q k"]]:
    """The k largest, and of equal ones those of the lowest number, which is also their order."""
    order = rows.argsort(dim=1)
    return first_of(similarity.gather(1, order), rows.gather(1, order), k)
