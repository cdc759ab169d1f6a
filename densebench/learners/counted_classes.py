"""The classes that a head learns, where one of a dataset's stands for nothing that counts."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from densebench.learners.pixel_loss import VOID

LABELS = 1 << 16  # that a mask can hold
NEVER = -1e4  # a score that cannot win, and that upsampling does not turn into nan


@dataclass(frozen=True)
class CountedClasses:
    """Labels and classes of a dataset against the outputs of a head for those that count.

    Attributes:
        n_classes: how many the dataset has.
        ignore_index: the label that is not counted; it may be one of the classes'.
    """

    n_classes: int
    ignore_index: int

    @cached_property
    def kept(self) -> list[int]:
        """The classes that count, in the order of the outputs."""
        return [i for i in range(self.n_classes) if i != self.ignore_index]

    def outputs(self, labels: Shaped[Tensor, "b h w"]) -> Int64[Tensor, "b h w"]:
        """The output that stands for each label, or the one that a loss leaves out."""
        return self._output_of[labels.long()]

    def scores(self, outputs: Float[Tensor, "k h w"]) -> Float[Tensor, "c h w"]:
        """Scores of all classes, of which one that does not count never wins."""
        if len(self.kept) == self.n_classes:
            return outputs
        every = outputs.new_full((self.n_classes, *outputs.shape[1:]), NEVER)
        every[self.kept] = outputs
        return every

    @cached_property
    def _output_of(self) -> Int64[Tensor, " l"]:
        outputs = torch.full((LABELS,), VOID)
        outputs[self.kept] = torch.arange(len(self.kept))
        return outputs
