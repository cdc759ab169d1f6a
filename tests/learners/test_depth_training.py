"""Five published steps of the depth head."""

import pytest
import torch

from densebench.host.errors import DensebenchError
from densebench.learners.depth_head import Bins, DepthHead, seeded_depth_head
from densebench.learners.depth_losses import MultiLoss, SigLoss
from densebench.learners.depth_training import DepthOptimisation, DepthTraining

CASES = ("pub", "short", "clip")


def begun(arrays, case):
    """The training before its first step."""

    def of(name):
        return torch.from_numpy(arrays[f"step/{case}/{name}0"])

    head = DepthHead(12, Bins())
    head.project.weight.data, head.project.bias.data = of("W")[:, :, None, None], of("b")
    head.norm.weight.data, head.norm.bias.data = of("bn_w"), of("bn_b")
    head.norm.running_mean, head.norm.running_var = of("bn_mean"), of("bn_var")
    steps, warmup = (int(arrays[f"step/{case}/{name}"]) for name in ("total_iter", "warmup_iters"))
    how = DepthOptimisation(steps, warmup, 3e-4, 1e-4, float(arrays[f"step/{case}/clip"]))
    sig = SigLoss(calls=int(arrays[f"step/{case}/sig_calls_before"]))
    return DepthTraining(head, how, MultiLoss({"sig": 1.0}, sig))


def parameters(head):
    return {
        "W": head.project.weight[:, :, 0, 0],
        "b": head.project.bias,
        "bn_w": head.norm.weight,
        "bn_b": head.norm.bias,
    }


@pytest.mark.parametrize("case", CASES)
def test_five_steps_are_the_published_ones(golden, case):
    arrays = golden("dinov3_depth")
    training = begun(arrays, case)
    features, truth = (torch.from_numpy(arrays[f"step/{name}"]) for name in ("feat", "gt"))
    for step in range(5):
        patches = features[step].permute(0, 2, 3, 1)
        seen = []
        hook = training.head.register_forward_hook(lambda m, i, out, kept=seen: kept.append(out))
        found = training.step(patches, truth[step])
        hook.remove()
        wanted = {
            name: arrays[f"step/{case}/{name}"][step]
            for name in ("loss", "grad_norm", "lr", "beta1", "pred", "bn_mean", "bn_var")
        }
        assert found.loss == pytest.approx(float(wanted["loss"]), rel=4e-7)
        assert found.grad_norm == pytest.approx(float(wanted["grad_norm"]), rel=2e-6)
        group = training._optimiser.param_groups[0]
        assert group["lr"] == pytest.approx(wanted["lr"], rel=1e-13, abs=1e-15)
        assert group["betas"][0] == pytest.approx(wanted["beta1"], abs=1e-15)
        torch.testing.assert_close(
            seen[0].detach(), torch.from_numpy(wanted["pred"]), rtol=0, atol=4e-6
        )
        for name, parameter in parameters(training.head).items():
            after = torch.from_numpy(arrays[f"step/{case}/{name}"][step])
            torch.testing.assert_close(parameter.detach(), after, rtol=0, atol=3e-7)
        for name, parameter in (
            ("W", training.head.project.weight.grad[:, :, 0, 0]),
            ("b", training.head.project.bias.grad),
            ("bn_w", training.head.norm.weight.grad),
            ("bn_b", training.head.norm.bias.grad),
        ):
            slope = torch.from_numpy(arrays[f"step/{case}/grad_{name}"][step])
            assert float((parameter - slope).norm() / slope.norm()) < 2e-6, name
        norm = training.head.norm
        for name, kept in (("bn_mean", norm.running_mean), ("bn_var", norm.running_var)):
            torch.testing.assert_close(kept, torch.from_numpy(wanted[name]), rtol=0, atol=3e-7)


def new(**changes):
    how = DepthOptimisation(
        **{"steps": 6, "warmup": 2, "lr": 1e-2, "weight_decay": 0.0, "clip": 1.0, **changes}
    )
    return DepthTraining(seeded_depth_head(5, Bins(), True, 0), how, MultiLoss({"sig": 1.0}))


def batches(count):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        patches = torch.randn(2, 3, 4, 5, generator=generator)
        yield patches, 1 + 3 * torch.rand(2, 12, 16, generator=generator)


def test_a_restored_training_goes_on_as_the_unbroken_one():
    whole, first, second = new(), new(), new()
    every = list(batches(6))
    for batch in every:
        whole.step(*batch)
    for batch in every[:3]:
        first.step(*batch)
    second.restore(first.state())
    for batch in every[3:]:
        second.step(*batch)
    assert torch.equal(second.head.project.weight, whole.head.project.weight)
    assert second.state()["calls"] == whole.state()["calls"] == 6


def test_a_state_that_is_not_its_own_is_refused():
    state = new().state()
    with pytest.raises(ValueError, match="steps"):
        new().restore(state)  # before its first step there is nothing to go on from
    training = new()
    training.step(*next(batches(1)))
    state = training.state()
    state["optimiser"]["state"][0]["exp_avg"] = torch.zeros(3)
    with pytest.raises(ValueError, match="another head"):
        new().restore(state)


def test_a_batch_without_depth_moves_nothing_but_the_schedule():
    training = new()
    before = training.head.project.weight.clone()
    patches, truth = next(batches(1))
    assert training.step(patches, torch.zeros_like(truth)).loss != 0
    assert torch.equal(training.head.project.weight, before)
    assert training.done == 1


def test_far_truth_counts_as_published_and_not_where_it_must_not():
    patches, truth = next(batches(1))
    far = truth.clone()
    far[:, 0] = 12.0
    published, clean = new(), new(farthest=10.0)
    assert published.step(patches, far).loss != new().step(patches, truth).loss
    gone = truth.clone()
    gone[:, 0] = 0.0
    assert clean.step(patches, far).loss == new(farthest=10.0).step(patches, gone).loss


def test_without_the_quirk_beta1_is_what_the_config_says():
    training = new(momentum_cycles=False)
    training.step(*next(batches(1)))
    assert training._optimiser.param_groups[0]["betas"] == (0.9, 0.99)


def test_a_loss_that_is_not_finite_is_told():
    training = new()
    patches, truth = next(batches(1))
    with pytest.raises(DensebenchError, match="loss is nan in step 1"):
        training.step(patches * float("inf"), truth)
