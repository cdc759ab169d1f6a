"""A bank in stretches: what all processes find together is what one finds in the whole."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from densebench.host.distributed import World
from densebench.host.errors import DensebenchError
from densebench.learners import sharded_search
from densebench.learners.engines import Engine
from densebench.learners.gathering import Gathering
from densebench.learners.memory_bank import MemoryBank
from densebench.learners.neighbours import Neighbours, build_search
from densebench.learners.sharded_search import ShardedSearch, Sharing, stretches
from densebench.learners.votes import Votes

CPU = torch.device("cpu")
N_IMAGES, ROWS, WIDTH = 7, 500, 48  # whose rows end in the middle of a stretch


def image_rows(index: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(index)
    counts = torch.randint(1, 9, (ROWS + index, 3), generator=generator)
    return normalize(torch.randn(ROWS + index, WIDTH, generator=generator), dim=-1), counts


def filled(
    world: World, n_images: int = N_IMAGES, engine: Engine = "faiss"
) -> tuple[MemoryBank, Neighbours]:
    """Too large for half the room that there is for each of several processes."""
    capacity = n_images * (ROWS + N_IMAGES)
    sharing = Sharing(world, capacity, WIDTH * 4, 2 * capacity * WIDTH * 4 - 1, engine)
    assert sharing.is_sharded == (world.size > 1)
    bank = MemoryBank(capacity, WIDTH, 3, 100, False, sharing.stretch)
    gathering = Gathering(world, bank, None)
    for index in range(world.rank, n_images, world.size):
        rows, counts = image_rows(index)
        gathering.add(0, index, torch.arange(len(rows)), rows, counts)
    gathering.end(0)
    return bank, sharing.search(bank, lambda rows: search_of(rows, engine))


def search_of(rows: Tensor, engine: Engine = "faiss") -> Neighbours:
    return build_search(rows, CPU, "exact", 0, 0, engine)


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("k", [1, 30])
def test_to_the_last_bit(n: int, k: int, in_threads: Callable) -> None:
    whole, search = filled(World())
    queries = normalize(whole.features[::7] + 0.1, dim=-1)
    wanted = search.search(queries, k)

    def work(world: World) -> tuple:
        bank, search = filled(world)
        found = search.search(queries, k)
        return len(bank), len(bank.features), *found, bank.soft_labels(found[1])

    found = in_threads(n, work)
    assert sum(here for _, here, *_ in found) == len(whole)
    assert max(here for _, here, *_ in found) <= -(-len(whole) // n) + 1024
    for total, _, *ours, labels in found:
        assert total == len(whole)
        assert all(torch.equal(*pair) for pair in zip(ours, wanted, strict=True))
        assert torch.equal(labels, whole.soft_labels(wanted[1]))


@pytest.mark.parametrize("engine", ["faiss", "torch"])
def test_a_proof_of_each_stretch_is_told(engine: Engine, in_threads: Callable) -> None:
    whole, search = filled(World(), engine=engine)
    queries = normalize(whole.features[::70] + 0.1, dim=-1)
    wanted = search.search(queries, 5)

    def work(world: World) -> tuple:
        bank, search = filled(world, engine=engine)
        votes = Votes(bank, search, CPU, world, 5, 0.02)
        votes.of(queries[None])
        told = votes.told()
        return *search.search(queries, 5), told

    stretches_with_rows = 2  # the third is beyond the last row
    for *found, told in in_threads(3, work):
        assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))
        if engine == "faiss":
            assert told == {}
        else:
            assert told["search"]["queries"] == stretches_with_rows * len(queries)


@pytest.mark.parametrize("engine", ["faiss", "torch"])
def test_of_equal_similarities_the_engines_own_count(engine: Engine, in_threads: Callable) -> None:
    rows = torch.eye(4)[torch.arange(40) % 4]
    alone = build_search(rows, CPU, "exact", 0, 0, engine).search(torch.eye(4), 7)

    def work(world: World) -> tuple:
        own = stretches(40, world.size)[world.rank]
        part = rows[own.start : own.stop]
        search = build_search(part, CPU, "exact", 0, 0, engine) if own else None
        return ShardedSearch(search, own, 40, world, engine).search(torch.eye(4), 7)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharded_search, "ALIGNED_ROWS", 3)
        for similarity, found in in_threads(4, work):
            first = [[4 * n + first for n in range(7)] for first in range(4)]
            assert found.sort(dim=1).values.tolist() == first
            assert torch.equal(found, alone[1])
            assert (similarity == 1).all()


@pytest.mark.parametrize("distinct", [3, 400])
def test_ties_are_those_of_one_process(distinct: int, in_threads: Callable) -> None:
    """Rows that are there up to a thousand times, some of them in every stretch."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randint(-2, 3, (distinct, 6), generator=generator).float()
    rows = kinds[torch.randint(distinct, (3000,), generator=generator)]
    queries = kinds[:40]
    wanted = search_of(rows).search(queries, 30)

    def work(world: World) -> tuple:
        own = stretches(len(rows), world.size)[world.rank]
        search = search_of(rows[own.start : own.stop]) if own else None
        return ShardedSearch(search, own, len(rows), world, "faiss").search(queries, 30)

    for found in in_threads(3, work):
        assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


def test_fewer_rows_than_neighbours(in_threads: Callable) -> None:
    def work(world: World) -> str:
        _, search = filled(world, n_images=1)
        with pytest.raises(DensebenchError, match=f"the memory has {ROWS} rows") as error:
            search.search(torch.zeros(1, WIDTH), ROWS + 1)
        return str(error.value)

    assert len(set(in_threads(2, work))) == 1


def test_what_fits_is_kept_whole_by_each() -> None:
    for room, whole in ((None, True), (800, True), (799, False)):
        assert Sharing(World(0, 2), 100, 4, room, "faiss").is_sharded != whole
    assert not Sharing(World(), 100, 4, 0, "faiss").is_sharded


@given(st.integers(0, 20_000), st.integers(1, 9))
def test_stretches_hold_every_row_once(rows: int, count: int) -> None:
    found = stretches(rows, count)
    assert (found[0].start, found[-1].stop, len(found)) == (0, rows, count)
    assert all(a.stop == b.start for a, b in pairwise(found))
    assert all(stretch.start % 1024 == 0 or not stretch for stretch in found)
