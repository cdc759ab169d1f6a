"""Official DINO, DINOv2 and NeCo names of vision transformer weights, turned into timm's.

DINO's and NeCo's on DINO are timm's already. DINOv2's differ in the register tokens, in the
SwiGLU layers of the giant, and in blocks that training splits into chunks.
"""

import re

import torch
from torch import Tensor, cat, nn

from densebench.backbones.weights.state_dict import StateDict

RENAMED = (
    (re.compile(r"^register_tokens$"), "reg_token"),
    (re.compile(r"^blocks\.\d+\.(\d+)\."), r"blocks.\1."),
    (re.compile(r"\.mlp\.w12\."), ".mlp.fc1."),
    (re.compile(r"\.mlp\.w3\."), ".mlp.fc2."),
)
WIDTHS = {192: "Ti", 384: "S", 768: "B", 1024: "L", 1280: "H", 1536: "g"}


def to_timm_names(state: StateDict, model: nn.Module) -> StateDict:
    """A state dict in any of the known namings, in that of a timm vision transformer."""
    renamed = {timm_name(name): tensor for name, tensor in state.items()}
    return _fold_class_position(renamed, model)


def timm_name(name: str) -> str:
    """One name, in timm's naming."""
    for pattern, replacement in RENAMED:
        name = pattern.sub(replacement, name)
    return name


def from_timm_names(state: StateDict, original: StateDict) -> StateDict:
    """The inverse of ``to_timm_names``: weights under the names and in the shapes of a file.

    Args:
        state: Weights in timm's names.
        original: The file's own weights; what ``state`` has not (a mask token, a head) is kept.

    Returns:
        As many tensors as ``original`` has, in its order.
    """
    return {
        name: _unfolded(state[timm_name(name)], tensor) if timm_name(name) in state else tensor
        for name, tensor in original.items()
    }


def _unfolded(trained: Tensor, original: Tensor) -> Tensor:
    """A position table with a place for the class token, whose position is in the token already."""
    if trained.ndim == original.ndim == 3 and trained.shape[1] + 1 == original.shape[1]:
        return cat([torch.zeros_like(trained[:, :1]), trained], dim=1)
    return trained


def _fold_class_position(state: StateDict, model: nn.Module) -> StateDict:
    """Add the class token's position to the token, where timm's table is of patches alone."""
    ours, table = getattr(model, "pos_embed", None), state.get("pos_embed")
    if ours is None or table is None or "cls_token" not in state or table.ndim != ours.ndim:
        return state
    if not getattr(model, "no_embed_class", False) or table.shape[1] != ours.shape[1] + 1:
        return state
    folded = {"cls_token": state["cls_token"] + table[:, :1], "pos_embed": table[:, 1:]}
    return {**state, **folded}


def architecture(state: StateDict) -> str:
    """What kind of vision transformer a state dict in timm's names is, or ""."""
    kernel = state.get("patch_embed.proj.weight")
    if kernel is None or kernel.ndim != 4:
        return ""
    width, patch = kernel.shape[0], kernel.shape[-1]
    depth = len({k.split(".")[1] for k in state if k.startswith("blocks.")})
    registers = state["reg_token"].shape[1] if "reg_token" in state else 0
    size = WIDTHS.get(width, f"{width}")
    return f"ViT-{size}/{patch} ({width} wide, {depth} blocks, {registers} register tokens)"
