"""What the nearest rows of a memory bank say of queries, and what their search says of itself."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from densebench.features.source import PatchBatch
from densebench.host.device import free_on_gpu
from densebench.host.distributed import World
from densebench.learners.batching import in_batches
from densebench.learners.memory_bank import MemoryBank, vote
from densebench.learners.neighbours import InvertedFile, Neighbours, measured_recall
from densebench.learners.proven_search import QUERY_ROWS, ProvenSearch
from densebench.learners.sharded_search import ShardedSearch

RECALL_QUERIES = 512
QUERY_BLOCKS = 4  # of a proven search, that are given to it at once
GPU_SHARE = 0.5


class Votes:
    """Soft labels by the ``k`` nearest rows of a bank.

    Args:
        bank: with all its rows; its counts move to a GPU if they fit.
        search: of these rows.
        device: of the run.
        world: the processes that do it, of which the first measures a recall.
        k: how many rows vote.
        beta: the temperature of their softmax.
    """

    def __init__(
        self,
        bank: MemoryBank,
        search: Neighbours,
        device: torch.device,
        world: World,
        k: int,
        beta: float,
    ) -> None:
        self._bank, self._search = bank, search
        self._device, self._world = device, world
        self._k, self._beta = k, beta
        self._recall: float | None = None
        if bank.count_bytes < GPU_SHARE * free_on_gpu(device):
            bank.move_counts(device)

    def merged(self, batches: Iterator[PatchBatch], per_image: int) -> Iterator[PatchBatch]:
        """Batches that fill the blocks of a proven search, which no batch changes; others as is."""
        if isinstance(self._search, ProvenSearch):
            return in_batches(batches, max(1, QUERY_BLOCKS * QUERY_ROWS // per_image))
        return batches

    def of(self, queries: Float[Tensor, "i p d"]) -> Float[Tensor, "i p c"]:
        """The mean soft label for each query of some images."""
        similarity, rows = self._search.search(queries.flatten(0, 1), self._k)
        measures = isinstance(self._search, InvertedFile) and self._world.is_main
        if measures and self._recall is None:
            found = queries.flatten(0, 1)[:RECALL_QUERIES], rows[:RECALL_QUERIES]
            self._recall = measured_recall(self._bank.features, *found, self._device)
        # The labels of all neighbours of a batch would be its largest tensor: image by image.
        per_image = queries.shape[1]
        pairs = zip(similarity.split(per_image), rows.split(per_image), strict=True)
        return torch.stack([self._vote(*pair) for pair in pairs]).to(self._device)

    def told(self) -> dict[str, Any]:
        """The recall of an approximate search; of a proven one, how many queries it took.

        ``searched_again`` are those that only full precision settled. In a bank that several
        processes share, a query counts once for each stretch.
        """
        search = self._search
        if isinstance(search, ProvenSearch | ShardedSearch):
            here = torch.tensor([search.searched, search.searched_again])
            queries, again = self._world.sum(here).tolist()
            return {"search": {"queries": queries, "searched_again": again}} if queries else {}
        return {} if self._recall is None else {"recall": self._recall}

    def _vote(self, similarity: Float[Tensor, "q k"], rows: Int64[Tensor, "q k"]) -> Tensor:
        labels = self._bank.soft_labels(rows)
        return vote(similarity.to(labels.device), labels, self._beta)
