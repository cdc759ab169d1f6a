"""Student and teacher of a recipe, as a training begins with them."""

from dataclasses import dataclass

import torch

from densebench.backbones.base import DenseBackbone
from densebench.host.watcher import Watcher
from densebench.posttrain.architecture import unfold_class_token, use_neco_positions
from densebench.posttrain.photographs import Purpose, step_seed
from densebench.posttrain.recipe import Recipe
from densebench.posttrain.student import (
    ProjectionHead,
    Projector,
    checkpoint_gradients,
    freeze_all_but_last,
    set_drop_path,
)
from densebench.posttrain.teacher import teacher_of


@dataclass(frozen=True)
class Networks:
    """A student and its teacher."""

    student: Projector
    teacher: Projector


def build_networks(
    backbone: DenseBackbone, recipe: Recipe, device: torch.device, watcher: Watcher
) -> Networks:
    """Student and teacher of one backbone, which becomes the student's, in place.

    Args:
        backbone: what is trained; its rule of positions and its class token change as asked.
        recipe: every knob.
        device: where they run.
        watcher: told what the backbone has no place for.
    """
    model = recipe.model
    if model.positions == "neco" and not use_neco_positions(backbone):
        watcher.say(
            f"{backbone.name} cannot resize its positions by NeCo's rule; it trains with its own"
        )
    freeze_all_but_last(backbone, model.trainable_blocks)
    student = Projector(backbone, _head(backbone, recipe, Purpose.HEAD)).to(device)
    own = model.teacher_head == "own"
    teacher = teacher_of(student, _head(backbone, recipe, Purpose.TEACHER_HEAD) if own else None)
    teacher.to(device)
    if model.class_token == "unfolded":  # in each, as copies of it cannot be folded apart
        for network in (student, teacher):
            unfold_class_token(network.backbone)
    if model.drop_path and not set_drop_path(backbone, model.drop_path):
        watcher.say(f"{backbone.name} has no place for drop path; it trains without")
    if model.gradient_checkpointing:
        checkpoint_gradients(backbone)
    if model.compile:
        # Global and local views have two sizes in all, each worth a graph of its own; left to
        # itself, torch would make one of dynamic shapes for both.
        for network in (student, teacher):
            network.compile(dynamic=False)
    return Networks(student.train(), teacher)


def _head(backbone: DenseBackbone, recipe: Recipe, purpose: Purpose) -> ProjectionHead:
    model = recipe.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(step_seed(recipe.training.seed, 0, purpose))
        return ProjectionHead(
            backbone.embed_dim, model.head_layers, model.head_hidden, model.head_dim
        )
