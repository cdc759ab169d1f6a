"""Exact nearest neighbours on this machine: both engines, on the same rows in one process.

`torch` is the search in half precision with its proof, which on a processor does what it would on a
GPU. Where there is a GPU, faiss's own exact search stands beside it.

python benchmarks/neighbours.py [ROWS [QUERIES [WIDTH]]]
"""

import sys
from time import perf_counter

import faiss
import torch
from jaxtyping import Float
from torch import Tensor

from densebench.learners.neighbours import FaissSearch, Neighbours
from densebench.learners.proven_search import Found, ProvenSearch

K, REPEATS = 30, 3


def main(rows: int = 153_600, queries: int = 2_048, width: int = 384) -> None:
    generator = torch.Generator().manual_seed(0)
    offset = torch.randn(1, width, generator=generator)
    rows_and_queries = torch.randn(rows + queries, width, generator=generator) + offset
    bank, wanted = torch.nn.functional.normalize(rows_and_queries, dim=1).split([rows, queries])
    searches: dict[str, Neighbours] = {
        "faiss, cpu": FaissSearch(bank),
        "torch, cpu": ProvenSearch(bank, torch.device("cpu")),
    }
    if torch.cuda.is_available():
        cuda = torch.device("cuda")
        searches["torch, cuda"] = ProvenSearch(bank.to(cuda), cuda)
        searches["faiss, cuda"] = FaissOnGpu(bank.to(cuda))
    print(f"{queries} queries, {rows} rows of width {width}, k = {K}; best of {REPEATS}")
    times = {name: _best(search, wanted) for name, search in searches.items()}
    for name, seconds in times.items():
        print(f"{name:<12} {seconds:8.3f} s   {times['torch, cpu'] / seconds:6.2f} x torch, cpu")
    for name, search in searches.items():
        if isinstance(search, ProvenSearch):
            again = search.searched_again / search.searched
            print(f"{name:<12} {again:.2%} of the queries searched again in full precision")
    rows_of = {name: search.search(wanted, K)[1].cpu() for name, search in searches.items()}
    for name, found in rows_of.items():
        same = (found.sort(dim=1).values == rows_of["torch, cpu"].sort(dim=1).values).all(dim=1)
        print(f"{name:<12} the same rows as torch, cpu for {int(same.sum())} queries")


class FaissOnGpu:
    """faiss's exact search of rows that are on a GPU."""

    def __init__(self, bank: Float[Tensor, "n d"]) -> None:
        self._bank, self._resources = bank, faiss.StandardGpuResources()

    def search(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        """The ``k`` rows of largest inner product with each query."""
        import faiss.contrib.torch_utils  # knn_gpu takes tensors from here on

        rows = queries.to(self._bank.device), self._bank
        return faiss.knn_gpu(self._resources, *rows, k, metric=faiss.METRIC_INNER_PRODUCT)


def _best(search: Neighbours, wanted: Float[Tensor, "q d"]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = perf_counter()
        search.search(wanted, K)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
