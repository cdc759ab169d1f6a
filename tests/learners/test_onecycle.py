"""DINOv3's schedule equals the published one, for the segmentation and for the depth."""

import pytest
import torch
from torch import nn

from densebench.learners.onecycle import WarmupOneCycle

SEGMENTATION = WarmupOneCycle.of_segmentation(1e-3, 40_000, 1_500)
DEPTH = WarmupOneCycle.of_depth(3e-4, 38_400, 12_800)


@pytest.mark.parametrize(("name", "schedule"), [("seg", SEGMENTATION), ("depth", DEPTH)])
def test_rates_are_those_of_dinov3(golden, name, schedule):
    arrays = golden(f"dinov3_{name}")
    rates = [schedule.rate(step) for step in arrays["sched/iteration"].tolist()]
    assert rates == pytest.approx(arrays["sched/lr"], rel=1e-13, abs=1e-15)


def test_beta1_is_that_of_the_dinov3_depth(golden):
    arrays = golden("dinov3_depth")
    momenta = [DEPTH.beta1(step) for step in arrays["sched/iteration"].tolist()]
    assert momenta == pytest.approx(arrays["sched/beta1"], rel=0, abs=1e-15)


def test_short_schedules_are_those_of_dinov3(golden):
    """Other lengths, by the five steps that the goldens make."""
    depth, seg = golden("dinov3_depth"), golden("dinov3_seg")
    for case, schedule, arrays in (
        ("head/short", WarmupOneCycle.of_segmentation(1e-3, 8, 2), seg),
        ("step/short", WarmupOneCycle.of_depth(3e-4, 10, 3), depth),
        ("step/clip", WarmupOneCycle.of_depth(3e-4, 10, 2), depth),
    ):
        rates = [schedule.rate(step) for step in range(5)]
        assert rates == pytest.approx(arrays[f"{case}/lr"], rel=1e-13), case
        if schedule.momenta is not None:
            momenta = [schedule.beta1(step) for step in range(5)]
            assert momenta == pytest.approx(arrays[f"{case}/beta1"], rel=1e-13), case


def test_an_optimiser_is_given_both():
    optimiser = torch.optim.AdamW(nn.Linear(2, 2).parameters(), lr=1.0, betas=(0.9, 0.99))
    SEGMENTATION.set(optimiser, 2)
    assert optimiser.param_groups[0]["lr"] == SEGMENTATION.rate(2)
    assert optimiser.param_groups[0]["betas"] == (0.9, 0.99)
    DEPTH.set(optimiser, 12_800)
    assert optimiser.param_groups[0]["betas"] == (0.85, 0.99)


def test_without_a_warm_up_it_is_the_cosine_alone():
    schedule = WarmupOneCycle(1.0, steps=4, warmup=0, ratio=0.5)
    assert [schedule.rate(step) for step in (1, 3)] == pytest.approx([0.5, 0.0], abs=1e-15)
