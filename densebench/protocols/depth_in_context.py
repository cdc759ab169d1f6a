"""In-context depth: what the nearest remembered patches are away, in metres.

The retrieval is that of ``in_context`` (open-hummingbird-eval's), with the mean depth of a patch's
pixels in place of the frequencies of their classes. There is no published code of it; Table 3 of
DIP (arXiv 2506.18463) is its nearest kin, whose set-up is not public.
"""

from collections.abc import Iterator
from typing import ClassVar

from jaxtyping import Float, Shaped
from pydantic import Field, model_validator
from torch import Tensor

from densebench.datasets.depth_maps import DEPTH
from densebench.datasets.nyu_boxes import BoxName
from densebench.datasets.sizes import Size
from densebench.features.source import PatchSource
from densebench.learners.depth_bank import DepthBank, patch_depths
from densebench.measures.depth_scoring import DepthScoring
from densebench.measures.scoring import Prediction, Resolution
from densebench.protocols.base import InputSize, ProtocolParams, resolve_input_size
from densebench.protocols.in_context import InContext, InContextParams


class DepthInContextParams(InContextParams):
    """Parameters of the retrieval, and which depth in metres and which part of an image count.

    Images are not augmented unless that is asked for: an enlarged part of one is as far away as
    before, and looks nearer.
    """

    augmentation_epochs: int = Field(default=1, gt=0, le=1000)
    augment: bool = False
    min_depth: float = Field(default=0.001, gt=0, le=1e6)
    max_depth: float = Field(default=10.0, gt=0, le=1e6)
    eval_box: BoxName = "full"

    @model_validator(mode="after")
    def _is_a_range(self) -> "DepthInContextParams":
        if self.min_depth >= self.max_depth:
            raise ValueError("min_depth must be below max_depth")
        return self


class DepthInContext(InContext):
    """Retrieval of depth; ``reference`` and ``clean`` differ as those of ``in_context`` do.

    ``reference`` normalises by open-hummingbird-eval's deviation and scores at the input's size;
    ``clean`` normalises as the backbone's card says, and scores at the depth's own size as well.
    """

    Params: ClassVar[type[ProtocolParams]] = DepthInContextParams
    version: ClassVar[int] = 1
    targets: ClassVar[tuple[str, ...]] = (DEPTH,)
    _remembered: ClassVar[str] = "depth"
    # A mean of metres has the last bits of the similarities, in which engines differ.
    _may_choose_engine: ClassVar[bool] = False
    params: DepthInContextParams

    @classmethod
    def shape_of(cls, size: InputSize, patch_size: int) -> Size:
        """A square, or a height and a width that the patch size divides.

        Raises:
            DensebenchError: it does not.
        """
        sides = size if isinstance(size, tuple) else (size, size)
        height, width = (resolve_input_size(side, patch_size) for side in sides)
        return height, width

    @property
    def scoring(self) -> DepthScoring:  # type: ignore[override]
        """At the input's size as open-hummingbird-eval, and where it is ``clean`` at its own."""
        published = self.setting.variant == "reference"
        sizes: tuple[Resolution, ...] = ("input",) if published else ("input", "original")
        params = self.params
        return DepthScoring(sizes, params.min_depth, params.max_depth, params.eval_box)

    def predict(self, val: PatchSource) -> Iterator[Prediction]:
        """Metres of every validation patch."""
        for batch, depth in self._retrieved(val):
            yield Prediction(batch.indices, batch.masks, values=depth)

    def _empty_bank(self, rows: int, stretch: range | None = None) -> DepthBank:
        return DepthBank(rows, self.setting.embed_dim, self._place.half_bank, stretch)

    def _values(self, masks: Shaped[Tensor, "b H W"]) -> Float[Tensor, "b p 1"]:
        params = self.params
        return patch_depths(masks, self.setting.patch_size, params.min_depth, params.max_depth)


PROTOCOL = DepthInContext
