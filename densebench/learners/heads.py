"""The segmentation head on frozen patches: its layers, its training, its file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int64, UInt8
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from densebench.backbones.base import PositionsOf
from densebench.datasets.transforms import Triple, resize_labels
from densebench.files.regular import open_regular, parse_json
from densebench.host.device import one_thread
from densebench.host.errors import DensebenchError
from densebench.learners.upsampled_loss import upsampled_loss

HeadKind = Literal["linear", "bn_linear"]
Channel = Annotated[int, Field(ge=0, le=255)]
LARGEST_INPUT = 1 << 14


class Head(nn.Module):
    """Class logits of each patch: a linear map, after batch normalisation for ``bn_linear``."""

    def __init__(self, embed_dim: int, n_classes: int, kind: HeadKind) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(embed_dim) if kind == "bn_linear" else nn.Identity()
        self.classify = nn.Conv2d(embed_dim, n_classes, kernel_size=1)

    def forward(self, patches: Float[Tensor, "b h w d"]) -> Float[Tensor, "b c h w"]:
        """Logits on the patch grid."""
        logits: Tensor = self.classify(self.norm(patches.permute(0, 3, 1, 2)))
        return logits


def seeded_head(embed_dim: int, n_classes: int, kind: HeadKind, seed: int) -> Head:
    """A head that has learnt nothing yet, the same for the same seed; no other draw is touched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Head(embed_dim, n_classes, kind)


@dataclass(frozen=True)
class Optimisation:
    """How a head is trained: SGD with momentum or AdamW, the rate cut to a tenth at ``drop_at``."""

    optimiser: Literal["sgd", "adamw"]
    lr: float
    momentum: float
    weight_decay: float
    drop_at: int


class HeadTraining:
    """A head with its optimiser and schedule, epoch by epoch; all of it can be saved and restored.

    A convolution of size 1 and bilinear upsampling are both linear and commute, so the head runs on
    the patch grid and its logits are upsampled to the masks: the published loss and gradients at
    about a tenth of the arithmetic.
    """

    def __init__(self, head: Head, how: Optimisation, ignore_index: int) -> None:
        self.head, self._ignore_index = head, ignore_index
        parameters = head.parameters()
        if how.optimiser == "adamw":
            self._optimiser: torch.optim.Optimizer = torch.optim.AdamW(
                parameters, lr=how.lr, weight_decay=how.weight_decay
            )
        else:
            self._optimiser = torch.optim.SGD(
                parameters, lr=how.lr, momentum=how.momentum, weight_decay=how.weight_decay
            )
        self._schedule = torch.optim.lr_scheduler.StepLR(self._optimiser, how.drop_at, gamma=0.1)

    @one_thread()
    def step(
        self, patches: Float[Tensor, "b h w d"], masks: UInt8[Tensor, "b H W"], mask_size: int
    ) -> float:
        """One step on a batch; returns the mean loss over labelled pixels at ``mask_size``.

        On a processor by one thread: sums of several are rounded by how many they are.

        Raises:
            DensebenchError: the loss is not finite.
        """
        self.head.train()
        logits = self.head(patches)
        truth = resize_labels(masks, mask_size).long().to(logits.device)
        loss = upsampled_loss(logits, self._ignored(truth), self._ignore_index)
        if not torch.isfinite(loss):
            raise DensebenchError(
                f"the head's loss is {loss.item()}; lower lr, or check that masks are not all void"
            )
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        return loss.item()

    def end_epoch(self) -> None:
        """Move the learning rate's schedule on."""
        self._schedule.step()

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on."""
        return {
            "head": self.head.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            ValueError: the state is another head's.
        """
        self.head.load_state_dict(state["head"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        for parameter, kept in self._optimiser.state.items():  # at which torch does not look
            shapes = [v.shape for v in kept.values() if isinstance(v, Tensor) and v.ndim]
            if any(shape != parameter.shape for shape in shapes):
                raise ValueError("the optimiser's state is another head's")

    def _ignored(self, truth: Int64[Tensor, "b s s"]) -> Int64[Tensor, "b s s"]:
        """Void pixels of any kind under the one label that the loss leaves out."""
        void = truth >= self.head.classify.out_channels
        return truth.masked_fill(void, self._ignore_index)


class About(BaseModel):
    """What the file of a head says of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: HeadKind
    classes: tuple[str, ...] = Field(min_length=1)
    palette: tuple[tuple[Channel, Channel, Channel], ...]
    ignore_index: int
    input_size: int = Field(gt=0, le=LARGEST_INPUT)
    backbone: str
    fingerprint: str
    mean: Triple
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    positions: PositionsOf
    layers: tuple[int, ...] | None = None


@dataclass(frozen=True)
class HeadFile:
    """A trained head with what is needed to use it."""

    head: Head
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_index: int
    input_size: int
    backbone: str
    fingerprint: str
    mean: Triple
    std: Triple
    positions: PositionsOf
    layers: tuple[int, ...] | None = None


@one_thread()
@torch.inference_mode()
def class_logits(head: Head, patches: Float[Tensor, "b h w d"]) -> Float[Tensor, "b c h w"]:
    """Logits on the patch grid, image by image: how one is rounded depends on no other.

    Raises:
        DensebenchError: a logit is not finite, so that no class can be read from it.
    """
    logits = torch.cat([head(image[None].clone()) for image in patches])
    if not torch.isfinite(logits).all():
        raise DensebenchError(
            "the head's logits are not finite (nan or infinite), so that they name no class; "
            "train it with a lower lr"
        )
    return logits


def head_bytes(head: Head, kind: HeadKind, about: dict[str, Any]) -> bytes:
    """The head as a safetensors file; ``about`` goes into its metadata as JSON."""
    state = {name: tensor.detach().cpu() for name, tensor in head.state_dict().items()}
    return to_safetensors(state, {"densebench_head": json.dumps({"kind": kind, **about})})


def load_head(path: Path) -> HeadFile:
    """A head that a run left.

    Raises:
        DensebenchError: the file is no head of ours, or its weights are not finite.
    """
    try:
        open_regular(path).close()
        with safe_open(path, framework="pt") as file:
            about = About.model_validate(parse_json((file.metadata() or {})["densebench_head"]))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        head = _built(state, about)
    except (OSError, SafetensorError, LookupError, ValueError, RuntimeError) as error:
        raise DensebenchError(
            f"{path}: not a head of this version of densebench ({_first_line(error)}); a run of a "
            "linear task leaves one beside its record"
        ) from error
    if not all(torch.isfinite(tensor).all() for tensor in state.values()):
        raise DensebenchError(f"{path}: the head's weights are not finite; train it again")
    said = {name: getattr(about, name) for name in About.model_fields if name != "kind"}
    return HeadFile(head=head.eval(), **said)


def _built(state: dict[str, Tensor], about: About) -> Head:
    """The head of these weights.

    Raises:
        LookupError, ValueError, RuntimeError: they are not of such a head.
    """
    weight = state["classify.weight"]
    if weight.ndim != 4 or len(weight) != len(about.classes):
        raise ValueError(f"{list(weight.shape)} weights for {len(about.classes)} classes")
    head = Head(weight.shape[1], weight.shape[0], about.kind)
    wanted = head.state_dict()
    for name, tensor in state.items():
        if name in wanted and tensor.dtype != wanted[name].dtype:
            raise ValueError(f"{name} holds {tensor.dtype}")
    head.load_state_dict(state)
    return head


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines[:2]) or type(error).__name__
