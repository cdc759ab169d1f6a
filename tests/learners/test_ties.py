"""Rows at one similarity: the first of them, and those that faiss keeps of a whole bank."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from densebench.learners.ties import BLOCK_ROWS, MANY, SPARE, as_faiss, faiss_rows, first_rows

N_ROWS = 3 * BLOCK_ROWS + 50
KINDS = ["all alike", "few kinds", "twice each", "many, and late", "any"]


def whole_numbers(kind: str) -> Tensor:
    """Rows whose products float32 has exactly."""
    generator = torch.Generator().manual_seed(len(kind))
    rows = torch.randint(-9, 10, (N_ROWS, 8), generator=generator).float()
    if kind == "all alike":
        return rows[:1].repeat(N_ROWS, 1)
    if kind == "few kinds":
        return rows[torch.randint(3, (N_ROWS,), generator=generator)]
    if kind == "twice each":
        return rows[torch.arange(N_ROWS) // 2]
    if kind == "many, and late":  # more than the second search sees, from the last blocks on
        rows[:-900] = rows[:-900].clamp(-2, 2)
        rows[-900:] = 5.0
    return rows


def by_the_rule(queries: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    order = (queries.double() @ rows.double().T).sort(dim=1, descending=True, stable=True)
    return order.values[:, :k].float(), order.indices[:, :k]


@pytest.mark.parametrize("k", [1, 30, 99, 400])
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_win(kind: str, k: int) -> None:
    rows = whole_numbers(kind)
    queries = torch.cat([rows[::101], torch.ones(1, 8), torch.zeros(1, 8)])
    found, wanted = first_rows(queries, rows, k), by_the_rule(queries, rows, k)
    assert torch.equal(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])


def test_all_of_the_rows() -> None:
    rows = whole_numbers("few kinds")[:60]
    for k in (59, 60):
        assert torch.equal(first_rows(rows, rows, k)[1], by_the_rule(rows, rows, k)[1])


def test_similarities_are_those_of_faiss() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = normalize(torch.randn(N_ROWS, 384, generator=generator), dim=1)
    rows[2000 : 2000 + MANY * (30 + SPARE) + 1] = rows[7]  # in float32 at more than one similarity
    queries = normalize(rows[:500] + 0.02 * torch.randn(500, 384, generator=generator), dim=1)
    similarity, found = first_rows(queries, rows, 30)
    theirs, index = faiss_rows(queries, rows, 30)
    assert torch.equal(similarity, theirs)
    apart = similarity[:, 1:] < similarity[:, :-1]
    distinct = apart.all(dim=1)
    assert 0 < distinct.sum() < len(queries)
    assert torch.equal(found[distinct], index[distinct])
    assert (found[:, 1:][~apart] > found[:, :-1][~apart]).all()
    assert all(len(set(of_query)) == 30 for of_query in found.tolist())


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("k", [1, 5, 30, 99])
@pytest.mark.parametrize("kind", KINDS)
def test_faiss_keeps_the_same_of_a_whole_bank(kind: str, k: int, pieces: int) -> None:
    rows = whole_numbers(kind)
    queries = torch.cat([rows[::101], torch.ones(1, 8), torch.zeros(1, 8)])
    found, start = [], 0
    for part in rows.split(BLOCK_ROWS) if pieces > 1 else [rows]:
        similarity, index = first_rows(queries, part, min(2 * k, len(part)))
        found.append((similarity, index + start))
        start += len(part)
    similarity, index = as_faiss(*(torch.cat(part, dim=1) for part in zip(*found, strict=True)), k)
    wanted = faiss_rows(queries, rows, k)
    assert torch.equal(similarity, wanted[0])
    assert torch.equal(index, wanted[1])
