"""Cross-entropy of patch logits that are upsampled to the pixels, image by image.

Of a batch only one image is upsampled at a time: 16 crops of 512 with 150 classes would be 2.5 GB,
several times over.
"""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

VOID = -1  # the label that the loss leaves out


def pixel_loss(
    logits: Float[Tensor, "b c h w"], labels: Int64[Tensor, "b H W"], over_all: bool
) -> Float[Tensor, ""]:
    """The cross-entropy at the size of the labels; of void ones it is 0.

    Args:
        logits: of the patches.
        labels: of the pixels.
        over_all: whether it is the mean over all pixels, as DINOv3's is, or over labelled ones.
    """
    counted = labels.numel() if over_all else int((labels != VOID).sum())
    total: Float[Tensor, ""] = _SumOfImages.apply(logits, labels)
    return total / max(counted, 1)


class _SumOfImages(torch.autograd.Function):
    """Sums the loss over images; the gradient is computed with it."""

    @staticmethod
    def forward(
        ctx: Any, logits: Float[Tensor, "b c h w"], labels: Int64[Tensor, "b H W"]
    ) -> Float[Tensor, ""]:
        gradients, total = [], logits.new_zeros(())
        for image, truth in zip(logits, labels, strict=True):
            with torch.enable_grad():
                alone = image.detach()[None].requires_grad_()
                upsampled = interpolate(
                    alone, size=truth.shape, mode="bilinear", align_corners=False
                )
                loss = cross_entropy(upsampled, truth[None], ignore_index=VOID, reduction="sum")
                gradients += torch.autograd.grad(loss, alone)
            total += loss.detach()
        ctx.save_for_backward(torch.cat(gradients))
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[0], None
