"""Labels of patches, and votes at each position, against the published code and by hand."""

import numpy as np
import pytest
import torch

from densebench.learners.patch_labels import as_map, is_one_of, modes, pixel_labels, vote


@pytest.mark.parametrize(("case", "patch"), [("r56p14", 14), ("r64p16", 16)])
def test_equals_the_published_code(golden, case, patch):
    arrays = golden("capi_data")
    labels = pixel_labels(torch.from_numpy(arrays[f"{case}/mask"]), patch)
    expected = arrays[f"{case}/labels"]
    assert np.array_equal(labels, expected.reshape(3, 16, -1))
    found = modes(labels.flatten(0, 1))
    assert np.array_equal(found, arrays[f"{case}/patch_label"].ravel())
    for ignored, name in (((255,), "kept_255"), ((0, 255), "kept_0_255")):
        kept = ~is_one_of(found, frozenset(ignored))
        assert np.array_equal(kept, arrays[f"{case}/{name}"])


def test_a_map_is_put_together_again():
    masks = torch.randint(0, 256, (3, 12, 20), dtype=torch.uint8)
    for mask, labels in zip(masks, pixel_labels(masks, 4), strict=True):
        assert torch.equal(as_map(labels, (3, 5)), mask)


def test_the_smallest_of_equals_is_the_mode():
    assert modes(torch.tensor([[7, 3, 3, 7], [255, 255, 0, 1]], dtype=torch.uint8)).tolist() == [
        3,
        255,
    ]


def test_votes_equal_torchs_mode():
    labels = torch.randint(0, 6, (40, 9, 16), generator=torch.Generator().manual_seed(1)).byte()
    labels[labels == 5] = 255
    assert torch.equal(vote(labels), labels.mode(dim=1).values)


def test_who_is_not_heard_has_no_vote():
    labels = torch.tensor([[[255, 255], [255, 2], [1, 255]], [[255, 3], [255, 1], [255, 1]]]).byte()
    assert vote(labels).tolist() == [[255, 255], [255, 1]]
    # The last position has nobody who is heard: the patch's most frequent label, 1 before 3.
    assert vote(labels, frozenset({255})).tolist() == [[1, 2], [1, 1]]
