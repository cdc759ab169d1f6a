"""The fused soft sort beside plain torch: values, gradients, and what is not a number."""

import pytest
import torch

from densebench.posttrain.softsort import on_torch, sort
from densebench.posttrain.softsort.sort import soft_sort, soft_sort_cross_entropy

from .conftest import shows

NETWORKS = ["bitonic", "odd_even"]


@pytest.fixture
def by_torch(monkeypatch):
    def compute(work):
        with monkeypatch.context() as patch:
            patch.setattr(sort, "_backend", lambda _: on_torch)
            return work()

    return compute


def rows(device, n=49, count=200):
    random = torch.Generator().manual_seed(n)
    drawn = 0.2 * torch.randn(2, count, n, generator=random)
    return drawn[0].to(device).requires_grad_(), drawn[1].to(device)


@shows("the fused kernels can be built where there is a C compiler", own_memory=True)
def test_the_fused_kernels_are_used(gpu):
    assert sort._backend(torch.zeros(1, 4, device=gpu)).__name__.endswith("on_triton")


@shows("fused matrices and their gradients are plain torch's")
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("n", [2, 16, 49, 64])
def test_matrices(gpu, by_torch, network, n):
    scores, given = rows(gpu, n)

    def work():
        ordered, matrices = soft_sort(scores, 100.0, network)
        weighed = (matrices * given[:, :, None]).sum() + (ordered * given).sum()
        return ordered, matrices, torch.autograd.grad(weighed, scores)[0]

    for ours, theirs in zip(work(), by_torch(work), strict=True):
        scale = float(theirs.detach().abs().max())
        torch.testing.assert_close(ours, theirs, atol=2e-5 * scale, rtol=0)


@shows("the fused loss and its gradient are plain torch's")
@pytest.mark.parametrize("network", NETWORKS)
def test_the_loss(gpu, by_torch, network):
    student, teacher = rows(gpu)

    def work():
        loss = soft_sort_cross_entropy(student, teacher, 100.0, network=network)
        return loss, torch.autograd.grad(loss.mean(), student)[0]

    for ours, theirs in zip(work(), by_torch(work), strict=True):
        scale = float(theirs.detach().abs().max())
        torch.testing.assert_close(ours, theirs, atol=2e-5 * scale, rtol=0)


@shows("a row that is not a number stays so, and spoils no other")
def test_not_a_number(gpu, by_torch):
    student, teacher = (values.detach().clone() for values in rows(gpu))
    student[3, 5] = torch.nan

    def work():
        return soft_sort_cross_entropy(student, teacher, 100.0)

    for loss in (work(), by_torch(work)):
        assert loss.isnan().nonzero().flatten().tolist() == [3]
