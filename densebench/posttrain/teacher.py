"""The teacher: an average of the student over its steps, without gradient."""

from copy import deepcopy

import torch
from torch import nn

from densebench.posttrain.student import ProjectionHead, Projector


def teacher_of(student: Projector, head: ProjectionHead | None = None) -> Projector:
    """A copy of the student in evaluation mode whose parameters have no gradient.

    Args:
        student: whose backbone is copied.
        head: the teacher's own one; a copy of the student's when None.
    """
    teacher = deepcopy(student)
    if head is not None:
        teacher.head = head
    return teacher.requires_grad_(False).eval()


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the teacher to momentum * teacher + (1 - momentum) * student; buffers are copied.

    Frozen parameters are equal in both, and stay so bit for bit. Rounded in the published order:
    one step moves the teacher by less than float32 resolves. All tensors move together, in three
    kernels of a GPU.
    """
    pairs = zip(teacher.parameters(), student.parameters(), strict=True)
    moving = [(own, theirs) for own, theirs in pairs if theirs.requires_grad]
    if moving:
        own, theirs = map(list, zip(*moving, strict=True))
        torch._foreach_mul_(own, momentum)
        torch._foreach_add_(own, torch._foreach_mul(theirs, 1 - momentum))
    for buffer, latest in zip(teacher.buffers(), student.buffers(), strict=True):
        buffer.copy_(latest)
