"""Exact searches agree with brute force, and the approximate one is measured."""

import numpy as np
import pytest
import torch

from densebench.host.errors import DensebenchError
from densebench.learners import neighbours, proven_search
from densebench.learners.neighbours import (
    FaissSearch,
    InvertedFile,
    build_search,
    recall,
)
from densebench.learners.proven_search import ProvenSearch

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def vectors():
    generator = torch.Generator().manual_seed(0)
    bank = torch.randn(3000, 24, generator=generator)
    queries = torch.randn(100, 24, generator=generator)
    return bank, queries


@pytest.mark.parametrize("chunk", [64, 960, 65_536])
def test_chunked_search_equals_brute_force(vectors, chunk, monkeypatch):
    monkeypatch.setattr(proven_search, "BANK_ROWS", chunk)
    monkeypatch.setattr(proven_search, "QUERY_ROWS", 33)
    bank, queries = vectors
    product = (queries @ bank.T).numpy()
    expected = np.argsort(-product, axis=1)[:, :30]
    for search in (FaissSearch(bank), ProvenSearch(bank, CPU)):
        similarity, rows = search.search(queries, 30)
        np.testing.assert_array_equal(rows.numpy(), expected)
        np.testing.assert_allclose(
            similarity.numpy(), np.take_along_axis(product, expected, 1), atol=1e-4
        )


def test_build_search_picks_what_the_bank_allows(vectors):
    bank, queries = vectors
    assert isinstance(build_search(bank, CPU, "exact", 1, 0), FaissSearch)
    assert isinstance(build_search(bank, CPU, "exact", 1, 0, "torch"), ProvenSearch)
    half = build_search(bank.half(), CPU, "exact", 1, 0)
    assert recall(half.search(queries, 5)[1], FaissSearch(bank).search(queries, 5)[1]) > 0.95


@pytest.mark.parametrize("chunk", [64, 1000, 65_536])
def test_a_bank_in_half_precision_is_searched_whole(vectors, chunk, monkeypatch):
    monkeypatch.setattr(neighbours, "CHUNK_ROWS", chunk)
    bank, queries = vectors
    half = bank.half()
    wanted = FaissSearch(half.float()).search(queries, 100)
    for search in (FaissSearch(half), ProvenSearch(half, CPU)):
        similarity, rows = search.search(queries, 100)
        assert torch.equal(rows, wanted[1])
        torch.testing.assert_close(similarity, wanted[0], atol=1e-4, rtol=0)


def test_inverted_file_finds_more_with_more_probes(vectors):
    bank, queries = vectors
    exact = FaissSearch(bank).search(queries, 10)[1]
    few, all_cells = InvertedFile(bank, 5, 0), InvertedFile(bank, 10_000, 0)
    assert recall(few.search(queries, 10)[1], exact) < 0.9
    assert recall(all_cells.search(queries, 10)[1], exact) == 1.0


def test_more_neighbours_than_rows_is_refused(vectors):
    bank, queries = vectors
    for search in (FaissSearch(bank[:5]), ProvenSearch(bank[:5], CPU)):
        with pytest.raises(DensebenchError, match=r"the memory has 5 rows"):
            search.search(queries, 6)
    with pytest.raises(DensebenchError, match="raise `probes`"):
        InvertedFile(bank, 1, 0).search(queries, 200)
