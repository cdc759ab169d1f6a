"""The last part of a batch of views, on the device: distorted and normalised by torch."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from densebench.posttrain.batched_distortions import distort_batch
from densebench.posttrain.distortions import Distortion


class Finishing:
    """Distorts and normalises what `MultiCrop` with the engine "torch" leaves undone.

    Args:
        mean: per channel, of the backbone's normalisation.
        std: likewise.
        device: where it is done.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device) -> None:
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]
            for values in (mean, std)
        )

    def __call__(
        self,
        views: Sequence[UInt8[Tensor, "b _ _ 3"]],
        distortions: Sequence[Sequence[Distortion]],
    ) -> list[Float[Tensor, "b 3 _ _"]]:
        """Every view of every image with its own distortion.

        Args:
            views: on the device; those of one size are finished together.
            distortions: by view, then by image.
        """
        finished: list[Tensor] = [torch.empty(0)] * len(views)
        for size in dict.fromkeys(view.shape for view in views):
            places = [place for place, view in enumerate(views) if view.shape == size]
            pixels = torch.cat([views[place] for place in places]).permute(0, 3, 1, 2).contiguous()
            done = self._normalised(
                distort_batch(pixels, [d for p in places for d in distortions[p]])
            )
            for place, part in zip(places, done.chunk(len(places)), strict=True):
                finished[place] = part
        return finished

    def _normalised(self, pixels: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        return pixels.float().div_(255).sub_(self._mean).div_(self._std)
