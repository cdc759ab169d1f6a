"""What the published training changes in a backbone, and that it can be taken back."""

import copy
from collections.abc import Callable

import pytest
import torch

from densebench.backbones import load_backbone
from densebench.posttrain.architecture import (
    fold_class_token,
    unfold_class_token,
    use_neco_positions,
)

REGISTERS = {"reg_tokens": 4, "no_embed_class": True}
IMAGES = torch.linspace(-2, 2, 3 * 70 * 56).reshape(1, 3, 70, 56)


def test_positions_follow_necos_rule_and_the_card_says_so(make_backbone: Callable) -> None:
    backbone, like = make_backbone(**REGISTERS), make_backbone(**REGISTERS)
    before = backbone(IMAGES)
    assert use_neco_positions(backbone)
    assert backbone.card.position_embedding == backbone.positions == "neco"
    like.resize_positions("neco")
    assert torch.equal(backbone(IMAGES), like(IMAGES))
    assert not torch.allclose(backbone(IMAGES), before, atol=1e-4)


def test_no_table_nothing_to_do() -> None:
    mixer = load_backbone("hog_mixer_s14")
    card = mixer.card
    assert use_neco_positions(mixer)
    assert mixer.card == card


def test_a_table_that_cannot_follow(make_backbone: Callable) -> None:
    backbone = make_backbone()
    backbone.model.dynamic_img_size = False
    assert not use_neco_positions(backbone)
    assert backbone.card.position_embedding == "timm"


class TestClassToken:
    def test_two_parameters_that_sum_to_it(self, make_backbone: Callable) -> None:
        backbone = make_backbone(**REGISTERS)
        before, features = copy.deepcopy(backbone.state_dict()), backbone(IMAGES)
        count = len([*backbone.parameters()])
        unfold_class_token(backbone)
        assert len([*backbone.parameters()]) == count + 1
        assert torch.equal(backbone(IMAGES), features)
        backbone(IMAGES).sum().backward()
        parts = [p for name, p in backbone.named_parameters() if "original" in name]
        assert len(parts) == 2
        assert torch.equal(parts[0].grad, parts[1].grad)
        fold_class_token(backbone)
        assert backbone.state_dict().keys() == before.keys()
        assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())

    @pytest.mark.parametrize("options", [{}, {"reg_tokens": 4}, {"no_embed_class": True}])
    def test_others_have_no_folded_one(self, make_backbone: Callable, options: dict) -> None:
        backbone = make_backbone(**options)
        before = [name for name, _ in backbone.named_parameters()]
        unfold_class_token(backbone)
        fold_class_token(backbone)
        assert [name for name, _ in backbone.named_parameters()] == before

    def test_student_and_teacher_are_folded_apart(
        self, make_trainer: Callable, make_backbone: Callable
    ) -> None:
        trainer = make_trainer(backbone=make_backbone(**REGISTERS), model__trainable_blocks=1)
        networks = (trainer.student, trainer.teacher)
        for network in networks:
            parts = [p for name, p in network.named_parameters() if "original" in name]
            assert [part.requires_grad for part in parts] == [False, False]
        trainer.run()
        for network in networks:
            fold_class_token(network.backbone)
        first, second = (network.backbone.state_dict() for network in networks)
        assert first.keys() == second.keys() == make_backbone(**REGISTERS).state_dict().keys()
        assert torch.equal(first["model.cls_token"], second["model.cls_token"])

    def test_it_moves_twice_as_far(self, make_trainer: Callable, make_backbone: Callable) -> None:
        moved = []
        for kind in ("folded", "unfolded"):
            trainer = make_trainer(
                kind, make_backbone(**REGISTERS), model__class_token=kind, training__steps=1
            )
            model = trainer.student.backbone.model
            before = model.cls_token.detach().clone()
            trainer.run()
            moved.append(float((model.cls_token - before).norm().detach()))
        assert moved[1] == pytest.approx(2 * moved[0], rel=1e-3)
