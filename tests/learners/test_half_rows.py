"""No product of half precision is further off than the bound says, whatever the rows are."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from densebench.learners.half_rows import Bound, HalfRows, near_one

CPU = torch.device("cpu")


def rows(seed: int, count: int, width: int, scale: float, kind: str) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, width, generator=random)
    if kind == "heavy":  # a few values of which the others are lost beside
        drawn = drawn**7
    if kind == "alike":
        drawn = 1 + drawn / 1000
    return (drawn * scale).clamp(-3e30, 3e30)


@given(
    seed=st.integers(0, 10_000),
    width=st.integers(1, 800),
    scales=st.tuples(*[st.sampled_from([1e-30, 1e-4, 1.0, 300.0, 1e15])] * 2),
    kind=st.sampled_from(["normal", "heavy", "alike"]),
    half_bank=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_products_lie_within_the_bound(seed, width, scales, kind, half_bank):
    queries, bank = (
        rows(seed, 5, width, scales[0], kind),
        rows(seed + 1, 40, width, scales[1], kind),
    )
    if half_bank:
        bank = (bank / scales[1]).clamp(-9e4, 9e4).half().clamp(-6e4, 6e4)
    of_queries, of_bank = HalfRows.of_queries(queries), HalfRows.of_bank(bank, CPU)
    scale = of_queries.scale[:, None] * of_bank.scale
    exact = (queries.double() @ bank.double().T) * scale
    bound = Bound.of(of_queries, of_bank)
    single = of_queries.values.float() @ of_bank.values.float().T
    for products in (single, single.half()):
        assert torch.isfinite(products).all()
        highest = torch.stack([bound.highest(column) for column in products.T], dim=1)
        assert (exact <= highest).all()
        lowest = -torch.stack([bound.highest(column) for column in (-products).T], dim=1)
        assert (exact >= lowest).all()
    whole = (queries * of_queries.scale.float()[:, None]) @ (bank.float() * of_bank.scale.float()).T
    assert ((exact - whole).abs() <= (bound.whole + bound.tie)[:, None]).all()


def test_the_measured_bound_is_a_fraction_of_the_worst_case():
    normed = torch.nn.functional.normalize(torch.randn(2000, 768), dim=1)
    of_queries, of_bank = HalfRows.of_queries(normed[:50]), HalfRows.of_bank(normed, CPU)
    bound = Bound.of(of_queries, of_bank)
    assert bound.half.max() < 6e-4  # of 2 x 2^-11 = 9.8e-4 for the operands alone
    assert bound.whole.max() < 1e-4


def test_powers_of_two_bring_norms_near_one_and_lose_nothing():
    norms = torch.tensor([0.0, 1.0, 1.0000001, 3e-39, 1e30, 0.7], dtype=torch.float64)
    scale = near_one(norms)
    assert torch.equal(scale.log2(), scale.log2().round())
    assert scale[:3].tolist() == [1, 1, 1]
    brought = (norms * scale)[[1, 2, 4, 5]]
    assert ((brought >= 0.7) & (brought <= 1.42)).all()


@pytest.mark.parametrize(("dtype", "lost"), [(torch.float16, 0), (torch.float32, 1e-4)])
def test_a_bank_in_half_precision_is_taken_as_it_is(dtype, lost):
    bank = torch.nn.functional.normalize(torch.randn(100, 64), dim=1).to(dtype)
    rounded = HalfRows.of_bank(bank, CPU)
    assert (rounded.values.data_ptr() == bank.data_ptr()) == (dtype == torch.float16)
    assert (rounded.lost.min() > lost) if lost else not rounded.lost.any()
