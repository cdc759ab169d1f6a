"""The k nearest rows of a memory bank by inner product: exact, or approximate when asked for.

On a CPU faiss's blocked search is the faster exact one, on a GPU torch's matrix product and top-k
(``benchmarks/neighbours.py`` measures both); either way the search goes through the bank in chunks,
so that no (queries x bank) matrix is ever whole in memory.
"""

from typing import Literal, Protocol

import faiss
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from densebench.host.errors import DensebenchError

Found = tuple[Float[Tensor, "q k"], Int64[Tensor, "q k"]]

CHUNK_ROWS = 65_536
QUERY_ROWS = 4_096
GPU_SHARE = 0.6


class Neighbours(Protocol):
    """A search that is ready: similarities, best first, and the bank's row of each."""

    def search(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        """The ``k`` rows of largest inner product with each query."""


def build_search(
    bank: Float[Tensor, "n d"],
    device: torch.device,
    method: Literal["exact", "ivf"],
    probes: int,
    seed: int,
) -> Neighbours:
    """The search over ``bank`` that is fastest on ``device``; the bank may lie elsewhere."""
    if method == "ivf":
        return InvertedFile(bank, probes, seed)
    if device.type == "cpu" and bank.dtype == torch.float32:
        return FaissSearch(bank)
    return TorchSearch(bank, device)


def check_k(k: int, n_rows: int) -> None:
    """Refuse to look for more neighbours than there are rows.

    Raises:
        DensebenchError: ``k`` exceeds the rows of the bank.
    """
    if k > n_rows:
        raise DensebenchError(
            f"n_neighbours is {k}, but the memory has {n_rows} rows; lower it or add images"
        )


class FaissSearch:
    """Exact search on the CPU; the bank is read in place, not copied."""

    def __init__(self, bank: Float[Tensor, "n d"]) -> None:
        self._bank = bank.contiguous().numpy()

    def search(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        """The ``k`` rows of largest inner product with each query."""
        check_k(k, len(self._bank))
        rows = queries.contiguous().cpu().numpy()
        similarity, index = faiss.knn(rows, self._bank, k, metric=faiss.METRIC_INNER_PRODUCT)
        return torch.from_numpy(similarity), torch.from_numpy(index)


class TorchSearch:
    """Exact search by matrix products and a running top-k, in float32 chunks on ``device``.

    A bank that fits into the GPU's memory moves there once; otherwise chunk by chunk for each block
    of queries.
    """

    def __init__(self, bank: Float[Tensor, "n d"], device: torch.device) -> None:
        self._device = device
        self._bank = bank.to(device) if _has_room(device, bank.nbytes) else bank

    def search(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        """The ``k`` rows of largest inner product with each query."""
        check_k(k, len(self._bank))
        queries = queries.to(self._device)
        found = [self._search_rows(rows, k) for rows in queries.split(QUERY_ROWS)]
        return torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found])

    def _search_rows(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        best = queries.new_empty(len(queries), 0)
        best_index = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
        for start in range(0, len(self._bank), CHUNK_ROWS):
            chunk = self._bank[start : start + CHUNK_ROWS].to(self._device, torch.float32)
            similarity, index = (queries @ chunk.T).topk(min(k, len(chunk)), dim=1)
            best = torch.cat([best, similarity], dim=1)
            best_index = torch.cat([best_index, index + start], dim=1)
            best, kept = best.topk(min(k, best.shape[1]), dim=1)
            best_index = best_index.gather(1, kept)
        return best, best_index


def _has_room(device: torch.device, n_bytes: int) -> bool:
    """Whether a GPU can take so much and keep room for the search itself."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return n_bytes < GPU_SHARE * free


class InvertedFile:
    """Approximate search (faiss IVF-flat): reads the ``probes`` nearest of 4 sqrt(n) cells."""

    def __init__(self, bank: Float[Tensor, "n d"], probes: int, seed: int) -> None:
        rows = bank.float().contiguous().cpu().numpy()
        n_cells = max(1, min(int(4 * len(rows) ** 0.5), len(rows) // 39))
        quantizer = faiss.IndexFlatIP(rows.shape[1])
        self._index = faiss.IndexIVFFlat(
            quantizer, rows.shape[1], n_cells, faiss.METRIC_INNER_PRODUCT
        )
        self._index.cp.seed = seed
        self._index.train(rows)
        self._index.add(rows)
        self._index.nprobe = min(probes, n_cells)

    def search(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        """The best ``k`` rows of the probed cells.

        Raises:
            DensebenchError: the probed cells hold fewer than ``k`` rows.
        """
        check_k(k, self._index.ntotal)
        similarity, index = self._index.search(queries.contiguous().cpu().numpy(), k)
        if (index < 0).any():
            raise DensebenchError(
                f"the probed cells hold fewer than {k} rows; raise `probes` or use search = 'exact'"
            )
        return torch.from_numpy(similarity), torch.from_numpy(index)


def recall(found: Int64[Tensor, "q k"], exact: Int64[Tensor, "q k"]) -> float:
    """Share of the exact neighbours that the approximate search found."""
    hits = (found[:, :, None] == exact[:, None, :]).any(dim=1)
    return float(hits.float().mean())


def measured_recall(
    features: Float[Tensor, "n d"],
    queries: Float[Tensor, "q d"],
    found: Int64[Tensor, "q k"],
    device: torch.device,
) -> float:
    """The recall of an approximate search, by the exact one of the same queries."""
    exact = build_search(features, device, "exact", 0, 0)
    return recall(found, exact.search(queries, found.shape[1])[1].cpu())
