"""Weights as their base's own file has them: the same names, the same shapes, nothing left out."""

from collections.abc import Set
from pathlib import Path

from torch import nn

from densebench.backbones.base import DenseBackbone
from densebench.backbones.trainable import encoder_of
from densebench.backbones.weights.naming import from_timm_names, timm_name
from densebench.backbones.weights.state_dict import StateDict, read_state_dict, strip_prefixes

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
    encoder = encoder_of(backbone)
    state = encoder.state_dict()
    if base is not None:
        state = _as_in_file(state, base, encoder)
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}


def _as_in_file(state: StateDict, base: Path, encoder: nn.Module) -> StateDict:
    known = {*encoder.state_dict()}
    prefix, original = _encoder_part(read_state_dict(base), known)
    if not _covers(original, known):
        return state  # the file's naming is one that only timm's own loader reads
    named = from_timm_names(state, original)
    return {prefix + name: tensor for name, tensor in named.items()}


def _encoder_part(whole: StateDict, known: Set[str]) -> tuple[str, StateDict]:
    """What of a file is the encoder, and the prefix that it keeps."""
    for prefix in TOWERS:  # first, as open_clip's text tower has names of the image tower
        inside = {k.removeprefix("module."): v for k, v in whole.items()}
        inside = {k[len(prefix) :]: v for k, v in inside.items() if k.startswith(prefix)}
        if _covers(inside, known):
            return prefix, inside
    return "", strip_prefixes(whole, known)


def _covers(state: StateDict, known: Set[str]) -> bool:
    return known <= {timm_name(name) for name in state}
