"""Weights files: read safely, unwrapped from whatever training code put around the state dict.

Pickles are read with ``weights_only=True``. What a training checkpoint holds beside the encoder
(heads, the other network, optimiser, epoch) is left behind; of the encoder nothing is.
"""

import argparse
import pickle
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from densebench.files.zipped import check_parts
from densebench.host.errors import DensebenchError

StateDict = dict[str, Tensor]
# In the order in which they are looked for: DINO and DINOv2 evaluate the teacher.
# I-JEPA: the encoder, beside a predictor and a target.
NESTED = ("state_dict", "model", "teacher", "student", "encoder")
# NeCo, Leopart: one flat dict with `model.` (the student) and `teacher.`; open_clip: `visual.`.
PREFIXES = (
    "module.",
    "_orig_mod.",
    "model.",
    "student.",
    "teacher.",
    "backbone.",
    "visual.trunk.",
    "visual.",
)


def read_state_dict(path: Path) -> StateDict:
    """The tensors of a weights file by name, out of any dictionaries around them.

    Of a checkpoint with both networks under keys of their own the teacher is taken, as the
    official evaluation of DINO and DINOv2 does.

    Raises:
        DensebenchError: the file is missing, truncated, no checkpoint, or a pickle that would
            have to run code.
    """
    if not path.is_file():
        raise DensebenchError(f"{path}: no such weights file")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    state = _innermost(content)
    if not state:
        raise DensebenchError(f"{path}: holds no tensors by name, so it is no state dict")
    return state


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except (SafetensorError, OSError, RecursionError, ValueError) as error:
        raise DensebenchError(f"{path}: not a readable .safetensors file ({error})") from error


def _read_pickle(path: Path) -> Any:
    # DINO's full checkpoints hold their command line; a Namespace only ever stores attributes.
    torch.serialization.add_safe_globals([argparse.Namespace])
    try:
        check_parts(path)
    except ValueError as error:
        raise DensebenchError(f"{path}: {error}; get it again") from error
    except OSError as error:
        raise DensebenchError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DensebenchError(f"{path}: cannot be read: {error.strerror}") from error
    except pickle.UnpicklingError as error:
        unsafe = re.search(r"GLOBAL (\S+)", str(error))
        if unsafe is None:
            raise _no_checkpoint(path) from error
        raise DensebenchError(
            f"{path}: refused, because reading it would run code ({unsafe[1].rstrip('.')}); "
            "save its state dict as .safetensors where you trust it"
        ) from error
    except Exception as error:  # torch raises what its zip and pickle readers happen to raise
        raise _no_checkpoint(path) from error


def _no_checkpoint(path: Path) -> DensebenchError:
    return DensebenchError(
        f"{path}: not a checkpoint, or a truncated one ({path.stat().st_size} bytes); "
        "a .safetensors file or a state dict saved by torch.save is needed"
    )


def _innermost(content: Any) -> StateDict:
    if not isinstance(content, Mapping):
        return {}
    for key in NESTED:
        inner = _innermost(content.get(key))
        if inner:
            return inner
    return {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}


def strip_prefixes(state: StateDict, known: Collection[str]) -> StateDict:
    """The entries of the encoder, without the prefixes of the modules around it.

    Nothing is stripped once a name is one of ``known``. Where a file has entries with a prefix
    and others without, the prefix tells the encoder from the heads; a student stored beside its
    teacher goes before it.
    """
    if any(name in known for name in state):
        return state
    for prefix in PREFIXES:
        inside = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
        if inside:
            return strip_prefixes(inside, known)
    return state


def drop_keys(state: StateDict, prefixes: Collection[str]) -> StateDict:
    """The entries whose name starts with none of the prefixes."""
    return {k: v for k, v in state.items() if not k.startswith(tuple(prefixes))}


def load_strictly(
    module: torch.nn.Module, state: StateDict, origin: object, describe: Callable[..., str]
) -> None:
    """Put weights into a module, or say which keys do not fit; nothing is loaded then.

    Args:
        module: The encoder.
        state: Its weights by the names that the module has.
        origin: What the message names as the source, a path.
        describe: Names the architecture of a state dict, or gives "".

    Raises:
        DensebenchError: missing, extra or misshapen keys: the first ones, and how many.
    """
    wanted = module.state_dict()
    for key, tensor in state.items():
        check_kind(key, tensor, wanted.get(key), origin)
    missing = [k for k in wanted if k not in state]
    extra = [k for k in state if k not in wanted]
    misshapen = [k for k in wanted if k in state and state[k].shape != wanted[k].shape]
    problems = [
        listed("missing", missing),
        listed("not known here", extra),
        listed("of another shape", [_shapes(k, state[k], wanted[k]) for k in misshapen]),
    ]
    if missing or extra or misshapen:
        theirs, ours = describe(state), describe(wanted)
        hint = f"; the file is {theirs}, this backbone is {ours}" if theirs != ours else ""
        raise DensebenchError(f"{origin}: keys {'; '.join(filter(None, problems))}{hint}")
    module.load_state_dict(state)


def check_kind(key: str, given: Tensor, wanted: Tensor | None, origin: object) -> None:
    """Nothing, if a float parameter is given floats: others would be cast without a word.

    Raises:
        DensebenchError: whole or complex numbers or truth values, or floats for whole numbers.
    """
    if given.is_meta or given.layout != torch.strided:
        what = "no numbers" if given.is_meta else "a sparse tensor"
        raise DensebenchError(f"{origin}: {key} is {what}; save the weights as plain tensors")
    if wanted is None or given.dtype == wanted.dtype:
        return
    if not (given.is_floating_point() and wanted.is_floating_point()):
        raise DensebenchError(
            f"{origin}: {key} holds {_dtype(given)} and the backbone wants {_dtype(wanted)}; "
            "these are other weights, or quantised ones"
        )


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def listed(label: str, keys: list[str], shown: int = 3) -> str:
    """The first ones of some keys, and how many there are; nothing where there are none."""
    if not keys:
        return ""
    more = ", ..." if len(keys) > shown else ""
    return f"{label}: {', '.join(keys[:shown])}{more} ({len(keys)} in all)"


def _shapes(key: str, given: Tensor, wanted: Tensor) -> str:
    return f"{key} {list(given.shape)} instead of {list(wanted.shape)}"
