"""Panels are of all parts of the list and of all groups."""

from hypothesis import given
from hypothesis import strategies as st

from densebench.datasets.base import Split
from densebench.datasets.masks import LookupReader
from densebench.datasets.targets import labels
from densebench.run.chosen import chosen_images, halving


def split(
    n: int, groups: tuple[str, ...] | None = None, order: tuple[int, ...] | None = None
) -> Split:
    names = tuple(f"image{i:04d}" for i in range(n))
    target = labels(("a", "b"), 255)
    reader = LookupReader(tuple(range(256)))
    return Split("val", names, names, names, reader, target, order, groups)


@given(st.integers(0, 200))
def test_every_place_comes_once(n: int) -> None:
    assert sorted(halving(n)) == list(range(n))


@given(st.integers(1, 500), st.integers(1, 40))
def test_they_are_spread_over_the_list(n: int, count: int) -> None:
    found = sorted(chosen_images(split(n), count))
    assert len(found) == min(n, count)
    gaps = [b - a for a, b in zip([-1, *found], [*found, n], strict=True)]
    assert max(gaps) <= 2 * n / min(n, count) + 2


@given(st.integers(0, 100), st.integers(0, 30), st.integers(0, 30))
def test_fewer_are_the_first_of_more(n: int, fewer: int, more: int) -> None:
    few, many = sorted((fewer, fewer + more))
    assert chosen_images(split(n), many)[:few] == chosen_images(split(n), few)


def test_every_group_has_one_before_any_has_two() -> None:
    groups = ("city",) * 90 + ("field",) * 3 + ("sea",) * 7
    found = chosen_images(split(100, groups), 3)
    assert sorted(groups[image] for image in found) == ["city", "field", "sea"]
    assert sorted(groups[image] for image in chosen_images(split(100, groups), 8)) == [
        *["city"] * 3,
        *["field"] * 3,
        *["sea"] * 2,
    ]


def test_it_goes_by_the_list_and_not_by_the_names() -> None:
    order = (*range(0, 10, 2), *range(1, 10, 2))
    assert chosen_images(split(10, order=order), 2) == (order[0], order[5])


def test_of_few_images_all() -> None:
    assert chosen_images(split(0), 4) == ()
    assert chosen_images(split(4), 9) == (0, 2, 1, 3)
