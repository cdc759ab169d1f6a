from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from densebench.host.errors import DensebenchError
from densebench.posttrain.softsort import (
    Network,
    on_torch,
    soft_sort,
    soft_sort_cross_entropy,
    sort,
)

NETWORKS: list[Network] = ["bitonic", "odd_even"]
SIZES = [*range(2, 18), 31, 33, 49, 64]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """So small are these tensors that threads would only wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def peer_sort(scores: Tensor, steepness: float, network: Network) -> tuple[Tensor, Tensor]:
    functional = pytest.importorskip("diffsort.functional", reason="diffsort is not installed")
    networks = pytest.importorskip("diffsort.networks")
    layers = networks.get_sorting_network(network, scores.shape[1], "cpu")
    layers = [[matrix.to(scores.dtype) for matrix in layer] for layer in layers]
    return functional.sort(layers, scores, steepness, distribution="cauchy")


def values_and_gradients(
    sort: Callable[..., tuple[Tensor, Tensor]], scores: Tensor, *knobs: object
) -> list[Tensor]:
    """Sorted rows, matrices, and the gradients of a random weighting of each."""
    scores = scores.clone().requires_grad_()
    random = torch.Generator().manual_seed(1)
    outputs = list(sort(scores, *knobs))
    gradients = []
    for output in outputs:
        weights = torch.randn(output.shape, generator=random).to(output.dtype)
        gradients += torch.autograd.grad(output, scores, weights, retain_graph=True)
    return [tensor.detach().double() for tensor in (*outputs, *gradients)]


def relative_errors(ours: list[Tensor], theirs: list[Tensor]) -> list[float]:
    pairs = zip(ours, theirs, strict=True)
    return [float((a - b).abs().max() / b.abs().max()) for a, b in pairs]


def random_scores(n: int, rows: int = 8) -> Tensor:
    return torch.randn(rows, n, generator=torch.Generator().manual_seed(n)) * 0.3


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("steepness", [1.0, 10.0, 100.0])
def test_equals_diffsort_in_double(network: Network, steepness: float) -> None:
    for n in SIZES:
        scores = random_scores(n).double()
        theirs = values_and_gradients(peer_sort, scores, steepness, network)
        ours = values_and_gradients(soft_sort, scores, steepness, network)
        assert max(relative_errors(ours, theirs)) < 1e-11, n


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("steepness", "allowed"), [(1.0, 1e-5), (10.0, 1e-5), (100.0, 3e-5)])
def test_single_precision_is_as_near_the_truth_as_diffsort(
    network: Network, steepness: float, allowed: float
) -> None:
    ours, theirs = [], []
    for n in SIZES:
        scores = random_scores(n)
        truth = values_and_gradients(peer_sort, scores.double(), steepness, network)
        single = values_and_gradients(peer_sort, scores, steepness, network)
        theirs.append(max(relative_errors(single, truth)))
        ours.append(
            max(relative_errors(values_and_gradients(soft_sort, scores, steepness, network), truth))
        )
    assert max(ours) < allowed
    assert np.mean(ours) < 1.1 * np.mean(theirs)


@pytest.mark.parametrize("kept", ["golden", "full_golden"])
def test_equals_the_goldens(request: pytest.FixtureRequest, kept: str) -> None:
    arrays = request.getfixturevalue(kept)("diffsort")
    cases = [name.removesuffix("/P") for name in arrays if name.endswith("/P")]
    assert len(cases) >= 8
    for case in cases:
        n, network, steepness = case.split("/")
        scores = torch.from_numpy(arrays[f"{n}/x"]).clone().requires_grad_()
        ordered, permutation = soft_sort(scores, float(steepness[1:]), network)  # type: ignore[arg-type]
        on_sorted, on_matrix = (
            torch.from_numpy(arrays[f"{n}/{name}"]) for name in ("cot_sorted", "cot_P")
        )
        (first,) = torch.autograd.grad(ordered, scores, on_sorted, retain_graph=True)
        (second,) = torch.autograd.grad(permutation, scores, on_matrix)
        ours = [ordered.detach(), permutation.detach(), first, second]
        names = ["sorted", "P", "grad_sorted", "grad_P"]
        theirs = [torch.from_numpy(arrays[f"{case}/{name}"]) for name in names]
        errors = relative_errors(ours, theirs)
        # The goldens' own distance from float64 is up to 5e-6, 1.2e-5 and 2.8e-5.
        allowed = [1e-5, 1e-5, 2e-5, 3e-5]
        assert all(e < a for e, a in zip(errors, allowed, strict=True)), (case, errors)


@given(
    n=st.integers(2, 20),
    steepness=st.floats(0.1, 1000),
    seed=st.integers(0, 2**31),
    network=st.sampled_from(NETWORKS),
)
@settings(max_examples=40, deadline=None)
def test_matrices_are_doubly_stochastic_and_map_the_scores(
    n: int, steepness: float, seed: int, network: Network
) -> None:
    scores = torch.randn(3, n, generator=torch.Generator().manual_seed(seed)).double()
    ordered, permutation = soft_sort(scores, steepness, network)
    ones = torch.ones(3, n).double()
    assert (permutation >= 0).all()
    torch.testing.assert_close(permutation.sum(1), ones)
    torch.testing.assert_close(permutation.sum(2), ones)
    torch.testing.assert_close((scores[:, None] @ permutation)[:, 0], ordered)


def test_steep_sort_is_a_sort() -> None:
    scores = random_scores(49)
    ordered, permutation = soft_sort(scores.double(), 1e9)
    expected, order = scores.double().sort(dim=1)
    torch.testing.assert_close(ordered, expected, atol=1e-5, rtol=0)
    assert (permutation.argmax(1) == order).all()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    "scores",
    [
        torch.zeros(3, 9),
        torch.full((2, 49), -7.0),
        torch.tensor([[1.0, 1.0, 0.0, 1.0, 0.0]]),
        torch.tensor([[1e30, -1e30, 0.0, 1e-30]]),
        torch.tensor([[3.0e38, -3.0e38, 3.0e38, 1.0]]),
        torch.linspace(0, 1e6, 49).flip(0)[None],
    ],
    ids=["zeros", "equal", "ties", "large", "largest", "descending"],
)
def test_everything_is_finite(scores: Tensor, network: Network) -> None:
    for tensor in values_and_gradients(soft_sort, scores, 100.0, network):
        assert tensor.isfinite().all()
    student = scores.clone().requires_grad_()
    loss = soft_sort_cross_entropy(student, scores.flip(1), network=network)
    (gradient,) = torch.autograd.grad(loss.sum(), student)
    assert loss.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("n", [2, 5, 49])
def test_cross_entropy_is_that_of_the_matrices(network: Network, n: int) -> None:
    student, teacher = random_scores(n).double().requires_grad_(), random_scores(n).flip(0).double()
    weights = torch.linspace(-1, 2, len(student)).double()
    loss = soft_sort_cross_entropy(student, teacher, 10.0, 20.0, network)
    (gradient,) = torch.autograd.grad(loss, student, weights)

    target = peer_sort(teacher, 20.0, network)[1]
    expected = -(target * peer_sort(student, 10.0, network)[1].log()).sum((1, 2)) / n
    (expected_gradient,) = torch.autograd.grad(expected, student, weights)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, expected_gradient)


def test_cross_entropy_never_takes_the_logarithm_of_zero() -> None:
    student = torch.linspace(0, 3e7, 49)[None].requires_grad_()
    teacher = -student.detach()
    assert (soft_sort(student, 100.0, "odd_even")[1] == 0).any()
    loss = soft_sort_cross_entropy(student, teacher, network="odd_even")
    (gradient,) = torch.autograd.grad(loss.sum(), student)
    assert loss.isfinite().all()
    assert gradient.isfinite().all()


def test_cross_entropy_gives_the_teacher_no_gradient() -> None:
    student, teacher = random_scores(8).requires_grad_(), random_scores(8).requires_grad_()
    soft_sort_cross_entropy(student, teacher).sum().backward()
    assert student.grad is not None
    assert teacher.grad is None
    assert not soft_sort_cross_entropy(student.detach(), teacher).requires_grad


@pytest.mark.parametrize("rows", [1, 3])
def test_scores_are_left_alone(rows: int) -> None:
    scores = random_scores(12, rows)
    before = scores.clone()
    values_and_gradients(soft_sort, scores)
    soft_sort(scores)
    soft_sort_cross_entropy(scores, scores)
    assert torch.equal(scores, before)


@pytest.mark.parametrize("rows", [1, 7, 8, 23])
def test_blocks_do_not_show(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = random_scores(12, rows)
    whole = values_and_gradients(soft_sort, scores)
    loss = soft_sort_cross_entropy(scores, scores.flip(0))
    monkeypatch.setattr(on_torch, "_BLOCK_BYTES", 8 * 12 * 12 * 4)
    assert len(on_torch._parts(scores)) == -(-rows // 8)
    assert max(relative_errors(values_and_gradients(soft_sort, scores), whole)) < 1e-5
    torch.testing.assert_close(loss, soft_sort_cross_entropy(scores, scores.flip(0)))


def test_no_rows() -> None:
    scores = torch.zeros(0, 5, requires_grad=True)
    ordered, permutation = soft_sort(scores)
    assert ordered.shape == (0, 5)
    assert permutation.shape == (0, 5, 5)
    (ordered.sum() + permutation.sum() + soft_sort_cross_entropy(scores, scores).sum()).backward()
    assert scores.grad is not None


def test_half_precision_is_computed_in_single() -> None:
    scores = random_scores(16).bfloat16()
    ordered, permutation = soft_sort(scores)
    assert ordered.dtype == permutation.dtype == torch.bfloat16
    expected = soft_sort(scores.float())[1].bfloat16()
    assert torch.equal(permutation, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3, 1),), "n >= 2"),
        ((torch.zeros(4),), "shape"),
        ((torch.zeros(3, 4, dtype=torch.int64),), "floating-point"),
        ((torch.zeros(3, 4), 0.0), "steepness is 0.0"),
        ((torch.zeros(3, 4), float("nan")), "steepness is nan"),
        ((torch.zeros(3, 4), 1.0, "bubble"), "'bubble'.*odd_even"),
    ],
)
def test_bad_input(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(DensebenchError, match=message):
        soft_sort(*arguments)  # type: ignore[arg-type]


def test_cross_entropy_of_unlike_scores() -> None:
    with pytest.raises(DensebenchError, match="must agree"):
        soft_sort_cross_entropy(torch.zeros(3, 4), torch.zeros(3, 5))


class TestWithoutACompiler:
    """What Triton raises when it finds none, on whichever device it is asked."""

    @pytest.fixture(autouse=True)
    def _asked_anew(self) -> Iterator[None]:
        sort._fused.cache_clear()
        yield
        sort._fused.cache_clear()

    def test_plain_pytorch_takes_over_and_says_so_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        triton = pytest.importorskip("densebench.posttrain.softsort.on_triton")

        def fail(*_: object) -> None:
            raise RuntimeError("Failed to find C compiler.\nPlease specify via CC.")

        monkeypatch.setattr(triton, "sort", fail)
        with pytest.warns(UserWarning, match="Failed to find C compiler. Please") as told:
            assert [sort._fused(torch.device("cpu")) for _ in range(3)] == [None] * 3
        assert len(told) == 1

    def test_running_out_of_memory_is_something_else(self, monkeypatch: pytest.MonkeyPatch) -> None:
        triton = pytest.importorskip("densebench.posttrain.softsort.on_triton")

        def fail(*_: object) -> None:
            raise torch.cuda.OutOfMemoryError

        monkeypatch.setattr(triton, "sort", fail)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            sort._fused(torch.device("cpu"))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("n", [6, 49])
def test_a_nan_shows_in_its_own_row_alone(network: Network, n: int) -> None:
    student, teacher = random_scores(n, 900), random_scores(n + 1, 900)[:, :n].contiguous()
    expected = soft_sort_cross_entropy(student, teacher, network=network)
    harmed, places = teacher.clone(), torch.arange(0, 60, 7)
    harmed[places, places % n] = torch.nan
    found = soft_sort_cross_entropy(student, harmed, network=network)
    assert found[places].isnan().all()
    whole = torch.ones(900, dtype=torch.bool)
    whole[places] = False
    assert torch.equal(found[whole], expected[whole])
