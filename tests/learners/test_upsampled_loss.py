"""The loss whose sums repeat is the published one to rounding, and so are its gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, interpolate

from densebench.host.always import always_alike
from densebench.learners.upsampled_loss import bilinear, repeatable_loss, upsampled_loss, weights

SIDE = st.integers(1, 40)


def published(logits, truth):
    pixels = interpolate(logits, size=truth.shape[1:], mode="bilinear", align_corners=False)
    return cross_entropy(pixels, truth, ignore_index=255)


@given(before=st.tuples(SIDE, SIDE), after=st.tuples(SIDE, SIDE), seed=st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_two_products_upsample_as_torch_does(before, after, seed):
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(2, 3, *before, generator=random, requires_grad=True)
    given_back = torch.randn(2, 3, *after, generator=random)
    theirs = interpolate(values, size=after, mode="bilinear", align_corners=False)
    ours = bilinear(values, after)
    torch.testing.assert_close(ours, theirs, atol=5e-5, rtol=0)  # torch: float32 shares
    gradients = [torch.autograd.grad(out, values, given_back)[0] for out in (ours, theirs)]
    scale = float(gradients[1].abs().max())
    torch.testing.assert_close(*gradients, atol=3e-5 * (1 + scale), rtol=0)


def test_each_pixel_is_a_mean():
    matrix = weights(14, 100)
    assert matrix.shape == (100, 14)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(100))
    assert (matrix >= 0).all()
    assert ((matrix > 0).sum(dim=1) <= 2).all()


def test_the_loss_and_its_gradient_are_the_published_ones():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 7, 6, generator=random, requires_grad=True)
    truth = torch.randint(0, 5, (3, 31, 28), generator=random)
    truth[0, :9] = 255
    losses = [f(logits, truth) for f in (lambda *a: repeatable_loss(*a, 255), published)]
    torch.testing.assert_close(*losses, atol=2e-6, rtol=0)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in losses))


def test_a_processor_keeps_the_very_numbers():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 5, 5, generator=random)
    truth = torch.randint(0, 4, (2, 20, 20), generator=random)
    assert torch.equal(upsampled_loss(logits, truth, 255), published(logits, truth))


@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_allowed_where_only_repeatable_operations_are(seed):
    logits = torch.randn(2, 4, 5, 5, requires_grad=True)
    with always_alike(seed):
        repeatable_loss(logits, torch.zeros(2, 9, 9, dtype=torch.int64), 255).backward()
    assert logits.grad is not None
