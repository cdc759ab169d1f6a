"""The k nearest rows by a distance, as float64 computes it, on whichever device is faster.

Candidates come from products in float32, a few more than are wanted. Their distances are computed
again in float64. Where rounding may have kept a nearer row out of the candidates, and only there,
the query goes through all rows in float64. So neither blocks, threads nor devices change what is
found; rows at one distance come in their own order.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from densebench.learners.proven_search import ProvenSearch, first_of

Distance = Literal["cosine", "L2", "L1", "Linf", "inner_product"]
Found = tuple[Float[Tensor, "q k"], Int64[Tensor, "q k"]]

SPARE = 16  # candidates beyond those that are wanted
CHUNK_ROWS = 8_192  # in float64
PRODUCT_ROWS = 65_536
QUERY_ROWS = 128  # whose candidates are compared at once
NORMS = {"L2": 2.0, "L1": 1.0, "Linf": float("inf")}
ROUNDING = 2.0**-23
SAME = 1e-12  # a difference of two distances in float64 that is none, of rows of length 1


class Nearest:
    """A search among rows of float32, which are kept as they are.

    Args:
        rows: what is searched, on the processor.
        distance: ``inner_product`` gives products, and the largest are the nearest.
        device: of the products; ``L1`` and ``Linf`` have none and are computed in float64.
    """

    def __init__(self, rows: Float[Tensor, "n d"], distance: Distance, device: torch.device):
        self._rows, self._distance = rows, distance
        self._largest = float(rows.norm(dim=1).max()) if len(rows) else 0.0
        products = _as_products(rows, distance)
        self._search: Products | ProvenSearch | None = None
        if products is not None:
            on_gpu = device.type == "cuda"
            self._search = ProvenSearch(products, device) if on_gpu else Products(products)

    def find(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        """Distances in float64, the nearest first, and the row of each; ``k`` is at most all."""
        queries = queries.cpu()
        if self._search is None:
            return self._everywhere(queries, k)
        score, rows = self._search.search(self._asked(queries), min(k + SPARE, len(self._rows)))
        found, index = self._sorted(queries, rows.cpu().sort(dim=1).values, k)
        if rows.shape[1] < len(self._rows):
            unsure = self._unsure(queries, found[:, -1], score[:, -1].cpu().double())
            if unsure.any():
                found[unsure], index[unsure] = self._everywhere(queries[unsure], k)
        return found, index

    def _asked(self, queries: Float[Tensor, "q d"]) -> Float[Tensor, "q e"]:
        """The queries in the form of the products."""
        if self._distance == "cosine":
            return normalize(queries, dim=1)
        if self._distance == "L2":
            return torch.cat([queries, torch.ones(len(queries), 1)], dim=1)
        return queries

    def _sorted(self, queries: Float[Tensor, "q d"], rows: Int64[Tensor, "q m"], k: int) -> Found:
        """The nearest of some rows of each query, which are given in ascending order."""
        found = []
        for some, theirs in zip(queries.split(QUERY_ROWS), rows.split(QUERY_ROWS), strict=True):
            candidates = self._rows[theirs].double()
            exact = distances(some.double()[:, None], candidates, self._distance)
            found.append(self._rounded(exact))
        distance = torch.cat(found)
        order = distance.sort(dim=1, descending=self._descends, stable=True)
        return order.values[:, :k], rows.gather(1, order.indices)[:, :k]

    @property
    def _descends(self) -> bool:
        return self._distance == "inner_product"

    def _rounded(self, values: Float[Tensor, "q n"]) -> Float[Tensor, "q n"]:
        """Equal rows at equal distances, in whichever order their products were summed."""
        unit = SAME * max(1.0, self._largest)
        return (values / unit).round() * unit

    def _unsure(
        self,
        queries: Float[Tensor, "q d"],
        furthest: Float[Tensor, " q"],
        last: Float[Tensor, " q"],
    ) -> Bool[Tensor, " q"]:
        """Whether a row whose product is below the ``last`` may be nearer than the ``furthest``."""
        norm, width = queries.double().norm(dim=1), self._rows.shape[1]
        share = ROUNDING * (8 + width**0.5)
        if self._distance == "cosine":
            return 1 - furthest <= last + share
        if self._distance == "L2":
            product = (norm.square() - furthest.square()) / 2
            return product <= last + share * self._largest * (norm + self._largest)
        return furthest <= last + share * self._largest * norm

    def _everywhere(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        """Through all rows in float64."""
        parts = [self._all_of(some.double(), k) for some in queries.split(QUERY_ROWS)]
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])

    def _all_of(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        best = queries.new_empty(len(queries), 0)
        index = torch.empty(len(queries), 0, dtype=torch.int64)
        for start in range(0, len(self._rows), CHUNK_ROWS):
            part = self._rows[start : start + CHUNK_ROWS].double()
            here = self._rounded(_all_distances(queries, part, self._distance))
            best = torch.cat([best, here], dim=1)
            rows = torch.arange(start, start + len(part)).expand(len(queries), -1)
            index = torch.cat([index, rows], dim=1)
            kept = _first(best, min(k, best.shape[1]), self._descends)
            best, index = best.gather(1, kept), index.gather(1, kept)
        order = best.sort(dim=1, descending=self._descends, stable=True)
        return order.values, index.gather(1, order.indices)


class Products:
    """The rows of largest inner product, in float32 on a processor.

    Of as few queries as an image has patches, it is three times as fast as faiss's search.
    """

    def __init__(self, rows: Float[Tensor, "n d"]) -> None:
        self._rows = rows

    def search(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        """Products, the largest first, and the row of each."""
        best = queries.new_empty(len(queries), 0)
        index = torch.empty(len(queries), 0, dtype=torch.int64)
        for number, part in enumerate(self._rows.split(PRODUCT_ROWS)):
            score, rows = (queries @ part.T).topk(min(k, len(part)), dim=1)
            score, rows = (
                torch.cat([best, score], 1),
                torch.cat([index, rows + number * PRODUCT_ROWS], 1),
            )
            best, index = first_of(score, rows, k)
        return best, index


def distances(
    queries: Float[Tensor, "*n d"], rows: Float[Tensor, "*n d"], distance: Distance
) -> Float[Tensor, "*n"]:
    """The distance of each query to its row; ``cosine`` is 1 minus the similarity."""
    if distance in NORMS:
        return torch.linalg.vector_norm(queries - rows, ord=NORMS[distance], dim=-1)
    if distance == "cosine":
        return 1 - (normalize(queries, dim=-1) * normalize(rows, dim=-1)).sum(dim=-1)
    return (queries * rows).sum(dim=-1)


def _all_distances(
    queries: Float[Tensor, "q d"], rows: Float[Tensor, "n d"], distance: Distance
) -> Float[Tensor, "q n"]:
    if distance in NORMS:
        mode = "donot_use_mm_for_euclid_dist"
        return torch.cdist(queries, rows, p=NORMS[distance], compute_mode=mode)
    if distance == "cosine":
        return 1 - normalize(queries, dim=-1) @ normalize(rows, dim=-1).T
    return queries @ rows.T


def _as_products(rows: Float[Tensor, "n d"], distance: Distance) -> Float[Tensor, "n e"] | None:
    """Rows whose largest inner products are the nearest; None where there are no such rows.

    |q - x|^2 is least where q.x - |x|^2 / 2 is largest.
    """
    if distance == "cosine":
        return normalize(rows, dim=1)
    if distance == "L2":
        half = -rows.square().sum(dim=1, keepdim=True) / 2
        return torch.cat([rows, half], dim=1)
    return rows if distance == "inner_product" else None


def _first(values: Float[Tensor, "q n"], k: int, descending: bool) -> Int64[Tensor, "q k"]:
    """The places of the k least (or largest) values in their own order; of equals, the first."""
    last = values.topk(k, dim=1, largest=descending).values[:, -1:]
    better = values > last if descending else values < last
    equal = values == last
    room = k - better.sum(dim=1, keepdim=True)
    kept = better | (equal & (equal.cumsum(dim=1) <= room))
    return kept.nonzero()[:, 1].reshape(len(values), k)
