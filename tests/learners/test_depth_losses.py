"""The published losses of depth, and their gradients."""

import pytest
import torch

from densebench.learners.depth_losses import MultiLoss, SigLoss, gradient, gradient_log, l1

LOSSES = {
    "sig_warm": SigLoss(),
    "sig": SigLoss(warm_calls=0),
    "gradient_log": gradient_log,
    "gradient": gradient,
    "l1": l1,
}


@pytest.fixture
def arrays(golden):
    return golden("dinov3_depth")


@pytest.fixture
def depths(arrays):
    predicted, truth, valid = (
        torch.from_numpy(arrays[f"loss/{name}"]) for name in ("pred", "target", "mask")
    )
    return predicted.requires_grad_(), truth, valid


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_are_the_published_ones(arrays, depths, name):
    loss = LOSSES[name](*depths)
    assert loss.item() == pytest.approx(float(arrays[f"loss/{name}"]), rel=3e-7)
    (slope,) = torch.autograd.grad(loss, depths[0])
    wanted = torch.from_numpy(arrays[f"loss/grad_{name}"])
    assert float((slope - wanted).norm() / wanted.norm()) < 3e-7


def test_the_variance_begins_with_the_hundred_and_first_call(arrays, depths):
    loss = MultiLoss({"sig": 1.0, "gradient_log": 0.5, "l1": 0.0})
    found = [loss(*depths).item() for _ in range(102)]
    assert found == pytest.approx(arrays["loss/multi_calls"].tolist(), rel=3e-7)
    assert found[99] != pytest.approx(found[100], rel=1e-3)


def test_what_is_not_valid_does_not_count(depths):
    predicted, truth, valid = depths
    wrong = torch.where(valid, truth, torch.full_like(truth, 7.5))
    for loss in (SigLoss(0), gradient_log, gradient, l1):
        assert loss(predicted, wrong, valid).item() == pytest.approx(
            loss(predicted, truth, valid).item()
        )
