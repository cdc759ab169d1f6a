"""Which images are held out, and where their patches stand."""

import numpy as np
import torch

from densebench.features.source import PatchBatch
from densebench.learners.patch_table import PatchTable, held_out_last


def test_holds_out_the_published_images(golden):
    arrays = golden("capi_features")
    order, n_fit = held_out_last(24, 0)
    n_held = int(arrays["n_val"])
    assert order == [*arrays["perm"][n_held:], *arrays["perm"][:n_held]]
    assert n_fit == 24 - n_held


def test_of_fewer_than_ten_none_is_held_out():
    assert held_out_last(9, 0)[1] == 9
    assert held_out_last(10, 0)[1] == 9


def batch(*indices):
    """Images of one patch of two pixels, whose feature is their number."""
    numbers = torch.tensor(indices)
    masks = numbers.byte()[:, None, None].expand(-1, 2, 2)
    return PatchBatch(numbers, numbers.float().reshape(-1, 1, 1, 1), masks)


def test_images_stand_in_the_given_order_without_those_that_are_missing():
    table = PatchTable([3, 1, 4, 0, 2], 3, (1, 1, 4))
    table.fill([batch(0, 1), batch(2, 4)], 4)
    assert table.features[:, 0].tolist() == [1, 4, 0, 2]
    assert table.modes.tolist() == [1, 255, 0, 2]
    assert (table.n_fit, table.images.tolist()) == (2, [1, 4, 0, 2])


def test_rows_without_a_class_make_room():
    table = PatchTable([0, 1, 2, 3, 4, 5], 4, (1, 1, 4))
    table.fill([batch(0, 1, 2, 3, 4, 5)], 5)
    ignored = frozenset({1, 255})
    end = table.keep_labelled(range(0, 4), ignored, 0)
    assert table.features[:end, 0].tolist() == [0, 2, 3]
    end = table.keep_labelled(range(4, 6), ignored, end)
    assert table.features[:end, 0].tolist() == [0, 2, 3, 4]
    assert np.array_equal(table.images[:end], [0, 2, 3, 4])
