"""Depth in metres from 16-bit PNGs: the target and the reader of every dataset of depth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from densebench.datasets.image_files import read_sixteen_bits
from densebench.datasets.targets import Target

DEPTH = "depth"
NO_DEPTH = 0.0
METRES = Target(DEPTH, "float32", NO_DEPTH, unit="m")
MILLIMETRE = 0.001


@dataclass(frozen=True)
class DepthReader:
    """Reads 16-bit PNGs of one channel; 0 is no depth.

    Attributes:
        scale: metres that a value of 1 stands for.
    """

    scale: float = MILLIMETRE

    def read(self, file: Path) -> Float[np.ndarray, "h w"]:
        """Metres of every pixel.

        Raises:
            DensebenchError: the file is no such PNG.
        """
        metres: Float[np.ndarray, "h w"] = (read_sixteen_bits(file) * self.scale).astype(np.float32)
        return metres

    def rules(self, file: Path) -> bytes:
        """What a value stands for."""
        return repr(self.scale).encode()
