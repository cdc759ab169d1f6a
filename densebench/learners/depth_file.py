"""The file of a trained depth head, with what is needed to use it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from densebench.backbones.base import PositionsOf
from densebench.cards import SHA256_PATTERN
from densebench.datasets.transforms import Triple
from densebench.files.regular import open_regular, parse_json
from densebench.host.errors import DensebenchError
from densebench.learners.depth_head import Bins, DepthHead, Spacing, Weighting
from densebench.learners.heads import LARGEST_INPUT

KEY = "densebench_head_of_depth"
MOST_BINS = 65_536


class AboutBins(BaseModel):
    """What the file says of the bins."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    count: int = Field(gt=0, le=MOST_BINS)
    nearest: PositiveFloat
    farthest: PositiveFloat
    spacing: Spacing
    weighting: Weighting


class AboutDepth(BaseModel):
    """What the file of a depth head says of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    bins: AboutBins
    normalised: bool
    padding_is_cut: bool
    mirrored: bool
    height: int = Field(gt=0, le=LARGEST_INPUT)
    width: int = Field(gt=0, le=LARGEST_INPUT)
    backbone: str
    fingerprint: str
    mean: Triple
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    positions: PositionsOf
    checksum: str = Field(pattern=SHA256_PATTERN)


@dataclass(frozen=True)
class DepthHeadFile:
    """A trained depth head, and what its file says of it."""

    head: DepthHead
    about: AboutDepth


def depth_head_bytes(head: DepthHead, about: dict[str, Any]) -> bytes:
    """The head as a safetensors file; ``about`` and its bins go into the metadata as JSON."""
    state = {name: tensor.detach().cpu() for name, tensor in head.state_dict().items()}
    told = {"bins": asdict(head.bins), "normalised": head.is_normalised, **about}
    told["checksum"] = _checksum(state)
    return to_safetensors(state, {KEY: json.dumps(told)})


def is_depth_head(path: Path) -> bool:
    """Whether a file says that it is one."""
    try:
        open_regular(path).close()
        with safe_open(path, framework="pt") as file:
            return KEY in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def load_depth_head(path: Path) -> DepthHeadFile:
    """A depth head that a run left.

    Raises:
        DensebenchError: the file is none of ours, or its weights are not finite.
    """
    try:
        open_regular(path).close()
        with safe_open(path, framework="pt") as file:
            about = AboutDepth.model_validate(parse_json((file.metadata() or {})[KEY]))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        head = _built(state, about)
    except (OSError, SafetensorError, LookupError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DensebenchError(
            f"{path}: not a depth head of this version of densebench ({reason}); a run of a "
            "depth_linear task leaves one beside its record"
        ) from error
    if not all(torch.isfinite(tensor).all() for tensor in state.values()):
        raise DensebenchError(f"{path}: the head's weights are not finite; train it again")
    return DepthHeadFile(head.eval(), about)


def _checksum(state: dict[str, Tensor]) -> str:
    """SHA-256 of all weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _built(state: dict[str, Tensor], about: AboutDepth) -> DepthHead:
    """The head of these weights.

    Raises:
        LookupError, ValueError, RuntimeError: they are not of such a head.
    """
    weight = state["project.weight"]
    if weight.ndim != 4 or len(weight) != about.bins.count:
        raise ValueError(f"{list(weight.shape)} weights for {about.bins.count} bins")
    if _checksum(state) != about.checksum:
        raise ValueError("its weights are not what was written")
    head = DepthHead(weight.shape[1], Bins(**about.bins.model_dump()), about.normalised)
    wanted = head.state_dict()
    for name, tensor in state.items():
        if name in wanted and tensor.dtype != wanted[name].dtype:
            raise ValueError(f"{name} holds {tensor.dtype}")
    head.load_state_dict(state)
    return head
