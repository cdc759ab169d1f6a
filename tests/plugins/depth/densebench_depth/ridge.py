"""Depth by ridge regression from the features of a patch to its mean depth."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped
from pydantic import Field
from torch import Tensor

from densebench import Metric
from densebench.datasets import Target
from densebench.protocols import (
    Needs,
    PatchBatch,
    PatchSource,
    Prediction,
    Protocol,
    ProtocolParams,
    Scoring,
    Squash,
    upsampled,
)
from densebench_depth.rmse import RootMeanSquareError

NO_DEPTH = "no validation pixel has a depth"


@dataclass(frozen=True)
class DepthScoring(Scoring):
    """The evidence of an image is its RMSE and 1; two zeros where no pixel is valid."""

    target: Target

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The RMSE alone."""
        return (RootMeanSquareError(),)

    def vector(
        self, prediction: Prediction, position: int, truth: Shaped[np.ndarray, "h w"]
    ) -> Float[np.ndarray, " 2"]:
        """What was predicted is upsampled bilinearly to the truth's size."""
        valid = self.target.valid(truth)
        if not valid.any():
            return np.zeros(2)
        assert prediction.values is not None
        depth = upsampled(prediction.values[position].cpu(), truth.shape)[0].numpy()
        error = depth[valid].astype(np.float64) - truth[valid]
        return np.array([np.sqrt(np.square(error).mean()), 1.0])

    def why_not(self, total: Float[np.ndarray, " 2"]) -> str:
        """No image counts."""
        return "" if total[1] else NO_DEPTH


class RidgeParams(ProtocolParams):
    """``penalty`` is added to the diagonal of the features' products, not to the constant's."""

    penalty: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class DepthRidge(Protocol):
    """One linear map for all patches, in closed form."""

    Params = RidgeParams
    variants = ("reference",)
    version = 1
    targets = ("depth",)

    @property
    def scoring(self) -> DepthScoring:
        """At the image's own size, then at the input's."""
        return DepthScoring(("original", "input"), self.setting.target)

    @property
    def needs(self) -> Needs:
        """One pass."""
        return Needs(train_passes=1, kept_train_views=1)

    def fit(self, train: PatchSource, val: PatchSource) -> None:
        """Solve the normal equations of all patches that have a valid pixel, in float64."""
        size = self.setting.embed_dim + 1
        products = torch.zeros(size, size, dtype=torch.float64)
        sums = torch.zeros(size, dtype=torch.float64)
        for batch in train.batches(self._view):
            inputs, depth = self._patches(batch)
            products += inputs.T @ inputs
            sums += inputs.T @ depth
        diagonal = torch.full((size,), float(self.params.penalty), dtype=torch.float64)
        diagonal[-1] = 0.0
        self._weights = torch.linalg.solve(products + torch.diag(diagonal), sums)

    def predict(self, val: PatchSource) -> Iterator[Prediction]:
        """The depth of every patch."""
        for batch in val.batches(self._view):
            depth = with_constant(batch.patches.cpu()) @ self._weights
            yield Prediction(batch.indices, batch.masks, values=depth[:, None].float())

    def memory_plan(self, n_train: int, n_val: int) -> dict[str, int]:
        """The normal equations."""
        return {"the normal equations": 2 * 8 * (self.setting.embed_dim + 1) ** 2}

    @property
    def _view(self) -> Squash:
        return Squash(self.input_size, self.setting.mean, self.setting.std)

    def _patches(self, batch: PatchBatch) -> tuple[Float[Tensor, "n d+1"], Float[Tensor, " n"]]:
        """Features and mean depth of the patches that have a valid pixel."""
        side, p = self.grid, self.setting.patch_size
        tiles = batch.masks.double().reshape(-1, side, p, side, p)
        valid = torch.from_numpy(self.setting.target.valid(tiles.numpy())).double()
        counts = valid.sum(dim=(2, 4))
        depth = (tiles * valid).sum(dim=(2, 4)) / counts.clamp(min=1)
        kept = counts > 0
        return with_constant(batch.patches.cpu())[kept], depth[kept]


def with_constant(patches: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d+1"]:
    """The features in float64, and a 1 after them."""
    return torch.cat([patches, torch.ones_like(patches[..., :1])], dim=-1).double()


PROTOCOL = DepthRidge
