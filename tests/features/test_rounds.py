"""Who extracts which batch, and who is given it."""

from collections.abc import Callable, Iterator

import pytest
import torch

from densebench.features.rounds import Part, Rounds, Shapes
from densebench.host.distributed import World

ORDER = [3, 0, 7, 5, 1, 2, 6, 4]
SHAPES = Shapes((2, 2, 3), (4, 4), torch.uint8)


def part(indices: list[int]) -> Part | None:
    if not indices:
        return None
    numbers = torch.tensor(indices)
    patches = numbers.float()[:, None, None, None].expand(-1, 2, 2, 3)
    return numbers, patches, numbers.byte()[:, None, None].expand(-1, 4, 4)


def extracted(own: list[int], size: int, bad: set[int], told: dict[str, str]) -> Iterator:
    for start in range(0, len(own), size):
        batch = own[start : start + size]
        told |= {str(index): "bad" for index in batch if index in bad}
        yield part([index for index in batch if index not in bad])


@pytest.mark.parametrize("size", [1, 2, 3, 10])
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("bad", [set(), {0}, {3, 0, 7}, set(ORDER)])
def test_all_come_to_all_in_their_order(
    n: int, size: int, bad: set[int], in_threads: Callable
) -> None:
    def work(world: World) -> tuple:
        rounds, told = Rounds(world, size), dict[str, str]()
        own = rounds.own(ORDER)
        given = list(rounds.exchanged(ORDER, extracted(own, size, bad, told), SHAPES, told, "all"))
        assert all(torch.equal(p[1], part(p[0].tolist())[1]) for p in given)
        assert all(torch.equal(p[2], part(p[0].tolist())[2]) for p in given)
        return own, [p[0].tolist() for p in given], told

    found = in_threads(n, work)
    assert sorted(index for own, *_ in found for index in own) == sorted(ORDER)
    batches = [ORDER[start : start + size] for start in range(0, len(ORDER), size)]
    wanted = [kept for b in batches if (kept := [index for index in b if index not in bad])]
    for _, given, told in found:
        assert given == wanted
        assert told == {str(index): "bad" for index in bad}


def test_own_batches_stay_where_they_are(in_threads: Callable) -> None:
    def work(world: World) -> list[int]:
        rounds, told = Rounds(world, 2), dict[str, str]()
        batches = extracted(rounds.own(ORDER), 2, {7}, told)
        given = rounds.exchanged(ORDER, batches, SHAPES, told, "own")
        return [index for p in given for index in p[0].tolist()]

    assert in_threads(2, work) == [[3, 0, 1, 2], [5, 6, 4]]
