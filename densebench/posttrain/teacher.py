"""The teacher: an average of the student over its steps, without gradient."""

from copy import deepcopy

import torch
from torch import nn

from densebench.posttrain.student import Projector


def teacher_of(student: Projector) -> Projector:
    """A copy of the student in evaluation mode whose parameters have no gradient."""
    return deepcopy(student).requires_grad_(False).eval()


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the teacher to momentum * teacher + (1 - momentum) * student; whole numbers are copied.

    Frozen parameters are equal in both, and stay so bit for bit.
    """
    with_gradient = {name for name, p in student.named_parameters() if p.requires_grad}
    theirs = student.state_dict()
    for name, own in teacher.state_dict().items():
        if name in with_gradient:
            own.mul_(momentum).add_(theirs[name], alpha=1 - momentum)
        else:
            own.copy_(theirs[name])
