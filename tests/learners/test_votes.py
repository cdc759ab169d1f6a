"""Votes of the nearest rows, and batches that are merged for a proven search alone."""

import pytest
import torch
from torch.nn.functional import normalize

from densebench.features.source import PatchBatch
from densebench.host.distributed import World
from densebench.learners import votes
from densebench.learners.memory_bank import MemoryBank
from densebench.learners.neighbours import build_search
from densebench.learners.votes import Votes

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bank():
    random = torch.Generator().manual_seed(0)
    filled = MemoryBank(300, 8, 4, 16, fp16=False)
    counts = torch.randint(1, 5, (300, 4), generator=random)
    filled.add(normalize(torch.randn(300, 8, generator=random), dim=1), counts)
    return filled


def votes_of(bank, engine, method="exact", k=6):
    search = build_search(bank.features, CPU, method, 4, 0, engine)
    return Votes(bank, search, CPU, World(), k, 0.02)


def batches(sizes):
    start = 0
    for size in sizes:
        indices = torch.arange(start, start + size)
        yield PatchBatch(indices, torch.zeros(size, 2, 2, 8), torch.zeros(size, 4, 4))
        start += size


def test_either_engine_gives_the_mean_label_under_a_softmax(bank):
    queries = normalize(torch.randn(3, 5, 8), dim=-1)
    similarity, rows = (queries @ bank.features.T).topk(6)
    weights = (similarity / 0.02).softmax(dim=-1)
    expected = (weights[..., None] * bank.soft_labels(rows)).sum(dim=-2)
    for engine in ("faiss", "torch"):
        torch.testing.assert_close(votes_of(bank, engine).of(queries), expected)


def test_batches_are_merged_for_a_proven_search_alone(bank, monkeypatch):
    monkeypatch.setattr(votes, "QUERY_ROWS", 5)
    sizes = (3, 1, 1, 4)
    for engine, merged in (("faiss", [3, 1, 1, 4]), ("torch", [5, 4])):
        found = list(votes_of(bank, engine).merged(batches(sizes), 4))
        assert [len(batch.indices) for batch in found] == merged
        assert torch.cat([batch.indices for batch in found]).tolist() == list(range(9))


def test_each_search_tells_of_itself(bank):
    queries = normalize(torch.randn(2, 7, 8), dim=-1)
    told = {}
    for name, how in {"faiss": {}, "torch": {}, "ivf": {"method": "ivf"}}.items():
        of_bank = votes_of(bank, "auto" if name == "ivf" else name, **how)
        of_bank.of(queries)
        told[name] = of_bank.told()
    assert told["faiss"] == {}
    assert told["torch"] == {"search": {"queries": 14, "searched_again": 0}}
    assert 0 < told["ivf"]["recall"] <= 1
