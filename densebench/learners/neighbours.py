"""The k nearest rows of a memory bank by inner product: exact, or approximate when asked for.

Two engines are exact. On a CPU faiss's blocked search is the faster one, which runs at the peak of
its matrix products; a GPU searches in half precision and proves the outcome. They find the same
rows but where two similarities are nearer than float32 can tell (``benchmarks/neighbours.py``
measures both). Either goes through the bank in blocks, so that no (queries x bank) matrix is ever
whole in memory. Which of the rows at one similarity count is for each engine its own rule: faiss's
is the published code's, and ``ties`` says it of a bank in pieces as well.
"""

from typing import Protocol

import faiss
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from densebench.host.errors import DensebenchError
from densebench.learners.engines import EngineName, Method, chosen_engine
from densebench.learners.proven_search import Found, ProvenSearch, by_number, check_k
from densebench.learners.ties import as_faiss, faiss_rows, first_rows

CHUNK_ROWS = 65_536


class Neighbours(Protocol):
    """A search that is ready: similarities, best first, and the bank's row of each."""

    def search(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        """The ``k`` rows of largest inner product with each query."""


def build_search(
    bank: Float[Tensor, "n d"],
    device: torch.device,
    method: Method,
    probes: int,
    seed: int,
    engine: EngineName = "auto",
) -> Neighbours:
    """The search over ``bank``, which may lie elsewhere than on ``device``."""
    if method == "ivf":
        return InvertedFile(bank, probes, seed)
    if chosen_engine(engine, device) == "faiss":
        return FaissSearch(bank)
    return ProvenSearch(bank, device)


class FaissSearch:
    """Exact search on the CPU; a bank in float32 is read in place, one in float16 in chunks."""

    def __init__(self, bank: Float[Tensor, "n d"]) -> None:
        self._bank = bank.contiguous().cpu()

    def search(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        """The ``k`` rows of largest inner product with each query."""
        check_k(k, len(self._bank))
        rows = queries.float().contiguous().cpu()
        if self._bank.dtype == torch.float32:
            return faiss_rows(rows, self._bank, k)
        return as_faiss(*self.candidates(rows, k), k)

    def candidates(self, queries: Float[Tensor, "q d"], k: int) -> Found:
        """The nearest rows, of which a bank that these are a stretch of has its ``k``."""
        rows = queries.float().contiguous().cpu()
        best = rows.new_empty(len(rows), 0), torch.empty(len(rows), 0, dtype=torch.int64)
        whole = self._bank.dtype == torch.float32
        for number, chunk in enumerate((self._bank,) if whole else self._bank.split(CHUNK_ROWS)):
            similarity, index = first_rows(rows, chunk.float(), min(2 * k, len(chunk)))
            similarity = torch.cat([best[0], similarity], dim=1)
            index = torch.cat([best[1], index + number * CHUNK_ROWS], dim=1)
            best = by_number(similarity, index, 2 * k)
        return best


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
