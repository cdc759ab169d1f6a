"""The losses of DINOv3's linear depth, of metres on valid pixels.

``sig`` is the published one; the others exist in the same code. Source: facebookresearch/dinov3 at
6876159, dinov3/eval/depth/loss.py; SigLoss after Eigen et al. (2014) and Bhat et al. (AdaBins).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Depth = Float[Tensor, "b h w"]
Valid = Bool[Tensor, "b h w"]
Loss = Callable[[Depth, Depth, Valid], Tensor]
OFFSET = 1e-3  # metres, so that a logarithm is finite
MEAN_SHARE = 0.15
WARM_CALLS = 100
STRIDES = (1, 2, 4, 6)


@dataclass
class SigLoss:
    """The scale-invariant loss; its first calls have no variance term.

    Attributes:
        warm_calls: how many these are.
        calls: how often it was called.
    """

    warm_calls: int = WARM_CALLS
    calls: int = 0

    def __call__(self, predicted: Depth, truth: Depth, valid: Valid) -> Tensor:
        """The root of the variance of the log ratios and 0.15 of their squared mean."""
        ratio = log_ratio(predicted, truth)[valid]
        squared = MEAN_SHARE * ratio.mean() ** 2
        self.calls += 1
        if self.calls > self.warm_calls:
            squared = squared + ratio.var()
        return squared.sqrt()


def gradient_log(predicted: Depth, truth: Depth, valid: Valid) -> Tensor:
    """Differences of the log ratio between pixels two apart, summed over strides 1, 2, 4 and 6."""
    return _differences(log_ratio(predicted, truth), valid)


def gradient(predicted: Depth, truth: Depth, valid: Valid) -> Tensor:
    """The same of the difference in metres."""
    return _differences(predicted - truth, valid)


def l1(predicted: Depth, truth: Depth, valid: Valid) -> Tensor:
    """The mean absolute error in metres."""
    return (predicted - truth)[valid].abs().mean()


@dataclass
class MultiLoss:
    """A weighted sum; a loss of weight 0 is not computed.

    Attributes:
        weights: by the name of the loss.
        sig: the only one that counts its calls.
    """

    weights: dict[str, float]
    sig: SigLoss = field(default_factory=SigLoss)

    def __call__(self, predicted: Depth, truth: Depth, valid: Valid) -> Tensor:
        """The sum over the losses."""
        others: dict[str, Loss] = {"gradient_log": gradient_log, "gradient": gradient, "l1": l1}
        losses: dict[str, Loss] = {"sig": self.sig, **others}
        parts = [
            weight * losses[name](predicted, truth, valid)
            for name, weight in self.weights.items()
            if weight
        ]
        return torch.stack(parts).sum()


def log_ratio(predicted: Depth, truth: Depth) -> Depth:
    """How far the logarithms of two depths are apart."""
    return torch.log(predicted + OFFSET) - torch.log(truth + OFFSET)


def _differences(error: Depth, valid: Valid) -> Tensor:
    """Absolute differences along both axes where both pixels are valid, over the valid pixels."""
    total = error.new_zeros(())
    for stride in STRIDES:
        seen = valid[:, ::stride, ::stride]
        values = error[:, ::stride, ::stride] * seen
        down = (values[:, :-2] - values[:, 2:]).abs() * (seen[:, :-2] & seen[:, 2:])
        across = (values[:, :, :-2] - values[:, :, 2:]).abs() * (seen[:, :, :-2] & seen[:, :, 2:])
        total = total + (down.sum() + across.sum()) / seen.sum()
    return total
