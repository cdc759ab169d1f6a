"""The teacher: a copy without gradient that follows its student."""

import copy
from collections.abc import Callable

import torch
from timm.layers.drop import DropPath
from torch import nn

from densebench.posttrain.student import ProjectionHead, Projector, freeze_all_but_last
from densebench.posttrain.teacher import follow, teacher_of
from densebench.posttrain.trainer import Trainer


class Small(nn.Module):
    """Parameters, a tied one among them, and buffers of both kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(3)


def test_it_moves_by_the_formula() -> None:
    torch.manual_seed(0)
    student, teacher = Small(), Small().requires_grad_(False)
    student.norm.running_mean += 3
    student.norm.num_batches_tracked += 5
    expected = {
        name: 0.75 * own + 0.25 * dict(student.named_parameters())[name]
        for name, own in teacher.named_parameters()
    }
    follow(teacher, student, 0.75)
    for name, own in teacher.named_parameters():
        torch.testing.assert_close(own, expected[name])
    assert teacher.second.weight is teacher.first.weight
    assert torch.equal(teacher.norm.running_mean, student.norm.running_mean)
    assert teacher.norm.num_batches_tracked == 5


def test_at_momentum_1_it_stands_still() -> None:
    student, teacher = Small(), Small().requires_grad_(False)
    before = copy.deepcopy(list(teacher.parameters()))
    follow(teacher, student, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(teacher.parameters(), before, strict=True))


def test_a_copy_without_gradient(make_backbone: Callable) -> None:
    student = Projector(make_backbone(), ProjectionHead(24, 1, 1, 8)).train()
    teacher = teacher_of(student)
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert all(torch.equal(v, student.state_dict()[k]) for k, v in teacher.state_dict().items())


def test_frozen_parameters_stay_bit_for_bit(make_backbone: Callable) -> None:
    student = Projector(make_backbone(), ProjectionHead(24, 1, 1, 8))
    freeze_all_but_last(student.backbone, 1)
    teacher = teacher_of(student)
    before = copy.deepcopy(teacher.state_dict())
    with torch.no_grad():
        for parameter in student.parameters():
            if parameter.requires_grad:
                parameter.add_(1)
    follow(teacher, student, 0.9995)
    frozen = {name for name, p in student.named_parameters() if not p.requires_grad}
    assert len(frozen) > 10
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]) == (name in frozen), name


def test_a_trainers_teacher_has_no_drop_path(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(model__drop_path=0.4)
    assert any(isinstance(module, DropPath) for module in trainer.student.modules())
    assert not any(isinstance(module, DropPath) for module in trainer.teacher.modules())
    assert not trainer.teacher.training
