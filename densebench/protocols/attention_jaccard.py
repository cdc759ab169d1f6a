"""How well the attention of the last block's class token shows what is in an image.

Nothing is learnt. Source: ``EvaluateAttnMaps`` of vpariza/NeCo at 3932160.
"""

from collections.abc import Iterator
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from densebench.backbones.base import PositionsOf
from densebench.datasets.targets import Target
from densebench.datasets.transforms import Squash
from densebench.features.source import PatchSource, of_attention
from densebench.host.errors import DensebenchError
from densebench.learners.attention_masks import SMALLEST_GRID, foreground, most_attended
from densebench.learners.batching import last_apart
from densebench.measures.foregrounds import AttentionScoring, Foreground
from densebench.measures.scoring import Prediction
from densebench.protocols.base import Needs, Protocol, ProtocolParams, Setting

AT_ONCE = 16  # images that are scored together


class AttentionJaccardParams(ProtocolParams):
    """Parameters of the masks.

    ``mass`` is the share of an attention map that its mask holds; ``background`` names the classes
    that are no foreground; ``batch_size`` decides only which images ``reference`` leaves unscored.
    """

    mass: float = Field(default=0.6, gt=0, lt=1)
    background: tuple[str, ...] = Field(default=("background",), min_length=1)
    batch_size: int = Field(default=256, gt=0)

    def check(self, target: Target) -> None:
        """Nothing, where the classes that are background are the dataset's.

        Raises:
            DensebenchError: they are not.
        """
        Foreground.named(self.background, target)


class AttentionJaccard(Protocol):
    """Masks of the most attended patches, of all heads together and of each."""

    published_positions: ClassVar[PositionsOf] = "neco"
    Params: ClassVar[type[ProtocolParams]] = AttentionJaccardParams
    version: ClassVar[int] = 1
    predicts_own: ClassVar[bool] = True
    takes_features: ClassVar[bool] = False
    params: AttentionJaccardParams

    def __init__(self, params: AttentionJaccardParams, setting: Setting) -> None:
        super().__init__(params, setting)
        if self.grid < SMALLEST_GRID:
            side = SMALLEST_GRID * setting.patch_size
            raise DensebenchError(
                f"attention is blurred over {SMALLEST_GRID}x{SMALLEST_GRID} patches or more; "
                f"input_size must be {side} or more"
            )

    @property
    def scoring(self) -> AttentionScoring:
        """At the input's size."""
        setting, published = self.setting, self.setting.variant == "reference"
        shown = Foreground.named(self.params.background, setting.target, void_counts=published)
        return AttentionScoring(("input",), shown)

    @property
    def needs(self) -> Needs:
        """One pass through the validation images."""
        return Needs(train_passes=0)

    def memory_plan(self, n_train: int, n_val: int) -> dict[str, int]:
        """Masks of the images of which it is known at the end whether they are dropped."""
        kept = min(self.params.batch_size, n_val)
        return {"masks that may be dropped": kept * self.input_size**2}

    def fit(self, train: PatchSource, val: PatchSource) -> None:
        """Nothing: there is no training split."""

    def predict(self, val: PatchSource) -> Iterator[Prediction]:
        """The mask of all heads together, and that of each head.

        The published loader drops the last incomplete batch and divides by all images, so that
        what is dropped counts 0.
        """
        setting, maps = self.setting, of_attention(val)
        view = Squash(self.input_size, setting.mean, setting.std, centred_mask=True)
        for batch, dropped in last_apart(maps, view, self.params.batch_size):
            values = self._masks(batch.patches)
            if dropped and setting.variant == "reference":
                values = torch.zeros_like(values)
            of_batch = batch.indices, batch.masks, values[:, 0].long(), values
            for some in zip(*(part.split(AT_ONCE) for part in of_batch), strict=True):
                indices, masks, labels, of_heads = some
                yield Prediction(indices, masks, labels=labels, values=of_heads)

    def _masks(self, patches: Tensor) -> Tensor:
        attention = patches.permute(0, 3, 1, 2).float().cpu()
        merged = foreground(attention, self.params.mass)
        return torch.cat([merged[:, None], most_attended(attention, self.params.mass)], 1).float()


PROTOCOL = AttentionJaccard
