"""The proven search on a GPU: the rows of float64, in the memory that was planned."""

import pytest
import torch
from torch.nn.functional import normalize

from densebench.learners import proven_search
from densebench.learners.proven_search import ProvenSearch

from .conftest import shows


def vectors(device, rows=200_000, width=256, queries=2_000):
    """A crowd about a few centres, as patches are, with rows that are there twice."""
    random = torch.Generator().manual_seed(0)
    centres = torch.randn(300, width, generator=random)
    which = torch.randint(0, 300, (rows + queries,), generator=random)
    drawn = centres[which] + 0.6 * torch.randn(rows + queries, width, generator=random)
    bank, wanted = normalize(drawn, dim=1).to(device).split([rows, queries])
    bank = bank.clone()
    bank[rows // 2 : rows // 2 + 500] = bank[:500]
    return bank, torch.cat([wanted, bank[:100]])


def in_float64(queries, bank, k):
    found = []
    for some in queries.split(64):
        exact = (some.double() @ bank.double().T).float()
        found.append(exact.sort(dim=1, descending=True, stable=True).indices[:, :k])
    return torch.cat(found)


def small(device):
    return {} if device.type == "cuda" else {"rows": 4_000, "width": 64, "queries": 100}


@shows("half precision with a proof finds the rows that float64 finds")
@pytest.mark.parametrize("k", [1, 30])
def test_rows_are_those_of_float64(gpu, k):
    bank, queries = vectors(gpu, **small(gpu))
    search = ProvenSearch(bank, gpu)
    assert torch.equal(search.search(queries, k)[1], in_float64(queries, bank, k))
    assert search.searched_again < 0.1 * len(queries)


@shows("full precision that has no room on the GPU is read from the host, with the same rows")
def test_full_precision_may_stay_on_the_host(gpu, monkeypatch):
    bank, queries = vectors(gpu, **small(gpu))
    here = ProvenSearch(bank, gpu).search(queries, 30)
    monkeypatch.setattr(proven_search, "GPU_SHARE", 0.0)
    away = ProvenSearch(bank.cpu(), gpu).search(queries, 30)
    assert torch.equal(here[0], away[0])
    assert torch.equal(here[1], away[1])


@shows("sums and blocks of any size give the same similarities to the last bit")
def test_no_block_changes_a_similarity(gpu, monkeypatch):
    bank, queries = vectors(gpu, **small(gpu))
    whole = ProvenSearch(bank, gpu).search(queries, 30)
    monkeypatch.setattr(proven_search, "QUERY_ROWS", 70)
    monkeypatch.setattr(proven_search, "BANK_ROWS", 1_024)
    parts = ProvenSearch(bank, gpu).search(queries, 30)
    assert torch.equal(whole[0], parts[0])
    assert torch.equal(whole[1], parts[1])


@shows("a search takes two bytes a value on the GPU, and blocks beside them", own_memory=True)
def test_memory_is_what_was_planned(gpu, monkeypatch):
    monkeypatch.setattr(proven_search, "GPU_SHARE", 0.0)
    bank, queries = (rows.cpu() for rows in vectors(gpu, rows=1_000_000))
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    search = ProvenSearch(bank, gpu)
    held = torch.cuda.memory_allocated() - before
    assert 2 * bank.numel() <= held < 2 * bank.numel() + 64 * len(bank)
    search.search(queries, 30)
    assert torch.cuda.max_memory_allocated() - before - held < 3 << 30
