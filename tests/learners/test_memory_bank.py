"""What a bank remembers of patches of any size, and where each row is from."""

import pytest
import torch

from densebench.learners.memory_bank import (
    MemoryBank,
    Origins,
    count_type,
    patch_class_counts,
    sample_rare,
    vote,
)


def test_origins_of_views_of_other_lengths_and_of_none():
    origins = Origins()
    for image, epoch, patches in ((4, 0, [7, 2]), (9, 0, []), (1, 1, [3])):
        origins.add(image, epoch, torch.tensor(patches, dtype=torch.int64))
    found = origins.find(torch.tensor([[2, 0], [1, 2]]))
    assert [part.tolist() for part in found] == [
        [[1, 4], [4, 1]],
        [[1, 0], [0, 1]],
        [[3, 7], [2, 3]],
    ]


@pytest.mark.parametrize("patch", [14, 16, 181, 182, 200])
def test_counts_of_any_patch_fit(patch):
    rows = patch * patch * 15 // 100
    mask = torch.ones(1, patch, patch, dtype=torch.uint8)
    mask.view(-1)[:rows] = 0
    counts = patch_class_counts(mask, patch, 3)[0]
    bank = MemoryBank(1, 2, 3, patch * patch, fp16=False)
    bank.add(torch.ones(1, 2), counts)
    share = rows / patch**2
    expected = torch.tensor([[share, 1 - share, 0]])
    torch.testing.assert_close(bank.soft_labels(torch.tensor([0])), expected)


def test_count_types_are_the_smallest_that_hold_the_area():
    sizes = {15: 1, 16: 2, 181: 2, 182: 4, 46340: 4, 46341: 8}
    assert {side: count_type(side**2).itemsize for side in sizes} == sizes


def test_rare_classes_come_first_and_unlabelled_patches_last():
    counts = torch.tensor([[4, 0], [4, 0], [0, 4], [0, 0], [4, 0]])
    chosen = sample_rare(counts, torch.ones(5), 5).tolist()
    assert chosen[0] == 2
    assert chosen[-1] == 3


def test_the_nearer_neighbour_has_the_greater_vote():
    labels = torch.eye(2)[None]
    votes = vote(torch.tensor([[0.9, 0.8]]), labels, 0.1)
    torch.testing.assert_close(votes, torch.tensor([[9.0, 8.0]]).softmax(dim=-1))
