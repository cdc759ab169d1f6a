"""Schedules and parameter groups."""

import math
from collections.abc import Callable

import pytest
import torch

from densebench.posttrain.optimiser import (
    apply_rates,
    build_optimiser,
    cosine,
    rates,
    restore_optimiser,
)
from densebench.posttrain.recipe import Recipe
from densebench.posttrain.student import ProjectionHead, Projector, freeze_all_but_last


def test_cosine() -> None:
    assert cosine(2.0, 6.0, 0, 10) == 2.0
    assert cosine(2.0, 6.0, 5, 10) == pytest.approx(4.0)
    assert cosine(2.0, 6.0, 10, 10) == pytest.approx(6.0)
    assert cosine(1.0, 0.0, 1, 3) == pytest.approx(0.75)
    falling = [cosine(1.0, 0.0, step, 9) for step in range(10)]
    assert falling == sorted(falling, reverse=True)
    assert cosine(0.3, 0.3, 4, 7) == 0.3


def test_rates_of_a_step(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(
        optimiser__backbone_lr=1e-5,
        optimiser__head_lr=1e-4,
        optimiser__final_lr=1e-6,
        model__momentum=(0.9, 1.0),
    )
    first, middle, end = (rates(recipe, step, 8) for step in (0, 4, 8))
    assert (first.backbone_lr, first.head_lr) == (1e-5, 1e-4)
    assert (first.weight_decay, first.momentum) == (pytest.approx(0.04), pytest.approx(0.9))
    assert middle.backbone_lr == pytest.approx((1e-5 + 1e-6) / 2)
    assert middle.head_lr == pytest.approx((1e-4 + 1e-6) / 2)
    assert (middle.weight_decay, middle.momentum) == (pytest.approx(0.27), pytest.approx(0.95))
    assert (end.backbone_lr, end.head_lr) == (pytest.approx(1e-6), pytest.approx(1e-6))
    assert (end.weight_decay, end.momentum) == (pytest.approx(0.5), pytest.approx(1.0))


def groups_of(
    make_backbone: Callable, recipe: Recipe, blocks: int = 0
) -> tuple[Projector, torch.optim.AdamW]:
    student = Projector(make_backbone(init_values=1.0), ProjectionHead(24, 2, 16, 8))
    freeze_all_but_last(student.backbone, blocks)
    return student, build_optimiser(student, recipe)


def test_groups(make_backbone: Callable, make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(optimiser__betas=(0.8, 0.9))
    student, optimiser = groups_of(make_backbone, recipe)
    names = {id(p): name for name, p in student.named_parameters()}
    found = {
        (group["part"], group["decayed"]): {names[id(p)] for p in group["params"]}
        for group in optimiser.param_groups
    }
    assert set.union(*found.values()) == set(names.values())
    assert sum(map(len, found.values())) == len(names)
    assert found["head", False] == {"head.layers.0.bias", "head.layers.2.bias"}
    assert found["head", True] == {"head.layers.0.weight", "head.layers.2.weight"}
    decayed, plain = found["backbone", True], found["backbone", False]
    assert "backbone.model.blocks.0.attn.qkv.weight" in decayed
    assert {"backbone.model.cls_token", "backbone.model.pos_embed"} <= decayed
    assert {"backbone.model.norm.weight", "backbone.model.blocks.1.ls1.gamma"} <= plain
    assert all(name.endswith("bias") or "norm" in name or "gamma" in name for name in plain)
    assert optimiser.defaults["betas"] == (0.8, 0.9)


def test_frozen_parameters_are_in_no_group(
    make_backbone: Callable, make_recipe: Callable[..., Recipe]
) -> None:
    student, optimiser = groups_of(make_backbone, make_recipe(), blocks=1)
    grouped = {id(p) for group in optimiser.param_groups for p in group["params"]}
    assert grouped == {id(p) for p in student.parameters() if p.requires_grad}


def test_a_state_is_restored_to_the_optimiser_of_its_own_device(
    make_backbone: Callable, make_recipe: Callable[..., Recipe]
) -> None:
    _, optimiser = groups_of(make_backbone, make_recipe())
    state = optimiser.state_dict()
    for group in state["param_groups"]:
        group["fused"], group["lr"] = True, 0.25  # as one on a GPU saved it
    restore_optimiser(optimiser, state)
    assert [group["fused"] for group in optimiser.param_groups] == [None] * 4
    assert [group["lr"] for group in optimiser.param_groups] == [0.25] * 4


def test_rates_reach_their_groups_and_the_step(
    make_backbone: Callable, make_recipe: Callable[..., Recipe]
) -> None:
    recipe = make_recipe(optimiser__backbone_lr=1e-2, optimiser__head_lr=3e-2)
    student, optimiser = groups_of(make_backbone, recipe)
    now = rates(recipe, 1, 4)
    apply_rates(optimiser, now)
    for group in optimiser.param_groups:
        assert group["lr"] == (now.backbone_lr if group["part"] == "backbone" else now.head_lr)
        assert group["weight_decay"] == (now.weight_decay if group["decayed"] else 0.0)
    weight, bias = student.head.layers[0].weight, student.head.layers[0].bias
    before = weight.detach().clone(), bias.detach().clone()
    for parameter in student.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    optimiser.step()
    # The first step of AdamW is the learning rate against the gradient's sign, and the decay.
    kept = 1 - now.head_lr * now.weight_decay
    torch.testing.assert_close(weight.detach(), before[0] * kept - now.head_lr)
    torch.testing.assert_close(bias.detach(), before[1] - now.head_lr)
    assert math.isclose(now.head_lr, 3e-2 * (1 + math.cos(math.pi / 4)) / 2)
