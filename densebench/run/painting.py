"""How a map becomes a picture of a panel: in the colours of its classes, or on one scale."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, Shaped
from PIL import Image

from densebench.datasets import Dataset
from densebench.datasets.sizes import Size
from densebench.datasets.targets import Target
from densebench.measures.labels import label_map
from densebench.measures.scoring import Prediction, upsampled
from densebench.records.panels import coloured
from densebench.records.scales import Colour, Scale, ramp, scale_of

BAR = "bar.png"
LAST_COLOUR = 255  # of a palette; what was predicted beyond it is shown as void is
Map = Shaped[np.ndarray, "h w"]


@dataclass(frozen=True)
class Painter:
    """Paints truth and predictions of one run alike.

    Attributes:
        target: what the values mean.
        palette: of the classes, or of the scale.
        mapping: of labels, the class that each prediction stands for.
        scale: of other values.
    """

    target: Target
    palette: tuple[Colour, ...]
    mapping: Int64[np.ndarray, " c"]
    scale: Scale | None = None

    @classmethod
    def of(cls, dataset: Dataset, truth: Collection[Map], mapping: Sequence[int]) -> "Painter":
        """For these images: a scale goes over all of their truth, so that runs look alike."""
        target, names = dataset.target, np.asarray(mapping, dtype=np.int64)
        if target.is_labels:
            return cls(target, dataset.palette, names)
        scale = scale_of([values[target.valid(values)] for values in truth], target.unit)
        return cls(target, tuple(ramp()), names, scale)

    def truth(self, values: Map) -> Image.Image:
        """What the dataset gives; void is grey."""
        if self.scale is None:
            return coloured(values, self.palette)
        return coloured(self.scale.places(values, self.target.valid(values)), self.palette)

    def prediction(self, values: Map) -> Image.Image:
        """What was predicted; clusters are renamed to their classes, where they stand for any."""
        if self.scale is None:
            named = self.mapping[values] if len(self.mapping) else values
            return coloured(np.minimum(named, LAST_COLOUR).astype(np.uint8), self.palette)
        return coloured(self.scale.places(values, np.isfinite(values)), self.palette)


def predicted_map(prediction: Prediction, position: int, size: tuple[int, ...]) -> Map:
    """What was predicted of one image, at the size of its mask: labels, or else the first value."""
    if prediction.values is None or prediction.labels is not None:
        return label_map(prediction, position, size)
    return upsampled(prediction.values[position].cpu(), size)[0].numpy()


def shrunk(size: Size, largest: int) -> Size:
    """Height and width, in proportion, of a picture whose sides are at most so long."""
    share = min(1.0, largest / max(size))
    height, width = (max(1, round(share * side)) for side in size)
    return height, width
