"""The training of a depth head, step by step, by DINOv3's recipe; it can be saved and restored."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from densebench.host.device import one_thread
from densebench.host.errors import DensebenchError
from densebench.learners.depth_head import DepthHead, cut_to_image, upsampled_depth
from densebench.learners.depth_losses import MultiLoss
from densebench.learners.onecycle import WarmupOneCycle

BETA1, BETA2 = 0.9, 0.99
FEWEST = 2  # valid pixels that a variance can be of


@dataclass(frozen=True)
class DepthOptimisation:
    """How a depth head is trained: AdamW under WarmupOneCycle, gradients clipped by their norm.

    Attributes:
        steps: how many there are.
        warmup: how many of them are warm-up.
        lr: the peak rate of the schedule, which is never reached.
        weight_decay: of all parameters.
        clip: the largest norm of the gradients together.
        farthest: truth beyond it in metres does not count; None where all counts, as published.
        patch_size: where padding is cut off again; None where it is not, as published.
        momentum_cycles: whether beta1 is 0 during the warm-up and rises to 0.95 after it, as
            published; else it is 0.9.
    """

    steps: int
    warmup: int
    lr: float
    weight_decay: float
    clip: float
    farthest: float | None = None
    patch_size: int | None = None
    momentum_cycles: bool = True

    @property
    def schedule(self) -> WarmupOneCycle:
        """Of the rate, and of beta1 where that has one."""
        schedule = WarmupOneCycle.of_depth(self.lr, self.steps, self.warmup)
        return schedule if self.momentum_cycles else replace(schedule, momenta=None)


class Step(NamedTuple):
    """What a step found.

    Attributes:
        loss: in metres or of their logarithms; nan where no pixel was valid.
        grad_norm: of all gradients together, before they are clipped.
    """

    loss: float
    grad_norm: float


class DepthTraining:
    """A depth head with its loss, its optimiser and its schedule."""

    def __init__(self, head: DepthHead, how: DepthOptimisation, loss: MultiLoss) -> None:
        self.head, self._how, self._loss = head, how, loss
        self._schedule, self.done = how.schedule, 0
        self._optimiser = torch.optim.AdamW(
            head.parameters(),
            lr=how.lr,
            betas=(BETA1, BETA2),
            eps=1e-8,
            weight_decay=how.weight_decay,
        )

    @one_thread()
    def step(self, patches: Float[Tensor, "b h w d"], truth: Float[Tensor, "b H W"]) -> Step:
        """One step on a batch, with its depth in metres, 0 where there is none.

        A batch without any valid pixel teaches nothing: it is a step of the schedule alone.

        Raises:
            DensebenchError: the loss is not finite.
        """
        self._schedule.set(self._optimiser, self.done)
        self.done += 1
        truth = truth.to(patches.device)
        valid = self._valid(truth)
        if valid.sum() < FEWEST:
            return Step(float("nan"), float("nan"))
        self.head.train()
        loss = self._loss(self._pixels(self.head(patches), truth), truth, valid)
        if not torch.isfinite(loss):
            raise DensebenchError(
                f"the depth head's loss is {loss.item()} in step {self.done}; lower lr, or look "
                "at the training images' depth"
            )
        self._optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.head.parameters(), self._how.clip)
        self._optimiser.step()
        return Step(loss.item(), norm.item())

    def state(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "head": self.head.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "done": self.done,
            "calls": self._loss.sig.calls,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state.

        Raises:
            ValueError: the state is another head's, or of another training.
        """
        if not 0 < state["done"] <= self._how.steps:
            raise ValueError("another number of steps")
        self.head.load_state_dict(state["head"])
        self._optimiser.load_state_dict(state["optimiser"])
        for parameter, kept in self._optimiser.state.items():  # at which torch does not look
            shapes = [v.shape for v in kept.values() if isinstance(v, Tensor) and v.ndim]
            if any(shape != parameter.shape for shape in shapes):
                raise ValueError("the optimiser's state is another head's")
        self.done, self._loss.sig.calls = int(state["done"]), int(state["calls"])

    def _valid(self, truth: Float[Tensor, "b H W"]) -> Bool[Tensor, "b H W"]:
        valid = (truth != 0) & torch.isfinite(truth)
        return valid if self._how.farthest is None else valid & (truth <= self._how.farthest)

    def _pixels(
        self, depth: Float[Tensor, "b h w"], truth: Float[Tensor, "b H W"]
    ) -> Float[Tensor, "b H W"]:
        height, width = truth.shape[1:]
        if self._how.patch_size is not None:
            depth = cut_to_image(depth, self._how.patch_size, (height, width))
        return upsampled_depth(depth, (height, width))
