"""DINOv3's linear head: five steps, its gradients and statistics, dropped channels, its state."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from densebench.host.errors import DensebenchError
from densebench.learners.normed_head import (
    HeadSteps,
    NormedHead,
    kept_channels,
    seeded_normed_head,
)
from densebench.learners.onecycle import WarmupOneCycle
from densebench.learners.pixel_loss import VOID, pixel_loss

NAMES = {
    "W": "classify.weight",
    "b": "classify.bias",
    "bn_w": "norm.weight",
    "bn_b": "norm.bias",
    "bn_mean": "norm.running_mean",
    "bn_var": "norm.running_var",
}


def head_of(arrays, case: str, suffix: str = "") -> NormedHead:
    """The head whose weights a golden has."""
    values = {key: torch.from_numpy(arrays[f"{case}/{key}{suffix}"]) for key in NAMES}
    head = NormedHead(values["W"].shape[1], len(values["W"]))
    state = {name: values[key] for key, name in NAMES.items()}
    state["classify.weight"] = state["classify.weight"][:, :, None, None]
    head.load_state_dict({**head.state_dict(), **state})
    return head.eval()


def patches_of(features: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(features).movedim(1, -1).contiguous()


def close(found: torch.Tensor, wanted: np.ndarray, rel: float) -> None:
    """Within a share of the largest value."""
    difference = np.abs(found.detach().reshape(wanted.shape).numpy() - wanted).max()
    assert difference <= rel * np.abs(wanted).max()


@pytest.mark.parametrize("case", ["pub", "short", "drop"])
def test_five_steps_equal_those_of_dinov3(golden, case):
    arrays = golden("dinov3_seg")
    name = f"head/{case}"
    schedule = WarmupOneCycle.of_segmentation(
        1e-3, int(arrays[f"{name}/total_iter"]), int(arrays[f"{name}/warmup_iters"])
    )
    assert [schedule.rate(i) for i in range(5)] == pytest.approx(arrays[f"{name}/lr"], rel=1e-13)
    steps = HeadSteps(head_of(arrays, name, "0"), schedule, weight_decay=1e-3)
    before = {key: arrays[f"{name}/{key}0"] for key in NAMES}
    for step in range(5):
        patches = patches_of(arrays["head/feat"][step])
        labels = torch.from_numpy(arrays["head/gt"][step]).long()
        labels[labels == 255] = VOID
        kept = None
        if case == "drop":
            kept = (1 - torch.from_numpy(arrays[f"{name}/dropped"][step]).float()) / 0.9
        seen = {}

        def loss_of(head, patches=patches, labels=labels, kept=kept, seen=seen):
            seen["logits"] = head(patches, kept)
            return pixel_loss(seen["logits"], labels, over_all=True)

        loss = steps.step(loss_of)
        assert loss == pytest.approx(float(arrays[f"{name}/loss"][step]), rel=4e-7)
        if step == 0:
            close(seen["logits"], arrays[f"{name}/logits"][0], 2e-6)
        parameters = dict(steps.head.named_parameters())
        for key in ("W", "b", "bn_w", "bn_b"):
            close(parameters[NAMES[key]].grad, arrays[f"{name}/grad_{key}"][step], 5e-7)
        state = steps.head.state_dict()
        for key, stored in NAMES.items():
            wanted = arrays[f"{name}/{key}"][step]
            found = state[stored].reshape(wanted.shape).numpy()
            np.testing.assert_allclose(found, wanted, rtol=0, atol=5e-7)
            if case == "pub" and key in ("W", "b"):  # weights move by less than 5e-6
                moved = np.abs((found - before[key]) - (wanted - before[key])).max()
                assert moved <= 2e-8
    predicted = arrays[f"{name}/predict"]
    with torch.no_grad():
        logits = steps.head.eval()(patches_of(arrays["head/feat"][0])[:1])
        upsampled = interpolate(logits, size=predicted.shape[1:], mode="bilinear")
    close(upsampled, predicted, 2e-6)


def test_the_class_token_can_be_concatenated_as_dinov3_does(golden):
    arrays = golden("dinov3_seg")
    patches, token = patches_of(arrays["head/cls/feat"]), torch.from_numpy(arrays["head/cls/cls"])
    whole = torch.cat([patches, token[:, None, None].expand_as(patches)], dim=-1)
    with torch.no_grad():
        close(head_of(arrays, "head/cls")(whole), arrays["head/cls/logits"], 2e-6)


def steps_of(seed: int = 0) -> HeadSteps:
    schedule = WarmupOneCycle.of_segmentation(1e-2, 8, 2)
    return HeadSteps(seeded_normed_head(6, 3, seed), schedule, weight_decay=1e-3)


def learn(steps: HeadSteps, count: int) -> list[float]:
    losses = []
    for _ in range(count):
        draws = torch.Generator().manual_seed(steps.done)
        patches = torch.randn(2, 4, 4, 6, generator=draws)
        labels = torch.randint(3, (2, 8, 8), generator=draws)
        losses.append(steps.step(lambda h, p=patches, t=labels: pixel_loss(h(p), t, True)))
    return losses


def test_what_is_restored_goes_on_as_if_nothing_had_been():
    whole = steps_of()
    losses = learn(whole, 6)
    first, second = steps_of(), steps_of(seed=1)
    learn(first, 3)
    second.restore(first.state())
    assert learn(second, 3) == losses[3:]
    for name, tensor in whole.head.state_dict().items():
        assert torch.equal(tensor, second.head.state_dict()[name])


def test_another_head_is_refused():
    other = HeadSteps(NormedHead(7, 3), WarmupOneCycle.of_segmentation(1e-2, 8, 2), 0.0)
    with pytest.raises(RuntimeError):
        steps_of().restore(other.state())


def test_a_loss_that_is_not_finite_ends_in_one_line():
    patches = torch.full((1, 2, 2, 6), float("nan"))
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    with pytest.raises(DensebenchError, match="the head's loss is nan"):
        steps_of().step(lambda head: pixel_loss(head(patches), labels, True))


def test_gradients_are_clipped():
    tight = HeadSteps(NormedHead(6, 3), WarmupOneCycle.of_segmentation(1e-2, 8, 2), 0.0, clip=1e-3)
    learn(tight, 1)
    norms = [p.grad.norm() for p in tight.head.parameters()]
    assert torch.stack(norms).norm() == pytest.approx(1e-3, rel=1e-3)


def test_dropped_channels_are_made_up_for():
    kept = kept_channels(200, 50, 0.1, seed=0)
    assert set(kept.unique().tolist()) == {0.0, torch.tensor(1 / 0.9).item()}
    assert kept.mean() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(kept, kept_channels(200, 50, 0.1, seed=0))
    assert not torch.equal(kept, kept_channels(200, 50, 0.1, seed=1))
