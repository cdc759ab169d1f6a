"""Weights as their base's own file has them: the same names, the same shapes, nothing left out."""

from pathlib import Path

from torch import nn

from densebench.backbones.base import DenseBackbone
from densebench.backbones.checkpoints import StateDict, read_state_dict, strip_prefixes
from densebench.backbones.naming import from_timm_names, timm_name

# open_clip keeps the image tower beside the text tower; training wrappers' prefixes are left off.
TOWERS = ("visual.trunk.", "visual.")


def official_state(backbone: DenseBackbone, base: Path | None) -> StateDict:
    """The weights of a backbone in the naming of the file that it was built from.

    Entries of the encoder in the base's file that the backbone does not use (DINOv2's mask token,
    a classifier) are carried over, so that whatever reads the base's file strictly reads this too.

    Args:
        backbone: Trained, or not.
        base: The file that it was loaded from; None keeps the names of the module itself.

    Returns:
        Contiguous tensors on the CPU that share no memory.
    """
    state = backbone.encoder.state_dict()
    if base is not None:
        state = _as_in_file(state, base, backbone.encoder)
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}


def _as_in_file(state: StateDict, base: Path, encoder: nn.Module) -> StateDict:
    known = {*encoder.state_dict()}
    whole = read_state_dict(base)
    original = strip_prefixes(whole, known)
    if not known <= {timm_name(name) for name in original}:
        return state  # the file's naming is one that only timm's own loader reads
    prefix = next((p for p in TOWERS if f"{p}{next(iter(original))}" in whole), "")
    named = from_timm_names(state, original)
    return {prefix + name: tensor for name, tensor in named.items()}
