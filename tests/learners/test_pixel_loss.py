"""The loss of upsampled logits: image by image the same as at once, and over which pixels."""

import pytest
import torch
from torch.nn.functional import cross_entropy, interpolate

from densebench.learners.pixel_loss import VOID, pixel_loss


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (3, 12, 10), generator=draws)
    labels[:, 8:] = VOID
    labels[2] = VOID
    return torch.randn(3, 4, 5, 6, generator=draws, dtype=torch.float64), labels


@pytest.mark.parametrize("over_all", [True, False])
def test_it_is_that_of_the_whole_batch_with_its_gradient(over_all):
    logits, labels = batch()
    logits.requires_grad_()
    upsampled = interpolate(logits, size=(12, 10), mode="bilinear", align_corners=False)
    each = cross_entropy(upsampled, labels, ignore_index=VOID, reduction="none")
    wanted = each.mean() if over_all else each.sum() / (labels != VOID).sum()
    (gradient,) = torch.autograd.grad(3 * wanted, logits)
    found = pixel_loss(logits, labels, over_all)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-12)
    torch.testing.assert_close(torch.autograd.grad(3 * found, logits)[0], gradient)


def test_of_no_labelled_pixel_it_is_nothing():
    logits, labels = batch()
    labels[:] = VOID
    assert pixel_loss(logits.requires_grad_(), labels, over_all=False).item() == 0.0
