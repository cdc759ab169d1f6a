"""Exact nearest neighbours on this machine: faiss against torch, on the same rows in one process.

python benchmarks/neighbours.py [ROWS [QUERIES [WIDTH]]]
"""

import sys
from time import perf_counter

import torch
from jaxtyping import Float
from torch import Tensor

from densebench.learners.neighbours import FaissSearch, TorchSearch

K, REPEATS = 30, 3


def main(rows: int = 153_600, queries: int = 2_048, width: int = 384) -> None:
    generator = torch.Generator().manual_seed(0)
    offset = torch.randn(1, width, generator=generator)
    rows_and_queries = torch.randn(rows + queries, width, generator=generator) + offset
    bank, wanted = torch.nn.functional.normalize(rows_and_queries, dim=1).split([rows, queries])
    searches: dict[str, FaissSearch | TorchSearch] = {
        "faiss, cpu": FaissSearch(bank),
        "torch, cpu": TorchSearch(bank, torch.device("cpu")),
    }
    if torch.cuda.is_available():
        cuda = torch.device("cuda")
        searches["torch, cuda"] = TorchSearch(bank.to(cuda), cuda)
    print(f"{queries} queries, {rows} rows of width {width}, k = {K}; best of {REPEATS}")
    times = {name: _best(search, wanted) for name, search in searches.items()}
    for name, seconds in times.items():
        print(f"{name:<12} {seconds:8.3f} s   {times['torch, cpu'] / seconds:6.2f} x torch, cpu")


def _best(search: FaissSearch | TorchSearch, wanted: Float[Tensor, "q d"]) -> float:
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
