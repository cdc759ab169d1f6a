"""DINOv3's WarmupOneCycleLR: learning rate and AdamW's beta1 as functions of the step.

Its two linear evaluations use two rules of that name, which differ during the warm-up. Source:
facebookresearch/dinov3 at 6876159, dinov3/eval/segmentation and dinov3/eval/depth.
"""

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

import torch


@dataclass(frozen=True)
class WarmupOneCycle:
    """A warm-up, then a cosine from ``peak`` to ``last``; steps count from 0.

    Both run over the whole length at once: the cosine goes on from where it stands after the
    warm-up, which itself rises to a rate that falls meanwhile, so that ``peak`` is never reached.

    Attributes:
        peak: the rate that the cosine would begin with.
        steps: how many there are.
        warmup: how many of them are warm-up.
        ratio: the first rate as a share of ``peak``.
        last: the rate that the cosine ends with.
        falls: how the rate that the warm-up rises to falls: linearly in the segmentation, by the
            cosine in the depth.
        repeats_first: whether the schedule is not moved on after the first step, as in the
            segmentation, so that every rate comes a step late.
        momenta: beta1 at the end of the warm-up and at the very end, by a cosine; it is 0 before.
            None leaves it as the optimiser has it.
    """

    peak: float
    steps: int
    warmup: int
    ratio: float
    last: float = 0.0
    falls: Literal["linear", "cosine"] = "linear"
    repeats_first: bool = False
    momenta: tuple[float, float] | None = None

    @classmethod
    def of_segmentation(cls, peak: float, steps: int, warmup: int) -> "WarmupOneCycle":
        """As in the published linear segmentation."""
        return cls(peak, steps, warmup, ratio=1e-6, repeats_first=True)

    @classmethod
    def of_depth(cls, peak: float, steps: int, warmup: int) -> "WarmupOneCycle":
        """As in the published linear depth."""
        last = peak / 25.0 / 1000.0
        return cls(peak, steps, warmup, 1e-3, last, falls="cosine", momenta=(0.85, 0.95))

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        n = self._position(step)
        if n >= self.warmup:
            return _cosine(self.peak, self.last, (n + 1) / self.steps)
        risen = n / self.warmup
        if self.falls == "linear":
            return self.peak * (1 - (1 - risen) * (1 - self.ratio)) * (1 - n / self.steps)
        return self.peak * self.ratio + _cosine(self.peak, 0.0, n / self.steps) * risen

    def beta1(self, step: int) -> float | None:
        """AdamW's first beta of a step; None where it is left as it is."""
        if self.momenta is None:
            return None
        n = self._position(step)
        if n < self.warmup:
            return 0.0
        return _cosine(*self.momenta, (n - self.warmup) / (self.steps - self.warmup))

    def set(self, optimiser: torch.optim.Optimizer, step: int) -> None:
        """Give an optimiser of the Adam kind the rate and the beta1 of a step."""
        beta1 = self.beta1(step)
        for group in optimiser.param_groups:
            group["lr"] = self.rate(step)
            if beta1 is not None:
                group["betas"] = (beta1, group["betas"][1])

    def _position(self, step: int) -> int:
        return max(0, step - 1) if self.repeats_first else step


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + cos(pi * share)) / 2
