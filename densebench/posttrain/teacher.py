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
    """Move the teacher to momentum * teacher + (1 - momentum) * student; buffers are copied.

    Frozen parameters are equal in both, and stay so bit for bit.
    """
    for own, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
        if theirs.requires_grad:
            own.mul_(momentum).add_(theirs, alpha=1 - momentum)
    for buffer, latest in zip(teacher.buffers(), student.buffers(), strict=True):
        buffer.copy_(latest)
