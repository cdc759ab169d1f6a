"""The same images in the same order, however many come at once."""

from collections.abc import Iterator

import torch
from hypothesis import given
from hypothesis import strategies as st

from densebench.features.source import PatchBatch
from densebench.learners.batching import complete, in_batches


def numbered(sizes: list[int]) -> Iterator[PatchBatch]:
    start = 0
    for size in sizes:
        indices = torch.arange(start, start + size)
        patches = indices.float()[:, None, None, None]
        yield PatchBatch(indices, patches, indices.byte()[:, None, None])
        start += size


@given(st.lists(st.integers(1, 9), max_size=8), st.integers(1, 12))
def test_batches_of_one_size(sizes: list[int], size: int) -> None:
    found = list(in_batches(numbered(sizes), size))
    assert [i for batch in found for i in batch.indices.tolist()] == list(range(sum(sizes)))
    assert all(len(batch.indices) == size for batch in found[:-1])
    assert all(torch.equal(b.patches.flatten().long(), b.indices) for b in found)
    assert all(torch.equal(b.masks.flatten().long(), b.indices) for b in found)


@given(st.lists(st.integers(1, 9), max_size=8), st.integers(1, 12))
def test_a_last_incomplete_one_is_dropped_unless_it_is_the_only_one(
    sizes: list[int], size: int
) -> None:
    n = sum(sizes)
    kept = sum(len(batch.indices) for batch in complete(numbered(sizes), size))
    assert kept == (n if n < size else n // size * size)
