"""How features lie in a file: as they are, or in the half of their bits where that says it all.

Under bf16 or fp16 a backbone may give features of sixteen bits. Kept as these they take half the
room, and are read as the very numbers that were written.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, Shaped

from densebench.host.errors import DensebenchError

if TYPE_CHECKING:
    from densebench.datasets.transforms import Transform
    from densebench.features.source import PatchSource

Stored = Literal["float32", "float16", "bfloat16"]
HALVES: dict[str, Stored] = {"torch.bfloat16": "bfloat16", "torch.float16": "float16"}


def given(source: "PatchSource", view: "Transform") -> Stored:
    """The form of a backbone's features; under autocast it depends on the last layer."""
    if source.precision not in ("bf16", "fp16"):
        return "float32"
    import torch  # not for who only lists what is kept

    return HALVES.get(str(source.forward(torch.zeros(1, 3, *view.shape)).dtype), "float32")


def file_type(stored: str) -> str:
    """The type of a file's numbers; numpy has none for bfloat16, whose bits are kept."""
    return "uint16" if stored == "bfloat16" else stored


def encoded(
    features: Float[np.ndarray, "*n"], stored: str, exact: bool = False
) -> Shaped[np.ndarray, "*n"]:
    """Features in float32 as a file has them.

    Args:
        features: which are finite.
        stored: in which form.
        exact: whether each must come back as it is; bfloat16 is always exact.

    Raises:
        DensebenchError: a feature is beyond the range, or is not what it would come back as.
    """
    if stored == "float32":
        return features
    if stored == "bfloat16":
        bits = np.ascontiguousarray(features, np.float32).view(np.uint32)
        halves = (bits >> 16).astype(np.uint16)
        _require_equal(decoded(halves, stored), features)
        return halves
    largest = np.abs(features).max(initial=0)
    if largest > np.finfo(np.float16).max:
        raise DensebenchError(f"features reach {largest:.3g}, beyond fp16; use --cache fp32")
    rounded = features.astype(np.float16)
    if exact:
        _require_equal(rounded, features)
    return rounded


def decoded(stored: Shaped[np.ndarray, "*n"], form: str) -> Float[np.ndarray, "*n"]:
    """A copy of what a file has, in float32."""
    if form == "bfloat16":
        return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return stored.astype(np.float32)


def _require_equal(kept: Float[np.ndarray, "*n"], features: Float[np.ndarray, "*n"]) -> None:
    if not np.array_equal(kept, features):
        raise DensebenchError(
            "the backbone gives features now of sixteen bits, now of more, so that none can be "
            "kept as they are; use --cache off"
        )
