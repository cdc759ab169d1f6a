"""Attention masks against the published code, and against a computation by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from densebench.learners.attention_masks import (
    foreground,
    merged,
    most_attended,
    without_small_parts,
)

GRIDS = {"p16": 14, "p14": 10}
MASSES = (0.5, 0.6, 0.65, 0.8)


@pytest.mark.parametrize("case", GRIDS)
def test_neco_attention_masks(golden: Callable, case: str) -> None:
    arrays, side = golden("neco_attention"), GRIDS[case]
    attention = torch.from_numpy(arrays[f"{case}/attn"]).unflatten(-1, (side, side))
    blurred = merged(attention)
    np.testing.assert_allclose(blurred.numpy(), arrays[f"{case}/blurred"], rtol=3e-7)
    for mass in MASSES:
        at = f"{case}/t{mass}"
        whole = most_attended(blurred, mass)
        assert np.array_equal(whole.numpy(), arrays[f"{at}/mask_unfiltered"])
        assert np.array_equal(without_small_parts(whole).numpy(), arrays[f"{at}/mask_merged"])
        assert np.array_equal(foreground(attention, mass).numpy(), arrays[f"{at}/mask_merged"])
        heads = most_attended(attention, mass)
        assert np.array_equal(heads.numpy(), arrays[f"{at}/mask_heads"])


def test_neco_cbfe_masks(golden: Callable) -> None:
    arrays = golden("neco_cbfe")
    attention = torch.from_numpy(arrays["attn"]).unflatten(-1, (14, 14))
    assert np.array_equal(foreground(attention, 0.65).numpy(), arrays["attn_mask"])


def test_parts_that_touch_at_a_corner_are_one() -> None:
    mask = torch.zeros(1, 5, 5, dtype=torch.bool)
    for row, column in ((0, 0), (1, 1), (2, 2), (4, 0), (4, 1)):
        mask[0, row, column] = True
    kept = without_small_parts(mask)[0]
    assert kept.diagonal()[:3].all()
    assert kept.sum() == 3
    assert without_small_parts(mask, 2).sum() == 5
    assert without_small_parts(mask[:0]).shape == (0, 5, 5)


def test_the_mass_is_that_of_the_largest() -> None:
    attention = torch.tensor([[[0.1, 0.2], [0.3, 0.4]]])
    kept = most_attended(attention, 0.6)
    assert kept.tolist() == [[[False, False], [True, True]]]
    assert most_attended(10 * attention, 0.6).equal(kept)  # shares, not values
