"""AdamW with the published parameter groups, and the cosine schedules of all that changes."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import AdamW

from densebench.posttrain.recipe import Recipe
from densebench.posttrain.student import Projector, trainable


def cosine(first: float, last: float, step: int, length: int) -> float:
    """From `first` at step 0 along half a cosine to `last`, which step `length` would have."""
    return last + (first - last) * (1 + math.cos(math.pi * step / length)) / 2


@dataclass(frozen=True)
class Rates:
    """What a step is taken with."""

    backbone_lr: float
    head_lr: float
    weight_decay: float
    momentum: float


def rates(recipe: Recipe, step: int, length: int) -> Rates:
    """The rates of a step, counted from 0, of a training of `length` steps."""
    table = recipe.optimiser
    return Rates(
        backbone_lr=cosine(table.backbone_lr, table.final_lr, step, length),
        head_lr=cosine(table.head_lr, table.final_lr, step, length),
        weight_decay=cosine(*table.weight_decay, step, length),
        momentum=cosine(*recipe.model.momentum, step, length),
    )


def teachers_own_share(recipe: Recipe, length: int) -> float:
    """What is left of the teacher's first weights after a training; the rest is its student's."""
    return math.prod(cosine(*recipe.model.momentum, step, length) for step in range(length))


def build_optimiser(student: Projector, recipe: Recipe) -> AdamW:
    """One group for each of backbone and head with weight decay and without.

    Biases and other parameters of one dimension are not decayed. `apply_rates` sets the numbers. On
    a GPU all parameters of a group move in one kernel.
    """
    groups = []
    for part in ("backbone", "head"):
        for decayed in (True, False):
            own = [
                parameter
                for name, parameter in trainable(getattr(student, part))
                if (parameter.ndim > 1 and not name.endswith("bias")) == decayed
            ]
            if own:
                groups.append({"params": own, "part": part, "decayed": decayed})
    betas, fused = recipe.optimiser.betas, next(student.parameters()).is_cuda
    return AdamW(groups, lr=0.0, weight_decay=0.0, betas=betas, fused=fused or None)


def restore_optimiser(optimiser: AdamW, state: dict[str, Any]) -> None:
    """Load a state, which may have been saved on another kind of device."""
    fused = optimiser.defaults["fused"]
    groups = [{**group, "fused": fused} for group in state["param_groups"]]
    optimiser.load_state_dict({**state, "param_groups": groups})


def apply_rates(optimiser: torch.optim.Optimizer, now: Rates) -> None:
    """Set learning rates and weight decay of every group."""
    for group in optimiser.param_groups:
        group["lr"] = now.backbone_lr if group["part"] == "backbone" else now.head_lr
        group["weight_decay"] = now.weight_decay if group["decayed"] else 0.0
